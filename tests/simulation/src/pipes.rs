//! Byte pipes below HTTP/2: what TCP does to bytes between hosts, and what goes wrong with it.
//!
//! Bytes arrive in order, later by the way's delay, a seeded jitter and what its rate takes. A writer has a bounded
//! send buffer and gets room back when its bytes were read and the word of it could come back. A way that stalls loses
//! nothing: once it is open again, bytes go on after a retransmission. Where a way stalls in one direction only, the
//! acknowledgements of the other are lost, so that one stands still as well, a retransmission timeout later; unless
//! something in between acknowledges for the host ([`Pipes::set_middlebox`]). A host that vanishes sends no end: its
//! peers hear nothing, until it is back and does not know their connections any more.
//!
//! - [`connect`]: how a connection comes to be.
//! - [`half`]: one direction of one connection.
//! - [`end`]: one end of it, as a socket.

mod connect;
mod end;
mod half;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use trunkline_testkit::Random;
use trunkline_transport::{Accept, Dial, Socket};
use trunkline_types::hash64;

use connect::{Dialer, Waiting};
use half::Half;

/// What the kernel keeps for one direction of a connection.
pub const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Without an acknowledgement for so long, TCP sends nothing new.
const RETRANSMISSION_TIMEOUT: Duration = Duration::from_millis(300);
const WAITING_TO_BE_ACCEPTED_MAX: usize = 128;

/// One direction between two hosts.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub delay: Duration,
    /// Each chunk takes up to so much longer, in order all the same.
    pub jitter: Duration,
    /// What one connection gets through; `None` is as much as comes.
    pub bytes_per_second: Option<u64>,
}

impl Default for Way {
    fn default() -> Self {
        Self { delay: Duration::from_millis(1), jitter: Duration::ZERO, bytes_per_second: None }
    }
}

/// All hosts and the connections between them. Cheap to clone.
#[derive(Clone)]
pub struct Pipes(Arc<Mutex<State>>);

struct State {
    random: Random,
    began: Instant,
    ways: BTreeMap<(String, String), Way>,
    stalled: BTreeMap<(String, String), Instant>,
    gone: BTreeSet<String>,
    middlebox: bool,
    listeners: BTreeMap<String, mpsc::Sender<Box<dyn Socket>>>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    fingerprint: u64,
    bytes: u64,
}

/// From the host that dialed to the one that took it, and back.
struct Connection {
    hosts: [String; 2],
    halves: [Arc<Mutex<Half>>; 2],
    /// Nothing of it passes any more, in this direction.
    forgotten: [bool; 2],
    /// The host that has lost it.
    lost_by: Option<String>,
    ends: usize,
}

impl fmt::Debug for Pipes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipes")
    }
}

impl Pipes {
    /// Must be called on the runtime that the simulation runs on.
    pub fn new(random: &Random) -> Self {
        let state = State {
            random: random.fork("pipes"),
            began: Instant::now(),
            ways: BTreeMap::new(),
            stalled: BTreeMap::new(),
            gone: BTreeSet::new(),
            middlebox: false,
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next: 0,
            fingerprint: 0,
            bytes: 0,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// What the host `from` dials with.
    pub fn dialer(&self, from: &str) -> Arc<dyn Dial> {
        Arc::new(Dialer::new(self.clone(), from))
    }

    /// `address` is `HOST:PORT`; what listened there before does no more.
    pub fn listen(&self, address: &str) -> impl Accept {
        let (sender, waiting) = mpsc::channel(WAITING_TO_BE_ACCEPTED_MAX);
        self.state().listeners.insert(address.to_owned(), sender);
        Waiting::new(waiting)
    }

    pub fn set_way(&self, from: &str, to: &str, way: Way) {
        self.state().ways.insert(pair(from, to), way);
    }

    /// Whether something between the hosts acknowledges bytes for them: then a way that stalls leaves the other alone.
    pub fn set_middlebox(&self, middlebox: bool) {
        self.state().middlebox = middlebox;
    }

    /// Nothing passes from `from` to `to` until [`Pipes::heal`].
    pub fn stall(&self, from: &str, to: &str) {
        let mut state = self.state();
        state.stalled.entry(pair(from, to)).or_insert_with(Instant::now);
        state.wake();
    }

    pub fn heal(&self, from: &str, to: &str) {
        let mut state = self.state();
        if let Some(since) = state.stalled.remove(&pair(from, to)) {
            state.retransmit(&pair(from, to), since);
        }
        state.wake();
    }

    /// The host is without power: its ends are gone, and nobody is told.
    pub fn vanish(&self, host: &str) {
        let mut state = self.state();
        state.gone.insert(host.to_owned());
        state.listeners.retain(|address, _| host_of(address) != host);
        for connection in state.connections.values_mut().filter(|connection| connection.is_of(host)) {
            connection.forgotten = [true; 2];
            connection.lost_by.get_or_insert_with(|| host.to_owned());
        }
        state.wake();
    }

    /// The host is back. It answers bytes of connections that it had before with a reset.
    pub fn come_back(&self, host: &str) {
        let mut state = self.state();
        state.gone.remove(host);
        for connection in state.connections.values() {
            if connection.lost_by.as_deref() == Some(host) {
                let survivor = usize::from(connection.hosts[0] == host);
                let after = Duration::from_millis(state.random.below(1_500));
                lock(&connection.halves[survivor]).is_unknown_there(Instant::now() + after);
            }
        }
        state.wake();
    }

    /// What the connections between two hosts send, from `from` to `to`, goes nowhere from now on. New ones are well.
    pub fn forget(&self, from: &str, to: &str) {
        let mut state = self.state();
        for connection in state.connections.values_mut() {
            for direction in 0..2 {
                if connection.way(direction) == pair(from, to) {
                    connection.forgotten[direction] = true;
                }
            }
        }
        state.wake();
    }

    /// Connections of which neither end is gone, between these two.
    pub fn connections(&self, a: &str, b: &str) -> usize {
        let between =
            |connection: &&Connection| connection.ends == 2 && connection.is_of(a) && connection.is_of(b);
        self.state().connections.values().filter(between).count()
    }

    /// Bytes that were delivered, and a hash over them with their times.
    pub fn delivered(&self) -> (u64, u64) {
        let state = self.state();
        (state.bytes, state.fingerprint)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    fn way(&self, from: &str, to: &str) -> Way {
        self.ways.get(&pair(from, to)).copied().unwrap_or_default()
    }

    fn passes(&self, from: &str, to: &str) -> bool {
        !self.stalled.contains_key(&pair(from, to)) && !self.gone.contains(from) && !self.gone.contains(to)
    }

    /// TCP sends again what was lost in a stall, the later the longer it has taken.
    fn retransmit(&mut self, way: &(String, String), since: Instant) {
        let stalled = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        for connection in self.connections.values() {
            for direction in 0..2 {
                let (there, back) = (connection.way(direction), connection.way(1 - direction));
                if there == *way || back == *way {
                    let after = Duration::from_millis(self.random.below(stalled.min(1_500) + 1));
                    lock(&connection.halves[direction]).open_at = Some(Instant::now() + after);
                }
            }
        }
    }

    /// Whether bytes that were written at `written` get through now.
    fn carries(&self, number: u64, direction: usize, written: Instant) -> bool {
        let Some(connection) = self.connections.get(&number) else { return false };
        let (from, to) = connection.way(direction);
        if connection.forgotten[direction] || !self.passes(&from, &to) {
            return false;
        }
        let silent = self.stalled.get(&pair(&to, &from));
        self.middlebox
            || (!connection.forgotten[1 - direction]
                && silent.is_none_or(|since| written <= *since + RETRANSMISSION_TIMEOUT))
    }

    /// Whether the word that bytes of this direction have arrived gets back.
    fn acknowledges(&self, number: u64, direction: usize) -> bool {
        let Some(connection) = self.connections.get(&number) else { return false };
        let (to, from) = connection.way(1 - direction);
        self.middlebox || (!connection.forgotten[1 - direction] && self.passes(&to, &from))
    }

    fn way_of(&self, number: u64, direction: usize) -> Way {
        let way = self.connections.get(&number).map(|connection| connection.way(direction));
        way.map(|(from, to)| self.way(&from, &to)).unwrap_or_default()
    }

    /// Whether both of its hosts still know it.
    fn is_open(&self, number: u64) -> bool {
        let known =
            |connection: &Connection| connection.lost_by.as_ref().is_none_or(|by| !self.gone.contains(by));
        self.connections.get(&number).is_some_and(known)
    }

    fn leave(&mut self, number: u64) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.ends -= 1;
            if connection.ends == 0 {
                self.connections.remove(&number);
            }
        }
    }

    fn wake(&mut self) {
        for half in self.connections.values().flat_map(|connection| &connection.halves) {
            lock(half).wake();
        }
    }

    fn count(&mut self, number: u64, direction: usize, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let at = self.began.elapsed().as_millis();
        let line = format!("{:x} {at} {number} {direction} {:x}", self.fingerprint, hash64(bytes));
        self.fingerprint = hash64(line.as_bytes());
    }
}

impl Connection {
    fn is_of(&self, host: &str) -> bool {
        self.hosts.iter().any(|of| of == host)
    }

    /// Direction 0 is that of the one who dialed.
    fn way(&self, direction: usize) -> (String, String) {
        pair(&self.hosts[direction], &self.hosts[1 - direction])
    }
}

fn pair(from: &str, to: &str) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

fn host_of(address: &str) -> &str {
    address.split(':').next().unwrap_or(address)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
