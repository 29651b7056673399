//! The transport port as messages with latency: in order per direction, cut on request, deterministic.
//!
//! One task, outside every process, carries all messages (`fabric`). What a process sends or answers runs in tasks of
//! that process, so a crash or pause takes it along (`outgoing`, `incoming`).
//!
//! Like TCP: a cut stalls a link and loses nothing that a heal within the timeout cannot deliver; after the timeout
//! its calls and streams are reset on both sides. A process that is gone refuses; its streams are reset.

mod cuts;
mod exchange;
mod fabric;
mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;
mod trouble;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_ports::{Network, Router};
use trunkline_types::{ClusterMap, DatacenterName};

pub use cuts::Side;

use crate::process::SimulatedProcess;
use crate::random::Random;
use fabric::Fabric;
use outgoing::Outgoing;

/// Frames that a stream has under way in one direction before its sender waits.
const STREAM_FRAMES_MAX: usize = 1_024;
/// A cut link resets what runs over it after this long, as keepalive does in production.
const RESET_AFTER: Duration = Duration::from_secs(2);

/// All datacenters and everything between them. Cheap to clone.
#[derive(Clone)]
pub struct SimulatedNetwork {
    fabric: Arc<Fabric>,
}

impl fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedNetwork")
    }
}

impl SimulatedNetwork {
    /// Must be called on the runtime that the simulation runs on. Latency is zero until it is set.
    pub fn new(random: &Random) -> Self {
        Self { fabric: Fabric::start(random.fork("network")) }
    }

    /// Takes round trips and addresses from a map. Half a round trip is the latency of each way.
    pub fn follow(&self, map: &ClusterMap) {
        for a in &map.datacenters {
            for b in &map.datacenters {
                self.set_latency(&a.name, &b.name, map.round_trip(&a.name, &b.name) / 2);
            }
        }
        for node in &map.nodes {
            self.fabric.declare(&node.address, &node.name, &node.datacenter);
        }
    }

    /// One way, `from` to `to`; both may be the same datacenter.
    pub fn set_latency(&self, from: &DatacenterName, to: &DatacenterName, latency: Duration) {
        self.fabric.with(|state| state.set_latency(from, to, latency));
    }

    /// Each message takes up to so much longer, at random; order per direction is kept.
    pub fn set_jitter(&self, jitter: Duration) {
        self.fabric.with(|state| state.jitter = jitter);
    }

    /// A start of a node. `name` is its name in the map, the same at each start; crashes are seen by the network.
    pub fn process(&self, name: &str, datacenter: &DatacenterName) -> SimulatedProcess {
        let (number, random) = self.fabric.arrive(name, datacenter);
        let process = SimulatedProcess::new(name, random, self.fabric.origin());
        self.fabric.with(|state| state.processes.insert(number, process.clone()));
        let fabric = Arc::downgrade(&self.fabric);
        process.on_end(move || {
            if let Some(fabric) = fabric.upgrade() {
                fabric.leave(number);
            }
        });
        process
    }

    /// What a process calls others through.
    pub fn network(&self, process: &SimulatedProcess) -> Network {
        Network::new(Outgoing::new(self.fabric.clone(), process.clone()))
    }

    /// From now on `address` is answered by `process`, until that ends.
    pub fn listen(&self, process: &SimulatedProcess, address: &str, router: Router) {
        self.fabric.listen(process, address, router);
    }

    /// Nothing goes from `from` to `to` any more. What is under way waits; after a while it is reset.
    pub fn cut_one_way(&self, from: &Side, to: &Side) {
        self.fabric.cut(from, to);
    }

    /// Nothing goes between the two any more, either way.
    pub fn cut(&self, a: &Side, b: &Side) {
        self.fabric.cut(a, b);
        self.fabric.cut(b, a);
    }

    /// From now on a message from `from` to `to` takes so much longer.
    pub fn slow_one_way(&self, from: &Side, to: &Side, extra: Duration) {
        self.fabric.with(|state| state.trouble.slow(from, to, extra));
    }

    /// From now on one message in `one_in` from `from` to `to` is lost. Its call or stream is reset on both sides, as
    /// TCP loses a message only with its connection.
    pub fn lose_one_way(&self, from: &Side, to: &Side, one_in: u64) {
        self.fabric.with(|state| state.trouble.lose(from, to, one_in));
    }

    /// Undoes all of the above between the same two, such as [`SimulatedNetwork::cut`] and [`SimulatedNetwork::cut_one_way`] of the same two.
    pub fn heal(&self, a: &Side, b: &Side) {
        self.fabric.heal(|from, to| (from == a && to == b) || (from == b && to == a));
    }

    pub fn heal_all(&self) {
        self.fabric.heal(|_, _| true);
    }

    /// Time since the simulation began.
    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.fabric.origin())
    }

    /// A hash of every message that was delivered so far: when, between whom, what. Two runs that agree on it have
    /// had the same history.
    pub fn fingerprint(&self) -> u64 {
        self.fabric.with(|state| state.fingerprint)
    }

    /// How many messages were delivered so far.
    pub fn deliveries(&self) -> u64 {
        self.fabric.with(|state| state.deliveries)
    }
}
