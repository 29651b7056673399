//! The way to the worker, for streams, calls and sessions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use trunkline_ordering::store::{IndexRun, LogNo};
use trunkline_ports::Span;
use trunkline_types::limits::APPEND_QUEUE_BYTES_MAX;
use trunkline_types::{Boot, Bucket, LogName, NodeId, TopicId};
use trunkline_wire::Status;
use trunkline_wire::internal::{
    AppendRecord, AppendResponse, FollowRequest, FollowResponse, ReadAsked, ReadRequest, ReadResponse,
    Record, SessionRequest, session_response,
};

use crate::copy_index::{CopiedPart, Snapshot};
use crate::outlet::{Inlet, Outlet, outlet};
use crate::worker::read::Turn;

const INPUTS_MAX: usize = 1_024;
const FOLLOW_BYTES_MAX: usize = 64 << 20;
/// Messages that wait in a stream's outlet.
const OUTLET_MAX: usize = 4;

/// What the worker is told. `stream` names one life of a stream: what comes from an earlier one is ignored.
#[derive(Debug)]
pub(crate) enum Input {
    AppendUp { stream: u64, outlet: Outlet<AppendResponse> },
    Append { stream: u64, records: Vec<AppendRecord>, permit: OwnedSemaphorePermit },
    Read { request: ReadRequest, reply: oneshot::Sender<ReadAnswer> },
    ReadsUp { stream: u64, outlet: Outlet<Vec<ReadReady>> },
    Reads { stream: u64, asked: Vec<ReadAsked>, abandoned: Vec<u64>, taken_bytes: u64 },
    Locate { log: LogName, reply: oneshot::Sender<Option<Location>> },
    Replicas { log: LogName, seq: u64, reply: oneshot::Sender<Option<Vec<Arc<str>>>> },
    Rewrite { log: LogName, at: (LogNo, u64), record: Record, reply: oneshot::Sender<()> },
    FindTopic { name: String, reply: oneshot::Sender<Option<(TopicId, Vec<u8>)>> },
    FollowerUp { node: NodeId, boot: Boot, stream: u64, outlet: Outlet<FollowResponse> },
    FollowerFrame { node: NodeId, stream: u64, frame: FollowRequest },
    HolderUp { node: NodeId, boot: Boot, stream: u64, outlet: Outlet<FollowRequest> },
    HolderFrame { node: NodeId, stream: u64, frame: FollowResponse, permit: OwnedSemaphorePermit },
    HolderDown { node: NodeId },
    SessionUp { plan: usize, stream: u64, outlet: Outlet<SessionRequest> },
    SessionFrame { plan: usize, stream: u64, what: session_response::What },
    CopySnapshot { group: u16, buckets: BTreeSet<Bucket>, reply: oneshot::Sender<Result<Snapshot, Status>> },
    CopyPart { group: u16, stream: u64, part: CopiedPart, permit: OwnedSemaphorePermit },
    CopyEnded { group: u16, facts_index: u64 },
}

/// The worker's answer to a read.
#[derive(Debug)]
pub(crate) enum ReadAnswer {
    Ready(ReadResponse),
    /// The records are on disk: IDs from the request's first up to `watermark`. Their index, where it is in memory.
    Cold {
        watermark: u64,
        indexed: u64,
        runs: Vec<IndexRun>,
    },
}

/// A read of a Reads stream with its answer, or why it is refused.
#[derive(Debug)]
pub(crate) struct ReadReady {
    pub(crate) tag: u64,
    pub(crate) request: ReadRequest,
    pub(crate) answer: Result<ReadAnswer, Status>,
    /// What it takes of the stream's window.
    pub(crate) counted_bytes: u64,
    /// Of a read that needs the disk: until it has been there.
    pub(crate) turn: Option<Turn>,
    /// Ends when the answer has left.
    pub(crate) span: Option<Span>,
}

/// Where a log is in this store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Location {
    pub(crate) log: LogNo,
    pub(crate) durable: u64,
    pub(crate) ordered: u64,
    pub(crate) closed: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Handle {
    inputs: mpsc::Sender<Input>,
    append_bytes: Arc<Semaphore>,
    follow_bytes: Arc<Semaphore>,
    streams: Arc<AtomicU64>,
    wake: Arc<Notify>,
}

/// The worker is gone: the process is ending.
#[derive(Debug)]
pub(crate) struct Gone;

impl From<Gone> for Status {
    fn from(_: Gone) -> Self {
        Self::unavailable("the store is ending")
    }
}

impl Handle {
    /// A handle, and what the worker hears and is woken by.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Input>, Arc<Notify>) {
        let (inputs, receiver) = mpsc::channel(INPUTS_MAX);
        let wake = Arc::new(Notify::new());
        let handle = Self {
            inputs,
            append_bytes: Arc::new(Semaphore::new(APPEND_QUEUE_BYTES_MAX)),
            follow_bytes: Arc::new(Semaphore::new(FOLLOW_BYTES_MAX)),
            streams: Arc::new(AtomicU64::new(1)),
            wake: wake.clone(),
        };
        (handle, receiver, wake)
    }

    /// A name for one life of a stream.
    pub(crate) fn stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn outlet<T>(&self) -> (Outlet<T>, Inlet<T>) {
        outlet(OUTLET_MAX, self.wake.clone())
    }

    pub(crate) async fn tell(&self, input: Input) -> Result<(), Gone> {
        self.inputs.send(input).await.map_err(|_| Gone)
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask<A>(&self, input: impl FnOnce(oneshot::Sender<A>) -> Input) -> Result<A, Gone> {
        let (reply, answer) = oneshot::channel();
        self.tell(input(reply)).await?;
        answer.await.map_err(|_| Gone)
    }

    /// Room for so many bytes of appends, or `None`: refused at the door.
    pub(crate) fn append_room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.append_bytes.clone().try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }

    /// Room for so many bytes of followed records, once there is.
    pub(crate) async fn follow_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Gone> {
        let bytes = u32::try_from(bytes.min(FOLLOW_BYTES_MAX)).unwrap_or(u32::MAX);
        self.follow_bytes.clone().acquire_many_owned(bytes).await.map_err(|_| Gone)
    }
}
