//! Why the service does not start.

use thiserror::Error;
use trunkline_ports::ConsensusError;
use trunkline_types::GroupId;

#[derive(Debug, Error)]
pub enum StartError {
    #[error("message-id: {0}")]
    Options(String),
    #[error("{0} does not start: {1}")]
    Group(GroupId, #[source] ConsensusError),
}
