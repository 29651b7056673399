//! Waits until all is ordered and delivered that must be, and writes down what is not within the bound.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline_types::{GroupId, Role};

use super::Run;
use crate::oracle::{Message, Record, Settled};

/// Everything is ordered and delivered so soon after the last fault.
const BOUND: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(500);
/// Where nothing is promised, wrong things have so long to happen.
const NOTHING_PROMISED: Duration = Duration::from_secs(8);

impl Run {
    /// Waits until every acknowledged message that a live store holds is ordered and delivered to every subscription;
    /// where the live nodes cannot promise that, only a while.
    pub(super) async fn settle(&self, when: &str) {
        if !self.is_promised() {
            self.world.tell(format_args!("{when}: nothing is promised"));
            sleep(NOTHING_PROMISED).await;
            return;
        }
        let begun = Instant::now();
        let mut settled = self.look(when);
        while !is_done(&settled) && begun.elapsed() < BOUND {
            sleep(LOOK).await;
            settled = self.look(when);
        }
        settled.took = begun.elapsed();
        self.world.tell(format_args!(
            "{when}: done {} after {} ms",
            is_done(&settled),
            settled.took.as_millis()
        ));
        self.oracle.with(|record| record.settled.push(settled));
    }

    /// Whether the live voters are a quorum of every group and the live stores satisfy "two datacenters".
    fn is_promised(&self) -> bool {
        let cluster = self.cluster();
        let map = cluster.map();
        let lives = |name: &str| cluster.is_running(name);
        let groups = (0..map.ordering_groups)
            .map(GroupId::ordering)
            .chain((0..map.position_groups).map(GroupId::position))
            .chain([GroupId::MAP]);
        let mut quorums = groups.map(|group| {
            let voters = trunkline_placement::voters(map, group);
            2 * voters.iter().filter(|node| lives(&node.name)).count() > voters.len()
        });
        let stores: Vec<_> = map.nodes_of(Role::MessageStore).filter(|node| lives(&node.name)).collect();
        let datacenters: BTreeSet<_> = stores.iter().map(|node| &node.datacenter).collect();
        let all = map.nodes_of(Role::MessageStore).count();
        quorums.all(|quorum| quorum)
            && datacenters.len() >= map.datacenters.len().min(2)
            && stores.len() >= all.min(2)
    }

    fn look(&self, when: &str) -> Settled {
        let held: BTreeSet<(usize, usize)> = {
            let cluster = self.cluster();
            let places = self.oracle.with(|record| record.deployment.stores.clone());
            let places = (0..)
                .zip(places)
                .flat_map(|(at, here)| (0..).zip(here).map(move |(n, name)| ((at, n), name)));
            places.filter(|(_, name)| cluster.is_running(name)).map(|(place, _)| place).collect()
        };
        let disks = self.oracle.disks();
        self.oracle.with(|record| {
            let ids = record.ids();
            let is_held = |message: Message| disks.copies(message).0.iter().any(|place| held.contains(place));
            let not_ordered = record
                .messages()
                .filter(|(message, push)| {
                    push.is_durable() && !ids.contains_key(message) && is_held(*message)
                })
                .map(|(message, _)| message)
                .collect();
            let (when, took) = (when.to_owned(), Duration::ZERO);
            Settled { when, took, not_ordered, not_delivered: not_delivered(record) }
        })
    }
}

fn is_done(settled: &Settled) -> bool {
    settled.not_ordered.is_empty() && settled.not_delivered.is_empty()
}

/// Of each subscription, the known IDs after its begin that no client of it has got.
fn not_delivered(record: &Record) -> Vec<(String, Vec<u64>)> {
    let mut missing = Vec::new();
    for ((topic, consumer), subscription) in &record.subscriptions {
        let Some((_, base)) = subscription.began else { continue };
        let ids =
            record.named.keys().filter(|name| name.topic == *topic && name.id > base).map(|name| name.id);
        let lacks: Vec<u64> = ids.filter(|id| !subscription.got.contains_key(id)).collect();
        if !lacks.is_empty() {
            missing.push((format!("{consumer} of topic {topic}"), lacks));
        }
    }
    for ((topic, consumer), replayed) in &record.replayed {
        let ids = record.named.keys().filter(|name| name.topic == *topic).map(|name| name.id);
        let lacks = replayed.lacks(ids);
        if !lacks.is_empty() {
            missing.push((format!("{consumer} of topic {topic}"), lacks));
        }
    }
    missing
}
