//! The task behind a stream of pushes: batches, sends, tells results, and goes on elsewhere where it may.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use trunkline_ports::{CallOptions, Class, Receiver, Sender};
use trunkline_types::limits::{BATCH_MESSAGES_MAX, DEADLINE_DEFAULT, DEADLINE_MAX};
use trunkline_wire::Status;
use trunkline_wire::check::size;
use trunkline_wire::status::{is_not_stored, metadata_of, not_stored, reason_of};
use trunkline_wire::v1::{
    AckLevel, LargeMessage, Message, PushStreamRequest, PushStreamResponse, push_service,
};

use super::Queued;
use crate::client::Client;
use crate::options::StreamOptions;
use crate::payload::{Source, Unsent};
use crate::push::{self, Failure, Outcome};
use crate::retry::{Kind, Verdict, verdict};

/// Beyond the deadline that the server gives each message: then the stream itself is dead.
const GRACE: Duration = Duration::from_secs(5);
/// Nobody sends a large payload for longer.
const LARGE_SENT_MAX: Duration = Duration::from_secs(3_600);
/// A message that was refused with certainty is sent again so often, where the stream may be reopened.
const REFUSALS_MAX: u32 = 8;

/// A message whose result has not come.
#[derive(Debug)]
struct Waiter {
    message: Message,
    large: Option<Source>,
    told: oneshot::Sender<Outcome>,
    _place: OwnedSemaphorePermit,
    /// When it was to be sent first.
    since: Instant,
    /// How often it was refused with certainty.
    refused: u32,
}

impl Waiter {
    fn tell(self, outcome: Outcome) {
        // Nobody may be listening: then the result is of no interest.
        let _ = self.told.send(outcome);
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    client: Client,
    topic: String,
    options: StreamOptions,
    queue: mpsc::Receiver<Queued>,
    /// Not sent yet, the oldest first.
    batch: VecDeque<Waiter>,
    batch_bytes: usize,
    batch_since: Instant,
    /// The handle is gone: nothing more comes.
    finished: bool,
    /// Something was sent that was not certainly refused: what follows elsewhere may overtake it.
    carried: bool,
    /// Nothing is sent before it: something was refused.
    paused_until: Instant,
}

/// One stream, and what was sent over it.
struct Stream {
    sender: Sender<PushStreamRequest>,
    receiver: Receiver<PushStreamResponse>,
    sending: Option<BoxFuture<'static, Result<(), Unsent>>>,
    /// The message whose chunks are being sent.
    large: Option<u64>,
    sent: BTreeMap<u64, (Waiter, Instant)>,
    next: u64,
}

/// How a stream ended.
struct End {
    status: Status,
    sent: BTreeMap<u64, (Waiter, Instant)>,
    /// How many were sent in all.
    next: u64,
    /// The one that was sent in part.
    large: Option<u64>,
}

impl Worker {
    pub(super) fn new(
        client: Client,
        topic: String,
        options: StreamOptions,
        queue: mpsc::Receiver<Queued>,
    ) -> Self {
        let (batch, now) = (VecDeque::new(), Instant::now());
        Self {
            client,
            topic,
            options,
            queue,
            batch,
            batch_bytes: 0,
            batch_since: now,
            finished: false,
            carried: false,
            paused_until: now,
        }
    }

    pub(super) async fn run(mut self) {
        let mut tried = self.client.tried();
        let mut patience = self.client.deadline(Duration::ZERO);
        loop {
            if self.batch.is_empty() {
                if !self.wait_for_first().await {
                    return;
                }
                (tried, patience) = (self.client.tried(), self.client.deadline(Duration::ZERO));
            }
            let endpoint = self.client.endpoint(&tried, patience).await;
            let end = match self.open(endpoint, patience).await {
                Ok(mut stream) => {
                    let Some(status) = self.serve(&mut stream).await else { return };
                    End { status, sent: stream.sent, next: stream.next, large: stream.large }
                }
                Err(status) => {
                    End { status: not_stored(&status), sent: BTreeMap::new(), next: 0, large: None }
                }
            };
            if (end.sent.len() as u64) < end.next {
                // What had its answer shows that this endpoint works: this trouble is a new one.
                (tried, patience) = (self.client.tried(), self.client.deadline(Duration::ZERO));
            }
            tried[endpoint] += 1;
            let status = end.status.clone();
            self.settle(end);
            let may_go_on = self.options.reopen || !self.carried;
            let verdict = if may_go_on { reopening(&status) } else { Verdict::Final };
            if !self.client.again(verdict, endpoint, &tried, patience).await {
                return self.give_up(&status);
            }
        }
    }

    /// Tells those of unknown outcome; takes the others back into the batch, or tells them as well.
    fn settle(&mut self, end: End) {
        let taken = metadata_of(&end.status, "taken").and_then(|taken| taken.parse::<u64>().ok());
        let refused = is_not_stored(&end.status);
        let mut certainly_not = 0;
        for (index, (waiter, _)) in end.sent.into_iter().rev() {
            let half = end.large == Some(index);
            let certain = half || refused || taken.is_some_and(|taken| index >= taken);
            if certain {
                certainly_not += 1;
                self.batch_bytes += size(&waiter.message);
                self.batch.push_front(waiter);
            } else {
                waiter.tell(Err(unknown(&end.status)));
            }
        }
        self.carried |= end.next > certainly_not;
    }

    fn give_up(mut self, status: &Status) {
        self.queue.close();
        while let Ok(queued) = self.queue.try_recv() {
            self.keep(queued);
        }
        let certain = not_stored(status);
        self.batch.into_iter().for_each(|waiter| waiter.tell(Err(certain.clone().into())));
    }

    /// Until there is something to send; false when nothing will come any more.
    async fn wait_for_first(&mut self) -> bool {
        match self.queue.recv().await {
            Some(queued) => self.keep(queued),
            None => self.finished = true,
        }
        !self.batch.is_empty()
    }

    fn keep(&mut self, queued: Queued) {
        if self.batch.is_empty() {
            self.batch_since = Instant::now();
        }
        self.batch_bytes += size(&queued.message);
        self.batch.push_back(Waiter {
            message: queued.message,
            large: queued.large,
            told: queued.told,
            _place: queued.place,
            since: Instant::now(),
            refused: 0,
        });
    }

    async fn open(&self, endpoint: usize, deadline: Instant) -> Result<Stream, Status> {
        let peer = self.client.inner.peer(endpoint, Class::Records);
        let opening =
            self.client.inner.network.open(&peer, push_service::PUSH_STREAM, CallOptions::default());
        let opened = tokio::time::timeout_at(deadline, opening).await;
        let (sender, receiver) = opened.unwrap_or_else(|_| Err(Status::unavailable("no answer in time")))?;
        Ok(Stream { sender, receiver, sending: None, large: None, sent: BTreeMap::new(), next: 0 })
    }

    /// Until the stream ends; `None` when all is sent and answered and nothing more comes.
    async fn serve(&mut self, stream: &mut Stream) -> Option<Status> {
        loop {
            let full = self.batch.len() >= BATCH_MESSAGES_MAX || self.batch_bytes >= self.options.batch_bytes;
            let due = full || self.finished || self.options.linger.is_zero();
            let paused = Instant::now() < self.paused_until;
            if stream.sending.is_none() && !self.batch.is_empty() && !paused && (due || self.lingered()) {
                self.take_ready();
                self.send(stream);
            }
            let idle = self.batch.is_empty() && stream.sending.is_none() && stream.sent.is_empty();
            // Not before: what is refused goes over the same stream again.
            if self.finished && idle {
                return None;
            }
            let linger = (!self.batch.is_empty() && stream.sending.is_none())
                .then(|| (self.batch_since + self.options.linger).max(self.paused_until));
            let dead = stream.sent.values().next().map(|&(_, until)| until);
            tokio::select! {
                biased;
                answer = stream.receiver.next() => match answer {
                    Ok(Some(answer)) => self.tell(stream, answer),
                    Ok(None) => return Some(Status::unavailable("the server has ended the stream")),
                    Err(status) => return Some(status),
                },
                sent = maybe(&mut stream.sending) => {
                    stream.sending = None;
                    match sent {
                        Ok(()) => stream.large_sent(),
                        // Why is in the answers; without them it is not known.
                        Err(Unsent::Closed) => return Some(self.last_word(stream).await),
                        Err(Unsent::Unread(error)) => stream.large_unread(&error),
                    }
                }
                queued = self.queue.recv(), if !full && !self.finished => match queued {
                    Some(queued) => self.keep(queued),
                    None => self.finished = true,
                },
                () = at(linger) => {}
                () = at(dead) => return Some(Status::unavailable("the server does not answer")),
            }
        }
    }

    /// The server gives each message its deadline; what takes longer will not be answered.
    fn answer_max(&self) -> Duration {
        self.client.inner.options.deadline.max(DEADLINE_DEFAULT) + GRACE
    }

    fn lingered(&self) -> bool {
        Instant::now() >= self.batch_since + self.options.linger
    }

    /// Takes what is readily waiting into the batch, as far as it has room.
    fn take_ready(&mut self) {
        while self.batch.len() < BATCH_MESSAGES_MAX && self.batch_bytes < self.options.batch_bytes {
            match self.queue.try_recv() {
                Ok(queued) => self.keep(queued),
                Err(_) => return,
            }
        }
    }

    fn tell(&mut self, stream: &mut Stream, answer: PushStreamResponse) {
        let mut again = Vec::new();
        for result in answer.results {
            let Some((waiter, _)) = stream.sent.remove(&result.index) else { continue };
            if stream.large == Some(result.index) {
                // It is answered: the rest need not be sent.
                (stream.large, stream.sending) = (None, None);
            }
            let outcome = push::outcome(result.result.unwrap_or_default());
            match self.pause_before_another(&waiter, &outcome) {
                Some(pause) => again.push((pause, waiter)),
                None => waiter.tell(outcome),
            }
        }
        for (pause, mut waiter) in again.into_iter().rev() {
            waiter.refused += 1;
            self.paused_until = self.paused_until.max(Instant::now() + pause);
            self.batch_bytes += size(&waiter.message);
            self.batch.push_front(waiter);
        }
    }

    /// After how long a refused message is sent again, if it is.
    fn pause_before_another(&self, waiter: &Waiter, outcome: &Outcome) -> Option<Duration> {
        let failure = outcome.as_ref().err().filter(|_| self.options.reopen)?;
        if waiter.refused >= REFUSALS_MAX || waiter.since.elapsed() >= self.client.inner.options.deadline {
            return None;
        }
        let pause = self.client.inner.pause(waiter.refused + 1);
        match verdict(Kind::Push, &failure.status) {
            Verdict::Final => None,
            Verdict::Elsewhere { .. } => Some(pause),
            Verdict::After(delay) => Some(delay + pause),
        }
    }

    /// What the server said before it closed its side.
    async fn last_word(&mut self, stream: &mut Stream) -> Status {
        loop {
            let answer = tokio::time::timeout(GRACE, stream.receiver.next()).await;
            match answer {
                Ok(Ok(Some(answer))) => self.tell(stream, answer),
                Ok(Err(status)) => return status,
                Ok(Ok(None)) | Err(_) => return Status::unavailable("the server has ended the stream"),
            }
        }
    }

    fn send(&mut self, stream: &mut Stream) {
        let sender = stream.sender.clone();
        let first = stream.next == 0;
        let now = Instant::now();
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let (mut large, until) = (None, now + self.answer_max());
        while let Some(waiter) = self.batch.front() {
            if let Some(source) = waiter.large.clone().filter(|_| messages.is_empty()) {
                let message = Some(waiter.message.clone());
                large = Some((LargeMessage { message, payload_bytes: source.bytes() }, source));
            }
            // A large one goes alone.
            let next_is_large = large.is_none() && waiter.large.is_some();
            if next_is_large || messages.len() >= BATCH_MESSAGES_MAX || bytes >= self.options.batch_bytes {
                break;
            }
            bytes += size(&waiter.message);
            if large.is_none() {
                messages.push(waiter.message.clone());
            }
            let waiter = self.batch.pop_front().expect("there is a front");
            let index = stream.next;
            stream.next += 1;
            let until = if large.is_some() { now + LARGE_SENT_MAX } else { until };
            stream.sent.insert(index, (waiter, until));
            if large.is_some() {
                stream.large = Some(index);
                break;
            }
        }
        self.batch_bytes = self.batch_bytes.saturating_sub(bytes);
        self.batch_since = now;
        let (large, source) = large.unzip();
        let request = PushStreamRequest {
            topic: if first { self.topic.clone() } else { String::new() },
            messages,
            ack_level: if first { self.options.level } else { AckLevel::Unspecified }.into(),
            large,
            chunk: None,
        };
        let chunk_bytes = self.client.inner.options.chunk_bytes;
        stream.sending = Some(Box::pin(async move {
            sender.send(&request).await?;
            match source {
                Some(source) => source.send(&sender, chunk_bytes).await,
                None => Ok(()),
            }
        }));
    }
}

impl Stream {
    /// From its last chunk on a large message has the time that the server gives it.
    fn large_sent(&mut self) {
        let sent = self.large.take().and_then(|index| self.sent.get_mut(&index));
        if let Some((_, until)) = sent {
            *until = Instant::now() + DEADLINE_MAX + GRACE;
        }
    }

    /// It could not be read here: the server gives up what was announced.
    fn large_unread(&mut self, error: &std::io::Error) {
        if let Some((waiter, _)) = self.large.take().and_then(|index| self.sent.remove(&index)) {
            let unread = Status::failed_precondition(format!("the payload cannot be read: {error}"));
            waiter.tell(Err(not_stored(&unread).into()));
        }
    }
}

/// Whether what was not stored is sent over another stream.
fn reopening(status: &Status) -> Verdict {
    // Only what is certain is sent again, so the certainty of the end itself does not matter here.
    verdict(Kind::Push, &not_stored(status))
}

/// The end of a stream, for a message that may have been stored.
fn unknown(status: &Status) -> Failure {
    let status =
        if is_not_stored(status) { Status::new(status.code(), status.message()) } else { status.clone() };
    tracing::debug!(reason = reason_of(&status), "a push's outcome is unknown");
    status.into()
}

async fn maybe<T>(work: &mut Option<BoxFuture<'static, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => futures::future::pending().await,
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => futures::future::pending().await,
    }
}
