//! Between messages and the types of floor 0, one file per message. A field that is missing or out of range is
//! [`Malformed`]: it comes from a peer, so it ends the stream or call it came in, never the process.

mod envelope;
mod log_name;
pub mod timestamp;

use thiserror::Error;
use trunkline_types::limits::PEER_NUMBER_MAX;

/// A message of a peer that does not hold what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}

/// A peer's number with which we go on counting.
///
/// # Errors
/// [`Malformed`], naming `what`, beyond [`PEER_NUMBER_MAX`].
pub fn number(number: u64, what: &'static str) -> Result<u64, Malformed> {
    if number <= PEER_NUMBER_MAX { Ok(number) } else { Err(Malformed(what)) }
}
