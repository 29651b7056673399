//! The connection to one peer: requests of all groups out, answers in, as many per message as there are.
//!
//! It is always there or on its way: dialed again, with backoff, whenever it has been silent for too long. A request
//! that was never sent says so.

mod connection;
mod pending;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use trunkline_ports::Host;
use trunkline_ports::process::TaskGuard;
use trunkline_types::{GroupId, NodeId};
use trunkline_wire::internal::RaftFrame;
use trunkline_wire::internal::raft_frame::Body;

/// Requests that wait for the connection before others are refused.
const QUEUE_MAX: usize = 4_096;

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum NoAnswer {
    /// The peer has certainly not seen it.
    #[error("the peer cannot be reached")]
    NotSent,
    /// The connection ended first.
    #[error("the connection to the peer was lost")]
    Lost,
}

pub(crate) type Answer = Result<Body, NoAnswer>;

pub(crate) struct Request {
    pub(crate) frame: RaftFrame,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// A handle on the connection; it ends with the last of them.
#[derive(Debug)]
pub(crate) struct Link {
    peer: NodeId,
    requests: mpsc::Sender<Request>,
    is_up: watch::Receiver<bool>,
    _task: TaskGuard,
}

impl Link {
    pub(crate) fn start(host: &Host, peer: NodeId) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        let (up, is_up) = watch::channel(false);
        let task = host.process.spawn("raft-link", connection::run(host.clone(), peer, queue, up));
        Self { peer, requests, is_up, _task: task.abort_on_drop() }
    }

    pub(crate) fn peer(&self) -> NodeId {
        self.peer
    }

    /// Whether the peer was heard lately.
    pub(crate) fn is_up(&self) -> bool {
        *self.is_up.borrow()
    }

    /// The same, as it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.is_up.clone()
    }

    /// Sends a request behind all that were submitted before. The answer's sender is dropped only with the process.
    pub(crate) fn submit(&self, group: GroupId, body: Body) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let frame = RaftFrame { id: 0, group: group.to_u32(), body: Some(body) };
        if let Err(refused) = self.requests.try_send(Request { frame, answer }) {
            let (mpsc::error::TrySendError::Full(request) | mpsc::error::TrySendError::Closed(request)) =
                refused;
            drop(request.answer.send(Err(NoAnswer::NotSent)));
        }
        receiver
    }
}
