//! Where the buckets of a group live, and what "in two datacenters" means. Placement decides it; this is its answer.

use std::collections::BTreeMap;

use trunkline_types::{Bucket, NodeId};

/// A store that holds a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    pub store: NodeId,
    /// The place of its datacenter in the map.
    pub datacenter: usize,
}

/// The replicas of each bucket of a group, under one cluster map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// How many datacenters the map has.
    datacenters: usize,
    buckets: BTreeMap<Bucket, Vec<Replica>>,
    /// Stores that are no more, with the map version that first said so: they have reached nothing.
    gone: BTreeMap<NodeId, u64>,
}

impl Replicas {
    pub fn new(datacenters: usize, buckets: BTreeMap<Bucket, Vec<Replica>>) -> Self {
        Self { datacenters, buckets, gone: BTreeMap::new() }
    }

    /// Without the word of these. Each is still one of its buckets' replicas until another takes its place, so that no
    /// fewer must have what is ordered.
    #[must_use]
    pub fn without(self, gone: impl IntoIterator<Item = (NodeId, u64)>) -> Self {
        Self { gone: gone.into_iter().collect(), ..self }
    }

    /// Stores that are no more, with the map version that first said so.
    pub fn gone(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.gone.iter().map(|(&store, &version)| (store, version))
    }

    pub fn of(&self, bucket: Bucket) -> &[Replica] {
        self.buckets.get(&bucket).map_or(&[], Vec::as_slice)
    }

    /// Whether the store holds any bucket of the group, and counts.
    pub fn know(&self, store: NodeId) -> bool {
        !self.gone.contains_key(&store)
            && self.buckets.values().flatten().any(|replica| replica.store == store)
    }

    fn reached(&self, replica: &Replica, reached: impl Fn(NodeId) -> Option<u64>) -> u64 {
        if self.gone.contains_key(&replica.store) { 0 } else { reached(replica.store).unwrap_or(0) }
    }

    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.buckets.keys().copied()
    }

    /// The most that replicas of `bucket` in min(2, datacenters) datacenters and on at least min(2, replicas) stores
    /// have all reached. `reached` says how far a store is; `None`: it has not said. Silence reaches nothing: 0.
    ///
    /// **Invariant** (I2): nothing is ordered beyond this.
    pub fn reached_by_two(&self, bucket: Bucket, reached: impl Fn(NodeId) -> Option<u64>) -> u64 {
        let mut per_datacenter = vec![0; self.datacenters];
        let mut stores = (0, 0);
        let replicas = self.of(bucket);
        for replica in replicas {
            let upto = self.reached(replica, &reached);
            stores = highest_two(stores, upto);
            if let Some(best) = per_datacenter.get_mut(replica.datacenter) {
                *best = upto.max(*best);
            }
        }
        let datacenters = per_datacenter.iter().fold((0, 0), |highest, &upto| highest_two(highest, upto));
        let by_datacenters = if self.datacenters >= 2 { datacenters.1 } else { datacenters.0 };
        let by_stores = if replicas.len() >= 2 { stores.1 } else { stores.0 };
        by_datacenters.min(by_stores)
    }

    /// The least that any replica of `bucket` has reached; 0 if one has not said.
    pub fn reached_by_all(&self, bucket: Bucket, reached: impl Fn(NodeId) -> Option<u64>) -> u64 {
        self.of(bucket).iter().map(|replica| self.reached(replica, &reached)).min().unwrap_or(0)
    }
}

fn highest_two((first, second): (u64, u64), value: u64) -> (u64, u64) {
    if value > first { (value, first) } else { (first, second.max(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each datacenter's stores' reach; store ids count on.
    fn reached(datacenters: &[&[Option<u64>]]) -> u64 {
        let mut replicas = Vec::new();
        let mut said = BTreeMap::new();
        for (datacenter, stores) in datacenters.iter().enumerate() {
            for &upto in *stores {
                let store = NodeId(replicas.len() as u64 + 1);
                replicas.push(Replica { store, datacenter });
                said.insert(store, upto);
            }
        }
        let replicas = Replicas::new(datacenters.len(), BTreeMap::from([(Bucket(1), replicas)]));
        assert_eq!(
            replicas.reached_by_two(Bucket(2), |_| Some(9)),
            0,
            "a bucket without replicas is nowhere"
        );
        replicas.reached_by_two(Bucket(1), |store| said[&store])
    }

    #[test]
    fn who_is_gone_has_reached_nothing_and_takes_no_ones_share_with_it() {
        let replica = |store| Replica { store: NodeId(store), datacenter: 0 };
        let both = Replicas::new(1, BTreeMap::from([(Bucket(1), vec![replica(1), replica(2)])]));
        let all = |_| Some(9);
        assert_eq!((both.reached_by_two(Bucket(1), all), both.reached_by_all(Bucket(1), all)), (9, 9));
        let one = both.without([(NodeId(2), 4)]);
        let reached = (one.reached_by_two(Bucket(1), all), one.reached_by_all(Bucket(1), all));
        assert_eq!(reached, (0, 0), "the bucket still has two replicas");
        assert_eq!((one.know(NodeId(1)), one.know(NodeId(2))), (true, false));
        assert_eq!(one.gone().collect::<Vec<_>>(), [(NodeId(2), 4)]);
    }

    #[test]
    fn only_what_two_datacenters_have_counts() {
        type Reach = &'static [&'static [Option<u64>]];
        let cases: [(&str, Reach, u64); 8] = [
            ("both of one datacenter", &[&[Some(9), Some(9)], &[None, None], &[None, None]], 0),
            ("one of each of two", &[&[Some(9), None], &[Some(7), None], &[None, None]], 7),
            ("the better one of each", &[&[Some(3), Some(9)], &[Some(7), Some(8)], &[None, None]], 8),
            ("the second best datacenter", &[&[Some(9)], &[Some(5)], &[Some(7)]], 7),
            ("nobody", &[&[None], &[None], &[None]], 0),
            ("a cluster of one datacenter: two stores", &[&[Some(9), Some(6), None]], 6),
            ("a cluster of one store", &[&[Some(9)]], 9),
            ("one store in each of two", &[&[Some(9)], &[None]], 0),
        ];
        for (name, datacenters, expected) in cases {
            assert_eq!(reached(datacenters), expected, "{name}");
        }
    }
}
