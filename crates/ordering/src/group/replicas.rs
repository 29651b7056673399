//! Where the buckets of a group live, and what "in two datacenters" means. Placement decides it; this is its answer.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Declared lost: what goes does not wait for them.
    lost: BTreeSet<usize>,
}

impl Replicas {
    pub fn new(datacenters: usize, buckets: BTreeMap<Bucket, Vec<Replica>>) -> Self {
        Self { datacenters, buckets, lost: BTreeSet::new() }
    }

    /// These datacenters are declared lost.
    #[must_use]
    pub fn without_datacenters(self, lost: BTreeSet<usize>) -> Self {
        Self { lost, ..self }
    }

    pub fn of(&self, bucket: Bucket) -> &[Replica] {
        self.buckets.get(&bucket).map_or(&[], Vec::as_slice)
    }

    /// Whether the store holds any bucket of the group.
    pub fn know(&self, store: NodeId) -> bool {
        self.buckets.values().flatten().any(|replica| replica.store == store)
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
            let upto = reached(replica.store).unwrap_or(0);
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

    /// The most that some replica of `bucket` in every datacenter has reached, those left out that are declared lost;
    /// 0 if nobody in one of them has said.
    ///
    /// **Invariant** (I10): nothing goes beyond this.
    pub fn reached_by_every_datacenter(
        &self,
        bucket: Bucket,
        reached: impl Fn(NodeId) -> Option<u64>,
    ) -> u64 {
        let mut per_datacenter = vec![0; self.datacenters];
        for replica in self.of(bucket) {
            if let Some(best) = per_datacenter.get_mut(replica.datacenter) {
                *best = reached(replica.store).unwrap_or(0).max(*best);
            }
        }
        let counts = per_datacenter.into_iter().enumerate().filter(|(at, _)| !self.lost.contains(at));
        counts.map(|(_, best)| best).min().unwrap_or(0)
    }

    /// The least that any replica of `bucket` has reached; 0 if one has not said.
    pub fn reached_by_all(&self, bucket: Bucket, reached: impl Fn(NodeId) -> Option<u64>) -> u64 {
        self.of(bucket).iter().map(|replica| reached(replica.store).unwrap_or(0)).min().unwrap_or(0)
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

    #[test]
    fn every_datacenter_counts_by_its_best_store_unless_it_is_declared_lost() {
        let replica = |store| Replica { store: NodeId(store), datacenter: usize::from(store > 2) };
        let replicas = Replicas::new(2, BTreeMap::from([(Bucket(1), [1, 2, 3, 4].map(replica).to_vec())]));
        let reached = |lost: &[usize], said: [Option<u64>; 4]| {
            let replicas = replicas.clone().without_datacenters(lost.iter().copied().collect());
            let at = |store: NodeId| usize::try_from(store.0 - 1).unwrap();
            replicas.reached_by_every_datacenter(Bucket(1), |store| said[at(store)])
        };
        let (none, all) = (None, [Some(3), Some(9), Some(5), Some(4)]);
        for (name, lost, said, expected) in [
            ("the better store of each", &[][..], all, 5),
            ("one store of each", &[], [none, Some(9), none, Some(4)], 4),
            ("a datacenter is silent", &[], [Some(9), Some(9), none, none], 0),
            ("it is declared lost", &[1], [Some(8), Some(9), none, none], 9),
            ("it is lost and speaks", &[1], all, 9),
            ("all are lost", &[0, 1], all, 0),
        ] {
            assert_eq!(reached(lost, said), expected, "{name}");
        }
        assert_eq!(replicas.reached_by_every_datacenter(Bucket(2), |_| Some(9)), 0, "it lives nowhere");
    }
}
