//! The consensus port without a protocol: one log per group, applied to every member at once.
//!
//! For tests of the services that stand on it; crates/consensus has its own, on real Raft.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_ports::{Committed, Consensus, ConsensusError, Group, Leadership, ProposeError, StateMachine};
use trunkline_types::{ClusterMap, GroupId, NodeId};

/// The logs of all groups, which all nodes share. Cheap to clone.
///
/// A group has its voters, and the first-ranked of them as leader, from when that one starts it.
#[derive(Clone)]
pub struct MemoryCluster {
    map: Arc<ClusterMap>,
    logs: Arc<Mutex<BTreeMap<GroupId, Log>>>,
}

impl fmt::Debug for MemoryCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryCluster")
    }
}

#[derive(Default)]
struct Log {
    entries: Vec<Bytes>,
    voters: Vec<NodeId>,
    term: u64,
    leader: Option<NodeId>,
    members: BTreeMap<NodeId, Member>,
}

struct Member {
    machine: Box<dyn StateMachine>,
    applied: watch::Sender<u64>,
    leadership: watch::Sender<Leadership>,
}

impl MemoryCluster {
    pub fn new(map: &ClusterMap) -> Self {
        Self { map: Arc::new(map.clone()), logs: Arc::default() }
    }

    /// A node's side of it.
    pub fn consensus(&self, node: NodeId) -> MemoryConsensus {
        MemoryConsensus { cluster: self.clone(), node }
    }

    /// A voter hears the group's leader no more.
    pub fn deafen(&self, group: GroupId, node: NodeId) {
        if let Some(member) = self.logs().get(&group).and_then(|log| log.members.get(&node)) {
            member.leadership.send_modify(|leadership| leadership.leader = None);
        }
    }

    /// A new term. Without a leader nothing is committed and proposals fail with `NoQuorum`.
    pub fn lead(&self, group: GroupId, leader: Option<NodeId>) {
        let mut logs = self.logs();
        let log = logs.entry(group).or_default();
        log.term += 1;
        log.leader = leader;
        log.tell_leadership();
    }

    /// The node is gone: its members are forgotten; started again they replay the log.
    pub fn stop(&self, node: NodeId) {
        for log in self.logs().values_mut() {
            log.members.remove(&node);
        }
    }

    /// How many entries a group has committed.
    pub fn committed(&self, group: GroupId) -> u64 {
        self.logs().get(&group).map_or(0, |log| log.entries.len() as u64)
    }

    fn ranked(&self, group: GroupId) -> Vec<NodeId> {
        trunkline_placement::voters(&self.map, group).into_iter().map(|node| node.id).collect()
    }

    fn logs(&self) -> MutexGuard<'_, BTreeMap<GroupId, Log>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn hand_to(&mut self, leader: NodeId) {
        self.term += 1;
        self.leader = Some(leader);
        self.tell_leadership();
    }

    fn tell_leadership(&self) {
        for (node, member) in &self.members {
            let is_here = self.leader == Some(*node);
            member.leadership.send_replace(Leadership { term: self.term, leader: self.leader, is_here });
        }
    }

    /// Applies an entry everywhere; the leader's answer, or the first member's where the leader is not here.
    fn commit(&mut self, entry: Bytes) -> Committed {
        self.entries.push(entry.clone());
        let index = self.entries.len() as u64;
        let mut answer = None;
        for (node, member) in &mut self.members {
            let said = member.machine.apply(index, &entry);
            member.machine.applied(index);
            member.applied.send_replace(index);
            if answer.is_none() || self.leader == Some(*node) {
                answer = Some(said);
            }
        }
        Committed { index, answer: answer.unwrap_or_default() }
    }
}

/// One node's [`Consensus`].
#[derive(Clone, Debug)]
pub struct MemoryConsensus {
    cluster: MemoryCluster,
    node: NodeId,
}

impl Consensus for MemoryConsensus {
    fn start(
        &self,
        group: GroupId,
        mut machine: Box<dyn StateMachine>,
    ) -> BoxFuture<'static, Result<Arc<dyn Group>, ConsensusError>> {
        let (cluster, node) = (self.cluster.clone(), self.node);
        async move {
            let mut logs = cluster.logs();
            let log = logs.entry(group).or_default();
            for (index, entry) in (1..).zip(&log.entries) {
                machine.apply(index, entry);
                machine.applied(index);
            }
            let applied = watch::Sender::new(log.entries.len() as u64);
            let leadership = watch::Sender::new(Leadership::default());
            log.members.insert(node, Member { machine, applied, leadership });
            let ranked = cluster.ranked(group);
            if log.voters.is_empty() && ranked.first() == Some(&node) {
                (log.voters, log.term, log.leader) = (ranked, log.term + 1, Some(node));
            }
            log.tell_leadership();
            drop(logs);
            let group: Arc<dyn Group> = Arc::new(MemoryGroup { cluster, node, group });
            Ok(group)
        }
        .boxed()
    }

    fn hand_over(&self) -> BoxFuture<'static, ()> {
        let (cluster, node) = (self.cluster.clone(), self.node);
        async move {
            for log in cluster.logs().values_mut().filter(|log| log.leader == Some(node)) {
                let mut others = log.voters.iter().filter(|voter| **voter != node);
                if let Some(next) = others.find(|voter| log.members.contains_key(voter)).copied() {
                    log.hand_to(next);
                }
            }
        }
        .boxed()
    }
}

struct MemoryGroup {
    cluster: MemoryCluster,
    node: NodeId,
    group: GroupId,
}

impl MemoryGroup {
    fn with<T>(&self, act: impl FnOnce(&mut Log) -> T) -> T {
        act(self.cluster.logs().entry(self.group).or_default())
    }

    /// A watch of this member; one that never changes once the member is gone.
    fn watch<T: Clone + Default>(
        &self,
        of: impl FnOnce(&Member) -> watch::Receiver<T>,
    ) -> watch::Receiver<T> {
        self.with(|log| log.members.get(&self.node).map(of)).unwrap_or_else(|| watch::channel(T::default()).1)
    }
}

impl Group for MemoryGroup {
    fn id(&self) -> GroupId {
        self.group
    }

    fn propose(
        &self,
        entry: Bytes,
        _deadline: Instant,
    ) -> BoxFuture<'static, Result<Committed, ProposeError>> {
        let group = self.group;
        let committed = self.with(|log| {
            if log.leader.is_none() {
                return Err(ProposeError::NoQuorum(group));
            }
            Ok(log.commit(entry))
        });
        std::future::ready(committed).boxed()
    }

    fn confirm(&self, _deadline: Instant) -> BoxFuture<'static, Result<u64, ProposeError>> {
        let group = self.group;
        let confirmed = self.with(|log| match log.leader {
            Some(_) => Ok(log.entries.len() as u64),
            None => Err(ProposeError::NoQuorum(group)),
        });
        std::future::ready(confirmed).boxed()
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.watch(|member| member.leadership.subscribe())
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.watch(|member| member.applied.subscribe())
    }

    fn transfer(&self, to: NodeId) {
        let from = self.node;
        self.with(|log| {
            if log.leader == Some(from) && log.members.contains_key(&to) {
                log.hand_to(to);
            }
        });
    }

    fn voters(&self) -> Vec<NodeId> {
        self.with(|log| log.voters.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MapBuilder;

    struct Sum(u64);

    impl StateMachine for Sum {
        fn apply(&mut self, _index: u64, entry: &[u8]) -> Bytes {
            self.0 += u64::from(entry[0]);
            Bytes::from(self.0.to_string())
        }

        fn snapshot(&self) -> Bytes {
            Bytes::new()
        }

        fn restore(&mut self, _index: u64, _snapshot: &[u8]) -> Result<(), String> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn every_member_applies_the_same_log_also_after_a_restart() {
        let cluster = MemoryCluster::new(&MapBuilder::three_datacenters().build());
        let ranked = cluster.ranked(GroupId::MAP);
        let (one, two) = (ranked[0], ranked[1]);
        let second = cluster.consensus(two).start(GroupId::MAP, Box::new(Sum(0))).await.unwrap();
        let now = Instant::now();
        let five = Bytes::from_static(&[5]);
        assert_eq!(second.propose(five.clone(), now).await, Err(ProposeError::NoQuorum(GroupId::MAP)));
        let first = cluster.consensus(one).start(GroupId::MAP, Box::new(Sum(0))).await.unwrap();
        assert_eq!(second.voters(), ranked);
        assert!(first.leadership().borrow().is_here && !second.leadership().borrow().is_here);
        let committed = second.propose(five.clone(), now).await.unwrap();
        assert_eq!(committed, Committed { index: 1, answer: "5".into() });
        cluster.stop(two);
        first.propose(five.clone(), now).await.unwrap();
        let second = cluster.consensus(two).start(GroupId::MAP, Box::new(Sum(0))).await.unwrap();
        assert_eq!(*second.applied().borrow(), 2);
        first.transfer(two);
        assert_eq!(second.propose(five, now).await.unwrap().answer, "15");
        assert!(second.leadership().borrow().is_here);
        cluster.consensus(two).hand_over().await;
        assert!(first.leadership().borrow().is_here);
    }
}
