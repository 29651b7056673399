//! The task behind a link: connect when there is something to ask, ask, notice silence, connect again.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, OptionFuture};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use trunkline_ports::{CallOptions, Host, Peer, Receiver, Sender, StreamClosed};
use trunkline_runtime::{Backoff, Ticks};
use trunkline_types::NodeId;
use trunkline_types::limits::{CONNECT_TIMEOUT, HEARTBEAT_INTERVAL, SILENCE_MAX};
use trunkline_wire::Status;
use trunkline_wire::internal::{ReadsRequest, ReadsResponse, store_service};
use trunkline_wire::status::{self, reason};

use super::asked::{Asked, Read};

/// What need not go at once goes at a tick.
const TICK: Duration = Duration::from_millis(4);
/// Reads taken from the queue together.
const READS_TOGETHER: usize = 256;
/// A stream that nobody has read on for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// One that has lived for so long is worth another one at once.
const STABLE_AFTER: Duration = Duration::from_secs(1);
const RECONNECT_FIRST: Duration = Duration::from_millis(20);
const RECONNECT_MAX: Duration = Duration::from_secs(1);

type Sending = BoxFuture<'static, Result<(), StreamClosed>>;

pub(super) struct Session {
    host: Host,
    node: NodeId,
    peer: Peer,
    queue: mpsc::Receiver<Read>,
    asked: Asked,
    ticks: Ticks,
}

/// Why a stream is served no more.
enum End {
    /// Nobody has read for a while.
    Idle,
    /// The store has ended it, or the connection is gone.
    Broken(Status),
    Silent,
    /// Nobody can read here any more.
    Gone,
}

struct Stream {
    sender: Sender<ReadsRequest>,
    receiver: Receiver<ReadsResponse>,
}

impl Session {
    pub(super) fn new(host: Host, node: NodeId, peer: Peer, queue: mpsc::Receiver<Read>) -> Self {
        Self { host, node, peer, queue, asked: Asked::default(), ticks: Ticks::every(TICK) }
    }

    /// Until the link is dropped.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MAX);
        loop {
            if self.asked.is_empty() {
                let Some(first) = self.queue.recv().await else { return };
                self.asked.ask(first);
            }
            let (end, lived) = match connect(&self.host, &self.peer, self.node).await {
                Ok(stream) => {
                    let began = Instant::now();
                    (self.serve(stream).await, began.elapsed() >= STABLE_AFTER)
                }
                Err(why) => (End::Broken(why), false),
            };
            let why = match end {
                End::Gone => return,
                End::Idle => continue,
                End::Broken(why) if lived => {
                    tracing::debug!(store = %self.node, %why, "a stream of reads has ended");
                    backoff.reset();
                    continue;
                }
                End::Broken(why) => why,
                End::Silent => status::unavailable(reason::UNREACHABLE, "the store is silent"),
            };
            tracing::debug!(store = %self.node, %why, "no stream of reads");
            self.refuse(&why, backoff.next(&self.host.process)).await;
        }
    }

    /// Fails what is asked, and for a while what comes.
    async fn refuse(&mut self, why: &Status, pause: Duration) {
        let until = Instant::now() + pause;
        loop {
            while let Ok(read) = self.queue.try_recv() {
                self.asked.ask(read);
            }
            self.asked.fail(why);
            tokio::select! {
                biased;
                () = sleep_until(until) => return,
                Some(read) = self.queue.recv() => self.asked.ask(read),
            }
        }
    }

    async fn serve(&mut self, mut stream: Stream) -> End {
        self.asked.begin();
        let mut reads = Vec::with_capacity(READS_TOGETHER);
        let mut sending: Option<Sending> = None;
        let mut tick_at: Option<Instant> = None;
        let (mut heard, mut used) = (Instant::now(), Instant::now());
        let mut beat = interval(HEARTBEAT_INTERVAL);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut beats = false;
            tokio::select! {
                biased;
                // First, for it is due only now and then: what follows may always be ready.
                now = beat.tick() => {
                    if now.saturating_duration_since(heard) >= SILENCE_MAX {
                        return End::Silent;
                    }
                    self.asked.sweep();
                    if !self.asked.is_empty() {
                        used = now;
                    } else if now.saturating_duration_since(used) >= IDLE_MAX {
                        return End::Idle;
                    }
                    beats = true;
                }
                answer = stream.receiver.next() => match answer {
                    Ok(Some(answer)) => {
                        heard = Instant::now();
                        answer.answers.into_iter().for_each(|answered| self.asked.answered(answered));
                    }
                    Ok(None) => return End::Broken(unavailable("the store has ended the stream")),
                    Err(why) => return End::Broken(why),
                },
                Some(sent) = OptionFuture::from(sending.as_mut()) => {
                    sending = None;
                    if sent.is_err() {
                        return End::Broken(unavailable("the stream is closed"));
                    }
                }
                count = self.queue.recv_many(&mut reads, READS_TOGETHER) => {
                    if count == 0 {
                        return End::Gone;
                    }
                    reads.drain(..).for_each(|read| self.asked.ask(read));
                }
                Some(()) = OptionFuture::from(tick_at.map(sleep_until)) => {}
            }
            let now = Instant::now();
            let (due, urgent) = self.asked.due();
            if sending.is_some() {
                tick_at = None; // What is due is looked at again when that has gone.
            } else if beats || urgent || (due && tick_at.is_some_and(|at| at <= now)) {
                tick_at = None;
                sending = Some(send(&stream, self.asked.message()));
            } else if due {
                tick_at.get_or_insert_with(|| self.ticks.after(now));
            }
        }
    }
}

fn send(stream: &Stream, message: ReadsRequest) -> Sending {
    let sender = stream.sender.clone();
    async move { sender.send(&message).await }.boxed()
}

/// Opens the stream and waits for the store's word: until then nothing was asked.
async fn connect(host: &Host, peer: &Peer, node: NodeId) -> Result<Stream, Status> {
    let connecting = async {
        let opening = host.network.open(peer, store_service::READS, CallOptions::default());
        let (sender, mut receiver) = opening.await?;
        let hello = ReadsRequest { hello: Some(host.envelope()), ..ReadsRequest::default() };
        // A send that fails says less than what the store answers.
        let _ = sender.send(&hello).await;
        let answer = receiver.next().await?.ok_or_else(|| unavailable("the store has ended the stream"))?;
        let hello = answer.hello.ok_or_else(|| unavailable("the store has not said who it is"))?;
        if hello.node != node.0 {
            return Err(unavailable("another node answers at the store's address"));
        }
        Ok(Stream { sender, receiver })
    };
    let connected = timeout(CONNECT_TIMEOUT, connecting).await;
    connected.unwrap_or_else(|_| Err(unavailable("the store does not answer")))
}

fn unavailable(why: &str) -> Status {
    status::unavailable(reason::UNREACHABLE, why)
}
