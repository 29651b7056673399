//! Raft groups, as their users see them: propose an entry, apply what was committed.

use bytes::Bytes;
use futures::future::BoxFuture;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_types::{GroupId, NodeId};

/// Applied to in the same order on every voter. Must be deterministic: entry, index and own state are all there is.
pub trait StateMachine: Send + 'static {
    /// Applies one committed entry; returns the answer for its proposer.
    fn apply(&mut self, index: u64, entry: &[u8]) -> Bytes;
    /// Several entries were applied, `index` the last: the moment to tell others. Default: nothing.
    fn applied(&mut self, index: u64) {
        let _ = index;
    }
    /// The whole state, with a format version.
    fn snapshot(&self) -> Bytes;
    /// Replaces the state. `Err` says what is wrong: such a snapshot ends the process.
    ///
    /// # Errors
    /// A sentence about a snapshot that cannot be read, for example one of a later version.
    fn restore(&mut self, index: u64, snapshot: &[u8]) -> Result<(), String>;
}

/// An entry's place and its state machine's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub index: u64,
    pub answer: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// No leader with a quorum could be reached: certainly not proposed.
    #[error("no quorum of {0} can be reached")]
    NoQuorum(GroupId),
    /// Proposed, and no answer before the deadline or the end of the leadership: it may be committed yet.
    #[error("the outcome of a proposal to {0} is unknown")]
    Unknown(GroupId),
    /// Too much is waiting already.
    #[error("{0} has too many proposals waiting")]
    Overloaded(GroupId),
    #[error("the node is shutting down")]
    ShuttingDown,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConsensusError {
    #[error("{0}")]
    Storage(#[from] crate::storage::StorageError),
    #[error("{0}")]
    Failed(String),
}

/// Who leads a group, as this voter knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<NodeId>,
    /// This node leads and has a quorum's confirmation of it within the last election timeout.
    pub is_here: bool,
}

/// This node's member of one group.
pub trait Group: Send + Sync + 'static {
    fn id(&self) -> GroupId;

    /// Commits an entry through the leader, wherever it is: directly, or through a voter that can reach it. Resolves
    /// when it has been applied by the leader.
    fn propose(&self, entry: Bytes, deadline: Instant)
    -> BoxFuture<'static, Result<Committed, ProposeError>>;

    /// Resolves once this voter has applied everything that was committed, anywhere, before the call (read index).
    /// Returns the applied index.
    fn confirm(&self, deadline: Instant) -> BoxFuture<'static, Result<u64, ProposeError>>;

    fn leadership(&self) -> watch::Receiver<Leadership>;

    /// Last index applied here.
    fn applied(&self) -> watch::Receiver<u64>;

    /// Hands leadership to another voter, if this node has it.
    fn transfer(&self, to: NodeId);

    /// The voters, by this node's log; none until the group is initialized.
    fn voters(&self) -> Vec<NodeId>;
}

/// All groups of a node, on one log.
///
/// It also sees to a group's life: a new group is initialized by its first-ranked voter, once it is certain that it is
/// new, and leadership returns to that voter when all is well.
pub trait Consensus: Send + Sync + 'static {
    /// Starts this node's member of a group, from what is on disk. Once per group and process.
    fn start(
        &self,
        group: GroupId,
        machine: Box<dyn StateMachine>,
    ) -> BoxFuture<'static, Result<Arc<dyn Group>, ConsensusError>>;

    /// On drain: hands every leadership that is here to the next voter that is up and keeps up. Resolves when they are
    /// taken, or nobody can take them; at the latest after 3 s.
    fn hand_over(&self) -> BoxFuture<'static, ()>;
}
