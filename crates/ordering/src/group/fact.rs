//! What stores are told of a group, in the order in which it was applied.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trunkline_types::{Bucket, LogName, NodeId, Produced, ProducerId, TopicId};

use super::entry::{Predecessor, log_name, node_number};
use super::retention::Retention;

/// One thing that was decided. New kinds go at the end: a kind's place is its number in snapshots. Reserved for later
/// kinds: fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    TopicCreated {
        topic: TopicId,
        name: String,
        options: Vec<u8>,
        retention: Retention,
    },
    TopicDeleted {
        topic: TopicId,
    },
    /// From here on `number` stands for the log.
    LogOpened {
        number: u32,
        #[serde(with = "log_name")]
        log: LogName,
        predecessor: Option<Predecessor>,
    },
    /// Records of a log from `from` on, run after run.
    Ordered {
        number: u32,
        bucket: Bucket,
        from: u64,
        runs: Vec<OrderedRun>,
    },
    /// Boots of `node` with a counter below `counter` write no more.
    BootsEnded {
        #[serde(with = "node_number")]
        node: NodeId,
        counter: u32,
    },
    LogClosed {
        number: u32,
        #[serde(with = "log_name")]
        log: LogName,
        end: u64,
    },
    /// What these have pushed to the topic is not remembered any more.
    ProducersForgotten {
        topic: TopicId,
        producers: Vec<ProducerId>,
    },
    /// The topic has these options from here on.
    TopicConfigured {
        topic: TopicId,
        options: Vec<u8>,
        retention: Retention,
    },
    /// Messages of the topic with IDs below it are there no more.
    Trimmed {
        topic: TopicId,
        below: u64,
    },
    /// What facts up to this index decide to be no message, and what is left of topics that they delete, may go: every
    /// datacenter has them on disk.
    Everywhere {
        index: u64,
    },
}

/// `count` records of one topic with consecutive IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedRun {
    pub topic: TopicId,
    /// 0: decided and without IDs: duplicates, or, where there is no producer, the topic is deleted.
    pub first_id: u64,
    pub count: u64,
    /// What the first of them is called, if they have a producer.
    pub produced: Option<Produced>,
}

impl OrderedRun {
    /// Messages of the same names have IDs already.
    pub fn is_duplicate(&self) -> bool {
        self.first_id == 0 && self.produced.is_some()
    }
}

impl Fact {
    /// The bucket whose replicas are concerned; `None`: every store.
    pub fn bucket(&self) -> Option<Bucket> {
        match self {
            Self::TopicCreated { topic, .. }
            | Self::TopicDeleted { topic }
            | Self::ProducersForgotten { topic, .. }
            | Self::TopicConfigured { topic, .. }
            | Self::Trimmed { topic, .. } => Some(topic.bucket()),
            Self::LogOpened { log, .. } | Self::LogClosed { log, .. } => Some(log.bucket),
            Self::Ordered { bucket, .. } => Some(*bucket),
            Self::BootsEnded { .. } | Self::Everywhere { .. } => None,
        }
    }

    /// What it counts against bounds.
    pub fn runs(&self) -> usize {
        match self {
            Self::Ordered { runs, .. } => runs.len(),
            Self::ProducersForgotten { producers, .. } => producers.len(),
            _ => 1,
        }
    }
}

/// Upper bounds of what facts cost on the wire, beside names and options.
const FACT_BYTES: usize = 96;
const RUN_BYTES: usize = 72;
const PRODUCER_BYTES: usize = 20;

impl Fact {
    /// At most so many bytes on the wire.
    pub fn bytes(&self) -> usize {
        FACT_BYTES
            + match self {
                Self::TopicCreated { name, options, .. } => name.len() + options.len(),
                Self::Ordered { runs, .. } => runs.len() * RUN_BYTES,
                Self::TopicConfigured { options, .. } => options.len(),
                Self::ProducersForgotten { producers, .. } => producers.len() * PRODUCER_BYTES,
                Self::TopicDeleted { .. }
                | Self::Trimmed { .. }
                | Self::Everywhere { .. }
                | Self::LogOpened { .. }
                | Self::BootsEnded { .. }
                | Self::LogClosed { .. } => 0,
            }
    }
}

/// All facts of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactsAt {
    /// The Raft log index that was applied.
    pub index: u64,
    pub facts: Arc<[Fact]>,
}
