//! The way to one store: one Append stream, shared by every push, opened again when it breaks.
//!
//! Records go out in the order in which batches are given; those readily waiting share a frame, and nothing waits for
//! more to come. Answers are given to whoever waits for their tag. When the stream breaks, what was in a frame is
//! lost to sight, and what was not is refused with certainty.

mod pending;
mod session;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use trunkline_ports::process::TaskGuard;
use trunkline_ports::{Class, Host, Peer, Span};
use trunkline_types::{Boot, Bucket, Lane, Node, NodeId, TopicId};
use trunkline_wire::v1::AckLevel;

use crate::admission::Room;
use crate::error;
use crate::progress::{Outcome, Writer};
use session::Session;

/// Batches that wait for a link's task. Their bytes are bounded by admission.
const BATCHES_QUEUED_MAX: usize = 1_024;

/// One record on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The caller's own number for it.
    pub(crate) index: u64,
    pub(crate) topic: TopicId,
    pub(crate) checksum: u64,
    pub(crate) body: Bytes,
    /// By which its payload came; 0 where it has it with it.
    pub(crate) upload: u64,
}

/// What became of one record, by the caller's own number.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) index: u64,
    pub(crate) outcome: Outcome,
}

/// Records that one caller gives at once, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) records: Vec<Outgoing>,
    /// Instead of records: told `Ordered`, under index 0, once all that went into this lane before is.
    pub(crate) barrier: Option<(Bucket, Lane)>,
    pub(crate) level: AckLevel,
    /// Nobody listens after it.
    pub(crate) until: Instant,
    /// Has room for every outcome of every record under way, so that telling never waits.
    pub(crate) reply: mpsc::Sender<Told>,
    /// Held until the last record of the batch is done with.
    pub(crate) room: Arc<Room>,
    /// Refused with certainty unless this writer takes it.
    pub(crate) writer: Writer,
    /// Of the batch, while it is recorded.
    pub(crate) span: Option<Span>,
}

impl Batch {
    /// Refuses all of it: nothing was sent.
    fn refuse(&self) {
        for index in self.records.iter().map(|record| record.index).chain(self.barrier.map(|_| 0)) {
            let outcome = Outcome::Refused(error::not_handed_over());
            let _ = self.reply.try_send(Told { index, outcome });
        }
    }
}

/// What a store is good for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// The first attempt to reach it is not over yet.
    Untried,
    /// The store's boot, and which of the link's streams this is.
    Open(Boot, u64),
    /// Open, and it takes nothing more: it is shutting down.
    Refusing,
    Down,
}

/// A handle on the task that owns the stream. The task ends with it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) node: NodeId,
    pub(crate) address: String,
    batches: mpsc::Sender<Batch>,
    state: watch::Receiver<LinkState>,
    _task: TaskGuard,
}

impl Link {
    pub(crate) fn start(host: &Host, store: &Node) -> Self {
        let (batches, queue) = mpsc::channel(BATCHES_QUEUED_MAX);
        let (told, state) = watch::channel(LinkState::Untried);
        let peer = Peer::new(store.address.as_str(), Class::Records);
        let session = Session::new(host.clone(), peer, store.id, queue, told);
        let task = host.process.spawn("append", session.run());
        Self { node: store.id, address: store.address.clone(), batches, state, _task: task.abort_on_drop() }
    }

    pub(crate) fn state(&self) -> LinkState {
        *self.state.borrow()
    }

    /// Changes of the state after the call.
    pub(crate) fn watch(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// The writer behind the link, while it can be reached and takes records.
    pub(crate) fn writer(&self) -> Option<Writer> {
        match self.state() {
            LinkState::Open(boot, stream) => Some(Writer { node: self.node, boot, stream }),
            LinkState::Untried | LinkState::Refusing | LinkState::Down => None,
        }
    }

    /// Queues a batch. Every record gets an outcome through `reply`, unless the deadline comes first.
    pub(crate) async fn append(&self, batch: Batch) {
        if let Err(refused) = self.batches.send(batch).await {
            refused.0.refuse();
        }
    }
}
