//! The whole state as bytes: a format version, then postcard. Two states are equal exactly if these bytes are.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use trunkline_types::{
    Boot, Bucket, IntervalSet, Lane, LogName, NodeId, Ordinal, Produced, ProducerId, TopicId, hash64,
};

use super::entry::Predecessor;
use super::fact::Fact;
use super::history::History;
use super::logs::{Before, Logs, OpenLog};
use super::producers::{LastPush, Producer, Producers};
use super::retention::{Ages, Retention};
use super::runs::Run;
use super::state::{Shape, State};
use super::topics::{Topic, Topics};
use super::trims::Gone;

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
    topics: Vec<StoredTopic>,
    last_number: u32,
    logs: Vec<StoredLog>,
    closed: Vec<StoredClosed>,
    /// node, counter, index.
    ended: Vec<(u64, u32, u64)>,
    facts_from: u64,
    facts: Vec<(u64, Vec<Fact>)>,
    /// topic, last number, producers.
    producers: Vec<(TopicId, u32, Vec<StoredProducer>)>,
    gone: Gone,
}

#[derive(Serialize, Deserialize)]
struct StoredTopic {
    id: TopicId,
    name: String,
    options: Vec<u8>,
    next_id: u64,
    retention: Retention,
    configured: u64,
    trimmed: u64,
    last_ms: u64,
    ages: Ages,
}

#[derive(Serialize, Deserialize)]
struct StoredProducer {
    number: u32,
    id: ProducerId,
    /// [start, end) of sequences.
    ranges: Vec<(u64, u64)>,
    /// index, order time.
    last: (u64, u64),
}

#[derive(Serialize, Deserialize)]
struct StoredLog {
    number: u32,
    /// bucket, node, boot counter, boot random, lane, ordinal.
    name: (u16, u64, u32, u64, u8, u32),
    ordered: u64,
    before: StoredBefore,
    succeeded: Option<(u64, u64)>,
    last: Option<(TopicId, Option<Produced>)>,
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
            facts: self.history.iter().map(|at| (at.index, at.facts.to_vec())).collect(),
            producers: store_producers(&self.producers),
            gone: self.gone,
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
        let topics = stored.topics.into_iter().map(restore_topic);
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
            producers: restore_producers(stored.producers),
            history: History::from_parts(stored.facts_from, stored.facts),
            gone: stored.gone,
        })
    }

    /// Equal on all voters that have applied the same entries. For tests.
    pub fn hash(&self) -> u64 {
        hash64(&self.snapshot())
    }
}

fn store_topic(topic: &Topic) -> StoredTopic {
    let Topic { id, name, options, next_id, retention, configured, trimmed, last_ms, ages } = topic.clone();
    let (name, options) = (name.to_string(), options.to_vec());
    StoredTopic { id, name, options, next_id, retention, configured, trimmed, last_ms, ages }
}

fn restore_topic(stored: StoredTopic) -> Topic {
    let StoredTopic { id, name, options, next_id, retention, configured, trimmed, last_ms, ages } = stored;
    let (name, options) = (name.into(), options.into());
    Topic { id, name, options, next_id, retention, configured, trimmed, last_ms, ages }
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
        last: log.last.map(|last| (last.topic, last.produced)),
    }
}

fn store_producers(producers: &Producers) -> Vec<(TopicId, u32, Vec<StoredProducer>)> {
    let store = |(&number, known): (&u32, &Producer)| StoredProducer {
        number,
        id: known.id,
        ranges: ranges(&known.sequences),
        last: (known.last.index, known.last.order_time_ms),
    };
    let topics = producers.topics();
    topics.map(|(topic, of)| (topic, of.last_number, of.known.iter().map(store).collect())).collect()
}

fn restore_producers(stored: Vec<(TopicId, u32, Vec<StoredProducer>)>) -> Producers {
    let mut producers = Producers::default();
    for (topic, last_number, known) in stored {
        let restore = |stored: StoredProducer| {
            let (index, order_time_ms) = stored.last;
            let sequences = stored.ranges.into_iter().map(|(start, end)| start..end).collect();
            (stored.number, Producer { id: stored.id, sequences, last: LastPush { index, order_time_ms } })
        };
        producers.restore(topic, last_number, known.into_iter().map(restore).collect());
    }
    producers
}

fn ranges(set: &IntervalSet) -> Vec<(u64, u64)> {
    set.iter().map(|range| (range.start, range.end)).collect()
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
    let last = stored.last.map(|(topic, produced)| Run::of(topic, produced));
    let StoredLog { number, ordered, succeeded, .. } = stored;
    (number, OpenLog { name, ordered, before, succeeded, last })
}

fn store_closed((bucket, node, lane): (Bucket, NodeId, Lane), closed: &IntervalSet) -> StoredClosed {
    StoredClosed { of: (bucket.0, node.0, lane.0), ranges: ranges(closed) }
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
        let retention = Retention { age_ms: 7, bytes: 6, until_acknowledged_ms: 0 };
        state.apply(3, &Entry::CreateTopic { name: "a".to_owned(), options: vec![8], retention });
        state.apply(4, &Entry::EndBoots { node: NodeId(9), counter: 2 });
        let bucket = u8::try_from(hash64(b"a") % 4).unwrap();
        let expected: Vec<u8> = [
            vec![FORMAT, 0, 1, 4, 4, 0, 1, 1],
            vec![0x80 | bucket, 0x80, 4, 1, b'a', 1, 8, 1, 7, 6, 0, 3, 1, 0, 0],
            vec![0, 0, 0, 1, 9, 2, 4, 0, 2],
            vec![3, 1, 0, 0x80 | bucket, 0x80, 4, 1, b'a', 1, 8, 7, 6, 0, 4, 1, 4, 9, 2, 0, 0, 0],
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
        snapshot[0] = 3;
        assert_eq!(State::restore(SHAPE, &snapshot), Err(InvalidSnapshot::Format(3)));
        assert!(matches!(State::restore(SHAPE, &[FORMAT, 7]), Err(InvalidSnapshot::Malformed(_))));
    }
}
