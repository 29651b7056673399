//! The task behind a link: connect, append, notice silence, connect again.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use trunkline_ports::{CallOptions, Host, Peer, Receiver, Sender, StreamClosed};
use trunkline_runtime::Backoff;
use trunkline_types::limits::{CONNECT_TIMEOUT, HEARTBEAT_INTERVAL, SILENCE_MAX};
use trunkline_types::{Boot, NodeId};
use trunkline_wire::internal::{
    AppendRecord, AppendRequest, AppendResponse, StoreFindTopicRequest, store_service,
};
use trunkline_wire::{Code, Status};

use super::pending::Pending;
use super::{Batch, LinkState};

/// Batches readily waiting join a frame until it has so many bytes; one batch more may come on top.
const FRAME_BYTES_TARGET: usize = 1 << 20;
const FRAME_RECORDS_TARGET: usize = 4_096;
/// After so much silence the store is asked whether it lives.
const ASK_AFTER: Duration = Duration::from_secs(1);
const RECONNECT_FIRST: Duration = Duration::from_millis(20);
const RECONNECT_MAX: Duration = Duration::from_secs(1);

type Sending = BoxFuture<'static, Result<(), StreamClosed>>;

#[derive(Debug)]
pub(super) struct Session {
    host: Host,
    peer: Peer,
    node: NodeId,
    queue: mpsc::Receiver<Batch>,
    state: watch::Sender<LinkState>,
    pending: Pending,
    /// Counts the streams that were opened.
    streams: u64,
}

/// An open stream.
struct Stream {
    sender: Sender<AppendRequest>,
    receiver: Receiver<AppendResponse>,
    boot: Boot,
}

impl Session {
    pub(super) fn new(
        host: Host,
        peer: Peer,
        node: NodeId,
        queue: mpsc::Receiver<Batch>,
        state: watch::Sender<LinkState>,
    ) -> Self {
        Self { host, peer, node, queue, state, pending: Pending::default(), streams: 0 }
    }

    /// Until the link is dropped.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MAX);
        loop {
            match self.refusing(connect(self.host.clone(), self.peer.clone(), self.node)).await {
                Ok(stream) => {
                    backoff.reset();
                    self.streams += 1;
                    self.state.send_replace(LinkState::Open(stream.boot, self.streams));
                    let why = self.append(stream).await;
                    tracing::debug!(store = %self.node, %why, "the stream of appends has ended");
                    self.pending.lose();
                }
                Err(why) => tracing::debug!(store = %self.node, %why, "no stream of appends"),
            }
            self.state.send_replace(LinkState::Down);
            let pause = backoff.next(&self.host.process);
            self.refusing(tokio::time::sleep(pause)).await;
        }
    }

    /// Does `work` while refusing every batch.
    async fn refusing<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                Some(batch) = self.queue.recv() => batch.refuse(),
                done = &mut work => return done,
            }
        }
    }

    /// Serves the stream until it breaks; returns why.
    async fn append(&mut self, mut stream: Stream) -> Status {
        let mut heard = Instant::now();
        let mut sending: Option<Sending> = None;
        let mut asking: Option<BoxFuture<'static, bool>> = None;
        let mut ticks = interval(HEARTBEAT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                answer = stream.receiver.next() => match answer {
                    Ok(Some(answer)) => {
                        heard = Instant::now();
                        self.answer(answer);
                    }
                    Ok(None) => return Status::unavailable("the store has ended the stream"),
                    Err(why) => return why,
                },
                sent = maybe(&mut sending) => {
                    sending = None;
                    if sent.is_err() {
                        return Status::unavailable("the stream is closed");
                    }
                }
                lives = maybe(&mut asking) => {
                    asking = None;
                    if lives {
                        heard = Instant::now();
                    }
                }
                _ = ticks.tick() => {
                    let now = Instant::now();
                    self.pending.forget_overdue(now);
                    let silence = now.saturating_duration_since(heard);
                    if silence >= SILENCE_MAX {
                        return Status::unavailable("the store is silent");
                    }
                    if silence >= ASK_AFTER && asking.is_none() {
                        asking = Some(self.ask(heard + SILENCE_MAX));
                    }
                }
                Some(batch) = self.queue.recv(), if sending.is_none() => {
                    sending = self.send(batch, &stream);
                }
            }
        }
    }

    fn answer(&mut self, answer: AppendResponse) {
        for result in answer.results {
            if self.pending.answer(result) {
                self.state.send_replace(LinkState::Refusing);
            }
        }
    }

    /// Puts what is readily waiting into one frame.
    fn send(&mut self, first: Batch, stream: &Stream) -> Option<Sending> {
        let now = Instant::now();
        let mut frame: Vec<AppendRecord> = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(batch) = next {
            if batch.writer.stream == self.streams {
                bytes += batch.records.iter().map(|record| record.body.len()).sum::<usize>();
                self.pending.hand_over(batch, now, &mut frame);
            } else {
                batch.refuse();
            }
            let room = bytes < FRAME_BYTES_TARGET && frame.len() < FRAME_RECORDS_TARGET;
            next = if room { self.queue.try_recv().ok() } else { None };
        }
        if frame.is_empty() {
            return None;
        }
        let sender = stream.sender.clone();
        let request = AppendRequest { hello: None, records: frame };
        Some(async move { sender.send(&request).await }.boxed())
    }

    /// Whether the store answers anything at all, over the same connection.
    fn ask(&self, deadline: Instant) -> BoxFuture<'static, bool> {
        let (host, peer) = (self.host.clone(), self.peer.clone());
        async move {
            let request = StoreFindTopicRequest { envelope: Some(host.envelope()), name: "-".to_owned() };
            let options = CallOptions::until(deadline);
            let answer = host.network.call(&peer, store_service::FIND_TOPIC, &request, options).await;
            let silent = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown];
            answer.map_or_else(|error| !silent.contains(&error.code()), |_| true)
        }
        .boxed()
    }
}

async fn maybe<T>(work: &mut Option<BoxFuture<'static, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => futures::future::pending().await,
    }
}

/// Opens the stream and waits for the store's word that it takes records: until then nothing of a client was sent.
async fn connect(host: Host, peer: Peer, node: NodeId) -> Result<Stream, Status> {
    let connecting = async {
        let (sender, mut receiver) =
            host.network.open(&peer, store_service::APPEND, CallOptions::default()).await?;
        let hello = AppendRequest { hello: Some(host.envelope()), records: Vec::new() };
        // A send that fails says less than what the store answers.
        let _ = sender.send(&hello).await;
        let answer =
            receiver.next().await?.ok_or_else(|| Status::unavailable("the store has ended the stream"))?;
        let hello = answer.hello.ok_or_else(|| Status::unavailable("the store has not said who it is"))?;
        if hello.node != node.0 {
            return Err(Status::unavailable("another node answers at the store's address"));
        }
        Ok(Stream { sender, receiver, boot: hello.boot() })
    };
    timeout(CONNECT_TIMEOUT, connecting)
        .await
        .unwrap_or_else(|_| Err(Status::unavailable("the store does not answer")))
}
