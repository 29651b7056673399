//! What can go wrong, and how callers hear of it.

use std::time::Duration;

use thiserror::Error;
use trunkline_ports::{ConsensusError, ProposeError};
use trunkline_types::GroupId;
use trunkline_wire::Status;
use trunkline_wire::status::{self, reason};

/// Why the service cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{group} cannot be started")]
    Group {
        group: GroupId,
        #[source]
        source: ConsensusError,
    },
}

/// A refused caller may come again after so long.
const OVERLOAD_DELAY: Duration = Duration::from_millis(200);

/// A proposal that came to nothing, or of which that is not known.
pub(crate) fn propose(error: &ProposeError) -> Status {
    match error {
        ProposeError::NoQuorum(_) => {
            status::not_stored(&status::unavailable(reason::NO_QUORUM, error.to_string()))
        }
        ProposeError::Unknown(_) => status::unavailable(reason::NO_QUORUM, error.to_string()),
        ProposeError::Overloaded(_) => status::overloaded(error.to_string(), OVERLOAD_DELAY),
        ProposeError::ShuttingDown => {
            status::not_stored(&status::unavailable(reason::DRAINING, error.to_string()))
        }
    }
}

/// This node does not vote in the group: caller and node have different maps, or the caller is wrong.
pub(crate) fn not_a_voter(group: GroupId) -> Status {
    let message = format!("this node is no voter of {group}");
    status::not_stored(&status::failed_precondition(reason::STALE, message))
}
