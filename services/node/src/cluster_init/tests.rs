use std::sync::Arc;

use trunkline_ports::{Host, Identity, Traces};
use trunkline_testkit::{MapBuilder, Random, SimulatedNetwork, SimulatedProcess};
use trunkline_types::{Boot, ClusterId};
use trunkline_wire::internal::GetStatusResponse;

use super::*;
use crate::known_map::KnownMap;
use crate::node_service;

/// Nodes without services, whose group 0 has committed whatever map they know.
struct World {
    network: SimulatedNetwork,
    file: MapFile,
    nodes: Vec<(SimulatedProcess, Arc<KnownMap>)>,
    operator: SimulatedProcess,
}

impl World {
    fn new() -> Self {
        let network = SimulatedNetwork::new(&Random::new(7));
        let map = MapBuilder::three_datacenters().build();
        network.follow(&map);
        let nodes = map.nodes.iter().map(|node| FirstNode {
            name: node.name.clone(),
            role: node.role,
            datacenter: node.datacenter.clone(),
            address: node.address.clone(),
        });
        let file = MapFile {
            name: "test".to_owned(),
            replicas_per_datacenter: 2,
            voters_per_datacenter: 1,
            buckets: 256,
            ordering_groups: 4,
            position_groups: 4,
            datacenters: map.datacenters.clone(),
            nodes: nodes.collect(),
        };
        let operator = network.process("operator", &"nyc".into());
        let mut world = Self { network, file, nodes: Vec::new(), operator };
        for index in 0..world.file.nodes.len() {
            world.begin(index, "test");
        }
        world
    }

    /// Starts a node; its id is its place in the file.
    fn begin(&mut self, index: usize, cluster: &str) {
        let node = self.file.nodes[index].clone();
        let process = self.network.process(&node.name, &node.datacenter);
        let known = Arc::new(KnownMap::open(&node.name, None, cluster, None).expect("no map yet"));
        let identity = Identity {
            node: NodeId(index as u64 + 1),
            boot: Boot { counter: 1, random: 1 },
            role: node.role,
            datacenter: node.datacenter.clone(),
            address: node.address.clone(),
            name: node.name.clone(),
        };
        let host = Host {
            identity: Arc::new(identity),
            process: process.process(),
            network: self.network.network(&process),
            traces: Traces::default(),
            map: known.watch(),
        };
        let committed = known.clone();
        let status =
            move || GetStatusResponse { map_committed: committed.get().version, ..Default::default() };
        let router = node_service::router(&host, &known, cluster, Arc::new(status));
        self.network.listen(&process, &node.address, router);
        if index < self.nodes.len() {
            self.nodes[index] = (process, known);
        } else {
            self.nodes.push((process, known));
        }
    }

    async fn found(&self) -> Result<ClusterMap, String> {
        let founder = Founder {
            network: self.network.network(&self.operator),
            process: self.operator.process(),
            deadline: Instant::now() + Duration::from_secs(20),
        };
        founder.found(&self.file).await.map_err(|refusal| refusal.to_string())
    }

    fn founders(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.file.nodes.len()).filter(|index| self.file.nodes[*index].role == Role::MessageId)
    }

    fn clusters(&self) -> Vec<ClusterId> {
        self.founders().map(|index| self.nodes[index].1.get().cluster).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_map_reaches_every_message_id_node_and_repeating_changes_nothing() {
    let world = World::new();
    let map = world.found().await.expect("a cluster");
    assert_eq!((map.version, map.nodes.len()), (1, 12));
    assert_eq!(world.clusters(), [map.cluster; 3]);
    assert_eq!(world.found().await, Ok(map));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_init_is_finished_by_the_next_one() {
    let world = World::new();
    let ids: Vec<NodeId> = (1..=12).map(NodeId).collect();
    let given = world.file.map(&ids);
    let first = world.founders().next().expect("message-id nodes");
    world.nodes[first].1.offer(given.clone()).await.expect("taken");
    assert_eq!(world.found().await, Ok(given.clone()));
    assert_eq!(world.clusters(), [given.cluster; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_is_waited_for_and_named() {
    let mut world = World::new();
    world.nodes[5].0.crash();
    let refusal = world.found().await.expect_err("one is missing");
    assert!(refusal.starts_with(&world.file.nodes[5].name), "{refusal}");
    assert_eq!(world.clusters(), [ClusterId(0); 3], "nothing was begun");
    world.begin(5, "test");
    world.found().await.expect("a cluster");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_what_the_file_says_is_refused() {
    let mut world = World::new();
    world.begin(4, "other");
    let refusal = world.found().await.expect_err("another cluster");
    assert!(refusal.contains("its cluster is \"other\", not \"test\""), "{refusal}");
    let mut world = World::new();
    world.file.nodes[4].datacenter = "sea".into();
    let refusal = world.found().await.expect_err("another datacenter");
    assert!(refusal.contains("its datacenter is"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_node_of_another_cluster_is_never_taken_over() {
    let world = World::new();
    let strangers: Vec<NodeId> = (101..=112).map(NodeId).collect();
    let theirs = world.file.map(&strangers);
    let first = world.founders().next().expect("message-id nodes");
    world.nodes[first].1.offer(theirs.clone()).await.expect("taken");
    let refusal = world.found().await.expect_err("the others are not named in its map");
    assert!(refusal.contains("does not name this node"), "{refusal}");
    assert!(world.clusters().contains(&ClusterId(0)), "the others joined nothing");
}

#[tokio::test(start_paused = true)]
async fn a_map_is_taken_only_if_it_is_newer_and_of_the_same_cluster() {
    let world = World::new();
    let ids: Vec<NodeId> = (1..=12).map(NodeId).collect();
    let first = world.file.map(&ids);
    let known = &world.nodes[0].1;
    let newer = ClusterMap { version: 3, ..first.clone() };
    let other = ClusterMap { version: 4, cluster: ClusterId(9), ..first.clone() };
    let renamed = ClusterMap { version: 4, name: "other".to_owned(), ..first.clone() };
    for (map, taken, version) in
        [(&first, true, 1), (&newer, true, 3), (&first, true, 3), (&other, false, 3), (&renamed, false, 3)]
    {
        assert_eq!(known.offer(map.clone()).await.is_ok(), taken);
        assert_eq!(known.get().version, version);
    }
}
