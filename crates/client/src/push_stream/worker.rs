//! The task behind a stream of pushes: batches, sends, tells results, and goes on elsewhere where it may.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use trunkline_ports::{CallOptions, Class, Receiver, Sender, StreamClosed};
use trunkline_types::limits::{BATCH_MESSAGES_MAX, DEADLINE_DEFAULT};
use trunkline_wire::Status;
use trunkline_wire::check::size;
use trunkline_wire::status::{is_not_stored, metadata_of, not_stored, reason_of};
use trunkline_wire::v1::{AckLevel, Message, PushStreamRequest, PushStreamResponse, push_service};

use super::Queued;
use crate::client::Client;
use crate::options::StreamOptions;
use crate::producer::{Producer, unname};
use crate::push::{self, Failure, Outcome, is_producer_limit};
use crate::retry::{Kind, Verdict, uncertain, verdict};

/// Beyond the deadline that the server gives each message: then the stream itself is dead.
const GRACE: Duration = Duration::from_secs(5);
/// A message that was refused with certainty is sent again so often, where the stream may be reopened.
const REFUSALS_MAX: u32 = 8;

/// A message whose result has not come.
#[derive(Debug)]
struct Waiter {
    message: Message,
    told: oneshot::Sender<Outcome>,
    _place: OwnedSemaphorePermit,
    /// When it was to be sent first.
    since: Instant,
    /// How often it was sent again over the same stream.
    refused: u32,
    /// It may have been stored: nothing later takes that back.
    uncertain: bool,
}

impl Waiter {
    fn tell(self, mut outcome: Outcome) {
        if let (true, Err(failure)) = (self.uncertain, &mut outcome) {
            failure.status = uncertain(&failure.status);
        }
        // Nobody may be listening: then the result is of no interest.
        let _ = self.told.send(outcome);
    }

    /// What it risks when it is sent twice.
    fn kind(&self) -> Kind {
        Kind::of_push(std::slice::from_ref(&self.message))
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    client: Client,
    topic: String,
    options: StreamOptions,
    producer: Producer,
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
    sending: Option<BoxFuture<'static, Result<(), StreamClosed>>>,
    sent: BTreeMap<u64, (Waiter, Instant)>,
    next: u64,
    /// Something was answered that was not refused for its producer.
    answered: bool,
}

/// How a stream ended.
struct End {
    status: Status,
    sent: BTreeMap<u64, (Waiter, Instant)>,
    /// How many were sent in all.
    next: u64,
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
            producer: Producer::default(),
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
                    End { status, sent: stream.sent, next: stream.next }
                }
                Err(status) => End { status: not_stored(&status), sent: BTreeMap::new(), next: 0 },
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

    /// Takes back into the batch what was certainly not stored, and, with a producer, what may have been, if the stream
    /// may be reopened; tells the others.
    fn settle(&mut self, end: End) {
        let taken = metadata_of(&end.status, "taken").and_then(|taken| taken.parse::<u64>().ok());
        let refused = is_not_stored(&end.status);
        let mut certainly_not = 0;
        for (index, (mut waiter, _)) in end.sent.into_iter().rev() {
            let certain = refused || taken.is_some_and(|taken| index >= taken);
            let counts_once = waiter.kind() == Kind::Produced && self.options.reopen;
            if certain || (counts_once && waiter.since.elapsed() < self.client.inner.options.deadline) {
                certainly_not += u64::from(certain);
                waiter.uncertain |= !certain;
                self.batch_bytes += size(&waiter.message);
                self.batch.push_front(waiter);
            } else {
                self.fail(waiter, unknown(&end.status));
            }
        }
        self.carried |= end.next > certainly_not;
    }

    fn fail(&mut self, waiter: Waiter, failure: Failure) {
        if self.producer.is_own(&waiter.message) {
            self.producer.failed();
        }
        waiter.tell(Err(failure));
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
        let mut message = queued.message;
        if self.client.inner.options.producers {
            self.producer.name(&self.client.inner.process, &self.topic, std::slice::from_mut(&mut message));
        }
        self.batch_bytes += size(&message);
        self.batch.push_back(Waiter {
            message,
            told: queued.told,
            _place: queued.place,
            since: Instant::now(),
            refused: 0,
            uncertain: false,
        });
    }

    async fn open(&self, endpoint: usize, deadline: Instant) -> Result<Stream, Status> {
        let peer = self.client.inner.peer(endpoint, Class::Records);
        let opening =
            self.client.inner.network.open(&peer, push_service::PUSH_STREAM, CallOptions::default());
        let opened = tokio::time::timeout_at(deadline, opening).await;
        let (sender, receiver) = opened.unwrap_or_else(|_| Err(Status::unavailable("no answer in time")))?;
        Ok(Stream { sender, receiver, sending: None, sent: BTreeMap::new(), next: 0, answered: false })
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
            let dead = stream.sent.values().next().map(|&(_, since)| since + self.answer_max());
            tokio::select! {
                biased;
                answer = stream.receiver.next() => match answer {
                    Ok(Some(answer)) => self.tell(stream, answer),
                    Ok(None) => return Some(Status::unavailable("the server has ended the stream")),
                    Err(status) => return Some(status),
                },
                sent = maybe(&mut stream.sending) => {
                    stream.sending = None;
                    if sent.is_err() {
                        // Why is in the answers; without them it is not known.
                        return Some(self.last_word(stream).await);
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
            let Some((mut waiter, _)) = stream.sent.remove(&result.index) else { continue };
            let outcome = push::outcome(result.result.unwrap_or_default());
            if self.goes_without_producer(stream.answered, &mut waiter, &outcome) {
                again.push((Duration::ZERO, waiter));
                continue;
            }
            stream.answered = true;
            match (self.pause_before_another(&waiter, &outcome), outcome) {
                (Some(pause), Err(failure)) => {
                    waiter.uncertain |= !is_not_stored(&failure.status);
                    again.push((pause, waiter));
                }
                (_, Ok(pushed)) => waiter.tell(Ok(pushed)),
                (None, Err(failure)) => self.fail(waiter, failure),
            }
        }
        for (pause, mut waiter) in again.into_iter().rev() {
            waiter.refused += 1;
            self.paused_until = self.paused_until.max(Instant::now() + pause);
            self.batch_bytes += size(&waiter.message);
            self.batch.push_front(waiter);
        }
    }

    /// Whether a message is sent again without a producer, for the topic takes no more of them. Not behind others that
    /// were taken, unless order may be given up.
    fn goes_without_producer(&mut self, answered: bool, waiter: &mut Waiter, outcome: &Outcome) -> bool {
        let is_limit = outcome.as_ref().is_err_and(|failure| is_producer_limit(&failure.status));
        // What may have been stored under its name keeps it.
        let may_lose_name = |one: &Waiter| self.producer.is_own(&one.message) && !one.uncertain;
        if !is_limit || (answered && !self.options.reopen) || !may_lose_name(waiter) {
            return false;
        }
        let behind = self.batch.iter_mut().filter(|one| may_lose_name(one));
        behind.chain([waiter]).for_each(|one| unname(&mut one.message));
        self.producer.too_many(&self.topic);
        true
    }

    /// After how long a message that failed is sent again, if it is.
    fn pause_before_another(&self, waiter: &Waiter, outcome: &Outcome) -> Option<Duration> {
        let failure = outcome.as_ref().err().filter(|_| self.options.reopen)?;
        if waiter.refused >= REFUSALS_MAX || waiter.since.elapsed() >= self.client.inner.options.deadline {
            return None;
        }
        let pause = self.client.inner.pause(waiter.refused + 1);
        match verdict(waiter.kind(), &failure.status) {
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
        while let Some(waiter) = self.batch.front() {
            if messages.len() >= BATCH_MESSAGES_MAX || bytes >= self.options.batch_bytes {
                break;
            }
            bytes += size(&waiter.message);
            messages.push(waiter.message.clone());
            let waiter = self.batch.pop_front().expect("there is a front");
            stream.sent.insert(stream.next, (waiter, now));
            stream.next += 1;
        }
        self.batch_bytes = self.batch_bytes.saturating_sub(bytes);
        self.batch_since = now;
        let request = PushStreamRequest {
            topic: if first { self.topic.clone() } else { String::new() },
            messages,
            ack_level: if first { self.options.level } else { AckLevel::Unspecified }.into(),
        };
        stream.sending = Some(Box::pin(async move { sender.send(&request).await }));
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
