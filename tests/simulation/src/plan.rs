//! What a seed has chosen: topology, load, faults, who stays dead.

use std::fmt;
use std::time::Duration;

use trunkline_testkit::{MapBuilder, Random};
use trunkline_types::{ClusterMap, Role};
use trunkline_wire::v1::AckLevel;

use crate::faults::Kind;
use crate::parts::Options;

/// The least time with faults.
const FAULTS_MIN: Duration = Duration::from_secs(60);
const FAULTS_MORE_MS: u64 = 20_000;
const KINDS_MIN: u64 = 3;
const KINDS_MORE: u64 = 4;

#[derive(Clone, Debug)]
pub struct Plan {
    pub topology: Topology,
    pub topics: usize,
    pub publishers: Vec<Publisher>,
    pub subscribers: Vec<Subscriber>,
    pub replayers: Vec<Replayer>,
    pub kinds: Vec<Kind>,
    pub with_faults: Duration,
    /// Who stays dead in the phase without new faults.
    pub stays_dead: StaysDead,
    /// Small limits, so that snapshots and copies of the index are needed within the run.
    pub soon: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    pub datacenters: Vec<&'static str>,
    pub stores: u16,
    pub voters: u16,
    /// 150 ms between any two datacenters, instead of the measured round trips.
    pub far: bool,
    pub jitter: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaysDead {
    Nothing,
    Store,
    Datacenter,
    /// All live, but two datacenters see each other only through the third.
    Bridge,
}

#[derive(Clone, Debug)]
pub struct Publisher {
    pub name: String,
    /// Index in the topology.
    pub datacenter: usize,
    pub topic: usize,
    pub level: AckLevel,
    /// By PushStream, so many under way; else by Push, so many in one call.
    pub by_stream: bool,
    pub at_once: usize,
    pub pace: Duration,
    /// One message in so many is large.
    pub large_one_in: u64,
}

#[derive(Clone, Debug)]
pub struct Subscriber {
    pub consumer: String,
    pub client_id: String,
    pub datacenter: usize,
    pub topic: usize,
    /// Subscribes so long after the begin, at LATEST; else at the begin, at EARLIEST.
    pub latest_after: Option<Duration>,
    /// Acknowledges by Ack; else by echoing tokens.
    pub acks: bool,
    /// One response in so many is lost on its way.
    pub loses_one_in: Option<u64>,
}

/// A subscription that is taken back to earlier places, or deleted and created again, while a client pops it.
#[derive(Clone, Debug)]
pub struct Replayer {
    pub consumer: &'static str,
    pub topic: usize,
    /// Of the client that pops.
    pub datacenter: usize,
    /// Deleted and created again; else sought.
    pub deletes: bool,
}

impl Plan {
    pub fn new(random: &Random) -> Self {
        let topology = Topology::new(&random.fork("topology"));
        let load = random.fork("load");
        let topics = between(&load, 2, 4);
        let publishers = publishers(&load, &topology, topics);
        let subscribers = subscribers(&load, &topology, topics);
        let replayers = replayers(&random.fork("replayers"), &topology, topics);
        let random = random.fork("faults");
        let mut kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.fits(&topology)).collect();
        let wanted = usize::try_from(KINDS_MIN + random.below(KINDS_MORE)).unwrap_or(3);
        while kinds.len() > wanted {
            kinds.remove(index(&random, kinds.len()));
        }
        let stays_dead = match random.below(4) {
            0 => StaysDead::Store,
            1 => StaysDead::Datacenter,
            2 if Kind::Bridge.fits(&topology) => StaysDead::Bridge,
            _ => StaysDead::Nothing,
        };
        let with_faults = FAULTS_MIN + Duration::from_millis(random.below(FAULTS_MORE_MS));
        let soon = random.below(4) != 0;
        Self { topology, topics, publishers, subscribers, replayers, kinds, with_faults, stays_dead, soon }
    }

    pub fn map(&self) -> ClusterMap {
        self.topology.map()
    }

    pub fn options(&self) -> Options {
        let mut options = Options::default();
        if self.soon {
            options.consensus.snapshot_entries = 100;
            options.consensus.entries_kept = 20;
            options.message_id.fact_runs_kept = 20;
        }
        options
    }

    pub fn topic(&self, topic: usize) -> String {
        format!("topic-{topic}")
    }
}

impl Topology {
    fn new(random: &Random) -> Self {
        let all = ["nyc", "mci", "sea"];
        let datacenters = match random.below(20) {
            0 => &all[..1],
            1 | 2 => &all[..2],
            _ => &all[..],
        };
        Self {
            datacenters: datacenters.to_vec(),
            stores: if random.one_in(6) { 1 } else { 2 },
            voters: if random.one_in(4) { 3 } else { 1 },
            far: random.one_in(3),
            jitter: Duration::from_millis(random.below(4)),
        }
    }

    fn map(&self) -> ClusterMap {
        let builder = match self.datacenters.len() {
            3 => MapBuilder::three_datacenters(),
            2 => MapBuilder::of(&self.datacenters).round_trip(self.datacenters[0], self.datacenters[1], 33),
            _ => MapBuilder::of(&self.datacenters),
        };
        let builder = if self.far { builder.round_trips(150) } else { builder };
        builder
            .nodes(Role::MessageStore, self.stores)
            .nodes(Role::MessageId, self.voters)
            .nodes(Role::SubscriptionPosition, self.voters)
            .voters(self.voters)
            .build()
    }
}

fn publishers(random: &Random, topology: &Topology, topics: usize) -> Vec<Publisher> {
    let mut publishers = Vec::new();
    for (datacenter, name) in topology.datacenters.iter().enumerate() {
        let count = if topology.datacenters.len() == 1 { 8 } else { between(random, 2, 3) };
        for number in 0..count {
            let level = match random.below(20) {
                0..=1 => AckLevel::None,
                2..=11 => AckLevel::Local,
                12..=16 => AckLevel::Ordered,
                _ => AckLevel::Everywhere,
            };
            let by_stream = random.one_in(2);
            // The first is always there, whatever is dead elsewhere: it makes the least number of acknowledgments.
            let level = if number == 0 { AckLevel::Local } else { level };
            publishers.push(Publisher {
                name: format!("{name}-{number}"),
                datacenter,
                topic: index(random, topics),
                level,
                by_stream,
                at_once: if by_stream { between(random, 1, 16) } else { between(random, 1, 4) },
                pace: Duration::from_millis(150 + random.below(250)),
                large_one_in: 60,
            });
        }
    }
    publishers
}

/// Two per topic from the begin, of which one is shared by two clients; and one that comes later.
fn subscribers(random: &Random, topology: &Topology, topics: usize) -> Vec<Subscriber> {
    let mut subscribers = Vec::new();
    for topic in 0..topics {
        for (consumer, clients) in [("alone", 1), ("shared", 2), ("late", 1)] {
            let latest_after = (consumer == "late").then(|| Duration::from_millis(random.below(40_000)));
            let acks = random.one_in(3);
            for client in 0..clients {
                let (datacenter, consumer) = (index(random, topology.datacenters.len()), consumer.to_owned());
                let client_id = format!("{consumer}-{client}");
                let loses_one_in = random.one_in(3).then_some(20);
                let subscriber =
                    Subscriber { consumer, client_id, datacenter, topic, latest_after, acks, loses_one_in };
                subscribers.push(subscriber);
            }
        }
    }
    subscribers
}

/// One that is sought and one that is deleted.
fn replayers(random: &Random, topology: &Topology, topics: usize) -> Vec<Replayer> {
    let replayer = |(consumer, deletes)| Replayer {
        consumer,
        topic: index(random, topics),
        datacenter: index(random, topology.datacenters.len()),
        deletes,
    };
    [("sought", false), ("fickle", true)].map(replayer).into()
}

/// From `least` to `most`, both included.
pub(crate) fn between(random: &Random, least: usize, most: usize) -> usize {
    least + index(random, most - least + 1)
}

/// From 0 up to, not including, `end`.
pub(crate) fn index(random: &Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap_or(0)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Topology { datacenters, stores, voters, far, jitter } = &self.topology;
        let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        write!(
            f,
            "{} × ({stores} stores, {voters} voters), {}, jitter {} ms; {} topics, {} publishers; faults: {}; then {}",
            datacenters.join(" "),
            if *far { "150 ms" } else { "real round trips" },
            jitter.as_millis(),
            self.topics,
            self.publishers.len(),
            kinds.join(", "),
            match self.stays_dead {
                StaysDead::Nothing => "all return",
                StaysDead::Store => "a store stays dead",
                StaysDead::Datacenter => "a datacenter stays dead",
                StaysDead::Bridge => "a bridge stays",
            },
        )
    }
}
