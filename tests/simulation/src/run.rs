//! One seed: a cluster under load, a phase with faults, a phase without new ones, the return of all, the checks.

mod liveness;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::Level;
use trunkline_testkit::Random;
use trunkline_testkit::network::Side;
use trunkline_types::{Node, Role};

use crate::check;
use crate::cluster::Cluster;
use crate::faults::{Injector, Kind};
use crate::load::{FIRST, Load};
use crate::oracle::{Copies, Deployment, Disks, Fault, Message, Oracle, Outcome, Push, Record};
use crate::parts::{AsTheyAre, Parts};
use crate::plan::{Plan, StaysDead, Topology, index};
use crate::rare::{Rare, State};
use crate::simulation::World;

/// How often what services tell is looked at.
const LISTEN: Duration = Duration::from_millis(100);
/// For the answers of pushes that are under way when pushing ends: what they tell belongs to the record.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// Load goes on for so long after the last fault.
const AFTER_FAULTS: Duration = Duration::from_secs(4);

/// What nobody waits for any more still gets its ID within this.
const COMES_TO_REST: Duration = Duration::from_secs(8);
/// What is older than its topic keeps messages leaves all disks within this.
const LEAVES_WITHIN: Duration = Duration::from_secs(30);

/// What became of a seed.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    pub plan: String,
    pub simulated: Duration,
    /// With faults, of that.
    pub with_faults: Duration,
    pub acked: usize,
    pub unknown: usize,
    pub failed: usize,
    pub faults: BTreeMap<Kind, u64>,
    pub rare: BTreeMap<State, u64>,
    /// How long it took, at most, until all was ordered and delivered.
    pub settled_in: Duration,
    pub wrong: Vec<String>,
}

/// Runs the production services under what the seed has chosen.
pub async fn explore(world: World) -> Outcomes {
    explore_with(world, Arc::new(AsTheyAre)).await
}

/// The same with something replaced: what is wrong is in the outcome.
pub async fn explore_with(world: World, parts: Arc<dyn Parts>) -> Outcomes {
    let plan = Arc::new(Plan::new(&world.random));
    world.tell(&*plan);
    let run = Run::begin(&world, &plan, parts).await;
    run.phases().await
}

pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) plan: Arc<Plan>,
    pub(crate) cluster: Arc<Mutex<Cluster>>,
    pub(crate) oracle: Oracle,
    pub(crate) rare: Rare,
    load: Load,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Run {
    async fn begin(world: &World, plan: &Arc<Plan>, parts: Arc<dyn Parts>) -> Self {
        let map = plan.map();
        let mut cluster = Cluster::of(world, &map, parts, plan.options());
        world.network.set_jitter(plan.topology.jitter);
        cluster.begin_all().await;
        let (deployment, disks) = eyes(&plan.topology, &cluster);
        let oracle = Oracle::new(world, deployment, disks);
        oracle.with(|record| {
            record.brief.kept_for = plan.kept_for;
            record.clocks = map.nodes_of(Role::MessageId).count();
        });
        let load = Load::start(world, &cluster, plan, &oracle).await;
        let errors: Arc<Mutex<Vec<String>>> = Arc::default();
        let rare = Rare::default();
        let clients = cluster.clients().process();
        let cluster = Arc::new(Mutex::new(cluster));
        let (heard, ears, eyes) = (rare.clone(), world.clone(), oracle.clone());
        let (listened, told) = (cluster.clone(), errors.clone());
        clients.spawn("listener", async move {
            loop {
                tokio::time::sleep(LISTEN).await;
                let cluster = listened.lock().unwrap_or_else(PoisonError::into_inner);
                for said in ears.heard.take() {
                    if said.level == Level::ERROR {
                        let line =
                            format!("{} says at {} ms: {}", said.node, said.at.as_millis(), said.message);
                        told.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                    }
                    heard.hear(&said, &cluster, &eyes);
                }
            }
        });
        Self { world: world.clone(), plan: plan.clone(), cluster, oracle, rare, load, errors }
    }

    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn phases(self) -> Outcomes {
        self.faults().await;
        let begun = self.oracle.now();
        let standing = self.stand().await;
        self.load_ends().await;
        if let Some(dead) = standing {
            self.settle("while some stay dead").await;
            self.revive(&dead);
            self.load.push_again();
            self.load_ends().await;
        }
        self.settle("all has returned").await;
        tokio::time::sleep(COMES_TO_REST).await;
        self.load.read_everything(Duration::from_secs(60)).await;
        let copies = self.all_that_is_kept().await;
        self.oracle.with(|record| record.copies_at_the_end = copies);
        self.cluster().assert_alive();
        self.outcomes(begun)
    }

    /// What is on disk at the end, once what is kept no more has left; what has not within the bound is noted.
    async fn all_that_is_kept(&self) -> BTreeMap<Message, Copies> {
        let until = Instant::now() + self.plan.kept_for + LEAVES_WITHIN;
        loop {
            let copies = self.oracle.disks().read().await;
            let left = copies.range(Message(FIRST)..).filter(|(message, _)| {
                self.oracle.with(|record| {
                    let at = usize::try_from(message.0 - FIRST).unwrap_or(usize::MAX);
                    record.brief.pushes.get(at).is_some_and(|push| push.is_kept)
                })
            });
            let left = left.count();
            if left == 0 || Instant::now() >= until {
                self.oracle.with(|record| record.brief.left = left);
                return copies;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// The phase with faults; all are undone at its end.
    async fn faults(&self) {
        let first = Injector::new(&self.world, &self.cluster, &self.oracle, &self.rare, &self.plan);
        let second = first.another("second injector");
        let until = Instant::now() + self.plan.with_faults;
        tokio::join!(first.run(until), second.run(until), tokio::time::sleep_until(until));
        self.world.network.heal_all();
        self.world.tell("no new faults");
    }

    /// What stays wrong, from now on: those that stay dead, of a bridge nobody; `None` where nothing does.
    async fn stand(&self) -> Option<Vec<String>> {
        let random = self.world.random.fork("who stays dead");
        let names_of = |wanted: &dyn Fn(&Node) -> bool| -> Vec<String> {
            let cluster = self.cluster();
            cluster.names().filter(|name| wanted(cluster.node(name))).map(str::to_owned).collect()
        };
        let (kind, dead) = match self.plan.stays_dead {
            StaysDead::Nothing => return None,
            StaysDead::Bridge => {
                self.bridge(&random);
                return Some(Vec::new());
            }
            StaysDead::Store => {
                let store = random.pick(&names_of(&|node| node.role == Role::MessageStore)).cloned()?;
                if self.plan.topology.datacenters.len() > 1 && random.one_in(2) {
                    self.alone_before_it_dies(&random, &store).await;
                }
                (Kind::Crash, vec![store])
            }
            StaysDead::Datacenter => {
                let datacenter = random.pick(&self.plan.topology.datacenters).copied().unwrap_or_default();
                (Kind::Outage, names_of(&|node| node.datacenter.0 == datacenter))
            }
        };
        let mut cluster = self.cluster();
        dead.iter().for_each(|name| cluster.crash(name));
        self.world.network.heal_all();
        let datacenters = dead.iter().map(|name| cluster.node(name).datacenter.0.clone()).collect();
        self.note(kind, dead.iter().cloned().collect(), datacenters);
        Some(dead)
    }

    /// The store's datacenter is cut off for a while, so that what the store takes with it only its sibling has.
    async fn alone_before_it_dies(&self, random: &Random, store: &str) {
        let datacenter = self.cluster().node(store).datacenter.0.clone();
        self.world.network.cut(&Side::datacenter(datacenter.as_str()), &Side::Others);
        self.world.tell(format_args!("{datacenter} is cut off until {store} dies"));
        let at = self.note(Kind::CutDatacenters, BTreeSet::new(), BTreeSet::from([datacenter]));
        tokio::time::sleep(Duration::from_millis(1_000 + random.below(5_000))).await;
        let now = self.oracle.now();
        self.oracle.with(|record| record.faults[at].until = Some(now));
    }

    /// Two datacenters see each other no more, and both see the third.
    fn bridge(&self, random: &Random) {
        let mut datacenters = self.plan.topology.datacenters.clone();
        datacenters.remove(index(random, datacenters.len()));
        let [one, other] = [0, 1].map(|at| Side::datacenter(datacenters[at]));
        self.world.network.cut(&one, &other);
        self.world.tell(format_args!("{one:?} and {other:?} see each other no more"));
        self.note(Kind::Bridge, BTreeSet::new(), datacenters.into_iter().map(str::to_owned).collect());
    }

    /// Writes a fault down that has begun; its place in the record.
    fn note(&self, kind: Kind, nodes: BTreeSet<String>, datacenters: BTreeSet<String>) -> usize {
        let fault = Fault { kind, from: self.oracle.now(), until: None, nodes, datacenters };
        self.oracle.with(|record| {
            record.faults.push(fault);
            record.faults.len() - 1
        })
    }

    fn revive(&self, dead: &[String]) {
        self.world.network.heal_all();
        let mut cluster = self.cluster();
        dead.iter().for_each(|name| cluster.begin(name));
        let now = self.oracle.now();
        self.oracle.with(|record| record.faults.last_mut().map(|fault| fault.until = Some(now)));
        self.world.tell("all return");
    }

    async fn load_ends(&self) {
        tokio::time::sleep(AFTER_FAULTS).await;
        self.load.stop_pushing();
        let until = Instant::now() + LAST_ANSWERS;
        let waits = |push: &Push| matches!(push.outcome, Outcome::Waiting);
        while Instant::now() < until && self.oracle.with(|record| record.pushes.iter().any(waits)) {
            tokio::time::sleep(LISTEN).await;
        }
        self.world.tell("pushing ends");
    }

    fn outcomes(&self, begun: Duration) -> Outcomes {
        self.oracle.with(|record| {
            self.rare.look_back(record);
            let mut wrong: Vec<String> = check::all(record).iter().map(ToString::to_string).collect();
            wrong.extend(self.errors.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
            let count = |wanted: fn(&Outcome) -> bool| {
                record.pushes.iter().filter(|push| wanted(&push.outcome)).count()
            };
            Outcomes {
                plan: self.plan.to_string(),
                simulated: self.oracle.now(),
                with_faults: begun,
                acked: count(|outcome| matches!(outcome, Outcome::Acked(_))),
                unknown: count(|outcome| matches!(outcome, Outcome::Unknown(_) | Outcome::Waiting)),
                failed: count(|outcome| matches!(outcome, Outcome::Refused(_))),
                faults: faults(record),
                rare: self.rare.times(),
                settled_in: record.settled.iter().map(|settled| settled.took).max().unwrap_or_default(),
                wrong,
            }
        })
    }
}

fn faults(record: &Record) -> BTreeMap<Kind, u64> {
    let mut times = BTreeMap::new();
    for fault in &record.faults {
        *times.entry(fault.kind).or_default() += 1;
    }
    times
}

/// Who the stores are, and a watch on their disks.
fn eyes(topology: &Topology, cluster: &Cluster) -> (Deployment, Disks) {
    let (mut names, mut stores, mut disks) = (Vec::new(), Vec::new(), Vec::new());
    for (at, datacenter) in topology.datacenters.iter().enumerate() {
        let here = cluster.names().filter(|name| {
            let node = cluster.node(name);
            node.role == Role::MessageStore && node.datacenter.0 == **datacenter
        });
        let here: Vec<String> = here.map(str::to_owned).collect();
        let places = here.iter().enumerate();
        disks.extend(places.map(|(number, name)| ((at, number), cluster.disk(name).clone())));
        names.push((*datacenter).to_owned());
        stores.push(here);
    }
    (Deployment { stores, names }, Disks::watch(disks))
}
