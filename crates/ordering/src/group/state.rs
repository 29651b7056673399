//! What the committed entries of a group make. The same on every voter: index, entry and own state are all there is.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use trunkline_types::{Bucket, LogName, TopicId, TopicName};

use super::entry::{Assignment, Entry, LogPart, PartRun};
use super::fact::{Fact, OrderedRun};
use super::history::{History, Since};
use super::logs::{Before, Logs, OpenLog};
use super::topics::{Standing, Topic, Topics};

/// Which buckets a group orders. Fixed when the cluster was initialized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// This group's number.
    pub group: u16,
    /// How many ordering groups there are.
    pub groups: u16,
    /// How many buckets there are.
    pub buckets: u32,
}

impl Shape {
    pub fn owns(&self, bucket: Bucket) -> bool {
        bucket.0 % self.groups == self.group && u32::from(bucket.0) < self.buckets
    }

    /// This group's buckets, ascending.
    pub fn own_buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let last = u16::try_from(self.buckets - 1).unwrap_or(u16::MAX);
        (self.group..=last).step_by(usize::from(self.groups)).map(Bucket)
    }
}

/// What an entry's proposer is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The topic of that name: created by this entry, or there before, with its options.
    Topic {
        id: TopicId,
        options: Vec<u8>,
        created: bool,
    },
    TooManyTopics,
    /// The name is none, or belongs to another group.
    NotHere,
    /// Whether the topic was live until this entry.
    Deleted(bool),
    /// An assignment: how many records it has decided (given an ID, or none for a deleted topic).
    Assigned {
        records: u64,
    },
    /// End of boots, closing of logs: how much of it was news.
    Noted(u64),
}

/// Bytes that are not an answer of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an answer of this version")]
pub struct InvalidAnswer;

impl Answer {
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("writing to memory cannot fail")
    }

    /// # Errors
    /// [`InvalidAnswer`] for what [`Answer::encode`] did not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidAnswer> {
        postcard::from_bytes(bytes).map_err(|_| InvalidAnswer)
    }
}

/// The state of an ordering group.
///
/// **Invariant** (I3): IDs are given here and nowhere else, dense per topic, each once; a log's records are decided in
/// the log's order, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(super) shape: Shape,
    pub(super) applied: u64,
    pub(super) order_time_ms: u64,
    pub(super) topics: Topics,
    pub(super) logs: Logs,
    pub(super) history: History,
    // Reserved: producers, trims, fences.
}

impl State {
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            applied: 0,
            order_time_ms: 0,
            topics: Topics::default(),
            logs: Logs::default(),
            history: History::default(),
        }
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The last index applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Milliseconds since 1970; never goes back.
    pub fn order_time_ms(&self) -> u64 {
        self.order_time_ms
    }

    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    /// Facts from an index on; see [`History::since`].
    pub fn facts_since(&self, from: u64) -> Since {
        self.history.since(from, self.applied)
    }

    /// Logs whose short numbers a reader of the facts from index `from` on may meet: the open ones, and those closed
    /// at or after `from`. In order of number.
    pub fn log_numbers(&self, from: u64) -> Vec<Fact> {
        let closed =
            self.history.iter().filter(|at| at.index >= from).flat_map(|at| at.facts.iter()).filter_map(
                |fact| match fact {
                    Fact::LogClosed { number, log, .. } => {
                        Some((*number, Fact::LogOpened { number: *number, log: *log, predecessor: None }))
                    }
                    _ => None,
                },
            );
        let open = self.logs.iter().map(|(number, log)| (number, opened(number, log)));
        let mut all: Vec<(u32, Fact)> = closed.chain(open).collect();
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, fact)| fact).collect()
    }

    /// Applies the entry committed at `index`.
    pub fn apply(&mut self, index: u64, entry: &Entry) -> Answer {
        self.applied = self.applied.max(index);
        let mut facts = Vec::new();
        let answer = match entry {
            Entry::CreateTopic { name, options } => self.create_topic(name, options, &mut facts),
            Entry::DeleteTopic { topic } => {
                let deleted = self.topics.delete(*topic);
                facts.extend(deleted.then_some(Fact::TopicDeleted { topic: *topic }));
                Answer::Deleted(deleted)
            }
            Entry::Assign(assignment) => self.assign(index, assignment, &mut facts),
            Entry::EndBoots { node, counter } => {
                let news = self.logs.end_boots(index, *node, *counter);
                facts.extend(news.then_some(Fact::BootsEnded { node: *node, counter: *counter }));
                Answer::Noted(news.into())
            }
            Entry::CloseLogs { logs } => {
                for &(number, end) in logs {
                    let closed = self.logs.close(number, end);
                    facts.extend(closed.map(|log| Fact::LogClosed { number, log, end }));
                }
                Answer::Noted(facts.len() as u64)
            }
        };
        self.history.push(index, self.order_time_ms, facts);
        answer
    }

    /// An entry without meaning to this state was committed: membership, a new leader's blank entry.
    pub fn skip(&mut self, index: u64) {
        self.applied = self.applied.max(index);
    }

    fn create_topic(&mut self, name: &str, options: &[u8], facts: &mut Vec<Fact>) -> Answer {
        let Ok(valid) = TopicName::new(name) else { return Answer::NotHere };
        let bucket = valid.bucket(self.shape.buckets);
        if !self.shape.owns(bucket) {
            return Answer::NotHere;
        }
        if let Some(topic) = self.topics.named(name) {
            return Answer::Topic { id: topic.id, options: topic.options.to_vec(), created: false };
        }
        let Ok(Topic { id, .. }) = self.topics.create(bucket, name, options) else {
            return Answer::TooManyTopics;
        };
        let id = *id;
        facts.push(Fact::TopicCreated { topic: id, name: name.to_owned(), options: options.to_vec() });
        Answer::Topic { id, options: options.to_vec(), created: true }
    }

    fn assign(&mut self, index: u64, assignment: &Assignment, facts: &mut Vec<Fact>) -> Answer {
        self.order_time_ms = self.order_time_ms.max(assignment.order_time_ms);
        self.history.trim(assignment.facts_trim);
        let records = assignment.logs.iter().map(|part| self.assign_part(index, part, facts)).sum();
        Answer::Assigned { records }
    }

    /// Decides what of a part is next in its log; how many records that were.
    fn assign_part(&mut self, index: u64, part: &LogPart, facts: &mut Vec<Fact>) -> u64 {
        if let super::entry::LogReference::Name { name, .. } = &part.log
            && !self.shape.owns(name.bucket)
        {
            return 0;
        }
        let named = self.logs.resolve(index, &part.log, &mut |number, log| facts.push(opened(number, log)));
        let Ok(number) = named else { return 0 };
        let Some(&log) = self.logs.get(number) else { return 0 };
        if part.from > log.ordered || !self.logs.may_begin(&log.name, log.before) {
            return 0;
        }
        let runs = self.decide(log.name, &part.runs, log.ordered - part.from);
        let records = runs.iter().map(|run| run.count).sum();
        if records > 0 {
            facts.push(Fact::Ordered { number, bucket: log.name.bucket, from: log.ordered, runs });
            self.logs.get_mut(number).expect("it was there above").ordered += records;
        }
        records
    }

    /// Gives IDs to the records of `runs` but the first `skip`, as far as their topics are known.
    fn decide(&mut self, log: LogName, runs: &[PartRun], mut skip: u64) -> Vec<OrderedRun> {
        let mut decided: Vec<OrderedRun> = Vec::new();
        for run in runs {
            let skipped = skip.min(run.count);
            skip -= skipped;
            let count = run.count - skipped;
            if count == 0 {
                continue;
            }
            let topic = TopicId::new(run.topic_counter, log.bucket);
            let first_id = match self.topics.standing(topic) {
                Standing::Live => self.topics.take_ids(topic, count).expect("it is live"),
                Standing::Deleted => 0,
                Standing::Unknown => break,
            };
            match decided.last_mut() {
                Some(last) if last.topic == topic => last.count += count,
                _ => decided.push(OrderedRun { topic, first_id, count }),
            }
        }
        decided
    }
}

fn opened(number: u32, log: &OpenLog) -> Fact {
    let predecessor = match log.before {
        Before::Log(predecessor) => Some(predecessor),
        Before::Unknown | Before::Nothing => None,
    };
    Fact::LogOpened { number, log: log.name, predecessor }
}

#[cfg(test)]
mod tests;
