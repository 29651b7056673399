//! A whole cluster: every service in every datacenter, on memory disks that survive a crash.

mod maps;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use trunkline_runtime::Service;
use trunkline_testkit::network::Side;
use trunkline_testkit::{
    Client, MemoryStorage, Random, SimulatedNode, SimulatedProcess, eventually, fixture,
};
use trunkline_types::{ClusterMap, DatacenterName, Node, NodeId, Role, hash64};

use self::maps::KnownMap;
use crate::parts::{self, AsTheyAre, Options, Parts};
use crate::simulation::World;

const START_MAX: Duration = Duration::from_secs(60);
const SYNC: Duration = Duration::from_millis(1);

/// All nodes of a map, and a push and a pop server in each datacenter.
pub struct Cluster {
    world: World,
    map: ClusterMap,
    parts: Arc<dyn Parts>,
    options: Options,
    nodes: BTreeMap<String, Node>,
    disks: BTreeMap<String, Disk>,
    running: BTreeMap<String, Running>,
    /// Where clients run; it never ends.
    clients: SimulatedProcess,
}

struct Disk {
    storage: MemoryStorage,
    random: Random,
    starts: u32,
    map: KnownMap,
    /// How often it was lost.
    lost: u32,
}

struct Running {
    node: SimulatedNode,
    /// `None` until it has started.
    service: Arc<Mutex<Option<Service>>>,
}

impl Running {
    fn is_ready(&self) -> bool {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        service.as_ref().is_some_and(|service| (service.ready)())
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.running.keys()).finish()
    }
}

impl Cluster {
    /// Starts every node, as production has it, and waits until all are ready.
    ///
    /// # Panics
    /// If one does not start.
    pub async fn start(world: &World, map: &ClusterMap) -> Self {
        let mut cluster = Self::of(world, map, Arc::new(AsTheyAre), Options::default());
        cluster.begin_all().await;
        cluster
    }

    /// A cluster of which nothing runs yet.
    pub fn of(world: &World, map: &ClusterMap, parts: Arc<dyn Parts>, options: Options) -> Self {
        world.network.follow(map);
        let stateless = map.datacenters.iter().flat_map(|datacenter| {
            [Role::Push, Role::Pop].map(|role| fixture::node(role, &datacenter.name, 1))
        });
        let nodes: Vec<Node> = map.nodes.iter().cloned().chain(stateless).collect();
        let disk = |name: &str| Disk {
            storage: MemoryStorage::new().with_sync_latency(SYNC),
            random: world.random.fork(name),
            starts: 0,
            map: KnownMap::new(map.clone()),
            lost: 0,
        };
        Self {
            world: world.clone(),
            map: map.clone(),
            parts,
            options,
            disks: nodes.iter().map(|node| (node.name.clone(), disk(&node.name))).collect(),
            nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(),
            running: BTreeMap::new(),
            clients: world.network.process("clients", &map.datacenters[0].name),
        }
    }

    /// Starts every node that does not run, and waits until all are ready.
    ///
    /// # Panics
    /// If one does not start.
    pub async fn begin_all(&mut self) {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names.iter().filter(|name| !self.running.contains_key(*name)).collect::<Vec<_>>() {
            self.begin(name);
        }
        self.wait_until_ready().await;
    }

    /// The newest that is known to be in force.
    pub fn map(&self) -> &ClusterMap {
        &self.map
    }

    pub fn set_map(&mut self, map: ClusterMap) {
        self.map = map;
    }

    /// A node that does not run loses its disk: with an empty one it is another node, which is returned.
    ///
    /// # Panics
    /// If it runs.
    pub fn lose_disk(&mut self, name: &str) -> Node {
        assert!(!self.running.contains_key(name), "{name} runs");
        let disk = self.disks.get_mut(name).expect("every node has a disk");
        (disk.storage, disk.starts) = (MemoryStorage::new().with_sync_latency(SYNC), 0);
        (disk.map, disk.lost) = (KnownMap::new(ClusterMap::default()), disk.lost + 1);
        let node = self.nodes.get_mut(name).expect("it is there");
        node.id = NodeId(hash64(format!("{name}, disk {}", disk.lost).as_bytes()));
        self.world.tell(format_args!("{name} has lost its disk"));
        node.clone()
    }

    /// A figure of a node that runs and has begun its work.
    pub fn figure(&self, name: &str, figure: &str) -> Option<f64> {
        let service = self.running.get(name)?.service.lock().unwrap_or_else(PoisonError::into_inner);
        (service.as_ref()?.status)().figures.get(figure).copied()
    }

    /// Of all nodes, whether they run or not.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    pub fn node(&self, name: &str) -> &Node {
        &self.nodes[name]
    }

    pub fn is_running(&self, name: &str) -> bool {
        self.running.contains_key(name)
    }

    /// The boot counter of a node that runs.
    pub fn boot_of(&self, node: NodeId) -> Option<u32> {
        let identity = |running: &Running| (running.node.host.identity.node, running.node.host.identity.boot);
        self.running.values().map(identity).find(|(id, _)| *id == node).map(|(_, boot)| boot.counter)
    }

    /// What a node has on its disk.
    pub fn disk(&self, name: &str) -> &MemoryStorage {
        &self.disks[name].storage
    }

    /// Starts a node on what is on its disk. If its service does not start, the run fails.
    ///
    /// # Panics
    /// If it runs.
    pub fn begin(&mut self, name: &str) {
        assert!(!self.running.contains_key(name), "{name} runs");
        let node = &self.nodes[name];
        let disk = self.disks.get_mut(name).expect("every node has a disk");
        disk.starts += 1;
        self.world.tell(format_args!("{name} starts, {}", disk.starts));
        let storage = disk.storage.reopen();
        let started = SimulatedNode::start(&self.world.network, &disk.map.get(), node, disk.starts);
        let learner = disk.map.learner(started.maps());
        storage.belongs_to(&started.process, disk.random.clone());
        let service = Arc::new(Mutex::new(None));
        // In a task of the node's process, as in production.
        let (host, parts, options) = (started.host.clone(), self.parts.clone(), self.options.clone());
        let (node, running) = (started.listener(), service.clone());
        let voters = self.map.nodes_of(Role::MessageId).map(|node| node.address.clone()).collect();
        started.host.process.spawn("follow map", learner.clone().follow(host.clone(), voters));
        started.host.process.spawn("start", async move {
            let (name, id, role) = (host.identity.name.clone(), host.identity.node, host.identity.role);
            if host.map.clone().wait_for(|map| map.has_work_for(id, role)).await.is_err() {
                return;
            }
            let own = maps::router(&host);
            let process = host.process.clone();
            let started = parts::start(parts.as_ref(), options, host, Arc::new(storage)).await;
            let parts::Started { service, router, map_committed } =
                started.unwrap_or_else(|why| panic!("{name}: {why}"));
            node.listen(router.merge(own));
            if let Some(committed) = map_committed {
                process.spawn("committed map", learner.take(committed));
            }
            *running.lock().unwrap_or_else(PoisonError::into_inner) = Some(service);
        });
        self.running.insert(name.to_owned(), Running { node: started, service });
    }

    /// Waits until all that runs says it is ready.
    pub async fn wait_until_ready(&self) {
        for (name, running) in &self.running {
            let ready = async || running.is_ready().then_some(());
            eventually(START_MAX, &format!("{name} to be ready"), ready).await;
        }
        self.world.tell("all are ready");
    }

    /// kill -9 of the machine: what was not synced may be lost.
    ///
    /// # Panics
    /// If it does not run.
    pub fn crash(&mut self, name: &str) {
        let running = self.running.remove(name).unwrap_or_else(|| panic!("{name} does not run"));
        running.node.process.crash();
        self.world.tell(format_args!("{name} crashes"));
    }

    /// The process of a node that runs, to be paused and the like.
    pub fn process(&self, name: &str) -> Option<&SimulatedProcess> {
        self.running.get(name).map(|running| &running.node.process)
    }

    /// # Panics
    /// If a process has ended by itself.
    pub fn assert_alive(&self) {
        for (name, running) in &self.running {
            assert_eq!(running.node.process.why_ended(), None, "{name} has ended itself");
        }
    }

    pub fn cut_off(&self, datacenter: &str) {
        self.world.network.cut(&Side::datacenter(datacenter), &Side::Others);
        self.world.tell(format_args!("{datacenter} is cut off"));
    }

    pub fn heal(&self) {
        self.world.network.heal_all();
        self.world.tell("healed");
    }

    /// Where clients' tasks run.
    pub fn clients(&self) -> &SimulatedProcess {
        &self.clients
    }

    /// A client at each datacenter, in the map's order, beside its servers: a cut between datacenters does not part
    /// them.
    pub fn clients_everywhere(&self) -> Vec<Client> {
        let client = |datacenter: &DatacenterName| self.client(datacenter, datacenter);
        self.map.datacenters.iter().map(|datacenter| client(&datacenter.name)).collect()
    }

    /// A client that runs in one datacenter and calls the servers of another, or of its own.
    pub fn client(&self, from: &DatacenterName, to: &DatacenterName) -> Client {
        let process = self.world.network.process(&format!("{from}-client"), from);
        let address = |role| fixture::node(role, to, 1).address;
        let network = self.world.network.network(&process);
        Client::new(&to.0, network, &address(Role::Push), &address(Role::Pop))
    }

    /// The nodes that run.
    pub fn live(&self) -> BTreeSet<&str> {
        self.running.keys().map(String::as_str).collect()
    }
}
