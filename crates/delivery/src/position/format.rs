//! One byte of version, then postcard.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Of entries, answers and snapshots alike. New kinds are appended to their enums; anything else takes a new version.
const VERSION: u8 = 2;

/// Bytes that this version cannot read. In a committed entry or a snapshot it ends the process: to go on without it
/// would be another state than the other voters have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    #[error("format version {0} of a position group's data is not known here (known: {VERSION})")]
    Version(u8),
    #[error("malformed data of a position group: {0}")]
    Malformed(String),
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("plain data in memory always encodes")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    match bytes.split_first() {
        Some((&VERSION, body)) => {
            postcard::from_bytes(body).map_err(|error| Unreadable::Malformed(error.to_string()))
        }
        Some((&version, _)) => Err(Unreadable::Version(version)),
        None => Err(Unreadable::Malformed("empty".to_owned())),
    }
}
