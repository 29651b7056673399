//! This node's member of one ordering group.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use trunkline_ordering::group::{Answer, Entry, State};
use trunkline_ports::{Group, Leadership, ProposeError};
use trunkline_types::GroupId;
use trunkline_wire::Status;
use trunkline_wire::status::{self, reason};

use crate::machine::View;
use crate::relay::Relayed;

pub(crate) struct Member {
    /// The number of its group.
    pub(crate) number: u16,
    pub(crate) group: Arc<dyn Group>,
    pub(crate) view: View,
    /// To the task that leads the group when this node does.
    pub(crate) reports: mpsc::Sender<Relayed>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Member {
    pub(crate) fn id(&self) -> GroupId {
        GroupId::ordering(self.number)
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        self.view.state.read(look)
    }

    pub(crate) fn leadership(&self) -> Leadership {
        *self.group.leadership().borrow()
    }

    /// Ends once entry `index` has been applied here.
    ///
    /// # Errors
    /// `UNAVAILABLE` if that does not happen before the deadline.
    pub(crate) async fn wait_applied(&self, index: u64, deadline: Instant) -> Result<(), Status> {
        let mut applied: watch::Receiver<u64> = self.view.applied.clone();
        let reached = applied.wait_for(|applied| *applied >= index);
        match tokio::time::timeout_at(deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(status::unavailable(
                reason::NO_QUORUM,
                format!("{} has not reached index {index}", self.id()),
            )),
        }
    }

    /// Commits an entry; the index and what it did.
    ///
    /// # Errors
    /// What the caller is told: [`refused`].
    pub(crate) async fn commit(&self, entry: &Entry, deadline: Instant) -> Result<(u64, Answer), Status> {
        let committed =
            self.group.propose(entry.encode().into(), deadline).await.map_err(|error| refused(&error))?;
        let answer =
            Answer::decode(&committed.answer).map_err(|error| Status::internal(error.to_string()))?;
        Ok((committed.index, answer))
    }

    /// Ends once this voter knows everything that was committed before the call.
    ///
    /// # Errors
    /// What the caller is told: [`refused`].
    pub(crate) async fn confirm(&self, deadline: Instant) -> Result<u64, Status> {
        self.group.confirm(deadline).await.map_err(|error| refused(&error))
    }
}

/// A failed proposal as callers are told of it.
pub(crate) fn refused(error: &ProposeError) -> Status {
    match error {
        ProposeError::NoQuorum(_) => {
            status::not_stored(&status::unavailable(reason::NO_QUORUM, error.to_string()))
        }
        ProposeError::Unknown(_) => status::unavailable(reason::NO_QUORUM, error.to_string()),
        ProposeError::Overloaded(_) => {
            status::overloaded(error.to_string(), trunkline_types::limits::OVERLOAD_RETRY)
        }
        ProposeError::ShuttingDown => {
            status::not_stored(&status::unavailable(reason::DRAINING, error.to_string()))
        }
    }
}
