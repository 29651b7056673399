//! What stores are told of a group, in the order in which it was applied.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trunkline_types::{Bucket, LogName, NodeId, TopicId};

use super::entry::{Predecessor, log_name, node_number};

/// One thing that was decided. New kinds go at the end: a kind's place is its number in snapshots. Reserved for later
/// kinds: topic configured, trim, fence, producer forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    TopicCreated {
        topic: TopicId,
        name: String,
        options: Vec<u8>,
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
}

/// `count` records of one topic with consecutive IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedRun {
    pub topic: TopicId,
    /// 0: decided and without IDs, for the topic is deleted.
    pub first_id: u64,
    pub count: u64,
}

impl Fact {
    /// The bucket whose replicas are concerned; `None`: every store.
    pub fn bucket(&self) -> Option<Bucket> {
        match self {
            Self::TopicCreated { topic, .. } | Self::TopicDeleted { topic } => Some(topic.bucket()),
            Self::LogOpened { log, .. } | Self::LogClosed { log, .. } => Some(log.bucket),
            Self::Ordered { bucket, .. } => Some(*bucket),
            Self::BootsEnded { .. } => None,
        }
    }

    /// What it counts against bounds.
    pub fn runs(&self) -> usize {
        match self {
            Self::Ordered { runs, .. } => runs.len(),
            _ => 1,
        }
    }
}

/// Upper bounds of what facts cost on the wire, beside names and options.
const FACT_BYTES: usize = 96;
const RUN_BYTES: usize = 40;

impl Fact {
    /// At most so many bytes on the wire.
    pub fn bytes(&self) -> usize {
        FACT_BYTES
            + match self {
                Self::TopicCreated { name, options, .. } => name.len() + options.len(),
                Self::Ordered { runs, .. } => runs.len() * RUN_BYTES,
                Self::TopicDeleted { .. }
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
    /// Order time when it was applied: what these facts order was ordered then.
    pub order_time_ms: u64,
    pub facts: Arc<[Fact]>,
}
