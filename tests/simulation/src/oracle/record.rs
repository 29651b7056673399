//! The record: plain data, so that a bad history can be written down in a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use trunkline_wire::v1::{AckLevel, ReceiptState};

use super::disks::Copies;
use crate::faults::Kind;

/// A message, by the order in which pushes began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message(pub u64);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// (topic, message ID).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub topic: usize,
    pub id: u64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic {} ID {}", self.topic, self.id)
    }
}

/// How many there are of what.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    /// By datacenter, its stores' names; each holds every bucket.
    pub stores: Vec<Vec<String>>,
    /// By datacenter.
    pub names: Vec<String>,
}

impl Deployment {
    /// On how many stores an acknowledged message is.
    pub fn stores_min(&self) -> usize {
        self.stores.iter().map(Vec::len).sum::<usize>().min(2)
    }

    pub fn datacenters_min(&self) -> usize {
        self.names.len().min(2)
    }
}

#[derive(Clone, Debug)]
pub struct Push {
    pub topic: usize,
    /// Of the push server.
    pub datacenter: usize,
    pub publisher: String,
    /// Which PushStream, if by one.
    pub stream: Option<u64>,
    pub level: AckLevel,
    pub sent: Duration,
    pub ended: Option<Duration>,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Waiting,
    Acked(Acked),
    /// Certainly not stored.
    Refused(String),
    /// It may have been stored.
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acked {
    pub reached: AckLevel,
    pub id: Option<u64>,
    pub receipt: String,
    /// Where it was on disk at this moment.
    pub copies: Copies,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waits"),
            Self::Acked(Acked { reached, id: Some(id), .. }) => write!(f, "{reached:?}, ID {id}"),
            Self::Acked(Acked { reached, id: None, .. }) => write!(f, "{reached:?}"),
            Self::Refused(why) => write!(f, "not stored: {why}"),
            Self::Unknown(why) => write!(f, "may be stored: {why}"),
        }
    }
}

impl Push {
    /// The level that was reached, if it was acknowledged.
    pub fn reached(&self) -> Option<AckLevel> {
        match &self.outcome {
            Outcome::Acked(acked) => Some(acked.reached),
            Outcome::Waiting | Outcome::Refused(_) | Outcome::Unknown(_) => None,
        }
    }

    /// Whether it must never be lost.
    pub fn is_durable(&self) -> bool {
        self.reached() >= Some(AckLevel::Local)
    }
}

/// The first time that a message was seen under a name, and where it was on disk then.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub message: Message,
    pub at: Duration,
    pub by: String,
    pub copies: Copies,
}

/// What the clients of one subscription have seen.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    /// When Subscribe had returned, and every ID up to which was then behind it. `None` until it has.
    pub began: Option<(Duration, u64)>,
    /// At LATEST.
    pub late: bool,
    /// IDs that a client has got, and when first.
    pub got: BTreeMap<u64, Duration>,
    /// IDs that a client has acknowledged: when it first began to.
    pub acknowledged: BTreeMap<u64, Duration>,
    /// Positions that were told.
    pub positions: Vec<Position>,
}

#[derive(Clone, Copy, Debug)]
pub struct Position {
    pub at: Duration,
    pub position: u64,
}

/// (instance, generation) of a subscription, as the tokens of its deliveries say.
pub type Era = (u64, u64);

/// What the clients of one subscription have seen that is taken back to earlier places, or deleted and created again.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// It is deleted and created again, at the first ID; else sought.
    pub deleted: bool,
    /// When it was created last. `None`: not yet, or it is being sought, deleted or created: nobody knows how it is.
    pub stands_since: Option<Duration>,
    /// By generation, every ID up to which was behind it when it began.
    pub bases: BTreeMap<u64, u64>,
    /// When a delivery of an instance was first seen.
    pub instances: BTreeMap<u64, Duration>,
    /// IDs that a client has got, by era.
    pub got: BTreeSet<(Era, u64)>,
    /// When a client first began to acknowledge a delivery.
    pub acknowledged: BTreeMap<(Era, u64), Duration>,
    /// Positions that were told of a generation.
    pub positions: Vec<(u64, Position)>,
}

impl Replayed {
    /// The generation that there is, and what is behind it.
    pub fn last(&self) -> (u64, u64) {
        self.bases.last_key_value().map_or((0, 0), |(generation, base)| (*generation, *base))
    }

    /// Of `ids`, those that the present era has still to deliver; all of them while nobody knows which that is.
    pub fn lacks(&self, ids: impl Iterator<Item = u64>) -> Vec<u64> {
        let (generation, base) = self.last();
        // One that was deleted and created again is known by a delivery that came since.
        let newest = self.instances.last_key_value();
        let stands = self.stands_since.is_some_and(|since| {
            newest.is_some_and(|(_, first)| !self.deleted || *first >= since)
        });
        let era = (newest.map_or(0, |(instance, _)| *instance), generation);
        ids.filter(|id| *id > base && !(stands && self.got.contains(&(era, *id)))).collect()
    }
}

/// What was done to the cluster, and how long.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub from: Duration,
    pub until: Option<Duration>,
    /// Nodes that it touched, and those at an end of a link that it touched.
    pub nodes: BTreeSet<String>,
    /// Datacenters whose links to others it touched.
    pub datacenters: BTreeSet<String>,
}

impl Fault {
    pub fn overlaps(&self, from: Duration, until: Duration) -> bool {
        self.from <= until && self.until.is_none_or(|end| end >= from)
    }

    /// Whether it touched a datacenter's push server or one of its stores.
    pub fn is_on_push_path_of(&self, datacenter: &str) -> bool {
        let is_on_it = |node: &String| {
            let rest = node.strip_prefix(datacenter).unwrap_or_default();
            rest.starts_with("-push-") || rest.starts_with("-message-store-")
        };
        self.nodes.iter().any(is_on_it)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ResolvedReceipt {
    pub message: Message,
    pub state: ReceiptState,
    pub id: u64,
    pub datacenter: usize,
}

/// A time at which everything was to be ordered and delivered, and what was not.
#[derive(Clone, Debug)]
pub struct Settled {
    pub when: String,
    pub took: Duration,
    /// Acknowledged, held by a store that lives, and not seen under an ID.
    pub not_ordered: Vec<Message>,
    /// Subscription, and IDs that none of its clients got.
    pub not_delivered: Vec<(String, Vec<u64>)>,
}

/// Everything that the checks look at.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub deployment: Deployment,
    /// By message number.
    pub pushes: Vec<Push>,
    /// More than one sighting of a name is more than one message under it.
    pub named: BTreeMap<Name, Vec<Sighting>>,
    /// By topic and consumer.
    pub subscriptions: BTreeMap<(usize, String), Subscription>,
    /// The same.
    pub replayed: BTreeMap<(usize, String), Replayed>,
    pub faults: Vec<Fault>,
    /// When a coordinator of which datacenter let fresh messages overtake its backlog.
    pub overtakes: Vec<(Duration, String)>,
    pub receipts: Vec<ResolvedReceipt>,
    /// What was said to have expired.
    pub expired: Vec<String>,
    /// What was received that nobody has pushed.
    pub foreign: Vec<String>,
    pub settled: Vec<Settled>,
    /// At the end, by datacenter and topic: all that Read gives, from ID 1 on.
    pub at_the_end: BTreeMap<(usize, usize), Vec<(u64, Message)>>,
    /// At the end, by message: where it is on disk.
    pub copies_at_the_end: BTreeMap<Message, Copies>,
}

impl Record {
    pub fn new(deployment: Deployment) -> Self {
        Self { deployment, ..Self::default() }
    }

    pub fn push(&self, message: Message) -> Option<&Push> {
        self.pushes.get(usize::try_from(message.0).ok()?)
    }

    pub(super) fn push_mut(&mut self, message: Message) -> &mut Push {
        &mut self.pushes[usize::try_from(message.0).expect("it was counted in memory")]
    }

    /// All messages with what became of their push.
    pub fn messages(&self) -> impl Iterator<Item = (Message, &Push)> {
        (0..).map(Message).zip(&self.pushes)
    }

    /// Each message's IDs; there should be one.
    pub fn ids(&self) -> BTreeMap<Message, Vec<u64>> {
        let mut ids: BTreeMap<Message, Vec<u64>> = BTreeMap::new();
        for (name, sightings) in &self.named {
            sightings.iter().for_each(|seen| ids.entry(seen.message).or_default().push(name.id));
        }
        ids
    }
}
