//! Decides where things live: buckets to stores, groups to voters, by rendezvous hashing (Thaler and Ravishankar, 1998).
//!
//! Pure functions of the cluster map. Every node computes the same answer from the same map version, and adding or
//! replacing one node moves only what that node gains or loses: nodes are ranked by their places, and one that replaces
//! another has its place.

use trunkline_types::{Bucket, ClusterMap, DatacenterName, GroupId, GroupKind, Node, NodeId, Role, hash64};

/// The stores that hold a bucket in one datacenter, best rank first. The first that can be reached coordinates; the
/// first is relay.
pub fn replicas_in<'a>(map: &'a ClusterMap, bucket: Bucket, datacenter: &DatacenterName) -> Vec<&'a Node> {
    let stores = map.nodes_of(Role::MessageStore).filter(|node| node.datacenter == *datacenter);
    ranked(stores, b"bucket", u64::from(bucket.0), map.replicas_per_datacenter)
}

/// All stores that hold a bucket, datacenter by datacenter in the map's order.
pub fn replicas(map: &ClusterMap, bucket: Bucket) -> Vec<&Node> {
    map.datacenters.iter().flat_map(|datacenter| replicas_in(map, bucket, &datacenter.name)).collect()
}

/// Whether a store holds a bucket.
pub fn holds(map: &ClusterMap, store: NodeId, bucket: Bucket) -> bool {
    map.node(store).is_some_and(|node| {
        replicas_in(map, bucket, &node.datacenter).iter().any(|replica| replica.id == store)
    })
}

/// The voters of a group in one datacenter, best rank first.
pub fn voters_in<'a>(map: &'a ClusterMap, group: GroupId, datacenter: &DatacenterName) -> Vec<&'a Node> {
    let role = match group.kind {
        GroupKind::Map | GroupKind::Ordering => Role::MessageId,
        GroupKind::Position => Role::SubscriptionPosition,
    };
    let nodes = map.nodes_of(role).filter(|node| node.datacenter == *datacenter);
    ranked(nodes, b"group", u64::from(group.to_u32()), map.voters_per_datacenter)
}

/// All voters of a group. The first one initializes the group, and is the one that its leadership goes to when all is
/// well: groups are spread over the datacenters whose round trip to a quorum is shortest.
pub fn voters(map: &ClusterMap, group: GroupId) -> Vec<&Node> {
    let mut datacenters: Vec<&DatacenterName> =
        map.datacenters.iter().map(|datacenter| &datacenter.name).collect();
    let near = nearest_to_quorum(map);
    datacenters.sort_by_key(|name| !near.contains(name));
    if !near.is_empty() {
        let turn = usize::from(group.number) % near.len();
        datacenters[..near.len()].rotate_left(turn);
    }
    datacenters.into_iter().flat_map(|datacenter| voters_in(map, group, datacenter)).collect()
}

/// The datacenters from which a majority of datacenters is reached in the least time, in the map's order.
fn nearest_to_quorum(map: &ClusterMap) -> Vec<&DatacenterName> {
    let commit_time = |from: &DatacenterName| {
        let mut trips: Vec<_> = map.datacenters.iter().map(|to| map.round_trip(from, &to.name)).collect();
        trips.sort();
        trips.get(trips.len() / 2).copied().unwrap_or_default()
    };
    let best = map.datacenters.iter().map(|datacenter| commit_time(&datacenter.name)).min();
    map.datacenters
        .iter()
        .map(|datacenter| &datacenter.name)
        .filter(|name| Some(commit_time(name)) == best)
        .collect()
}

/// Which voter a node of `datacenter` asks first, second, …: its own datacenter's, then the others by round trip.
pub fn voters_by_nearness<'a>(
    map: &'a ClusterMap,
    group: GroupId,
    datacenter: &DatacenterName,
) -> Vec<&'a Node> {
    let mut voters = voters(map, group);
    voters.sort_by_key(|node| (map.round_trip(datacenter, &node.datacenter), node.datacenter != *datacenter));
    voters
}

fn ranked<'a>(nodes: impl Iterator<Item = &'a Node>, what: &[u8], number: u64, take: u16) -> Vec<&'a Node> {
    let mut scored: Vec<(u64, &Node)> = nodes.map(|node| (score(what, number, node.place()), node)).collect();
    scored.sort_by_key(|&(score, node)| (std::cmp::Reverse(score), node.place()));
    scored.into_iter().take(usize::from(take)).map(|(_, node)| node).collect()
}

fn score(what: &[u8], number: u64, place: NodeId) -> u64 {
    let mut key = what.to_vec();
    key.extend(number.to_be_bytes());
    key.extend(place.0.to_be_bytes());
    hash64(&key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use trunkline_types::{ClusterId, Datacenter};

    use super::*;

    fn map(stores_per_datacenter: u64) -> ClusterMap {
        let trips = |pairs: &[(&str, u32)]| pairs.iter().map(|&(to, ms)| (to.into(), ms)).collect();
        let datacenters = vec![
            Datacenter { name: "nyc".into(), round_trip_ms: trips(&[("mci", 33), ("sea", 70)]) },
            Datacenter { name: "mci".into(), round_trip_ms: trips(&[("sea", 72)]) },
            Datacenter { name: "sea".into(), round_trip_ms: BTreeMap::new() },
        ];
        let mut nodes = Vec::new();
        for (d, datacenter) in datacenters.iter().enumerate() {
            for i in 0..stores_per_datacenter + 2 {
                let role = match i {
                    0 => Role::MessageId,
                    1 => Role::SubscriptionPosition,
                    _ => Role::MessageStore,
                };
                let id = NodeId(d as u64 * 100 + i + 1);
                let name = format!("{}-{i}", datacenter.name);
                nodes.push(Node {
                    id,
                    role,
                    datacenter: datacenter.name.clone(),
                    address: name.clone(),
                    name,
                    place: None,
                });
            }
        }
        ClusterMap {
            cluster: ClusterId(1),
            name: "test".into(),
            version: 1,
            datacenters,
            nodes,
            replicas_per_datacenter: 2,
            voters_per_datacenter: 1,
            buckets: 256,
            ordering_groups: 4,
            position_groups: 4,
            replacing: None,
            replaced: Vec::new(),
        }
    }

    #[test]
    fn every_bucket_has_its_replicas_in_every_datacenter_and_first_ranks_are_spread() {
        let map = map(4);
        let mut first: BTreeMap<NodeId, usize> = BTreeMap::new();
        for bucket in 0..256 {
            let all = replicas(&map, Bucket(bucket));
            assert_eq!(all.len(), 6);
            assert!(all.iter().all(|node| holds(&map, node.id, Bucket(bucket))));
            *first.entry(replicas_in(&map, Bucket(bucket), &"nyc".into())[0].id).or_default() += 1;
        }
        assert_eq!(first.len(), 4);
        assert!(first.values().all(|&count| (32..=96).contains(&count)), "{first:?}");
    }

    #[test]
    fn one_more_store_takes_only_its_own_share() {
        let (before, after) = (map(4), map(5));
        for bucket in (0..256).map(Bucket) {
            let ids = |map, id_max: u64| -> Vec<NodeId> {
                let nodes = replicas_in(map, bucket, &"nyc".into());
                nodes.iter().map(|node| node.id).filter(|id| id.0 <= id_max).collect()
            };
            let kept = ids(&after, 6);
            assert_eq!(kept, ids(&before, 6)[..kept.len()], "a survivor keeps its rank");
        }
    }

    #[test]
    fn a_node_that_replaces_another_has_its_buckets_its_groups_and_its_rank_and_nobody_else_moves() {
        let before = map(4);
        let swapped = |id: NodeId| if id == NodeId(3) { NodeId(999) } else { id };
        let new = Node { id: NodeId(999), ..before.node(NodeId(3)).cloned().expect("a store of nyc") };
        let begun = before.replace(NodeId(3), new).expect("it fits").expect("it is news");
        let after = begun.replacement_done().expect("it has begun");
        for bucket in (0..256).map(Bucket) {
            let ids = |map| replicas(map, bucket).iter().map(|node| node.id).collect::<Vec<_>>();
            assert_eq!(ids(&before), ids(&begun), "the new one holds nothing before it is done");
            assert_eq!(ids(&before).into_iter().map(swapped).collect::<Vec<_>>(), ids(&after));
        }
        let voter = before.node(NodeId(1)).cloned().expect("a voter of nyc");
        let begun = before.replace(voter.id, Node { id: NodeId(998), ..voter.clone() });
        let target = begun.expect("it fits").expect("it is news").target();
        for group in (0..4).map(GroupId::ordering).chain([GroupId::MAP]) {
            let ids = |map| voters(map, group).iter().map(|node| node.id).collect::<Vec<_>>();
            let swapped = |id| if id == voter.id { NodeId(998) } else { id };
            assert_eq!(ids(&before).into_iter().map(swapped).collect::<Vec<_>>(), ids(&target));
        }
    }

    #[test]
    fn leaders_are_spread_over_the_two_datacenters_that_are_nearest_to_each_other() {
        let map = map(2);
        let first: Vec<&str> =
            (0..4).map(|group| voters(&map, GroupId::ordering(group))[0].datacenter.0.as_str()).collect();
        assert_eq!(first, ["nyc", "mci", "nyc", "mci"]);
        let nearest: Vec<&str> = voters_by_nearness(&map, GroupId::position(1), &"sea".into())
            .iter()
            .map(|node| node.datacenter.0.as_str())
            .collect();
        assert_eq!(nearest, ["sea", "nyc", "mci"]);
    }
}
