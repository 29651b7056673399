//! The seam: everything through which a service meets the world, as traits that the simulator replaces.
//!
//! - [`process`]: tasks, the wall clock, randomness, and the end of the process.
//! - [`network`]: calls and streams to other nodes, typed, over a [`Transport`] that moves bytes.
//! - [`router`]: what a node answers, by method.
//! - [`storage`]: an ordered key-value store with one order of writes and an answer after fsync.
//! - [`consensus`]: Raft groups, as "propose" and "apply".
//! - [`traces`]: spans of work that is not a call of its own.
//! - [`host`]: the bundle of these that a service is given.
//!
//! No service opens a socket, reads a wall clock, spawns a task, draws a random number or touches a disk in any
//! other way. Elapsed time is tokio's (`tokio::time`), which the simulator pauses.

pub mod consensus;
pub mod host;
pub mod network;
pub mod process;
pub mod router;
pub mod storage;
pub mod traces;

pub use consensus::{Committed, Consensus, ConsensusError, Group, Leadership, ProposeError, StateMachine};
pub use host::{Host, Identity};
pub use network::{CallOptions, Class, Network, Peer, RawStream, Receiver, Sender, StreamClosed, Transport};
pub use process::{Process, ProcessPort, Task};
pub use router::{CallContext, Handler, Responder, Router};
pub use storage::{Batch, Part, ScanLimit, Space, Storage, StorageError};
pub use traces::{Span, Traces};
