//! Three voters, one per datacenter, on a simulated network and on disks that survive a crash.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_consensus::{Node, Options};
use trunkline_ports::{Consensus as _, Group, StateMachine, Storage};
use trunkline_testkit::network::Side;
use trunkline_testkit::{MapBuilder, MemoryStorage, Random, SimulatedNetwork, SimulatedNode};
use trunkline_types::{ClusterMap, GroupId, NodeId, Role};

pub(crate) const GROUP: GroupId = GroupId::ordering(0);

/// What a voter has applied, readable from outside; it survives nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<BTreeMap<u64, Vec<u8>>>>);

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> BTreeMap<u64, Vec<u8>> {
        self.entries().clone()
    }
}

impl StateMachine for Ledger {
    fn apply(&mut self, index: u64, entry: &[u8]) -> Bytes {
        let mut entries = self.entries();
        assert!(
            entries.keys().next_back().is_none_or(|last| *last < index),
            "entries come once and in order"
        );
        entries.insert(index, entry.to_vec());
        Bytes::copy_from_slice(entry)
    }

    fn snapshot(&self) -> Bytes {
        let mut bytes = Vec::new();
        for (index, entry) in self.entries().iter() {
            bytes.extend(index.to_be_bytes());
            bytes.extend((entry.len() as u64).to_be_bytes());
            bytes.extend(entry);
        }
        bytes.into()
    }

    fn restore(&mut self, _index: u64, mut snapshot: &[u8]) -> Result<(), String> {
        let mut entries = BTreeMap::new();
        while let Some((head, rest)) = snapshot.split_at_checked(16) {
            let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
            let length = usize::try_from(number(&head[8..])).map_err(|error| error.to_string())?;
            let (entry, rest) = rest.split_at_checked(length).ok_or("cut off")?;
            entries.insert(number(&head[..8]), entry.to_vec());
            snapshot = rest;
        }
        *self.entries() = entries;
        Ok(())
    }
}

/// A voter that runs.
pub(crate) struct Voter {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) node: SimulatedNode,
    pub(crate) consensus: Arc<Node>,
    pub(crate) group: Arc<dyn Group>,
    pub(crate) ledger: Ledger,
    stop: watch::Sender<bool>,
}

impl Voter {
    /// Ends its groups, as a process does that is told to stop.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// All of them, and what outlives them.
pub(crate) struct Cluster {
    pub(crate) network: SimulatedNetwork,
    pub(crate) map: ClusterMap,
    pub(crate) random: Random,
    disks: BTreeMap<NodeId, MemoryStorage>,
    starts: u32,
    options: Options,
}

impl Cluster {
    pub(crate) fn new(map: MapBuilder, options: Options) -> Self {
        let map = map.build();
        let random = Random::new(1);
        let network = SimulatedNetwork::new(&random);
        network.follow(&map);
        let disk = || MemoryStorage::new().with_sync_latency(Duration::from_millis(1));
        let disks = map.nodes_of(Role::MessageId).map(|node| (node.id, disk())).collect();
        Self { network, map, random, disks, starts: 0, options }
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        trunkline_placement::voters(&self.map, GROUP).into_iter().map(|node| node.id).collect()
    }

    /// Starts a voter on its disk, or on another storage.
    pub(crate) async fn start_on(&mut self, id: NodeId, storage: Option<Arc<dyn Storage>>) -> Voter {
        self.starts += 1;
        let described = self.map.member(id).expect("a node of the map");
        let node = SimulatedNode::start(&self.network, &self.map, described, self.starts);
        let storage = storage.unwrap_or_else(|| {
            let disk = self.disks[&id].reopen();
            disk.belongs_to(&node.process, self.random.clone());
            Arc::new(disk)
        });
        let (stop, mut told) = watch::channel(false);
        let stopped = async move { drop(told.wait_for(|stop| *stop).await) };
        let opened = trunkline_consensus::open(node.host.clone(), storage, self.options.clone(), stopped);
        let (consensus, router) = opened.await.expect("the log opens");
        node.listen(router);
        let ledger = Ledger::default();
        let group = consensus.start(GROUP, Box::new(ledger.clone())).await.expect("the group starts");
        Voter { id, name: described.name.clone(), node, consensus, group, ledger, stop }
    }

    pub(crate) async fn start(&mut self, id: NodeId) -> Voter {
        self.start_on(id, None).await
    }

    /// All voters, the first-ranked first; it has initialized the group.
    pub(crate) async fn start_all(&mut self) -> Vec<Voter> {
        let mut voters = Vec::new();
        for id in self.ids() {
            voters.push(self.start(id).await);
        }
        leader(&voters).await;
        voters
    }

    pub(crate) fn cut_off(&self, voter: &Voter) {
        self.network.cut(&Side::node(&voter.name), &Side::Others);
    }

    pub(crate) fn cut_between(&self, a: &Voter, b: &Voter) {
        self.network.cut(&Side::node(&a.name), &Side::node(&b.name));
    }
}

pub(crate) fn within(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}

/// Waits until exactly one of `voters` leads; returns which.
pub(crate) async fn leader(voters: &[Voter]) -> usize {
    let deadline = within(60_000);
    loop {
        let leaders: Vec<usize> =
            (0..voters.len()).filter(|&index| voters[index].group.leadership().borrow().is_here).collect();
        if let [leader] = leaders[..] {
            return leader;
        }
        assert!(Instant::now() < deadline, "no leader");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until all of `voters` have applied the same entries as the first, and those up to `index`.
pub(crate) async fn agree(voters: &[&Voter], index: u64) -> BTreeMap<u64, Vec<u8>> {
    let deadline = within(60_000);
    loop {
        let ledgers: Vec<_> = voters.iter().map(|voter| voter.ledger.all()).collect();
        let reached = voters.iter().all(|voter| *voter.group.applied().borrow() >= index);
        if reached && ledgers.iter().all(|ledger| *ledger == ledgers[0]) {
            return ledgers[0].clone();
        }
        assert!(Instant::now() < deadline, "they do not agree");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
