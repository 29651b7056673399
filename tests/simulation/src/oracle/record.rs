//! The record: plain data, so that a bad history can be written down in a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use trunkline_types::Produced;
use trunkline_wire::v1::{AckLevel, ReceiptState};

use super::brief::Brief;
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
    /// What its producer calls it. A message pushed again is another one under the same name.
    pub produced: Option<Produced>,
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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acked {
    pub reached: AckLevel,
    pub id: Option<u64>,
    pub receipt: String,
    /// Where it was on disk at this moment; a duplicate: where some message of its name was.
    pub copies: Copies,
    pub duplicate: bool,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waits"),
            Self::Acked(Acked { reached, id: Some(id), duplicate: true, .. }) => {
                write!(f, "{reached:?}, a duplicate of ID {id}")
            }
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
    pub mode: Mode,
    /// How often an ID came to a client, all clients together.
    pub times: BTreeMap<u64, u64>,
    /// Deliveries of messages with keys, in the order in which they came.
    pub holds: Vec<Hold>,
}

/// How a subscription acknowledges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    OnNextPop,
    Explicit,
    /// At most once.
    Immediate,
}

/// A message with a key, with one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The fencing token of the dispatcher that handed it out.
    pub dispatcher: u64,
    pub key: u64,
    pub id: u64,
    pub client: String,
    /// It was handed out after this; unknown of what came by stream.
    pub asked: Option<Duration>,
    pub from: Duration,
    /// Until here the client had certainly not let go of it; later at the latest by its ack deadline.
    pub until: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct Position {
    pub at: Duration,
    pub position: u64,
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
    /// Topics whose messages do not stay.
    pub brief: Brief,
    /// How many clocks there are to vote on order time.
    pub clocks: usize,
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

    /// Whether order time was right all the time: of three clocks or more one at most was wrong at a time.
    pub fn clocks_are_trusted(&self) -> bool {
        let wrong: Vec<&Fault> = self.faults.iter().filter(|fault| fault.kind == Kind::Clock).collect();
        let overlaps = |(at, fault): (usize, &&Fault)| {
            let until = fault.until.unwrap_or(Duration::MAX);
            wrong[at + 1..].iter().any(|other| other.overlaps(fault.from, until))
        };
        wrong.is_empty() || (self.clocks >= 3 && !wrong.iter().enumerate().any(overlaps))
    }

    /// All messages with what became of their push.
    pub fn messages(&self) -> impl Iterator<Item = (Message, &Push)> {
        (0..).map(Message).zip(&self.pushes)
    }

    /// Messages of one name, of each name that was used.
    pub fn by_name(&self) -> BTreeMap<(usize, Produced), Vec<Message>> {
        let mut names: BTreeMap<_, Vec<Message>> = BTreeMap::new();
        for (message, push) in self.messages() {
            if let Some(of) = push.produced {
                names.entry((push.topic, of)).or_default().push(message);
            }
        }
        names
    }

    /// The messages that have an ID or are duplicates of one that has.
    pub fn ordered(&self) -> BTreeSet<Message> {
        let mut ordered: BTreeSet<Message> = self.ids().into_keys().collect();
        for messages in self.by_name().into_values() {
            if messages.iter().any(|message| ordered.contains(message)) {
                ordered.extend(messages);
            }
        }
        ordered
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
