//! The task that owns one dispatched subscription: carries calls to the [`Dispatcher`], and what it wants to stores
//! and position group. Decides nothing but when to give the subscription up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::debug;
use trunkline_delivery::dispatcher::{
    Dispatcher, Effect, Event, Handed, Lease, Locality, Payload, Pop, PopRefusal, Wanted,
};
use trunkline_ports::Host;
use trunkline_runtime::{Backoff, Shutdown};
use trunkline_types::{IntervalSet, TopicName};
use trunkline_wire::v1;

use crate::error;
use crate::handle::{AckCall, Command, PopCall, Reply, Situation};
use crate::metrics::Metrics;
use crate::positions::{Commit, Key, Positions, Tenure};
use crate::routes::Route;
use crate::stores::{Batch, ReadError, Span, Stores};
use crate::table::Table;
use crate::topics::Topics;
use crate::trace;

/// How long one read waits at a store: also how soon it is noticed that the store cannot give what is committed.
const POLL: Duration = Duration::from_secs(2);
/// A commit takes at most so long; then its outcome is unknown and it is repeated.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Without a Pop for so long, nothing is kept in memory.
const SHED_AFTER: Duration = Duration::from_secs(15);
/// What cannot be tidied away yet is looked at again after so long.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);

/// A message in memory; a clone is a reference.
#[derive(Clone, Debug)]
struct Held {
    message: Arc<v1::ReceivedMessage>,
    bytes: u64,
}

impl Payload for Held {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What a worker works with; one per server.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) host: Host,
    pub(crate) positions: Arc<Positions>,
    pub(crate) stores: Arc<Stores>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) table: Arc<Table>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
    /// Bytes of messages in memory, of all workers.
    pub(crate) held_bytes: Arc<AtomicU64>,
    pub(crate) held_bytes_max: u64,
    pub(crate) idle_after: Duration,
}

/// Something under way, with its number.
struct UnderWay<T> {
    number: u64,
    began: Instant,
    future: BoxFuture<'static, T>,
}

pub(crate) struct Worker {
    tools: Tools,
    key: Key,
    topic: TopicName,
    tenure: Tenure,
    commands: mpsc::Receiver<Command>,
    dispatcher: Dispatcher<Held>,
    locality: Locality,
    epoch: Instant,
    calls: u64,
    pops: FxHashMap<u64, oneshot::Sender<Reply<v1::PopResponse>>>,
    acks: FxHashMap<u64, oneshot::Sender<Reply<v1::AckResponse>>>,
    read: Option<UnderWay<Result<Batch, ReadError>>>,
    commit: Option<UnderWay<Commit>>,
    read_backoff: Backoff,
    commit_backoff: Backoff,
    effects: Vec<Effect<Held>>,
    last_call: Instant,
    /// What it has told `held_bytes`.
    held_bytes: u64,
    newer: Option<Route>,
    /// The topic is: nobody else will dispatch the subscription.
    deleted: bool,
    ended: bool,
}

impl Worker {
    pub(crate) fn new(
        tools: Tools,
        key: Key,
        topic: TopicName,
        lease: Lease,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let tenure =
            Tenure { instance: lease.instance, generation: lease.generation.0, token: lease.token.0 };
        let now = Instant::now();
        Self {
            tools,
            key,
            topic,
            tenure,
            commands,
            dispatcher: Dispatcher::new(lease),
            locality: Locality::default(),
            epoch: now,
            calls: 0,
            pops: FxHashMap::default(),
            acks: FxHashMap::default(),
            read: None,
            commit: None,
            read_backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
            commit_backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
            effects: Vec::new(),
            last_call: now,
            held_bytes: 0,
            newer: None,
            deleted: false,
            ended: false,
        }
    }

    pub(crate) async fn run(mut self) {
        self.tools.metrics.dispatched.inc();
        let shutdown = self.tools.shutdown.clone();
        while !self.ended {
            let wake = self.wake_at();
            tokio::select! {
                biased;
                () = shutdown.stopped() => break,
                (read, result) = finished(&mut self.read) => self.was_read(read.number, result),
                (commit, result) = finished(&mut self.commit) => self.was_committed(&commit, result),
                command = self.commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => break,
                },
                () = tokio::time::sleep_until(wake) => self.step(Event::Time),
            }
            self.tidy();
        }
        self.end();
    }

    fn take(&mut self, command: Command) {
        self.last_call = Instant::now();
        match command {
            Command::Pop { call, from_here, trace, reply } => {
                trace::taking(trace, || self.pop(call, from_here, reply));
            }
            Command::Ack { call: AckCall { tokens, deadline }, reply } => {
                self.calls += 1;
                self.acks.insert(self.calls, reply);
                let deadline_ms = self.at_ms(deadline);
                self.step(Event::Ack { ack: self.calls, tokens, deadline_ms });
            }
            Command::Describe { reply } => {
                let outstanding = self.dispatcher.outstanding() as u64;
                // Whoever asked may be gone.
                let _ = reply.send(Situation { position: self.dispatcher.position(), outstanding });
            }
            Command::Release => self.step(Event::Release),
        }
    }

    fn pop(&mut self, call: PopCall, from_here: bool, reply: oneshot::Sender<Reply<v1::PopResponse>>) {
        self.tools.metrics.pops.inc();
        self.calls += 1;
        self.pops.insert(self.calls, reply);
        let pop = Pop {
            number: self.calls,
            client: call.client,
            echoed: call.previous,
            messages_max: call.messages_max,
            bytes_max: call.bytes_max,
            wait_until_ms: self.at_ms(call.wait_until),
            deadline_ms: self.at_ms(call.deadline),
            releases: self.locality.popped(from_here),
        };
        self.step(Event::Pop(pop));
    }

    fn was_read(&mut self, number: u64, result: Result<Batch, ReadError>) {
        let event = match result {
            Ok(batch) => {
                self.read_backoff.reset();
                let messages = batch.messages.into_iter().map(held).collect();
                Event::Read { number, first_id: batch.first_id, messages, earliest: batch.earliest }
            }
            Err(ReadError::Deleted) => {
                self.tools.topics.forget(&self.topic);
                self.deleted = true;
                self.ended = true;
                return;
            }
            Err(error) => {
                debug!(topic = %self.key.topic, %error, "not read, trying again");
                let damaged = if let ReadError::Damaged(id) = error { Some(id) } else { None };
                Event::ReadFailed {
                    number,
                    retry_ms: delay_ms(&mut self.read_backoff, &self.tools.host),
                    damaged,
                }
            }
        };
        self.step(event);
    }

    fn was_committed(&mut self, commit: &UnderWay<Commit>, result: Commit) {
        let number = commit.number;
        let (outcome, event) = match result {
            Commit::Committed => {
                self.commit_backoff.reset();
                ("committed", Event::Committed { number })
            }
            Commit::Refused(present) => {
                self.newer = present.map(|present| Route::from(*present));
                ("refused", Event::CommitRefused { number })
            }
            Commit::Failed(error) => {
                debug!(topic = %self.key.topic, %error, "not committed, trying again");
                let retry_ms = delay_ms(&mut self.commit_backoff, &self.tools.host);
                ("failed", Event::CommitFailed { number, retry_ms })
            }
        };
        self.tools.metrics.committed(outcome, commit.began.elapsed());
        self.step(event);
    }

    fn step(&mut self, event: Event<Held>) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let now_ms = self.at_ms(Instant::now());
            let mut effects = std::mem::take(&mut self.effects);
            self.dispatcher.step(now_ms, event, &mut effects);
            let mut undelivered = Vec::new();
            for effect in effects.drain(..) {
                undelivered.extend(self.carry_out(effect));
            }
            self.effects = effects;
            if !undelivered.is_empty() {
                let deliveries = undelivered.into_iter().map(|handed| handed.token).collect();
                next = Some(Event::TakenBack { deliveries });
            }
        }
    }

    /// Returns deliveries whose caller is gone.
    fn carry_out(&mut self, effect: Effect<Held>) -> Vec<Handed<Held>> {
        match effect {
            Effect::Deliver { pop, deliveries, expired } => return self.deliver(pop, deliveries, &expired),
            Effect::Refuse { pop, why } => {
                let reply = self.refusal(why);
                answer(self.pops.remove(&pop), reply);
            }
            Effect::Acked { ack } => answer(self.acks.remove(&ack), Reply::Answered(v1::AckResponse {})),
            Effect::AckRefused { ack, why } => {
                let elsewhere = Reply::Elsewhere(self.newer.clone());
                answer(self.acks.remove(&ack), error::ack(why).map_or(elsewhere, Reply::Refused));
            }
            Effect::Read(wanted) => self.begin_read(wanted),
            Effect::Commit { number, acknowledged } => self.begin_commit(number, acknowledged),
            Effect::Ended => self.ended = true,
        }
        Vec::new()
    }

    fn refusal(&self, why: PopRefusal) -> Reply<v1::PopResponse> {
        error::pop(why).map_or_else(|| Reply::Elsewhere(self.newer.clone()), Reply::Refused)
    }

    fn deliver(
        &mut self,
        pop: u64,
        deliveries: Vec<Handed<Held>>,
        expired: &[std::ops::Range<u64>],
    ) -> Vec<Handed<Held>> {
        let Some(reply) = self.pops.remove(&pop) else { return deliveries };
        if reply.is_closed() {
            return deliveries;
        }
        let again = deliveries.iter().filter(|handed| handed.token.attempt > 1).count();
        let response = v1::PopResponse {
            deliveries: deliveries.iter().map(delivery).collect(),
            expired: expired
                .iter()
                .map(|range| v1::ExpiredRange { from: range.start, to: range.end })
                .collect(),
        };
        if reply.send(Reply::Answered(response)).is_err() {
            return deliveries;
        }
        self.tools.metrics.deliveries.inc_by(deliveries.len() as u64);
        self.tools.metrics.redeliveries.inc_by(again as u64);
        Vec::new()
    }

    fn begin_read(&mut self, wanted: Wanted) {
        let stores = self.tools.stores.clone();
        let span = Span {
            topic: self.key.topic,
            from: wanted.from,
            messages_max: wanted.messages_max,
            bytes_max: wanted.bytes_max,
            wait: if wanted.wait { POLL } else { Duration::ZERO },
        };
        let reading = trace::under(trace::current(), async move { stores.read(span).await });
        let future = Box::pin(reading);
        self.read = Some(UnderWay { number: wanted.number, began: Instant::now(), future });
    }

    fn begin_commit(&mut self, number: u64, acknowledged: IntervalSet) {
        let (positions, key, tenure) = (self.tools.positions.clone(), self.key.clone(), self.tenure);
        let began = Instant::now();
        let future =
            Box::pin(
                async move { positions.commit(&key, tenure, &acknowledged, began + COMMIT_TIMEOUT).await },
            );
        self.commit = Some(UnderWay { number, began, future });
    }

    fn wake_at(&self) -> Instant {
        let patience = if self.held_bytes > 0 { SHED_AFTER } else { self.tools.idle_after };
        let idle_at = (self.last_call + patience).max(Instant::now() + TIDY_INTERVAL);
        match self.dispatcher.wake_at() {
            Some(at_ms) => idle_at.min(self.epoch + Duration::from_millis(at_ms)),
            None => idle_at,
        }
    }

    /// Memory is for who uses it, and so is dispatching.
    fn tidy(&mut self) {
        let unused = self.last_call.elapsed();
        let held_bytes = self.dispatcher.held_bytes();
        let is_full = self.tools.held_bytes.load(Ordering::Relaxed) > self.tools.held_bytes_max;
        if held_bytes > 0 && self.pops.is_empty() && (is_full || unused >= SHED_AFTER) {
            self.dispatcher.shed();
        }
        self.tell_held(self.dispatcher.held_bytes());
        if unused >= self.tools.idle_after && self.dispatcher.is_idle() {
            self.ended = true;
        }
    }

    fn tell_held(&mut self, held_bytes: u64) {
        if held_bytes != self.held_bytes {
            self.tools.held_bytes.fetch_add(held_bytes, Ordering::Relaxed);
            self.tools.held_bytes.fetch_sub(self.held_bytes, Ordering::Relaxed);
            self.held_bytes = held_bytes;
        }
    }

    /// Whoever still waits is to look for the next dispatcher.
    fn end(mut self) {
        self.tools.table.remove(&self.key, self.tenure.token);
        self.tell_held(0);
        self.tools.metrics.dispatched.dec();
        self.commands.close();
        let queued = std::iter::from_fn(|| self.commands.try_recv().ok());
        for command in queued {
            self.calls += 1;
            match command {
                Command::Pop { reply, .. } => drop(self.pops.insert(self.calls, reply)),
                Command::Ack { reply, .. } => drop(self.acks.insert(self.calls, reply)),
                Command::Describe { .. } | Command::Release => {}
            }
        }
        for (_, reply) in std::mem::take(&mut self.pops) {
            answer(Some(reply), self.farewell());
        }
        for (_, reply) in std::mem::take(&mut self.acks) {
            answer(Some(reply), self.farewell());
        }
    }

    fn farewell<A>(&self) -> Reply<A> {
        if self.deleted {
            Reply::Refused(error::not_subscribed(&self.topic, &self.key.consumer))
        } else {
            Reply::Elsewhere(self.newer.clone())
        }
    }

    fn at_ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }
}

/// The result of what is under way, once; never, while nothing is. Cancel safe.
async fn finished<T>(slot: &mut Option<UnderWay<T>>) -> (UnderWay<T>, T) {
    let Some(under_way) = slot else { return std::future::pending().await };
    let result = std::future::poll_fn(|context| under_way.future.as_mut().poll(context)).await;
    let under_way = slot.take().expect("it has just ended");
    (under_way, result)
}

/// Its caller may be gone.
fn answer<A>(to: Option<oneshot::Sender<Reply<A>>>, reply: Reply<A>) {
    if let Some(to) = to {
        let _ = to.send(reply);
    }
}

fn delay_ms(backoff: &mut Backoff, host: &Host) -> u64 {
    u64::try_from(backoff.next(&host.process).as_millis()).unwrap_or(u64::MAX).max(1)
}

fn held(message: v1::ReceivedMessage) -> Held {
    let size = |content: &v1::Message| {
        let attributes: usize = content.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        (content.payload.len() + content.key.len() + attributes) as u64
    };
    let bytes = message.message.as_ref().map_or(0, size);
    Held { message: Arc::new(message), bytes }
}

fn delivery(handed: &Handed<Held>) -> v1::Delivery {
    v1::Delivery {
        message: Some((*handed.message.message).clone()),
        attempt: handed.token.attempt,
        token: handed.token.encode().into(),
    }
}
