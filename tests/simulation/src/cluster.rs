//! A whole cluster: every service in every datacenter, on memory disks that survive a crash.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use trunkline_ports::{Consensus, Host, Router};
use trunkline_runtime::{Service, Shutdown};
use trunkline_testkit::network::Side;
use trunkline_testkit::{
    Client, MemoryStorage, Random, SimulatedNode, SimulatedProcess, eventually, fixture,
};
use trunkline_types::{ClusterMap, DatacenterName, Node, Role};

use crate::simulation::World;

const START_MAX: Duration = Duration::from_secs(60);
const SYNC: Duration = Duration::from_millis(1);

/// All nodes of a map, and a push and a pop server in each datacenter.
pub struct Cluster {
    world: World,
    map: ClusterMap,
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
}

struct Running {
    node: SimulatedNode,
    service: Service,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.running.keys()).finish()
    }
}

impl Cluster {
    /// Starts every node and waits until all are ready.
    ///
    /// # Panics
    /// If one does not start.
    pub async fn start(world: &World, map: &ClusterMap) -> Self {
        world.network.follow(map);
        let stateless = map.datacenters.iter().flat_map(|datacenter| {
            [Role::Push, Role::Pop].map(|role| fixture::node(role, &datacenter.name, 1))
        });
        let nodes: Vec<Node> = map.nodes.iter().cloned().chain(stateless).collect();
        let disk = |name: &str| Disk {
            storage: MemoryStorage::new().with_sync_latency(SYNC),
            random: world.random.fork(name),
            starts: 0,
        };
        let mut cluster = Self {
            world: world.clone(),
            map: map.clone(),
            disks: nodes.iter().map(|node| (node.name.clone(), disk(&node.name))).collect(),
            nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(),
            running: BTreeMap::new(),
            clients: world.network.process("clients", &map.datacenters[0].name),
        };
        let names: Vec<String> = cluster.nodes.keys().cloned().collect();
        for name in &names {
            cluster.begin(name).await;
        }
        cluster.wait_until_ready().await;
        cluster
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// Starts a node on what is on its disk.
    ///
    /// # Panics
    /// If its service does not start.
    pub async fn begin(&mut self, name: &str) {
        let node = &self.nodes[name];
        let disk = self.disks.get_mut(name).expect("every node has a disk");
        disk.starts += 1;
        self.world.tell(format_args!("{name} starts, {}", disk.starts));
        let storage = disk.storage.reopen();
        let started = SimulatedNode::start(&self.world.network, &self.map, node, disk.starts);
        storage.belongs_to(&started.process, disk.random.clone());
        // In a task of the node's process, as in production.
        let (tell, told) = oneshot::channel();
        let host = started.host.clone();
        started.host.process.spawn("start", async move {
            let _ = tell.send(service(host, storage).await);
        });
        let (service, router) =
            told.await.expect("the process lives").unwrap_or_else(|why| panic!("{name}: {why}"));
        started.listen(router);
        self.running.insert(name.to_owned(), Running { node: started, service });
    }

    /// Waits until all that runs says it is ready.
    pub async fn wait_until_ready(&self) {
        for (name, running) in &self.running {
            let ready = async || (running.service.ready)().then_some(());
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
        let client = |datacenter: &DatacenterName| {
            let process = self.world.network.process(&format!("{datacenter}-client"), datacenter);
            let address = |role| fixture::node(role, datacenter, 1).address;
            let network = self.world.network.network(&process);
            Client::new(&datacenter.0, network, &address(Role::Push), &address(Role::Pop))
        };
        self.map.datacenters.iter().map(|datacenter| client(&datacenter.name)).collect()
    }
}

/// Starts the production service of the node's role; it, and all that it answers.
async fn service(host: Host, storage: MemoryStorage) -> Result<(Service, Router), String> {
    let mut metrics = Registry::default();
    let (shutdown, storage) = (Shutdown::new(), Arc::new(storage));
    let text = |error: &dyn fmt::Display| error.to_string();
    let mut raft = Router::new();
    let started = match host.identity.role {
        Role::Push => trunkline_push::start(host, trunkline_push::Options::default(), shutdown, &mut metrics)
            .await
            .map_err(|error| text(&error))?,
        Role::Pop => trunkline_pop::start(host, trunkline_pop::Options::default(), shutdown, &mut metrics)
            .await
            .map_err(|error| text(&error))?,
        Role::MessageStore => {
            let options = trunkline_message_store::Options::default();
            trunkline_message_store::start(host, storage, options, shutdown, &mut metrics)
                .await
                .map_err(|error| text(&error))?
        }
        Role::SubscriptionPosition => {
            let consensus = consensus(&host, storage, &mut raft).await?;
            trunkline_subscription_position::start(host, consensus, &mut metrics)
                .await
                .map_err(|error| text(&error))?
        }
        Role::MessageId => {
            let consensus = consensus(&host, storage, &mut raft).await?;
            let options = trunkline_message_id::Options::default();
            trunkline_message_id::start(host, consensus, options, shutdown, &mut metrics)
                .await
                .map_err(|error| text(&error))?
                .service
        }
    };
    let router = raft.merge(started.internal.clone()).merge(started.public.clone());
    Ok((started, router))
}

async fn consensus(
    host: &Host,
    storage: Arc<MemoryStorage>,
    raft: &mut Router,
) -> Result<Arc<dyn Consensus>, String> {
    let options = trunkline_consensus::Options::default();
    let opened = trunkline_consensus::open(host.clone(), storage, options, std::future::pending()).await;
    let (node, router) = opened.map_err(|error| error.to_string())?;
    *raft = router;
    Ok(node)
}
