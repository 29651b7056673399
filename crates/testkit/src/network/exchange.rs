//! What travels, and what is known of a call or stream under way.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use trunkline_ports::Class;
use trunkline_types::hash64;
use trunkline_wire::Status;

use super::cuts::Place;
use super::incoming::Served;

/// A frame of a stream, with its share of the window until it is taken.
pub(super) type Frame = (Bytes, OwnedSemaphorePermit);
pub(super) type Frames = mpsc::Sender<Result<Frame, Status>>;

/// What travels. The first four go to the callee, the rest to the caller.
pub(super) enum Message {
    Call {
        path: &'static str,
        body: Bytes,
        deadline: Instant,
        trace: Option<String>,
    },
    Open {
        path: &'static str,
        deadline: Instant,
        trace: Option<String>,
    },
    /// The caller has no more frames.
    LastRequest,
    /// The caller is gone.
    Cancel,
    Accepted,
    Answer(Result<Bytes, Status>),
    Finished(Result<(), Status>),
    /// Either way, by the exchange's direction flag.
    Frame(Frame),
}

/// What the caller waits with.
pub(super) enum Waiting {
    Call(oneshot::Sender<Result<Bytes, Status>>),
    Stream { opened: Option<oneshot::Sender<()>>, frames: Frames, _ended: oneshot::Sender<()> },
}

/// One call or stream, from its begin until one side has ended it.
pub(super) struct Exchange {
    pub(super) caller: u64,
    pub(super) from: Arc<Place>,
    pub(super) to: Arc<Place>,
    pub(super) address: Arc<str>,
    pub(super) class: Class,
    pub(super) begun: Instant,
    pub(super) callee: Option<u64>,
    pub(super) waiting: Option<Waiting>,
    pub(super) served: Option<Served>,
}

impl Exchange {
    pub(super) fn ends(&self, to_callee: bool) -> (&Arc<Place>, &Arc<Place>) {
        if to_callee { (&self.from, &self.to) } else { (&self.to, &self.from) }
    }

    pub(super) fn concerns(&self, process: u64) -> bool {
        self.caller == process || self.callee == Some(process)
    }
}

impl Message {
    /// What it is, and a hash of what it carries.
    pub(super) fn fingerprint(&self) -> (u64, u64) {
        match self {
            Self::Call { path, body, .. } => (1, hash64(path.as_bytes()) ^ hash64(body)),
            Self::Open { path, .. } => (2, hash64(path.as_bytes())),
            Self::LastRequest => (3, 0),
            Self::Cancel => (4, 0),
            Self::Accepted => (5, 0),
            Self::Answer(Ok(body)) => (6, hash64(body)),
            Self::Answer(Err(status)) | Self::Finished(Err(status)) => {
                (7, u64::from(i32::from(status.code()).unsigned_abs()))
            }
            Self::Finished(Ok(())) => (8, 0),
            Self::Frame((bytes, _)) => (9, hash64(bytes)),
        }
    }
}
