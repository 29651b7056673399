//! What the cluster map means for this store: which buckets it holds, who shares them, who is relay.

use std::sync::Arc;
use std::time::Duration;

use trunkline_placement as placement;
use trunkline_types::{Bucket, ClusterMap, GroupId, Node, NodeId};

/// Another store that shares buckets with this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerStore {
    pub(crate) node: NodeId,
    pub(crate) address: Arc<str>,
    pub(crate) datacenter: u16,
    pub(crate) near: bool,
    pub(crate) round_trip: Duration,
}

/// Voters in order of nearness, and the groups that have exactly this order: one session serves them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) voters: Vec<Arc<str>>,
    pub(crate) groups: Vec<u16>,
}

#[derive(Debug)]
pub(crate) struct Layout {
    me: NodeId,
    pub(crate) map: Arc<ClusterMap>,
    /// This datacenter's place in the map.
    pub(crate) here: u16,
    pub(crate) peers: Vec<PeerStore>,
    pub(crate) held: Vec<bool>,
    pub(crate) plans: Vec<Plan>,
    /// Of each bucket: (datacenter, store) by rank.
    replicas: Vec<Vec<(u16, NodeId)>>,
}

impl Layout {
    /// `None` if this node is no store of the map.
    pub(crate) fn new(map: Arc<ClusterMap>, me: NodeId) -> Option<Self> {
        let own = map.node(me)?.clone();
        let here = datacenter_of(&map, &own);
        let replicas: Vec<Vec<(u16, NodeId)>> = (0..map.buckets)
            .map(|bucket| {
                let bucket = Bucket(u16::try_from(bucket).unwrap_or(u16::MAX));
                let stores = placement::replicas(&map, bucket);
                stores.into_iter().map(|node| (datacenter_of(&map, node), node.id)).collect()
            })
            .collect();
        let holds =
            |node: NodeId| move |stores: &Vec<(u16, NodeId)>| stores.iter().any(|store| store.1 == node);
        let held: Vec<bool> = replicas.iter().map(holds(me)).collect();
        let mut peers = Vec::new();
        for node in map.nodes_of(trunkline_types::Role::MessageStore).filter(|node| node.id != me) {
            let mut ours = replicas.iter().filter(|stores| holds(me)(stores));
            if ours.any(holds(node.id)) {
                peers.push(PeerStore {
                    node: node.id,
                    address: node.address.as_str().into(),
                    datacenter: datacenter_of(&map, node),
                    near: node.datacenter == own.datacenter,
                    round_trip: map.round_trip(&own.datacenter, &node.datacenter),
                });
            }
        }
        let plans = plans(&map, &own, &held);
        Some(Self { me, map, here, peers, held, plans, replicas })
    }

    pub(crate) fn peer(&self, node: NodeId) -> Option<&PeerStore> {
        self.peers.iter().find(|peer| peer.node == node)
    }

    /// Whether a node is this store or a sibling, and not one of another datacenter.
    pub(crate) fn is_near(&self, node: NodeId) -> bool {
        node == self.me || self.peer(node).is_some_and(|peer| peer.near)
    }

    pub(crate) fn datacenters(&self) -> u16 {
        u16::try_from(self.map.datacenters.len()).unwrap_or(u16::MAX)
    }

    pub(crate) fn datacenter_name(&self, datacenter: u16) -> &str {
        self.map.datacenters.get(usize::from(datacenter)).map_or("", |datacenter| &datacenter.name.0)
    }

    pub(crate) fn datacenter_named(&self, name: &str) -> Option<u16> {
        let at = self.map.datacenters.iter().position(|datacenter| datacenter.name.0 == name)?;
        u16::try_from(at).ok()
    }

    pub(crate) fn shares(&self, node: NodeId, bucket: Bucket) -> bool {
        self.of(bucket).iter().any(|store| store.1 == node)
    }

    /// No other store has this bucket.
    pub(crate) fn is_alone(&self, bucket: Bucket) -> bool {
        self.of(bucket).len() <= 1
    }

    /// The first-ranked replica of a bucket in a datacenter, those in `lost` left out: the relay.
    pub(crate) fn relay(&self, bucket: Bucket, datacenter: u16, lost: &[NodeId]) -> Option<NodeId> {
        self.of(bucket)
            .iter()
            .find(|(dc, node)| *dc == datacenter && !lost.contains(node))
            .map(|store| store.1)
    }

    fn of(&self, bucket: Bucket) -> &[(u16, NodeId)] {
        self.replicas.get(usize::from(bucket.0)).map_or(&[], Vec::as_slice)
    }
}

fn datacenter_of(map: &ClusterMap, node: &Node) -> u16 {
    let at = map.datacenters.iter().position(|datacenter| datacenter.name == node.datacenter);
    at.and_then(|at| u16::try_from(at).ok()).unwrap_or(u16::MAX)
}

fn plans(map: &ClusterMap, own: &Node, held: &[bool]) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for group in 0..map.ordering_groups {
        let mut buckets = held.iter().enumerate().filter(|(_, held)| **held);
        if !buckets.any(|(bucket, _)| bucket % usize::from(map.ordering_groups) == usize::from(group)) {
            continue;
        }
        let voters = placement::voters_by_nearness(map, GroupId::ordering(group), &own.datacenter);
        let voters: Vec<Arc<str>> = voters.iter().map(|node| node.address.as_str().into()).collect();
        match plans.iter_mut().find(|plan| plan.voters == voters) {
            Some(plan) => plan.groups.push(group),
            None => plans.push(Plan { voters, groups: vec![group] }),
        }
    }
    plans
}
