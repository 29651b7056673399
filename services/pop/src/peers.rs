//! Other pop servers: whether they are alive, while something is asked of them.
//!
//! A forwarded Pop may wait for a minute without a word, so its silence says nothing. What says something is a ping
//! beside it: without an answer for two seconds the dispatcher is taken for dead, and the subscription is acquired
//! (which is safe even if it is not: its token is then old).

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_ports::{CallOptions, Class, Host, Peer};
use trunkline_types::limits::{HEARTBEAT_INTERVAL, SILENCE_MAX};
use trunkline_wire::internal::pop_peer_service::PING;
use trunkline_wire::internal::{Dispatcher, PingRequest};

use crate::error;

/// A link that nobody uses is watched on for so long, so that the next user knows at once.
const LINGER: Duration = Duration::from_secs(10);

/// What is known of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// Asked and not answered yet, or not for a while.
    Unknown,
    /// Answered the last ping. Counts the answers.
    Alive(u64),
    /// Silent for two seconds, or another node answers at its address.
    Dead,
}

/// Watches a peer for as long as it is held.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<watch::Receiver<Pulse>>);

#[derive(Debug)]
struct Watched {
    pulse: watch::Receiver<Pulse>,
    users: Weak<watch::Receiver<Pulse>>,
}

#[derive(Clone)]
pub(crate) struct Peers {
    host: Host,
    /// By node: a pop server that was started again is another.
    watched: Arc<Mutex<FxHashMap<u64, Watched>>>,
}

impl Link {
    pub(crate) fn peer(to: &Dispatcher) -> Peer {
        Peer::new(to.address.as_str(), Class::Calls)
    }

    pub(crate) fn pulse(&self) -> Pulse {
        *self.0.borrow()
    }

    /// Resolves when the peer is dead.
    pub(crate) async fn dead(&self) {
        let mut pulse = self.0.as_ref().clone();
        if pulse.wait_for(|pulse| *pulse == Pulse::Dead).await.is_err() {
            // Nobody watches it any more: the process ends.
            std::future::pending().await
        }
    }

    /// Resolves when the peer has answered a ping that began after this call, or is dead.
    pub(crate) async fn verdict(&self) -> Pulse {
        let mut pulse = self.0.as_ref().clone();
        let answered = |pulse: Pulse| if let Pulse::Alive(answers) = pulse { answers } else { 0 };
        let before = answered(*pulse.borrow());
        // The next answer may be to a ping that was under way already.
        let proven = |pulse: &Pulse| *pulse == Pulse::Dead || answered(*pulse) >= before + 2;
        let verdict = pulse.wait_for(proven).await.ok().map(|verdict| *verdict);
        match verdict {
            Some(verdict) => verdict,
            None => std::future::pending().await,
        }
    }
}

impl Peers {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, watched: Arc::default() }
    }

    /// Begins to watch a peer, or joins those who do.
    pub(crate) fn link(&self, to: &Dispatcher) -> Link {
        let mut watched = self.watched.lock().expect("nobody panics while holding it");
        if let Some(known) = watched.get_mut(&to.node) {
            let users = known.users.upgrade().unwrap_or_else(|| Arc::new(known.pulse.clone()));
            known.users = Arc::downgrade(&users);
            return Link(users);
        }
        let (sender, pulse) = watch::channel(Pulse::Unknown);
        let users = Arc::new(pulse.clone());
        watched.insert(to.node, Watched { pulse, users: Arc::downgrade(&users) });
        drop(watched);
        let (peers, to) = (self.clone(), to.clone());
        self.host.process.spawn("pop-peer", async move { peers.watch(to, sender).await });
        Link(users)
    }

    async fn watch(self, to: Dispatcher, pulse: watch::Sender<Pulse>) {
        let mut heard = Instant::now();
        let mut used = Instant::now();
        let mut answers = 0;
        loop {
            let began = Instant::now();
            match self.ping(&to, began + SILENCE_MAX / 2).await {
                Some(true) => {
                    heard = Instant::now();
                    answers += 1;
                    pulse.send_replace(Pulse::Alive(answers));
                }
                Some(false) => drop(pulse.send_replace(Pulse::Dead)),
                None if heard.elapsed() >= SILENCE_MAX => drop(pulse.send_replace(Pulse::Dead)),
                None => {}
            }
            tokio::time::sleep_until(began + HEARTBEAT_INTERVAL).await;
            if self.is_used(&to) {
                used = Instant::now();
            } else if used.elapsed() >= LINGER && self.forget(&to) {
                return;
            }
        }
    }

    /// Whether it is the node that was meant; `None` for no answer.
    async fn ping(&self, to: &Dispatcher, until: Instant) -> Option<bool> {
        let request = PingRequest { envelope: Some(self.host.envelope()) };
        match self.host.network.call(&Link::peer(to), PING, &request, CallOptions::until(until)).await {
            Ok(answer) => Some(answer.node == to.node),
            // It lives, and refuses this server's map.
            Err(error) if !error::is_silence(&error) => Some(true),
            Err(_) => None,
        }
    }

    fn is_used(&self, to: &Dispatcher) -> bool {
        let watched = self.watched.lock().expect("nobody panics while holding it");
        watched.get(&to.node).is_some_and(|known| known.users.strong_count() > 0)
    }

    /// True unless somebody has begun to use it meanwhile.
    fn forget(&self, to: &Dispatcher) -> bool {
        let mut watched = self.watched.lock().expect("nobody panics while holding it");
        if watched.get(&to.node).is_some_and(|known| known.users.strong_count() > 0) {
            return false;
        }
        watched.remove(&to.node);
        true
    }
}
