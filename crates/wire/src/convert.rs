//! Between messages and the types of floor 0, one file per message. A field that is missing or out of range is
//! [`Malformed`]: it comes from a peer, so it ends the stream or call it came in, never the process.

mod envelope;
mod log_name;

use thiserror::Error;

/// A message of a peer that does not hold what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}
