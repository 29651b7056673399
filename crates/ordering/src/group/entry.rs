//! What a group commits, as bytes: a format version, then postcard (variable-length integers); an assignment has a form
//! of its own ([`assignment`]). A message alone costs about 12 bytes, one of many in a run of its topic a fraction of
//! one. IDs are not in it: they are computed when it is applied.

mod assignment;
mod trim;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use trunkline_types::{Boot, Bucket, Lane, LogName, NodeId, Ordinal, ProducerId, TopicId};

use super::retention::Retention;
pub use trim::{Trim, TrimPart};

/// The first byte of every entry.
pub const FORMAT: u8 = 3;

/// One committed entry. New kinds go at the end: a kind's place is its number on disk. Reserved for later kinds:
/// fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// Creates a topic unless its name is taken. `options` are opaque here: equal bytes are equal options.
    CreateTopic {
        name: String,
        options: Vec<u8>,
        retention: Retention,
    },
    /// By id, so that a late repetition cannot delete a topic created since under the same name.
    DeleteTopic {
        topic: TopicId,
    },
    Assign(#[serde(with = "assignment")] Assignment),
    /// A newer boot of `node` was seen: those with a counter below `counter` write no more.
    EndBoots {
        #[serde(with = "node_number")]
        node: NodeId,
        counter: u32,
    },
    /// (short number, ordered end) of each log that every replica holds exactly up to there.
    CloseLogs {
        logs: Vec<(u32, u64)>,
    },
    /// Producers of a topic, each by its short number and the index of its last push: one that has pushed since is not
    /// forgotten.
    ForgetProducers {
        topic: TopicId,
        producers: Vec<(u32, u64)>,
    },
    /// Gives a topic other options, if it still has those of the index that they were made from.
    ConfigureTopic {
        topic: TopicId,
        configured: u64,
        options: Vec<u8>,
        retention: Retention,
    },
    Trim(Trim),
}

/// Records that are on disk in two datacenters, in the order in which they get their IDs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The map under which its evidence was given. (Later: below the group's fence, it is refused.)
    pub map_version: u64,
    /// Milliseconds since 1970, proposed; order time never goes back. 0: it is that of the entry before.
    pub order_time_ms: u64,
    /// Facts at or below this index are on disk with stores of two datacenters; 0 where nothing new is.
    pub facts_trim: u64,
    pub logs: Vec<LogPart>,
}

/// What an assignment says of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPart {
    pub log: LogReference,
    /// The sequence that `runs` begin at. Beyond what is ordered: refused. Below: what is ordered is skipped.
    pub from: u64,
    pub runs: Vec<PartRun>,
}

/// A log by its short number or, until it has one, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogReference {
    /// From 1.
    Number(u32),
    Name {
        name: LogName,
        /// `None` for a boot's first log of its (bucket, lane), and for no other.
        predecessor: Option<Predecessor>,
    },
}

/// The log that was written before this one by the same boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    pub ordinal: u32,
    /// Nothing of this log gets an ID before that one is ordered up to here (exclusive), unless `overtaking`.
    pub end: u64,
    pub overtaking: bool,
}

/// Consecutive records alike, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRun {
    pub kind: Kind,
    pub count: u64,
}

/// What records are. Their bucket is the log's, so the counter of their topic's id suffices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As the log's record right before them: of its topic, and of its producer, if it has one, the next sequences.
    /// What a log's records are never changes, so this means the same whenever it is applied.
    AsBefore,
    Topic(u64),
    Produced {
        topic_counter: u64,
        producer: ProducerReference,
        /// Of the first one.
        sequence: u64,
    },
}

/// A producer by its id or, once the topic has given it one, its short number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerReference {
    /// From 1.
    Number(u32),
    Id(ProducerId),
}

/// Bytes that are not an entry of this version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidEntry {
    #[error("an entry of format {0}; this version knows {FORMAT}")]
    Format(u8),
    #[error("not an entry: {0}")]
    Malformed(String),
}

impl Entry {
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).expect("writing to memory cannot fail")
    }

    /// # Errors
    /// [`InvalidEntry`] for what [`Entry::encode`] of this version did not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidEntry> {
        match bytes.split_first() {
            Some((&FORMAT, entry)) => {
                postcard::from_bytes(entry).map_err(|error| InvalidEntry::Malformed(error.to_string()))
            }
            Some((&format, _)) => Err(InvalidEntry::Format(format)),
            None => Err(InvalidEntry::Malformed("empty".to_owned())),
        }
    }
}

/// A node id as a number: its own form is for people.
pub(super) mod node_number {
    use super::{Deserialize as _, NodeId, Serialize as _};

    pub(in crate::group) fn serialize<S: serde::Serializer>(node: &NodeId, to: S) -> Result<S::Ok, S::Error> {
        node.0.serialize(to)
    }

    pub(in crate::group) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<NodeId, D::Error> {
        u64::deserialize(from).map(NodeId)
    }
}

/// A log name as numbers.
pub(super) mod log_name {
    use super::{Boot, Bucket, Deserialize as _, Lane, LogName, NodeId, Ordinal, Serialize as _};

    pub(in crate::group) fn serialize<S: serde::Serializer>(log: &LogName, to: S) -> Result<S::Ok, S::Error> {
        (log.bucket.0, log.node.0, log.boot.counter, log.boot.random, log.lane.0, log.ordinal.0).serialize(to)
    }

    pub(in crate::group) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<LogName, D::Error> {
        let (bucket, node, counter, random, lane, ordinal) =
            <(u16, u64, u32, u64, u8, u32)>::deserialize(from)?;
        let boot = Boot { counter, random };
        Ok(LogName {
            bucket: Bucket(bucket),
            node: NodeId(node),
            boot,
            lane: Lane(lane),
            ordinal: Ordinal(ordinal),
        })
    }
}

#[cfg(test)]
mod tests;
