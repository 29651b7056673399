//! States that are rarely reached: whether a run has been in them, from what services tell and the oracle knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trunkline_types::NodeId;

use crate::cluster::Cluster;
use crate::heard::Said;
use crate::oracle::{Message, Oracle, Push, Record};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    RelaySwitched,
    IndexCopied,
    DeadOriginFinished,
    StragglerOrdered,
    LeaderChangedInFlight,
    DispatcherMoved,
    ThirdDatacenter,
    SnapshotInstalled,
    Expired,
    PassedOver,
    TopicBornAgain,
    DuplicateElsewhere,
}

impl State {
    pub const ALL: [Self; 12] = [
        Self::RelaySwitched,
        Self::IndexCopied,
        Self::DeadOriginFinished,
        Self::StragglerOrdered,
        Self::LeaderChangedInFlight,
        Self::DispatcherMoved,
        Self::ThirdDatacenter,
        Self::SnapshotInstalled,
        Self::Expired,
        Self::PassedOver,
        Self::TopicBornAgain,
        Self::DuplicateElsewhere,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::RelaySwitched => "relay switched in mid-stream",
            Self::IndexCopied => "index copied by a store that was away",
            Self::DeadOriginFinished => "log of a dead origin finished from a sibling",
            Self::StragglerOrdered => "straggler ordered after return",
            Self::LeaderChangedInFlight => "leader changed with orders in flight",
            Self::DispatcherMoved => "dispatcher moved with deliveries outstanding",
            Self::ThirdDatacenter => "route through the third datacenter",
            Self::SnapshotInstalled => "snapshot installed",
            Self::Expired => "messages expired under a reader",
            Self::PassedOver => "records that are gone passed over by a store that was away",
            Self::TopicBornAgain => "topic deleted while pushed to",
            Self::DuplicateElsewhere => "repetition through another datacenter took no ID",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often a run was in which state, and who leads. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Rare(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    times: BTreeMap<State, u64>,
    /// By group, who was the last to say so.
    leaders: BTreeMap<String, String>,
}

impl Rare {
    /// Nodes that lead an ordering group, as far as was heard.
    pub fn leaders(&self) -> BTreeSet<String> {
        self.seen().leaders.values().cloned().collect()
    }

    pub fn times(&self) -> BTreeMap<State, u64> {
        self.seen().times.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears one event.
    pub fn hear(&self, said: &Said, cluster: &Cluster, oracle: &Oracle) {
        let state = match said.message.as_str() {
            "leads" => {
                self.seen().leaders.insert(said.field("group").to_owned(), said.node.clone());
                None
            }
            "leads no more" => (said.number("in_flight") > 0).then_some(State::LeaderChangedInFlight),
            "a log comes another way" => another_way(said, cluster),
            "the index was copied" => Some(State::IndexCopied),
            "dispatches" => has_outstanding(said, oracle).then_some(State::DispatcherMoved),
            "reports go through another voter" => {
                goes_through_a_third(said, cluster).then_some(State::ThirdDatacenter)
            }
            "records are gone: they are passed over" => Some(State::PassedOver),
            "a snapshot was installed" => Some(State::SnapshotInstalled),
            "an outage has ended: fresh messages overtake the backlog" => {
                let datacenter = cluster.node(&said.node).datacenter.0.clone();
                oracle.with(|record| record.overtakes.push((said.at, datacenter)));
                None
            }
            _ => None,
        };
        self.count(state);
    }

    /// What only the whole record shows.
    pub fn look_back(&self, record: &Record) {
        let stragglers = stragglers(record);
        self.count((stragglers > 0).then_some(State::StragglerOrdered));
        self.count((!record.brief.expired.is_empty()).then_some(State::Expired));
        self.count((record.brief.deletions > 0).then_some(State::TopicBornAgain));
        self.count(has_duplicate_elsewhere(record).then_some(State::DuplicateElsewhere));
    }

    fn count(&self, state: Option<State>) {
        if let Some(state) = state {
            *self.seen().times.entry(state).or_default() += 1;
        }
    }
}

/// A log whose records came from a near store comes over the WAN now, or from another holder although its origin is
/// dead.
fn another_way(said: &Said, cluster: &Cluster) -> Option<State> {
    let origin = node_id(said.field("origin"), cluster)?;
    let holder = node_id(said.field("holder"), cluster)?;
    let origin_lives = cluster.boot_of(origin).is_some_and(|boot| u64::from(boot) == said.number("boot"));
    if holder != origin && !origin_lives {
        return Some(State::DeadOriginFinished);
    }
    let switched = said.field("was_near") == "Some(true)" && said.field("is_near") == "false";
    switched.then_some(State::RelaySwitched)
}

fn node_id(text: &str, cluster: &Cluster) -> Option<NodeId> {
    cluster.map().nodes.iter().find(|node| node.id.to_string() == text).map(|node| node.id)
}

fn has_outstanding(said: &Said, oracle: &Oracle) -> bool {
    let topic = said.field("topic").rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
    let key = (topic.unwrap_or(usize::MAX), said.field("consumer").to_owned());
    said.number("token_seen") > 0
        && oracle.with(|record| {
            let subscription = record.subscriptions.get(&key);
            subscription.is_some_and(|subscription| {
                subscription.got.keys().any(|id| !subscription.acknowledged.contains_key(id))
            })
        })
}

fn goes_through_a_third(said: &Said, cluster: &Cluster) -> bool {
    let place = |field: &str| {
        let node = node_id(said.field(field), cluster)?;
        cluster.map().node(node).map(|node| node.datacenter.clone())
    };
    let here = Some(cluster.node(&said.node).datacenter.clone());
    let (via, leader) = (place("via"), place("leader"));
    via != here && leader != here && via != leader
}

/// One message of a name has the ID, and another was acknowledged in another datacenter.
fn has_duplicate_elsewhere(record: &Record) -> bool {
    let ids = record.ids();
    record.by_name().into_values().any(|messages| {
        let known = || messages.iter().filter_map(|message| Some((message, record.push(*message)?)));
        let first = known().find(|(message, _)| ids.contains_key(message));
        first.is_some_and(|(first, of)| {
            known()
                .any(|(other, push)| other != first && push.is_durable() && push.datacenter != of.datacenter)
        })
    })
}

/// Acknowledged in a datacenter that was cut off or lost its power, and ordered behind what was pushed elsewhere later,
/// while that lasted.
fn stragglers(record: &Record) -> usize {
    let ids = record.ids();
    let id_of = |message| ids.get(&message).and_then(|ids: &Vec<u64>| ids.first().copied());
    let mut found = 0;
    for fault in record.faults.iter().filter(|fault| !fault.datacenters.is_empty()) {
        let until = fault.until.unwrap_or(Duration::MAX);
        let inside = |datacenter: usize| fault.datacenters.contains(&record.deployment.names[datacenter]);
        // By topic, what was pushed elsewhere meanwhile: when, and the lowest ID of it and of all later ones.
        let mut fresh: BTreeMap<usize, Vec<(Duration, u64)>> = BTreeMap::new();
        for (message, push) in record.messages().collect::<Vec<_>>().into_iter().rev() {
            if let (false, true, Some(id)) =
                (inside(push.datacenter), push.sent > fault.from && push.sent < until, id_of(message))
            {
                let of_topic = fresh.entry(push.topic).or_default();
                let lowest = of_topic.last().map_or(id, |(_, lowest)| id.min(*lowest));
                of_topic.push((push.sent, lowest));
            }
        }
        let is_behind = |(message, push): &(Message, &Push)| {
            let Some(ended) = push.ended.filter(|ended| push.is_durable() && *ended < until) else {
                return false;
            };
            let of_topic = fresh.get(&push.topic).map_or(&[][..], Vec::as_slice);
            let later = of_topic.partition_point(|(sent, _)| *sent > ended);
            let lowest = later.checked_sub(1).map(|last| of_topic[last].1);
            inside(push.datacenter) && lowest.is_some_and(|lowest| id_of(*message) > Some(lowest))
        };
        found += record.messages().filter(is_behind).count();
    }
    found
}
