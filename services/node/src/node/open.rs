//! What a node has on disk.

use std::sync::Arc;

use trunkline_ports::{Process, Space};
use trunkline_storage::{Directory, RocksStorage};
use trunkline_types::Role;

use super::{Plan, Surroundings};
use crate::refusal::Refusal;

/// An open directory and the store in it.
pub(super) type Opened = (Directory, Arc<RocksStorage>);

/// Opens the data directory of a stateful node: a new boot. `None` for a role without one.
pub(super) async fn open(
    plan: &Plan,
    surroundings: &Surroundings,
    process: Process,
) -> Result<Option<Opened>, Refusal> {
    let Some(path) = plan.data.clone() else { return Ok(None) };
    let (role, options, memory) = (plan.role, surroundings.options.clone(), surroundings.memory.clone());
    in_background(move || {
        let directory = Directory::open(path, role)?;
        let store =
            RocksStorage::open(&directory.store(), &spaces(role), &options.storage, &memory, process)?;
        Ok(Some((directory, store)))
    })
    .await
}

/// Keyspaces by role; all exist from the first open on.
fn spaces(role: Role) -> Vec<Space> {
    match role {
        Role::Push | Role::Pop => Vec::new(),
        Role::MessageId | Role::SubscriptionPosition => trunkline_consensus::SPACES.to_vec(),
        Role::MessageStore => trunkline_message_store::SPACES.to_vec(),
    }
}

/// Runs what blocks (opening and closing stores) beside the runtime.
#[allow(clippy::disallowed_methods, reason = "opening and closing happen once per start, not in any service")]
pub(super) async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("what opens and closes does not panic")
}
