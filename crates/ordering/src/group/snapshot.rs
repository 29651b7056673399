//! The whole state as bytes: a format version, then postcard. Two states are equal exactly if these bytes are.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use trunkline_types::{Boot, Bucket, IntervalSet, Lane, LogName, NodeId, Ordinal, TopicId, hash64};

use super::entry::Predecessor;
use super::fact::Fact;
use super::history::History;
use super::logs::{Before, Logs, OpenLog};
use super::state::{Shape, State};
use super::topics::{Topic, Topics};

/// The first byte of every snapshot.
pub const FORMAT: u8 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidSnapshot {
    #[error("a snapshot of format {0}; this version knows {FORMAT}")]
    Format(u8),
    #[error("not a snapshot: {0}")]
    Malformed(String),
    #[error("a snapshot of {0:?}; this is {1:?}")]
    OtherGroup(Shape, Shape),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    shape: Shape,
    applied: u64,
    order_time_ms: u64,
    topic_counter: u64,
    /// id, name, options, next ID.
    topics: Vec<(TopicId, String, Vec<u8>, u64)>,
    last_number: u32,
    logs: Vec<StoredLog>,
    closed: Vec<StoredClosed>,
    /// node, counter, index.
    ended: Vec<(u64, u32, u64)>,
    facts_from: u64,
    /// index, order time, facts.
    facts: Vec<(u64, u64, Vec<Fact>)>,
}

#[derive(Serialize, Deserialize)]
struct StoredLog {
    number: u32,
    /// bucket, node, boot counter, boot random, lane, ordinal.
    name: (u16, u64, u32, u64, u8, u32),
    ordered: u64,
    before: StoredBefore,
    succeeded: Option<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
enum StoredBefore {
    Unknown,
    Nothing,
    Log(Predecessor),
}

#[derive(Serialize, Deserialize)]
struct StoredClosed {
    /// bucket, node, lane.
    of: (u16, u64, u8),
    /// [start, end) of boot counter << 32 | ordinal.
    ranges: Vec<(u64, u64)>,
}

impl State {
    pub fn snapshot(&self) -> Vec<u8> {
        let stored = Stored {
            shape: self.shape,
            applied: self.applied,
            order_time_ms: self.order_time_ms,
            topic_counter: self.topics.counter(),
            topics: self.topics.iter().map(store_topic).collect(),
            last_number: self.logs.last_number(),
            logs: self.logs.iter().map(|(number, log)| store_log(number, log)).collect(),
            closed: self.logs.closed().map(|(&of, ranges)| store_closed(of, ranges)).collect(),
            ended: self.logs.ended_boots().map(|(node, (counter, index))| (node.0, counter, index)).collect(),
            facts_from: self.history.from(),
            facts: self.history.iter().map(|at| (at.index, at.order_time_ms, at.facts.to_vec())).collect(),
        };
        postcard::to_extend(&stored, vec![FORMAT]).expect("writing to memory cannot fail")
    }

    /// The state that a snapshot was made of. `shape` is what this group must be.
    ///
    /// # Errors
    /// [`InvalidSnapshot`]; none of it can be used then.
    pub fn restore(shape: Shape, snapshot: &[u8]) -> Result<Self, InvalidSnapshot> {
        let stored: Stored = match snapshot.split_first() {
            Some((&FORMAT, stored)) => {
                postcard::from_bytes(stored).map_err(|error| InvalidSnapshot::Malformed(error.to_string()))?
            }
            Some((&format, _)) => return Err(InvalidSnapshot::Format(format)),
            None => return Err(InvalidSnapshot::Malformed("empty".to_owned())),
        };
        if stored.shape != shape {
            return Err(InvalidSnapshot::OtherGroup(stored.shape, shape));
        }
        let topics = stored.topics.into_iter().map(|(id, name, options, next_id)| Topic {
            id,
            name: name.into(),
            options: options.into(),
            next_id,
        });
        let open = stored.logs.into_iter().map(restore_log).collect();
        let closed = stored.closed.into_iter().map(restore_closed).collect();
        let ended =
            stored.ended.into_iter().map(|(node, counter, index)| (NodeId(node), (counter, index))).collect();
        Ok(Self {
            shape,
            applied: stored.applied,
            order_time_ms: stored.order_time_ms,
            topics: Topics::from_parts(stored.topic_counter, topics),
            logs: Logs::from_parts(stored.last_number, open, closed, ended),
            history: History::from_parts(stored.facts_from, stored.facts),
        })
    }

    /// Equal on all voters that have applied the same entries. For tests.
    pub fn hash(&self) -> u64 {
        hash64(&self.snapshot())
    }
}

fn store_topic(topic: &Topic) -> (TopicId, String, Vec<u8>, u64) {
    (topic.id, topic.name.to_string(), topic.options.to_vec(), topic.next_id)
}

fn store_log(number: u32, log: &OpenLog) -> StoredLog {
    let LogName { bucket, node, boot, lane, ordinal } = log.name;
    StoredLog {
        number,
        name: (bucket.0, node.0, boot.counter, boot.random, lane.0, ordinal.0),
        ordered: log.ordered,
        before: match log.before {
            Before::Unknown => StoredBefore::Unknown,
            Before::Nothing => StoredBefore::Nothing,
            Before::Log(predecessor) => StoredBefore::Log(predecessor),
        },
        succeeded: log.succeeded,
    }
}

fn restore_log(stored: StoredLog) -> (u32, OpenLog) {
    let (bucket, node, counter, random, lane, ordinal) = stored.name;
    let name = LogName {
        bucket: Bucket(bucket),
        node: NodeId(node),
        boot: Boot { counter, random },
        lane: Lane(lane),
        ordinal: Ordinal(ordinal),
    };
    let before = match stored.before {
        StoredBefore::Unknown => Before::Unknown,
        StoredBefore::Nothing => Before::Nothing,
        StoredBefore::Log(predecessor) => Before::Log(predecessor),
    };
    (stored.number, OpenLog { name, ordered: stored.ordered, before, succeeded: stored.succeeded })
}

fn store_closed((bucket, node, lane): (Bucket, NodeId, Lane), closed: &IntervalSet) -> StoredClosed {
    StoredClosed {
        of: (bucket.0, node.0, lane.0),
        ranges: closed.iter().map(|range| (range.start, range.end)).collect(),
    }
}

fn restore_closed(stored: StoredClosed) -> ((Bucket, NodeId, Lane), IntervalSet) {
    let (bucket, node, lane) = stored.of;
    let ranges: IntervalSet = stored.ranges.into_iter().map(|(start, end)| start..end).collect();
    ((Bucket(bucket), NodeId(node), Lane(lane)), ranges)
}

#[cfg(test)]
mod tests {
    use super::super::entry::Entry;
    use super::*;

    const SHAPE: Shape = Shape { group: 0, groups: 1, buckets: 4 };

    #[test]
    fn golden_bytes() {
        let mut state = State::new(SHAPE);
        state.apply(3, &Entry::CreateTopic { name: "a".to_owned(), options: vec![8] });
        state.apply(4, &Entry::EndBoots { node: NodeId(9), counter: 2 });
        let bucket = u8::try_from(hash64(b"a") % 4).unwrap();
        let expected: Vec<u8> = [
            vec![FORMAT, 0, 1, 4, 4, 0, 1, 1],
            vec![0x80 | bucket, 0x80, 4, 1, b'a', 1, 8, 1],
            vec![0, 0, 0, 1, 9, 2, 4, 0, 2],
            vec![3, 0, 1, 0, 0x80 | bucket, 0x80, 4, 1, b'a', 1, 8, 4, 0, 1, 4, 9, 2],
        ]
        .concat();
        assert_eq!(state.snapshot(), expected);
        assert_eq!(State::restore(SHAPE, &expected), Ok(state));
    }

    #[test]
    fn a_snapshot_of_another_format_or_group_is_refused() {
        let mut snapshot = State::new(SHAPE).snapshot();
        let other = Shape { groups: 2, ..SHAPE };
        assert_eq!(State::restore(other, &snapshot), Err(InvalidSnapshot::OtherGroup(SHAPE, other)));
        snapshot[0] = 1;
        assert_eq!(State::restore(SHAPE, &snapshot), Err(InvalidSnapshot::Format(1)));
        assert!(matches!(State::restore(SHAPE, &[FORMAT, 7]), Err(InvalidSnapshot::Malformed(_))));
    }
}
