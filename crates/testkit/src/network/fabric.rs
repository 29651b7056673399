//! Carries messages: one ordered queue of what arrives when, one task that delivers it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use trunkline_ports::{Class, Handler, Router};
use trunkline_types::{DatacenterName, hash64};
use trunkline_wire::Status;
use trunkline_wire::status::{reason, unavailable};

use super::RESET_AFTER;
use super::cuts::{Cuts, Place, Places, Side};
use super::exchange::{Exchange, Message, Waiting};
use super::incoming;
use super::trouble::Trouble;
use crate::process::{SimulatedProcess, millis};
use crate::random::Random;

enum Event {
    Arrival {
        exchange: u64,
        to_callee: bool,
        message: Message,
    },
    /// Reset what runs over links that were cut for long.
    Reset,
}

/// One direction of a connection, by the places' numbers.
type Link = (u32, u32, Class);

pub(super) struct State {
    pub(super) random: Random,
    known: Places,
    places: BTreeMap<u64, Arc<Place>>,
    declared: BTreeMap<String, Arc<Place>>,
    pub(super) processes: BTreeMap<u64, SimulatedProcess>,
    pub(super) listeners: BTreeMap<String, (u64, Router)>,
    /// By the datacenters' numbers.
    latency: FxHashMap<(u32, u32), Duration>,
    pub(super) jitter: Duration,
    cuts: Cuts,
    pub(super) trouble: Trouble,
    events: BTreeMap<(Instant, u64), Event>,
    /// The last arrival per direction of a connection: the next one is not earlier.
    last_arrival: FxHashMap<Link, Instant>,
    held: VecDeque<(u64, bool, Message)>,
    pub(super) exchanges: FxHashMap<u64, Exchange>,
    /// When the carrier looks by itself; `None` while it waits to be told.
    looks_at: Option<Instant>,
    /// Something has to be delivered before that.
    is_early: bool,
    next: u64,
    pub(super) fingerprint: u64,
    pub(super) deliveries: u64,
}

pub(super) struct Fabric {
    state: Mutex<State>,
    changed: Arc<Notify>,
    origin: Instant,
    task: Mutex<Option<AbortHandle>>,
}

impl Fabric {
    #[allow(clippy::disallowed_methods, reason = "the network belongs to no process")]
    pub(super) fn start(random: Random) -> Arc<Self> {
        let state = State {
            random,
            known: Places::default(),
            places: BTreeMap::new(),
            declared: BTreeMap::new(),
            processes: BTreeMap::new(),
            listeners: BTreeMap::new(),
            latency: FxHashMap::default(),
            jitter: Duration::ZERO,
            cuts: Cuts::default(),
            trouble: Trouble::default(),
            events: BTreeMap::new(),
            last_arrival: FxHashMap::default(),
            held: VecDeque::new(),
            exchanges: FxHashMap::default(),
            looks_at: None,
            is_early: false,
            next: 0,
            fingerprint: 0,
            deliveries: 0,
        };
        let fabric = Arc::new(Self {
            state: Mutex::new(state),
            changed: Arc::new(Notify::new()),
            origin: Instant::now(),
            task: Mutex::new(None),
        });
        let task = tokio::spawn(carry(Arc::downgrade(&fabric), fabric.changed.clone())).abort_handle();
        *fabric.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        fabric
    }

    pub(super) fn origin(&self) -> Instant {
        self.origin
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn declare(&self, address: &str, name: &str, datacenter: &DatacenterName) {
        let mut state = self.lock();
        let place = state.known.place(name, datacenter);
        state.declared.insert(address.to_owned(), place);
    }

    /// A process begins; its number and its randomness.
    pub(super) fn arrive(&self, name: &str, datacenter: &DatacenterName) -> (u64, Random) {
        let mut state = self.lock();
        let number = state.number();
        let place = state.known.place(name, datacenter);
        state.places.insert(number, place);
        let random = state.random.fork(&format!("{name} {number}"));
        (number, random)
    }

    pub(super) fn listen(&self, process: &SimulatedProcess, address: &str, router: Router) {
        let mut state = self.lock();
        if let Some(number) = state.number_of(process) {
            let place = state.places.get(&number).cloned();
            state.declared.extend(place.map(|place| (address.to_owned(), place)));
            state.listeners.insert(address.to_owned(), (number, router));
        }
    }

    /// A process has ended: its listeners refuse, what it took part in is reset.
    pub(super) fn leave(&self, number: u64) {
        let mut state = self.lock();
        state.processes.remove(&number);
        state.places.remove(&number);
        state.listeners.retain(|_, (owner, _)| *owner != number);
        for id in state.exchanges_that(|exchange| exchange.concerns(number)) {
            let Some(exchange) = state.exchanges.get_mut(&id) else { continue };
            if exchange.caller == number {
                exchange.waiting = None;
                state.send(id, true, Message::Cancel);
            } else {
                exchange.served = None;
                state.send(id, false, Message::Finished(Err(lost("the connection was reset"))));
            }
        }
        self.carry_on(state);
    }

    pub(super) fn cut(&self, from: &Side, to: &Side) {
        let now = Instant::now();
        let mut state = self.lock();
        state.cuts.cut(from, to, now);
        state.schedule(now + RESET_AFTER, Event::Reset);
        self.carry_on(state);
    }

    pub(super) fn heal(&self, which: impl Fn(&Side, &Side) -> bool) {
        let mut state = self.lock();
        state.cuts.heal(&which);
        state.trouble.heal(&which);
        state.release_held();
        self.carry_on(state);
    }

    /// Begins a call or a stream of `process` to whoever listens at `address`.
    pub(super) fn begin(
        &self,
        process: &SimulatedProcess,
        address: &Arc<str>,
        class: Class,
        waiting: Waiting,
        first: Message,
    ) -> Result<u64, Status> {
        let mut state = self.lock();
        let caller = state.number_of(process).ok_or_else(|| lost("the process has ended"))?;
        let from = state.places.get(&caller).cloned().ok_or_else(|| lost("the process has ended"))?;
        let to =
            state.declared.get(&**address).cloned().ok_or_else(|| lost(format!("nobody is at {address}")))?;
        let id = state.number();
        let is_cut = state.cuts.since_either_way(&from, &to).is_some();
        let exchange = Exchange {
            caller,
            from,
            to,
            address: address.clone(),
            class,
            begun: Instant::now(),
            callee: None,
            waiting: Some(waiting),
            served: None,
        };
        state.exchanges.insert(id, exchange);
        state.send(id, true, first);
        if is_cut {
            state.schedule(Instant::now() + RESET_AFTER, Event::Reset);
        }
        self.carry_on(state);
        Ok(id)
    }

    pub(super) fn send(&self, exchange: u64, to_callee: bool, message: Message) {
        let mut state = self.lock();
        state.send(exchange, to_callee, message);
        self.carry_on(state);
    }

    /// The caller is gone: nobody waits any more, and the callee will learn it.
    pub(super) fn cancel(&self, exchange: u64) {
        let mut state = self.lock();
        if let Some(known) = state.exchanges.get_mut(&exchange) {
            known.waiting = None;
            state.send(exchange, true, Message::Cancel);
        }
        self.carry_on(state);
    }

    /// The carrier is told where it would look too late.
    fn carry_on(&self, mut state: MutexGuard<'_, State>) {
        if std::mem::take(&mut state.is_early) {
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Delivers what is due; when to look again.
    fn deliver_due(self: &Arc<Self>) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.lock();
        while let Some(event) = state.take_due(now) {
            match event {
                Event::Arrival { exchange, to_callee, message } => {
                    self.arrival(&mut state, now, exchange, to_callee, message);
                }
                Event::Reset => state.reset_cut_links(),
            }
        }
        state.looks_at = state.events.first_key_value().map(|((at, _), _)| *at);
        state.is_early = false;
        state.looks_at
    }

    fn arrival(
        self: &Arc<Self>,
        state: &mut State,
        now: Instant,
        id: u64,
        to_callee: bool,
        message: Message,
    ) {
        let Some(exchange) = state.exchanges.get_mut(&id) else { return };
        let (from, to) = exchange.ends(to_callee);
        if state.cuts.since(from, to).is_some() {
            state.held.push_back((id, to_callee, message));
            return;
        }
        if state.trouble.one_in(from, to).is_some_and(|one_in| state.random.one_in(one_in)) {
            state.reset(id, "a message was lost, and the connection with it");
            return;
        }
        state.deliveries += 1;
        let elapsed = now.saturating_duration_since(self.origin);
        let (kind, body) = message.fingerprint();
        let parts = [state.fingerprint, millis(elapsed), from.hash, to.hash, kind, body];
        state.fingerprint = hash64(parts.map(u64::to_le_bytes).as_flattened());
        if to_callee {
            incoming::arrive(self, state, id, message);
        } else {
            state.arrive_at_caller(id, message);
        }
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

/// Holds on to the fabric only while it delivers.
async fn carry(fabric: Weak<Fabric>, changed: Arc<Notify>) {
    loop {
        let Some(next) = fabric.upgrade().map(|fabric| fabric.deliver_due()) else { return };
        match next {
            None => changed.notified().await,
            Some(at) => {
                tokio::select! {
                    biased;
                    () = changed.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                }
            }
        }
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn number_of(&self, process: &SimulatedProcess) -> Option<u64> {
        self.processes.iter().find(|(_, known)| known.is_same(process)).map(|(number, _)| *number)
    }

    /// Who answers an exchange, and how; without a handler where the method is not served there.
    pub(super) fn callee_of(&self, id: u64, path: &str) -> Option<(u64, Option<Handler>, SimulatedProcess)> {
        let exchange = self.exchanges.get(&id)?;
        let (number, router) = self.listeners.get(&*exchange.address)?;
        Some((*number, router.handler(path).cloned(), self.processes.get(number)?.clone()))
    }

    /// Those that `which` is true of, in the order in which they began.
    fn exchanges_that(&self, which: impl Fn(&Exchange) -> bool) -> Vec<u64> {
        let mut ids: Vec<u64> =
            self.exchanges.iter().filter(|(_, exchange)| which(exchange)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn set_latency(&mut self, from: &DatacenterName, to: &DatacenterName, latency: Duration) {
        let link = (self.known.datacenter(from), self.known.datacenter(to));
        self.latency.insert(link, latency);
    }

    fn take_due(&mut self, now: Instant) -> Option<Event> {
        let first = self.events.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        let number = self.number();
        self.is_early |= self.looks_at.is_none_or(|looks_at| at < looks_at);
        self.events.insert((at, number), event);
    }

    pub(super) fn send(&mut self, id: u64, to_callee: bool, message: Message) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let (from, to) = exchange.ends(to_callee);
        let link: Link = (from.number, to.number, exchange.class);
        let latency = self.latency.get(&(from.datacenter_number, to.datacenter_number));
        let latency = latency.copied().unwrap_or_default();
        let jitter = Duration::from_millis(self.random.below(millis(self.jitter) + 1));
        let earliest = Instant::now() + latency + jitter + self.trouble.delay(from, to);
        let at = self.last_arrival.get(&link).map_or(earliest, |last| earliest.max(*last));
        self.last_arrival.insert(link, at);
        self.schedule(at, Event::Arrival { exchange: id, to_callee, message });
    }

    /// What cuts have held goes on, and what is under way on the same links stays behind it.
    fn release_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        let links: BTreeSet<Link> = held.iter().filter_map(|(id, way, _)| self.link(*id, *way)).collect();
        let is_behind = |event: &Event| match event {
            Event::Arrival { exchange, to_callee, .. } => {
                self.link(*exchange, *to_callee).is_some_and(|link| links.contains(&link))
            }
            Event::Reset => false,
        };
        let behind: Vec<_> =
            self.events.iter().filter(|(_, event)| is_behind(event)).map(|(key, _)| *key).collect();
        let behind: Vec<Event> = behind.iter().filter_map(|key| self.events.remove(key)).collect();
        held.into_iter().for_each(|(id, to_callee, message)| self.send(id, to_callee, message));
        for event in behind {
            if let Event::Arrival { exchange, to_callee, message } = event {
                self.send(exchange, to_callee, message);
            }
        }
    }

    fn link(&self, id: u64, to_callee: bool) -> Option<Link> {
        let exchange = self.exchanges.get(&id)?;
        let (from, to) = exchange.ends(to_callee);
        Some((from.number, to.number, exchange.class))
    }

    fn arrive_at_caller(&mut self, id: u64, message: Message) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        match message {
            Message::Accepted => {
                if let Some(Waiting::Stream { opened, .. }) = &mut exchange.waiting
                    && let Some(opened) = opened.take()
                {
                    let _ = opened.send(());
                }
            }
            Message::Frame(frame) => {
                if let Some(Waiting::Stream { frames, .. }) = &exchange.waiting {
                    // The window is smaller than the queue: it cannot be full, only closed.
                    let _ = frames.try_send(Ok(frame));
                }
            }
            Message::Answer(answer) => self.end(id, answer.map(Some)),
            Message::Finished(result) => self.end(id, result.map(|()| None)),
            Message::Call { .. } | Message::Open { .. } | Message::LastRequest | Message::Cancel => {}
        }
    }

    /// The exchange is over for both sides; the caller is told how.
    fn end(&mut self, id: u64, how: Result<Option<Bytes>, Status>) {
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        match exchange.waiting {
            Some(Waiting::Call(waiting)) => {
                let _ = waiting.send(how.map(Option::unwrap_or_default));
            }
            Some(Waiting::Stream { frames, .. }) => {
                if let Err(status) = how {
                    let _ = frames.try_send(Err(status));
                }
            }
            None => {}
        }
    }

    fn reset(&mut self, id: u64, why: &str) {
        self.end(id, Err(lost(why)));
        self.held.retain(|(held, _, _)| *held != id);
    }

    fn reset_cut_links(&mut self) {
        let now = Instant::now();
        let dead = |exchange: &Exchange| {
            let since = self.cuts.since_either_way(&exchange.from, &exchange.to);
            since.is_some_and(|since| since.max(exchange.begun) + RESET_AFTER <= now)
        };
        for id in self.exchanges_that(dead) {
            self.reset(id, "the connection is silent");
        }
    }
}

/// `UNAVAILABLE`, reason `UNREACHABLE`: says nothing about whether the peer has seen the request.
pub(super) fn lost(why: impl Into<String>) -> Status {
    unavailable(reason::UNREACHABLE, why)
}
