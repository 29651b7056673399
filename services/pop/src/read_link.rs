//! The way to one store: one Reads stream, on which every read of this server is asked and answered by tag.
//!
//! Reads that somebody waits for go out at once, with everything else that is to be said; those that wait for a message
//! go at common ticks, and so share a frame. Several that wait for the same message share one wait and one answer. When
//! the stream ends, what has no answer is asked again on the next one (reading twice does no harm); when the store is
//! silent or there is no next one, it fails, and another store may be asked.

mod asked;
mod session;

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use trunkline_ports::process::TaskGuard;
use trunkline_ports::{Host, Peer};
use trunkline_types::{NodeId, TopicId};
use trunkline_wire::Status;
use trunkline_wire::internal::ReadResponse;

use crate::error;
use asked::Read;
use session::Session;

/// Reads that wait for a link's task.
const READS_QUEUED_MAX: usize = 1_024;

/// An answer, for all who share it.
pub(crate) type Answer = Result<Arc<ReadResponse>, Status>;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) topic: TopicId,
    pub(crate) from: u64,
    /// The answer may have more where it is shared.
    pub(crate) messages_max: u32,
    pub(crate) bytes_max: u64,
    /// For a message to come, for as long as the caller does.
    pub(crate) waits: bool,
    pub(crate) traceparent: Option<String>,
}

/// A handle on the task that owns the stream. The task ends with the last one.
#[derive(Clone, Debug)]
struct Link {
    reads: mpsc::Sender<Read>,
    peer: Peer,
    _task: Arc<TaskGuard>,
}

impl Link {
    fn start(host: &Host, node: NodeId, peer: &Peer) -> Self {
        let (reads, queue) = mpsc::channel(READS_QUEUED_MAX);
        let session = Session::new(host.clone(), node, peer.clone(), queue);
        let task = host.process.spawn("reads", session.run());
        Self { reads, peer: peer.clone(), _task: Arc::new(task.abort_on_drop()) }
    }
}

/// The links to all stores that this server has read from under the present map.
pub(crate) struct ReadLinks {
    host: Host,
    links: Mutex<Links>,
}

#[derive(Default)]
struct Links {
    map_version: u64,
    by_store: FxHashMap<NodeId, Link>,
}

impl ReadLinks {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, links: Mutex::default() }
    }

    /// Asks a store. The read is given up with the future, and at `until` at the latest.
    ///
    /// # Errors
    /// What the store answers, `UNAVAILABLE` of the way to it, `DEADLINE_EXCEEDED`.
    pub(crate) async fn ask(&self, node: NodeId, peer: &Peer, ask: Ask, until: Instant) -> Answer {
        let link = self.link(node, peer);
        let (caller, answer) = oneshot::channel();
        let asking = async {
            link.reads.send(Read { ask, caller }).await.map_err(|_| error::no_answer())?;
            answer.await.map_err(|_| error::no_answer())?
        };
        let too_late = |_| Err(Status::deadline_exceeded("the store did not answer in time"));
        timeout_at(until, asking).await.unwrap_or_else(too_late)
    }

    fn link(&self, node: NodeId, peer: &Peer) -> Link {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let map = self.host.map.borrow();
        if links.map_version != map.version {
            links.map_version = map.version;
            links.by_store.retain(|node, _| map.node(*node).is_some());
        }
        drop(map);
        match links.by_store.get(&node).filter(|link| link.peer == *peer) {
            Some(link) => link.clone(),
            None => {
                let link = Link::start(&self.host, node, peer);
                links.by_store.insert(node, link.clone());
                link
            }
        }
    }
}
