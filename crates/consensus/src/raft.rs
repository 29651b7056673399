//! The only place that names openraft: its types with this crate's parameters filled in.

mod runtime;

use std::fmt;

use bytes::Bytes;
pub(crate) use openraft::errors::{
    ClientWriteError, InitializeError, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError,
    Timeout, Unreachable,
};
pub(crate) use openraft::network::{Backoff, RPCOption, RPCTypes};
pub(crate) use openraft::raft::StreamAppendError;
pub(crate) use openraft::storage::{EntryResponder, RaftLogStorage, RaftStateMachine};
pub(crate) use openraft::{
    ChangeMembers, Config, EntryPayload, OptionalSend, RaftLogReader, RaftNetworkFactory, RaftNetworkV2,
    RaftSnapshotBuilder, ReadPolicy, ServerState, SnapshotPolicy,
};
use trunkline_types::NodeId;

pub(crate) use openraft::Instant as RaftInstant;
pub(crate) use openraft::async_runtime::watch::WatchReceiver;
pub(crate) use runtime::Runtime;

openraft::declare_raft_types!(
    /// One replicated log of opaque entries. Leaders are (term, node), totally ordered: where two candidates of one
    /// term collide the higher node wins at once, so that a split vote does not cost another election timeout.
    pub(crate) Types:
        D = Command,
        R = Bytes,
        NodeId = NodeId,
        Node = (),
        AsyncRuntime = Runtime,
);

pub(crate) type LeaderId = openraft::alias::LeaderIdOf<Types>;
pub(crate) type LogId = openraft::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::alias::VoteOf<Types>;
pub(crate) type Entry = openraft::alias::EntryOf<Types>;
pub(crate) type Membership = openraft::Membership<NodeId, ()>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot<D> = openraft::alias::SnapshotOf<Types, D>;
pub(crate) type LogState = openraft::LogState<Types>;
pub(crate) type Flushed = openraft::storage::IOFlushed<Types>;
pub(crate) type Raft<M> = openraft::Raft<Types, M>;
pub(crate) type VoteRequest = openraft::raft::VoteRequest<Types>;
pub(crate) type VoteResponse = openraft::raft::VoteResponse<Types>;
pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<Types>;
pub(crate) type AppendResponse = openraft::raft::AppendEntriesResponse<Types>;
pub(crate) type TransferRequest = openraft::raft::TransferLeaderRequest<Types>;
pub(crate) type TransferResponse = Result<(), openraft::raft::TransferLeaderError<Types>>;
pub(crate) type SnapshotResponse = openraft::raft::SnapshotResponse<Types>;
pub(crate) type StreamAppendResult = openraft::raft::StreamAppendResult<Types>;

/// A proposed entry as it is stored and sent: one byte that says what it is, then what the proposer gave.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
