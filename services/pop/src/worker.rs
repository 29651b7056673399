//! The task that owns one dispatched subscription: carries calls to the [`Dispatcher`], and what it wants to stores
//! and position group. Decides nothing but when to give the subscription up.

use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::debug;
use trunkline_delivery::dispatcher::{Dispatcher, Effect, Event, Handed, Locality, Pop, PopRefusal, Wanted};
use trunkline_ports::Host;
use trunkline_runtime::Backoff;
use trunkline_types::{IntervalSet, TopicName};
use trunkline_wire::internal::StoredSubscription;
use trunkline_wire::v1;

use crate::callers::Callers;
use crate::change::{Bearing, Change};
use crate::error;
use crate::handle::{AckCall, Command, PopCall, Situation};
use crate::lease::lease;
use crate::memory::{Held, Share, delivery};
use crate::positions::{Commit, Key, Tenure};
use crate::reply::Reply;
use crate::routes::Route;
use crate::stores::{Batch, ReadError, Span};
use crate::table::Place;
use crate::tools::Tools;
use crate::trace;
use crate::under_way::{UnderWay, finished};

/// How long one read waits at a store: also how soon it is noticed that the store cannot give what is committed.
const POLL: Duration = Duration::from_secs(10);
/// A commit takes at most so long; then its outcome is unknown and it is repeated.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Without a Pop for so long, nothing is kept in memory.
const SHED_AFTER: Duration = Duration::from_secs(15);
/// What cannot be tidied away yet is looked at again after so long.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);
/// While the server's memory is full, a read brings so much, and at least one message.
const READ_BYTES_WHEN_FULL: u64 = 64 << 10;

type Read = UnderWay<Result<Batch, ReadError>>;

pub(crate) struct Worker {
    tools: Tools,
    key: Key,
    topic: TopicName,
    tenure: Tenure,
    /// Of the options.
    revision: u64,
    commands: mpsc::Receiver<Command>,
    dispatcher: Dispatcher<Held>,
    locality: Locality,
    epoch: Instant,
    callers: Callers,
    /// At the store, for a first message to come.
    waiting_read: Option<Read>,
    read: Option<Read>,
    commit: Option<UnderWay<Commit>>,
    read_backoff: Backoff,
    commit_backoff: Backoff,
    effects: Vec<Effect<Held>>,
    last_call: Instant,
    share: Share,
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
        acquired: &StoredSubscription,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let lease = lease(&key, acquired);
        let tenure =
            Tenure { instance: lease.instance, generation: lease.generation.0, token: lease.token.0 };
        let now = Instant::now();
        Self {
            share: tools.memory.share(),
            tools,
            key,
            topic,
            tenure,
            revision: acquired.revision,
            commands,
            dispatcher: Dispatcher::new(lease),
            locality: Locality::default(),
            epoch: now,
            callers: Callers::default(),
            waiting_read: None,
            read: None,
            commit: None,
            read_backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
            commit_backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
            effects: Vec::new(),
            last_call: now,
            newer: None,
            deleted: false,
            ended: false,
        }
    }

    /// Until it has given the subscription up, and with it its place.
    pub(crate) async fn run(mut self, place: Place) {
        let shutdown = self.tools.shutdown.clone();
        let mut stopped = pin!(shutdown.stopped());
        while !self.ended {
            let wake = self.wake_at();
            tokio::select! {
                biased;
                () = &mut stopped => break,
                (read, result) = finished(&mut self.read) => self.was_read(read.number, result),
                (read, result) = finished(&mut self.waiting_read) => self.was_read(read.number, result),
                (commit, result) = finished(&mut self.commit) => self.was_committed(&commit, result),
                command = self.commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => break,
                },
                () = tokio::time::sleep_until(wake) => self.step(Event::Time),
            }
            self.tidy();
        }
        // Before anybody is told to look for the next dispatcher.
        drop(place);
        self.end();
    }

    fn take(&mut self, command: Command) {
        self.last_call = Instant::now();
        match command {
            Command::Pop { call, from_here, trace, reply } => {
                trace::taking(trace, || self.pop(call, from_here, reply));
            }
            Command::Ack { call: AckCall { tokens, deadline }, reply } => {
                let (ack, deadline_ms) = (self.callers.ack(reply), self.at_ms(deadline));
                self.step(Event::Ack { ack, tokens, deadline_ms });
            }
            Command::Describe { reply } => {
                let (position, outstanding) =
                    (self.dispatcher.position(), self.dispatcher.outstanding() as u64);
                let Tenure { instance, generation, .. } = self.tenure;
                // Whoever asked may be gone.
                let _ = reply.send(Situation { position, outstanding, instance, generation });
            }
            Command::Changed { change, reply } => {
                self.changed(change);
                let _ = reply.send(());
            }
            Command::Release => self.step(Event::Release),
        }
    }

    fn pop(&mut self, call: PopCall, from_here: bool, reply: oneshot::Sender<Reply<v1::PopResponse>>) {
        self.tools.metrics.pops.inc();
        let pop = Pop {
            number: self.callers.pop(reply),
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

    /// Sought, deleted or taken over: nothing more is handed out, and who waits is to look again. Other options: they
    /// count from here on, or for the next dispatcher.
    fn changed(&mut self, change: Change) {
        match (change.bearing_on(self.tenure), change) {
            (Bearing::Old, _) => {}
            (Bearing::Options, Change::Is(present)) if present.revision > self.revision => {
                self.revision = present.revision;
                if !self.dispatcher.configure(&lease(&self.key, &present)) {
                    self.step(Event::Release);
                }
            }
            (Bearing::Options, _) => {}
            (Bearing::Over, Change::Is(present)) => {
                self.newer = Some(Route::from(*present));
                self.ended = true;
            }
            (Bearing::Over, Change::Deleted(_)) => self.ended = true,
        }
    }

    fn was_read(&mut self, number: u64, result: Result<Batch, ReadError>) {
        let event = match result {
            Ok(batch) => {
                self.read_backoff.reset();
                let Batch { first_id, messages, watermark, earliest } = batch;
                let more = first_id + (messages.len() as u64) <= watermark;
                let messages = messages.into_iter().map(Held::from).collect();
                Event::Read { number, first_id, messages, more, earliest }
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
        let mut missed_a_change = false;
        let (outcome, event) = match result {
            Commit::Committed { revision } => {
                self.commit_backoff.reset();
                missed_a_change = revision > self.revision;
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
        if missed_a_change {
            // Whoever takes it over, most likely this server, does so with the options as they are.
            self.step(Event::Release);
        }
    }

    fn step(&mut self, event: Event<Held>) {
        // Who is gone is to get nothing of what the event brings.
        let pops = self.callers.abandoned();
        let mut events = if pops.is_empty() { vec![event] } else { vec![event, Event::Abandoned { pops }] };
        while let Some(event) = events.pop() {
            let now_ms = self.at_ms(Instant::now());
            let mut effects = std::mem::take(&mut self.effects);
            self.dispatcher.step(now_ms, event, &mut effects);
            for effect in effects.drain(..) {
                events.extend(self.carry_out(effect));
            }
            self.effects = effects;
        }
    }

    /// Returns what came of it, where that is known at once.
    fn carry_out(&mut self, effect: Effect<Held>) -> Option<Event<Held>> {
        match effect {
            Effect::Deliver { pop, deliveries, expired } => return self.deliver(pop, &deliveries, expired),
            Effect::Refuse { pop, why } => {
                let reply = self.refusal(why);
                self.callers.answer_pop(pop, || reply);
            }
            Effect::Acked { ack } => self.callers.answer_ack(ack, Reply::Answered(v1::AckResponse {})),
            Effect::AckRefused { ack, why } => {
                let elsewhere = Reply::Elsewhere(self.newer.clone());
                self.callers.answer_ack(ack, error::ack(why).map_or(elsewhere, Reply::Refused));
            }
            Effect::Read(wanted) => self.begin_read(wanted),
            Effect::Commit { number, acknowledged } => self.begin_commit(number, acknowledged),
            Effect::Ended => self.ended = true,
        }
        None
    }

    fn refusal(&self, why: PopRefusal) -> Reply<v1::PopResponse> {
        error::pop(why).map_or_else(|| Reply::Elsewhere(self.newer.clone()), Reply::Refused)
    }

    fn deliver(
        &mut self,
        pop: u64,
        deliveries: &[Handed<Held>],
        expired: Vec<Range<u64>>,
    ) -> Option<Event<Held>> {
        let range = |range: &Range<u64>| v1::ExpiredRange { from: range.start, to: range.end };
        let response = || v1::PopResponse {
            deliveries: deliveries.iter().map(delivery).collect(),
            expired: expired.iter().map(range).collect(),
        };
        if !self.callers.answer_pop(pop, || Reply::Answered(response())) {
            let deliveries = deliveries.iter().map(|handed| handed.token).collect();
            return Some(Event::TakenBack { deliveries, expired });
        }
        let again = deliveries.iter().filter(|handed| handed.token.attempt > 1).count();
        self.tools.metrics.deliveries.inc_by(deliveries.len() as u64);
        self.tools.metrics.redeliveries.inc_by(again as u64);
        (!expired.is_empty()).then_some(Event::Told { expired })
    }

    fn begin_read(&mut self, wanted: Wanted) {
        let stores = self.tools.stores.clone();
        let bytes_max = if self.tools.memory.is_full() { READ_BYTES_WHEN_FULL } else { u64::MAX };
        let span = Span {
            topic: self.key.topic,
            from: wanted.from,
            messages_max: wanted.messages_max,
            bytes_max: wanted.bytes_max.min(bytes_max),
            wait: if wanted.wait { POLL } else { Duration::ZERO },
        };
        let reading = trace::under(trace::current(), async move { stores.read(span).await });
        let read = UnderWay::new(wanted.number, reading);
        *(if wanted.wait { &mut self.waiting_read } else { &mut self.read }) = Some(read);
    }

    fn begin_commit(&mut self, number: u64, acknowledged: IntervalSet) {
        let (positions, key, tenure) = (self.tools.positions.clone(), self.key.clone(), self.tenure);
        let until = Instant::now() + COMMIT_TIMEOUT;
        let commit = async move { positions.commit(&key, tenure, &acknowledged, until).await };
        self.commit = Some(UnderWay::new(number, commit));
    }

    fn wake_at(&self) -> Instant {
        let patience = if self.share.bytes() > 0 { SHED_AFTER } else { self.tools.idle_after };
        let idle_at = (self.last_call + patience).max(Instant::now() + TIDY_INTERVAL);
        match self.dispatcher.wake_at() {
            Some(at_ms) => idle_at.min(self.epoch + Duration::from_millis(at_ms)),
            None => idle_at,
        }
    }

    /// Memory is for who uses it, and so is dispatching.
    fn tidy(&mut self) {
        let unused = self.last_call.elapsed();
        if self.dispatcher.held_bytes() > 0 && (unused >= SHED_AFTER || self.tools.memory.is_full()) {
            self.dispatcher.shed();
        }
        self.share.set(self.dispatcher.held_bytes());
        if unused >= self.tools.idle_after && self.dispatcher.is_idle() {
            self.ended = true;
        }
    }

    /// Whoever still waits is to look for the next dispatcher.
    fn end(mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Pop { reply, .. } => drop(self.callers.pop(reply)),
                Command::Ack { reply, .. } => drop(self.callers.ack(reply)),
                Command::Describe { .. } | Command::Changed { .. } | Command::Release => {}
            }
        }
        let callers = std::mem::take(&mut self.callers);
        callers.dismiss(|| self.farewell(), || self.farewell());
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

fn delay_ms(backoff: &mut Backoff, host: &Host) -> u64 {
    u64::try_from(backoff.next(&host.process).as_millis()).unwrap_or(u64::MAX).max(1)
}
