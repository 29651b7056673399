//! The caller's side: the transport that a process is given.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use trunkline_ports::{CallOptions, Peer, RawStream, Transport};
use trunkline_types::limits::{DEADLINE_DEFAULT, STREAM_QUEUE_MAX, STREAM_WINDOW_BYTES};
use trunkline_wire::Status;

use super::STREAM_FRAMES_MAX;
use super::exchange::{Frame, Message, Waiting};
use super::fabric::{Fabric, lost};
use super::incoming::far_away;
use crate::process::SimulatedProcess;

/// Bytes of a stream under way in one direction.
const WINDOW: usize = STREAM_WINDOW_BYTES as usize;

pub(super) fn window() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(WINDOW))
}

pub(super) struct Outgoing {
    fabric: Arc<Fabric>,
    process: SimulatedProcess,
}

impl Outgoing {
    pub(super) fn new(fabric: Arc<Fabric>, process: SimulatedProcess) -> Self {
        Self { fabric, process }
    }
}

impl Transport for Outgoing {
    fn call(
        &self,
        to: &Peer,
        path: &'static str,
        request: Bytes,
        options: CallOptions,
    ) -> BoxFuture<'static, Result<Bytes, Status>> {
        let (fabric, process, to) = (self.fabric.clone(), self.process.clone(), to.clone());
        async move {
            let deadline = options.deadline.unwrap_or_else(|| Instant::now() + DEADLINE_DEFAULT);
            let (tell, told) = oneshot::channel();
            let first = Message::Call { path, body: request, deadline, trace: options.trace };
            let id = fabric.begin(&process, &to.address, to.class, Waiting::Call(tell), first)?;
            let _cancel = CancelOnDrop { fabric, id };
            match tokio::time::timeout_at(deadline, told).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(lost("the connection was reset")),
                Err(_) => Err(Status::deadline_exceeded("the deadline has passed")),
            }
        }
        .boxed()
    }

    fn open(
        &self,
        to: &Peer,
        path: &'static str,
        options: CallOptions,
    ) -> BoxFuture<'static, Result<RawStream, Status>> {
        let (fabric, process, to) = (self.fabric.clone(), self.process.clone(), to.clone());
        async move {
            let deadline = options.deadline.unwrap_or_else(far_away);
            let (frames, mut taken) = mpsc::channel(STREAM_FRAMES_MAX + 1);
            let (open, opened) = oneshot::channel();
            let (ended, stop) = oneshot::channel();
            let waiting = Waiting::Stream { opened: Some(open), frames, _ended: ended };
            let first = Message::Open { path, deadline, trace: options.trace };
            let id = fabric.begin(&process, &to.address, to.class, waiting, first)?;
            let cancel = Arc::new(CancelOnDrop { fabric: fabric.clone(), id });
            match tokio::time::timeout_at(deadline, opened).await {
                Ok(Ok(())) => {}
                // Ended before it was accepted: the reason is what the stream ended with.
                Ok(Err(_)) => {
                    return Err(match taken.recv().await {
                        Some(Err(status)) => status,
                        _ => lost("the connection was reset"),
                    });
                }
                Err(_) => return Err(Status::deadline_exceeded("the deadline has passed")),
            }
            let (sender, queue) = mpsc::channel(STREAM_QUEUE_MAX);
            let held = cancel.clone();
            process.process().spawn("send-requests", async move {
                let (_never, no_stop) = oneshot::channel();
                tokio::select! {
                    biased;
                    _ = stop => {}
                    () = forward(fabric.clone(), id, true, queue, no_stop, window()) => {
                        fabric.send(id, true, Message::LastRequest);
                    }
                }
                drop(held);
            });
            Ok(RawStream { sender, receiver: until(deadline, frames_of(taken), cancel) })
        }
        .boxed()
    }
}

/// Ends the exchange when nobody waits for it any more. Harmless once it has ended by itself.
struct CancelOnDrop {
    fabric: Arc<Fabric>,
    id: u64,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.fabric.cancel(self.id);
    }
}

/// A stream that ends with its deadline, and holds on to the exchange until it is dropped.
fn until(
    deadline: Instant,
    frames: BoxStream<'static, Result<Bytes, Status>>,
    cancel: Arc<CancelOnDrop>,
) -> BoxStream<'static, Result<Bytes, Status>> {
    let state = (frames, cancel, false);
    futures::stream::unfold(state, move |(mut frames, cancel, over)| async move {
        if over {
            return None;
        }
        match tokio::time::timeout_at(deadline, frames.next()).await {
            Ok(item) => item.map(|item| {
                let over = item.is_err();
                (item, (frames, cancel, over))
            }),
            Err(_) => {
                cancel.fabric.cancel(cancel.id);
                let status = Status::deadline_exceeded("the deadline has passed");
                Some((Err(status), (frames, cancel, true)))
            }
        }
    })
    .boxed()
}

/// Frames as they are taken: each gives back its share of the window.
pub(super) fn frames_of(
    taken: mpsc::Receiver<Result<Frame, Status>>,
) -> BoxStream<'static, Result<Bytes, Status>> {
    futures::stream::unfold(taken, |mut taken| async move {
        let item = taken.recv().await?;
        Some((item.map(|(bytes, _permit)| bytes), taken))
    })
    .boxed()
}

/// Sends what is queued, as the window allows, until the queue is closed. Once `stop` resolves, only what is queued
/// by then.
pub(super) async fn forward(
    fabric: Arc<Fabric>,
    id: u64,
    to_callee: bool,
    mut queue: mpsc::Receiver<Bytes>,
    stop: oneshot::Receiver<()>,
    window: Arc<Semaphore>,
) {
    let mut stop = Some(stop);
    loop {
        let bytes = match &mut stop {
            None => queue.recv().await,
            Some(stopping) => {
                tokio::select! {
                    biased;
                    bytes = queue.recv() => bytes,
                    _ = stopping => {
                        queue.close();
                        stop = None;
                        continue;
                    }
                }
            }
        };
        let Some(bytes) = bytes else { return };
        let Some(permit) = admit(&window, bytes.len()).await else { return };
        fabric.send(id, to_callee, Message::Frame((bytes, permit)));
    }
}

/// Waits for room for a frame of so many bytes; each counts enough that frames are bounded too.
async fn admit(window: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let cost = bytes.clamp(WINDOW / STREAM_FRAMES_MAX, WINDOW);
    window.clone().acquire_many_owned(u32::try_from(cost).unwrap_or(u32::MAX)).await.ok()
}
