//! Draws faults, one after another, until its time is over; several may be at work on one cluster.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline_testkit::Random;
use trunkline_types::{Node, Role};

use super::Kind;
use crate::cluster::Cluster;
use crate::oracle::{Fault, Oracle};
use crate::plan::Plan;
use crate::rare::Rare;
use crate::simulation::World;

/// Between two faults of one injector.
const GAP_MS: u64 = 3_000;

/// Does faults to a cluster, and writes them down.
#[derive(Clone, Debug)]
pub struct Injector {
    pub(super) world: World,
    pub(super) cluster: Arc<Mutex<Cluster>>,
    pub(super) oracle: Oracle,
    pub(super) rare: Rare,
    pub(super) random: Random,
    pub(super) plan: Arc<Plan>,
    /// Nodes that something is being done to.
    pub(super) busy: Arc<Mutex<BTreeSet<String>>>,
    /// Somebody's disk was lost, and it is not made good yet.
    pub(super) disk_is_lost: Arc<AtomicBool>,
}

/// A fault that is at work, by its place in the record.
#[derive(Debug)]
pub(super) struct Begun(usize);

impl Injector {
    pub fn new(
        world: &World,
        cluster: &Arc<Mutex<Cluster>>,
        oracle: &Oracle,
        rare: &Rare,
        plan: &Arc<Plan>,
    ) -> Self {
        Self {
            world: world.clone(),
            cluster: cluster.clone(),
            oracle: oracle.clone(),
            rare: rare.clone(),
            random: world.random.fork("injector"),
            plan: plan.clone(),
            busy: Arc::default(),
            disk_is_lost: Arc::default(),
        }
    }

    /// Another one on the same cluster.
    #[must_use]
    pub fn another(&self, name: &str) -> Self {
        Self { random: self.world.random.fork(name), ..self.clone() }
    }

    /// One fault after another until `until`; none is at work any more when this returns.
    pub async fn run(&self, until: Instant) {
        loop {
            self.wait(500, GAP_MS).await;
            if Instant::now() >= until {
                return;
            }
            if let Some(kind) = self.random.pick(&self.plan.kinds).copied() {
                self.inject(kind).await;
            }
        }
    }

    async fn inject(&self, kind: Kind) {
        match kind {
            Kind::Crash => self.crash().await,
            Kind::Pause => self.pause().await,
            Kind::VoterAway => self.away(Role::MessageId, kind).await,
            Kind::StoreAway => self.away(Role::MessageStore, kind).await,
            Kind::RelaySwitch => self.relay_switch().await,
            Kind::LeaderChange => self.leader_change().await,
            Kind::Clock => self.clock().await,
            Kind::DiskLost => self.disk_lost().await,
            Kind::CutNodes => self.cut_nodes().await,
            Kind::CutDatacenters => self.cut_datacenters().await,
            Kind::OneWay => self.one_way().await,
            Kind::Slow => self.slow().await,
            Kind::Lost => self.lost().await,
            Kind::Bridge => self.bridge().await,
            Kind::Outage => self.outage().await,
            Kind::OutageTwice => self.outage_twice().await,
            Kind::OutageInCatchUp => self.outage_in_catch_up().await,
        }
    }

    pub(super) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn busy(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits from `least` to `most` milliseconds.
    pub(super) async fn wait(&self, least: u64, most: u64) {
        sleep(Duration::from_millis(least + self.random.below(most - least))).await;
    }

    pub(super) fn begins(
        &self,
        kind: Kind,
        nodes: impl IntoIterator<Item = String>,
        datacenters: impl IntoIterator<Item = String>,
        what: &str,
    ) -> Begun {
        let (nodes, datacenters) = (nodes.into_iter().collect(), datacenters.into_iter().collect());
        self.world.tell(format_args!("{kind}: {what}"));
        let fault = Fault { kind, from: self.oracle.now(), until: None, nodes, datacenters };
        self.oracle.with(|record| {
            record.faults.push(fault);
            Begun(record.faults.len() - 1)
        })
    }

    pub(super) fn ends(&self, Begun(at): Begun) {
        let now = self.oracle.now();
        let kind = self.oracle.with(|record| {
            record.faults[at].until = Some(now);
            record.faults[at].kind
        });
        self.world.tell(format_args!("{kind} is over"));
    }

    /// Any node that runs, that nothing is being done to, and that `wanted` takes.
    pub(super) fn any_node(&self, wanted: impl Fn(&Node) -> bool) -> Option<String> {
        let cluster = self.cluster();
        let busy = self.busy();
        let live = cluster.live().into_iter().filter(|name| !busy.contains(*name));
        let fitting: Vec<&str> = live.filter(|name| wanted(cluster.node(name))).collect();
        self.random.pick(&fitting).map(|name| (*name).to_owned())
    }

    pub(super) fn any_datacenter(&self) -> &'static str {
        self.random.pick(&self.plan.topology.datacenters).copied().expect("there is one")
    }

    /// Two different ones.
    pub(super) fn two_datacenters(&self) -> (&'static str, &'static str) {
        let all = &self.plan.topology.datacenters;
        let one = crate::plan::index(&self.random, all.len());
        let other = (one + 1 + crate::plan::index(&self.random, all.len() - 1)) % all.len();
        (all[one], all[other])
    }

    /// Crashes a node that runs, and marks it as busy.
    pub(super) fn take_down(&self, name: &str) {
        self.cluster().crash(name);
        self.busy().insert(name.to_owned());
    }

    pub(super) fn bring_up(&self, name: &str) {
        self.cluster().begin(name);
        self.busy().remove(name);
    }
}
