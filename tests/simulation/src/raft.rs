//! Raft nodes alone, with a state machine that remembers what it was given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_ports::{Consensus as _, Group, ProposeError, StateMachine};
use trunkline_testkit::{MapBuilder, MemoryStorage, SimulatedNode};
use trunkline_types::{ClusterMap, GroupId, Node, NodeId, Role};

use crate::simulation::World;

/// A proposal's deadline.
const PATIENCE: Duration = Duration::from_secs(2);
const SYNC: Duration = Duration::from_millis(1);
/// Small, so that a node that was away catches up by snapshot.
const SNAPSHOT_ENTRIES: u64 = 60;
const ENTRIES_KEPT: u64 = 20;

/// What a member has applied, in order.
type Applied = Arc<Mutex<Vec<(u64, String)>>>;

/// One voter in each of three datacenters, and one group.
#[derive(Debug)]
pub struct RaftCluster {
    world: World,
    map: ClusterMap,
    group: GroupId,
    disks: BTreeMap<NodeId, (MemoryStorage, u32)>,
    running: BTreeMap<NodeId, Running>,
    told: Arc<Mutex<Told>>,
}

struct Running {
    node: SimulatedNode,
    group: Arc<dyn Group>,
    applied: Applied,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.node.fmt(f)
    }
}

/// What proposers were told.
#[derive(Debug, Default)]
struct Told {
    committed: BTreeMap<String, u64>,
    refused: Vec<String>,
    unknown: Vec<String>,
}

impl RaftCluster {
    /// # Panics
    /// If a node does not start.
    pub async fn start(world: &World) -> Self {
        let map = MapBuilder::three_datacenters().build();
        world.network.follow(&map);
        world.network.set_jitter(Duration::from_millis(3));
        let group = GroupId::ordering(0);
        let mut cluster = Self {
            world: world.clone(),
            map,
            group,
            disks: BTreeMap::new(),
            running: BTreeMap::new(),
            told: Arc::default(),
        };
        let voters = cluster.voters();
        for node in &voters {
            cluster.disks.insert(node.id, (MemoryStorage::new().with_sync_latency(SYNC), 0));
            cluster.begin(node).await;
        }
        cluster
    }

    /// In the map's order of datacenters.
    pub fn voters(&self) -> Vec<Node> {
        self.map.nodes_of(Role::MessageId).cloned().collect()
    }

    /// kill -9 of the machine: what was not synced may be lost.
    pub fn crash(&mut self, node: &Node) {
        let running = self.running.remove(&node.id).expect("it runs");
        running.node.process.crash();
        self.world.tell(format_args!("{} crashes", node.name));
    }

    /// Starts a node on what is on its disk, and lets it propose.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn begin(&mut self, node: &Node) {
        let (disk, starts) = self.disks.get_mut(&node.id).expect("every voter has a disk");
        *starts += 1;
        let storage = disk.reopen();
        let started = SimulatedNode::start(&self.world.network, &self.map, node, *starts);
        storage.belongs_to(&started.process, self.world.random.clone());
        self.world.tell(format_args!("{} starts, {starts}", node.name));
        let options = trunkline_consensus::Options {
            snapshot_entries: SNAPSHOT_ENTRIES,
            entries_kept: ENTRIES_KEPT,
            ..trunkline_consensus::Options::default()
        };
        let opened = trunkline_consensus::open(
            started.host.clone(),
            Arc::new(storage),
            options,
            std::future::pending(),
        );
        let (consensus, router) = opened.await.expect("the Raft log opens");
        started.listen(router);
        let applied = Applied::default();
        let machine = Box::new(Remembers { applied: applied.clone() });
        let group = consensus.start(self.group, machine).await.expect("the group starts");
        let running = Running { node: started, group, applied };
        self.propose_steadily(node, &running);
        self.running.insert(node.id, running);
    }

    fn propose_steadily(&self, node: &Node, running: &Running) {
        let (group, world, told) = (running.group.clone(), self.world.clone(), self.told.clone());
        let (name, starts) = (node.name.clone(), self.disks[&node.id].1);
        running.node.host.process.spawn("propose", async move {
            for number in 0_u64.. {
                let entry = format!("{name} {starts} {number}");
                let result = group.propose(Bytes::from(entry.clone()), Instant::now() + PATIENCE).await;
                lock(&told).note(&world, entry, result.map(|committed| committed.index));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// Waits until every node that runs has applied a proposal that begins now, then checks that all have applied
    /// the same, and that it holds all that was committed, at its index, once, and nothing that was refused.
    ///
    /// # Panics
    /// If that is not so.
    pub async fn check(&self) {
        let first = self.running.values().next().expect("a node runs");
        let mut end = Err(ProposeError::NoQuorum(self.group));
        while end.is_err() {
            end = first.group.propose(Bytes::from_static(b"end"), Instant::now() + PATIENCE).await;
        }
        let end = end.expect("left the loop").index;
        let mut logs = Vec::new();
        for running in self.running.values() {
            let mut applied = running.group.applied();
            applied.wait_for(|index| *index >= end).await.expect("the group runs");
            let log: Vec<(u64, String)> =
                lock(&running.applied).iter().filter(|(i, _)| *i <= end).cloned().collect();
            logs.push(log);
        }
        assert!(logs.windows(2).all(|pair| pair[0] == pair[1]), "two nodes have applied different logs");
        let at: BTreeMap<&String, u64> = logs[0].iter().map(|(index, entry)| (entry, *index)).collect();
        let told = lock(&self.told);
        for (entry, index) in told.committed.iter().filter(|(_, index)| **index <= end) {
            assert_eq!(at.get(entry), Some(index), "{entry:?} was committed");
        }
        for entry in &told.refused {
            assert!(!at.contains_key(entry), "{entry:?} was certainly not proposed, and is there");
        }
        let (committed, refused, unknown) = (told.committed.len(), told.refused.len(), told.unknown.len());
        self.world.tell(format_args!("{committed} committed, {refused} refused, {unknown} unknown"));
        assert!(committed > 200, "{committed} committed");
    }
}

impl Told {
    fn note(&mut self, world: &World, entry: String, result: Result<u64, ProposeError>) {
        match result {
            Ok(index) => {
                world.tell(format_args!("{entry} is {index}"));
                let before = self.committed.insert(entry.clone(), index);
                assert_eq!(before, None, "{entry:?} was committed twice");
            }
            Err(ProposeError::Unknown(_)) => {
                world.tell(format_args!("{entry} is unknown"));
                self.unknown.push(entry);
            }
            Err(refusal) => {
                world.tell(format_args!("{entry} is refused: {refusal}"));
                self.refused.push(entry);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers every entry with its index.
struct Remembers {
    applied: Applied,
}

impl StateMachine for Remembers {
    fn apply(&mut self, index: u64, entry: &[u8]) -> Bytes {
        let entry = String::from_utf8_lossy(entry).into_owned();
        lock(&self.applied).push((index, entry));
        Bytes::new()
    }

    fn snapshot(&self) -> Bytes {
        let lines = lock(&self.applied)
            .iter()
            .map(|(index, entry)| format!("{index}\t{entry}\n"))
            .collect::<String>();
        Bytes::from(lines)
    }

    fn restore(&mut self, _index: u64, snapshot: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(snapshot).map_err(|error| error.to_string())?;
        let row = |line: &str| {
            let (index, entry) = line.split_once('\t')?;
            Some((index.parse().ok()?, entry.to_owned()))
        };
        let rows: Option<Vec<(u64, String)>> = text.lines().map(row).collect();
        *lock(&self.applied) = rows.ok_or("a line that is none")?;
        Ok(())
    }
}
