//! Who the node is, and which start of it this is.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::Rng as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trunkline_types::{Boot, NodeId, Role};

use super::{DirectoryError, document};

const IDENTITY: &str = "identity.json";
const BOOT: &str = "boot.json";
/// Raised when the version before can no longer read the directory.
const FORMAT: u64 = 1;

/// The part of `identity.json` that every version can read.
#[derive(Deserialize)]
struct Format {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    format: u64,
    node: NodeId,
    role: String,
    /// Milliseconds since 1970, for people.
    created_ms: u64,
}

/// The node whose directory this is; a new one where there is none.
pub(super) fn open(directory: &Path, role: Role) -> Result<NodeId, DirectoryError> {
    let path = directory.join(IDENTITY);
    let Some(bytes) = document::load(&path)? else {
        return create(directory, &path, role);
    };
    let Format { format } = parse(&path, &bytes)?;
    if format > FORMAT {
        return Err(DirectoryError::FromTheFuture {
            path: directory.to_owned(),
            found: format,
            known: FORMAT,
        });
    }
    let identity: Identity = parse(&path, &bytes)?;
    if identity.role != role.as_str() {
        let path = directory.to_owned();
        return Err(DirectoryError::OtherRole { path, found: identity.role, wanted: role });
    }
    if identity.node == NodeId(0) {
        return Err(DirectoryError::Unreadable { path, why: "a node's id is not 0".into() });
    }
    Ok(identity.node)
}

fn create(directory: &Path, path: &Path, role: Role) -> Result<NodeId, DirectoryError> {
    if directory.join("store").exists() {
        let why = "the directory holds a store and no identity: empty it, and it is a new node".into();
        return Err(DirectoryError::Unreadable { path: directory.to_owned(), why });
    }
    // The counter first: an identity without one is a directory from which something was taken.
    save(&directory.join(BOOT), &Boot::default())?;
    let node = NodeId(rand::rng().next_u64().max(1));
    save(path, &Identity { format: FORMAT, node, role: role.as_str().to_owned(), created_ms: now_ms() })?;
    Ok(node)
}

/// Counts this start, on disk before anyone uses it.
pub(super) fn next_boot(directory: &Path) -> Result<Boot, DirectoryError> {
    let path = directory.join(BOOT);
    let unreadable = |why: &str| DirectoryError::Unreadable { path: path.clone(), why: why.into() };
    let Some(bytes) = document::load(&path)? else {
        return Err(unreadable("it is missing, and without it starts of the node cannot be told apart"));
    };
    let last: Boot = parse(&path, &bytes)?;
    let counter = last.counter.checked_add(1).ok_or_else(|| unreadable("the counter is at its end"))?;
    let boot = Boot { counter, random: rand::rng().next_u64() };
    save(&path, &boot)?;
    Ok(boot)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, DirectoryError> {
    serde_json::from_slice(bytes)
        .map_err(|error| DirectoryError::Unreadable { path: path.to_owned(), why: error.to_string() })
}

fn save(path: &Path, value: &impl Serialize) -> Result<(), DirectoryError> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("plain fields become JSON");
    bytes.push(b'\n');
    document::save(path, &bytes)
}

#[allow(clippy::disallowed_methods, reason = "no process port exists yet, and only people read it")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
