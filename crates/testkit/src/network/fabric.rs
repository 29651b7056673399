//! Carries messages: one ordered queue of what arrives when, one task that delivers it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use trunkline_ports::{Class, Router};
use trunkline_types::{DatacenterName, hash64};
use trunkline_wire::Status;
use trunkline_wire::status::{reason, unavailable};

use super::RESET_AFTER;
use super::cuts::{Cuts, Place, Side};
use super::incoming::{self, Served};
use super::trouble::Trouble;
use crate::process::{SimulatedProcess, millis};
use crate::random::Random;

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
    from: Arc<Place>,
    to: Arc<Place>,
    address: String,
    class: Class,
    begun: Instant,
    pub(super) callee: Option<u64>,
    pub(super) waiting: Option<Waiting>,
    pub(super) served: Option<Served>,
}

enum Event {
    Arrival {
        exchange: u64,
        to_callee: bool,
        message: Message,
    },
    /// Reset what runs over links that were cut for long.
    Reset,
}

/// One direction of a connection.
type Link = (Arc<Place>, Arc<Place>, Class);

pub(super) struct State {
    pub(super) random: Random,
    places: BTreeMap<u64, Arc<Place>>,
    declared: BTreeMap<String, Arc<Place>>,
    pub(super) processes: BTreeMap<u64, SimulatedProcess>,
    pub(super) listeners: BTreeMap<String, (u64, Router)>,
    pub(super) latency: BTreeMap<DatacenterName, BTreeMap<DatacenterName, Duration>>,
    pub(super) jitter: Duration,
    cuts: Cuts,
    pub(super) trouble: Trouble,
    events: BTreeMap<(Instant, u64), Event>,
    /// The last arrival per direction of a connection: the next one is not earlier.
    last_arrival: BTreeMap<Link, Instant>,
    held: VecDeque<(u64, bool, Message)>,
    pub(super) exchanges: BTreeMap<u64, Exchange>,
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
            places: BTreeMap::new(),
            declared: BTreeMap::new(),
            processes: BTreeMap::new(),
            listeners: BTreeMap::new(),
            latency: BTreeMap::new(),
            jitter: Duration::ZERO,
            cuts: Cuts::default(),
            trouble: Trouble::default(),
            events: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            held: VecDeque::new(),
            exchanges: BTreeMap::new(),
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
        let place = Arc::new(Place::new(name, datacenter));
        self.lock().declared.insert(address.to_owned(), place);
    }

    /// A process begins; its number and its randomness.
    pub(super) fn arrive(&self, name: &str, datacenter: &DatacenterName) -> (u64, Random) {
        let mut state = self.lock();
        let number = state.number();
        state.places.insert(number, Arc::new(Place::new(name, datacenter)));
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
        let concerned: Vec<u64> =
            state.exchanges.iter().filter(|(_, e)| e.concerns(number)).map(|(id, _)| *id).collect();
        for id in concerned {
            let Some(exchange) = state.exchanges.get_mut(&id) else { continue };
            if exchange.caller == number {
                exchange.waiting = None;
                state.send(id, true, Message::Cancel);
            } else {
                exchange.served = None;
                state.send(id, false, Message::Finished(Err(lost("the connection was reset"))));
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn cut(&self, from: &Side, to: &Side) {
        let now = Instant::now();
        let mut state = self.lock();
        state.cuts.cut(from, to, now);
        state.schedule(now + RESET_AFTER, Event::Reset);
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn heal(&self, which: impl Fn(&Side, &Side) -> bool) {
        let mut state = self.lock();
        state.cuts.heal(&which);
        state.trouble.heal(&which);
        state.release_held();
        drop(state);
        self.changed.notify_one();
    }

    /// Begins a call or a stream of `process` to whoever listens at `address`.
    pub(super) fn begin(
        &self,
        process: &SimulatedProcess,
        address: &str,
        class: Class,
        waiting: Waiting,
        first: Message,
    ) -> Result<u64, Status> {
        let mut state = self.lock();
        let caller = state.number_of(process).ok_or_else(|| lost("the process has ended"))?;
        let from = state.places.get(&caller).cloned().ok_or_else(|| lost("the process has ended"))?;
        let to =
            state.declared.get(address).cloned().ok_or_else(|| lost(format!("nobody is at {address}")))?;
        let id = state.number();
        let is_cut = state.cuts.since_either_way(&from, &to).is_some();
        let exchange = Exchange {
            caller,
            from,
            to,
            address: address.to_owned(),
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
        drop(state);
        self.changed.notify_one();
        Ok(id)
    }

    pub(super) fn send(&self, exchange: u64, to_callee: bool, message: Message) {
        self.lock().send(exchange, to_callee, message);
        self.changed.notify_one();
    }

    /// The caller is gone: nobody waits any more, and the callee will learn it.
    pub(super) fn cancel(&self, exchange: u64) {
        let mut state = self.lock();
        if let Some(known) = state.exchanges.get_mut(&exchange) {
            known.waiting = None;
            state.send(exchange, true, Message::Cancel);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Delivers what is due; when to look again.
    fn deliver_due(self: &Arc<Self>) -> Option<Instant> {
        loop {
            let mut state = self.lock();
            let (key @ (at, _), _) = state.events.first_key_value()?;
            let (key, at) = (*key, *at);
            if at > Instant::now() {
                return Some(at);
            }
            match state.events.remove(&key) {
                Some(Event::Arrival { exchange, to_callee, message }) => {
                    self.arrival(&mut state, exchange, to_callee, message);
                }
                Some(Event::Reset) => state.reset_cut_links(),
                None => {}
            }
        }
    }

    fn arrival(self: &Arc<Self>, state: &mut State, id: u64, to_callee: bool, message: Message) {
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
        let now = Instant::now().saturating_duration_since(self.origin);
        let (kind, body) = message.fingerprint();
        let parts = [state.fingerprint, millis(now), from.hash(), to.hash(), kind, body];
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

    /// Who answers an exchange, and with what.
    pub(super) fn callee_of(&self, id: u64) -> Option<(u64, Router, SimulatedProcess)> {
        let exchange = self.exchanges.get(&id)?;
        let (number, router) = self.listeners.get(&exchange.address)?;
        Some((*number, router.clone(), self.processes.get(number)?.clone()))
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        let number = self.number();
        self.events.insert((at, number), event);
    }

    pub(super) fn send(&mut self, id: u64, to_callee: bool, message: Message) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let (from, to) = exchange.ends(to_callee);
        let link: Link = (from.clone(), to.clone(), exchange.class);
        let latency = self.latency.get(&from.datacenter).and_then(|from| from.get(&to.datacenter));
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
        Some((from.clone(), to.clone(), exchange.class))
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
        let ids: Vec<u64> = self.exchanges.iter().filter(|(_, e)| dead(e)).map(|(id, _)| *id).collect();
        for id in ids {
            self.reset(id, "the connection is silent");
        }
    }
}

impl Exchange {
    fn ends(&self, to_callee: bool) -> (&Arc<Place>, &Arc<Place>) {
        if to_callee { (&self.from, &self.to) } else { (&self.to, &self.from) }
    }

    fn concerns(&self, process: u64) -> bool {
        self.caller == process || self.callee == Some(process)
    }
}

impl Message {
    /// What it is, and a hash of what it carries.
    fn fingerprint(&self) -> (u64, u64) {
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

/// `UNAVAILABLE`, reason `UNREACHABLE`: says nothing about whether the peer has seen the request.
pub(super) fn lost(why: impl Into<String>) -> Status {
    unavailable(reason::UNREACHABLE, why)
}
