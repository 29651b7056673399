//! What the committed entries of a group make. The same on every voter: index, entry and own state are all there is.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use trunkline_types::limits::ENTRY_FACT_RUNS_MAX;
use trunkline_types::{Bucket, Produced, TopicId, TopicName};

use super::entry::{Assignment, Entry, Kind, LogPart, PartRun};
use super::fact::{Fact, OrderedRun};
use super::history::{History, Since};
use super::logs::{Before, Logs, OpenLog};
use super::producers::{LastPush, Producers, fits};
use super::retention::Retention;
use super::runs::Run;
use super::topics::{Standing, Topic, Topics};
use super::trims::Gone;

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
    /// An assignment: how many records it has decided (given an ID, or none to duplicates and to what is of a deleted topic).
    Assigned {
        records: u64,
    },
    /// End of boots, closing of logs, trims, forgetting of producers: how much of it was news.
    Noted(u64),
    /// The topic has these options; `taken`: by this entry, and not by one before it.
    Configured {
        id: TopicId,
        options: Vec<u8>,
        taken: bool,
    },
    /// There is no such topic.
    NoTopic,
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
/// **Invariant** (I6): of all records of one (topic, producer, sequence) only the first that is decided gets an ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(super) shape: Shape,
    pub(super) applied: u64,
    pub(super) order_time_ms: u64,
    pub(super) topics: Topics,
    pub(super) logs: Logs,
    pub(super) producers: Producers,
    pub(super) history: History,
    pub(super) gone: Gone,
    // Reserved: fences.
}

impl State {
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            applied: 0,
            order_time_ms: 0,
            topics: Topics::default(),
            logs: Logs::default(),
            producers: Producers::default(),
            history: History::default(),
            gone: Gone::default(),
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

    pub fn producers(&self) -> &Producers {
        &self.producers
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
            Entry::CreateTopic { name, options, retention } => {
                self.create_topic(index, name, options, *retention, &mut facts)
            }
            Entry::DeleteTopic { topic } => {
                let deleted = self.topics.delete(*topic);
                self.producers.delete(*topic);
                facts.extend(deleted.then_some(Fact::TopicDeleted { topic: *topic }));
                self.gone.void(index, deleted);
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
            Entry::ForgetProducers { topic, producers } => {
                self.forget_producers(*topic, producers, &mut facts)
            }
            Entry::ConfigureTopic { topic, configured, options, retention } => {
                self.configure_topic(index, *topic, *configured, options, *retention, &mut facts)
            }
            Entry::Trim(trim) => self.trim(trim, &mut facts),
        };
        self.history.push(index, facts);
        answer
    }

    /// An entry without meaning to this state was committed: membership, a new leader's blank entry.
    pub fn skip(&mut self, index: u64) {
        self.applied = self.applied.max(index);
    }

    fn create_topic(
        &mut self,
        index: u64,
        name: &str,
        options: &[u8],
        retention: Retention,
        facts: &mut Vec<Fact>,
    ) -> Answer {
        let Ok(valid) = TopicName::new(name) else { return Answer::NotHere };
        let bucket = valid.bucket(self.shape.buckets);
        if !self.shape.owns(bucket) {
            return Answer::NotHere;
        }
        if let Some(topic) = self.topics.named(name) {
            return Answer::Topic { id: topic.id, options: topic.options.to_vec(), created: false };
        }
        let Ok(Topic { id, .. }) = self.topics.create(index, bucket, name, options, retention) else {
            return Answer::TooManyTopics;
        };
        let id = *id;
        let (name, options) = (name.to_owned(), options.to_vec());
        facts.push(Fact::TopicCreated { topic: id, name, options: options.clone(), retention });
        Answer::Topic { id, options, created: true }
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
        let room = ENTRY_FACT_RUNS_MAX.saturating_sub(facts.iter().map(Fact::runs).sum());
        let (runs, last) = self.decide(index, &log, part, room);
        self.gone.void(index, runs.iter().any(|run| run.first_id == 0));
        let records = runs.iter().map(|run| run.count).sum();
        if records > 0 {
            facts.push(Fact::Ordered { number, bucket: log.name.bucket, from: log.ordered, runs });
            let open = self.logs.get_mut(number).expect("it was there above");
            (open.ordered, open.last) = (log.ordered + records, last);
        }
        records
    }

    /// Gives IDs to the records of a part that are not decided yet, as far as their topics and producers are known and
    /// there is room for so many runs. Also what the last of them is.
    fn decide(
        &mut self,
        index: u64,
        log: &OpenLog,
        part: &LogPart,
        room: usize,
    ) -> (Vec<OrderedRun>, Option<Run>) {
        let now = LastPush { index, order_time_ms: self.order_time_ms };
        let mut decided = Decided { runs: Vec::new(), max: room };
        let mut skip = log.ordered - part.from;
        // The record right before the next one to decide, whether that is the part's first or in the middle of it.
        let mut before = log.last;
        for run in &part.runs {
            let skipped = skip.min(run.count);
            skip -= skipped;
            if skipped == run.count {
                continue;
            }
            if decided.room() == 0 {
                break;
            }
            let Some(run) = self.undecided(log.name.bucket, before, run, skipped) else { break };
            let count = match (self.topics.standing(run.topic), run.produced) {
                (Standing::Unknown, _) => break,
                (Standing::Deleted, _) => decided.push(run.topic, 0, run.count, None),
                (Standing::Live, None) => {
                    let first_id =
                        self.topics.take_ids(run.topic, run.count, now.order_time_ms).expect("it is live");
                    decided.push(run.topic, first_id, run.count, None)
                }
                (Standing::Live, Some(produced)) => self.decide_produced(run, produced, now, &mut decided),
            };
            if count > 0 {
                before = Some(Run { count: 1, ..run.without(count - 1) });
            }
            if count < run.count {
                break;
            }
        }
        (decided.runs, before)
    }

    /// The run without its first records; `None` where its producer is not known or nothing fits.
    fn undecided(&self, bucket: Bucket, before: Option<Run>, run: &PartRun, skipped: u64) -> Option<Run> {
        let count = run.count - skipped;
        let (topic, produced) = match run.kind {
            Kind::AsBefore => before.map(|before| (before.topic, before.next()))?,
            Kind::Topic(counter) => (TopicId::new(counter, bucket), None),
            Kind::Produced { topic_counter, producer, sequence } => {
                let topic = TopicId::new(topic_counter, bucket);
                let producer = self.producers.resolve(topic, producer)?;
                let produced = Produced { producer, sequence: sequence.checked_add(skipped)? };
                (topic, Some(produced))
            }
        };
        let fits = produced.is_none_or(|produced| fits(produced, count));
        fits.then_some(Run { topic, count, produced })
    }

    /// Gives IDs to what is no duplicate; how many records were decided.
    fn decide_produced(&mut self, run: Run, first: Produced, now: LastPush, decided: &mut Decided) -> u64 {
        let mut done = 0;
        for (count, is_new) in self.producers.take(run.topic, first, run.count, decided.room(), now) {
            let first_id = if is_new {
                self.topics.take_ids(run.topic, count, now.order_time_ms).expect("it is live")
            } else {
                0
            };
            decided.push(run.topic, first_id, count, Some(first.plus(done)));
            done += count;
        }
        done
    }

    /// How long a topic's messages are kept at most.
    pub(super) fn kept_for(&self, topic: TopicId) -> u64 {
        self.topics.get(topic).map_or(0, |topic| topic.retention.age_at_most_ms())
    }

    fn forget_producers(
        &mut self,
        topic: TopicId,
        producers: &[(u32, u64)],
        facts: &mut Vec<Fact>,
    ) -> Answer {
        let (now, age_ms) = (self.order_time_ms, self.kept_for(topic));
        let forgotten = producers
            .iter()
            .filter_map(|&(number, index)| self.producers.forget(topic, number, index, now, age_ms));
        let producers: Vec<_> = forgotten.collect();
        let news = producers.len() as u64;
        facts.extend((news > 0).then_some(Fact::ProducersForgotten { topic, producers }));
        Answer::Noted(news)
    }
}

/// The runs that a part comes to.
struct Decided {
    runs: Vec<OrderedRun>,
    max: usize,
}

impl Decided {
    fn room(&self) -> usize {
        self.max.saturating_sub(self.runs.len())
    }

    /// Joins what is alike and has consecutive IDs; how many that were.
    fn push(&mut self, topic: TopicId, first_id: u64, count: u64, produced: Option<Produced>) -> u64 {
        match self.runs.last_mut() {
            Some(last)
                if last.topic == topic
                    && (last.first_id == 0) == (first_id == 0)
                    && last.produced.map(|first| first.plus(last.count)) == produced =>
            {
                last.count += count;
            }
            _ => self.runs.push(OrderedRun { topic, first_id, count, produced }),
        }
        count
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
