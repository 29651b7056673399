//! The committed order as a store takes it: facts are staged when they come, settled when they may be told.

use thiserror::Error;
use trunkline_types::{LogName, NodeId, TopicId};

use super::catalog::{Catalog, Effect};
use super::log::{Log, LogNo};
use super::topic::{IndexRun, Topic};
use crate::group::{OrderedRun, Predecessor};

/// One thing that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    TopicCreated { topic: TopicId, name: String, options: Vec<u8> },
    TopicDeleted { topic: TopicId },
    LogOpened { number: u32, log: LogName, predecessor: Option<Predecessor> },
    Ordered { number: u32, from: u64, runs: Vec<OrderedRun> },
    BootsEnded { node: NodeId, counter: u32 },
    LogClosed { number: u32, end: u64 },
}

/// All facts of one applied entry; index 0 is said at the start of a session and belongs to no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactsAt {
    pub index: u64,
    /// When what these facts order was ordered; 0: not said.
    pub order_time_ms: u64,
    pub facts: Vec<Fact>,
}

/// What is to be written, in one batch with all else of the same facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// The log's name, predecessor and end, as the catalog has them now.
    Log(LogNo),
    /// Records from `end` on go.
    DropBeyond {
        log: LogNo,
        end: u64,
    },
    /// The group's own number of a log; `None`: of a bucket that is not held here.
    Number {
        group: u16,
        number: u32,
        log: Option<LogNo>,
    },
    /// The number's log is closed.
    NumberClosed {
        group: u16,
        number: u32,
    },
    Topic(TopicId),
    /// The topic's next ID and watermark, as the catalog has them now.
    Mark(TopicId),
    Index {
        topic: TopicId,
        run: IndexRun,
    },
    Order {
        log: LogNo,
        seq: u64,
        run: OrderedRun,
    },
    Boot {
        group: u16,
        node: NodeId,
        counter: u32,
    },
    Facts {
        group: u16,
        index: u64,
    },
    /// The group's index is being copied, from stores whose facts reach up to there; `None`: it is no more. In between
    /// its rows are not all of the same facts.
    Copying {
        group: u16,
        upto: Option<u64>,
    },
    /// From this ID on, up to the next such row, messages of the topic were ordered at this time.
    Time {
        topic: TopicId,
        id: u64,
        ms: u64,
    },
}

/// What the facts come to. Each is to be settled, in order: an ordering as soon as the driver likes, for it is
/// committed and would only be told again after a crash; what is said of this store's disk once the rows are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    Ordered {
        log: LogNo,
        from: u64,
        runs: Vec<OrderedRun>,
    },
    Facts {
        group: u16,
        index: u64,
    },
    /// Copied from another store: logs are ordered, topics indexed, up to there.
    Copied {
        logs: Vec<(LogNo, u64)>,
        topics: Vec<(TopicId, u64)>,
    },
}

impl Settled {
    /// Says something of this store's disk: true only once the rows are there.
    pub fn needs_disk(&self) -> bool {
        match self {
            Self::Ordered { .. } => false,
            Self::Facts { .. } | Self::Copied { .. } => true,
        }
    }
}

/// Facts that do not continue what is here. Nothing of the offending fact was taken; what came before it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Inconsistent {
    #[error("facts name log number {0}, which was not opened")]
    UnknownNumber(u32),
    #[error("facts order log {log} from {from}, here it is ordered up to {ordered}")]
    LogGap { log: LogName, from: u64, ordered: u64 },
    #[error("facts give topic {topic} the ID {first}, here {next} is next")]
    TopicGap { topic: TopicId, first: u64, next: u64 },
}

impl Catalog {
    /// Takes the facts of one entry. What they say counts for what comes after them, but is told to nobody before
    /// [`Catalog::settle`] has been called.
    ///
    /// # Errors
    /// [`Inconsistent`]: the session is to start again from [`Catalog::facts_from`]. The rows are to be written even so.
    pub fn stage(
        &mut self,
        group: u16,
        at: FactsAt,
        rows: &mut Vec<Row>,
        settled: &mut Vec<Settled>,
    ) -> Result<(), Inconsistent> {
        if at.index != 0 && at.index < self.facts_from(group) {
            return Ok(());
        }
        for fact in at.facts {
            self.stage_one(group, at.order_time_ms, fact, rows, settled)?;
        }
        self.stage_index(group, at.index, rows, settled);
        Ok(())
    }

    /// The voter has applied `index`, and has nothing more to tell up to there.
    pub fn stage_index(&mut self, group: u16, index: u64, rows: &mut Vec<Row>, settled: &mut Vec<Settled>) {
        let known = self.group_mut(group);
        if index > known.staged {
            known.staged = index;
            rows.push(Row::Facts { group, index });
            settled.push(Settled::Facts { group, index });
        }
    }

    fn stage_one(
        &mut self,
        group: u16,
        order_time_ms: u64,
        fact: Fact,
        rows: &mut Vec<Row>,
        settled: &mut Vec<Settled>,
    ) -> Result<(), Inconsistent> {
        match fact {
            Fact::TopicCreated { topic, name, options } => self.create_topic(topic, name, options, rows),
            Fact::TopicDeleted { topic } => self.delete_topic(topic, rows),
            Fact::LogOpened { number, log, predecessor } => {
                self.number_log(group, number, log, predecessor, rows)
            }
            Fact::Ordered { number, from, runs } => {
                if let Some(log) = self.numbered(group, number)? {
                    self.order((log, from), order_time_ms, runs, rows, settled)?;
                }
            }
            Fact::BootsEnded { node, counter } => {
                self.end_boots_below(group, node, counter, rows);
            }
            Fact::LogClosed { number, end } => {
                let log = self.numbered(group, number)?;
                self.group_mut(group).numbers.remove(&number);
                rows.push(Row::NumberClosed { group, number });
                if let Some(log) = log {
                    self.close_log(log, end, rows);
                }
            }
        }
        Ok(())
    }

    pub(super) fn end_boots_below(&mut self, group: u16, node: NodeId, counter: u32, rows: &mut Vec<Row>) {
        let known = self.group_mut(group).boots_ended.entry(node).or_insert(0);
        if counter > *known {
            *known = counter;
            rows.push(Row::Boot { group, node, counter });
            self.end_boots(group, node, counter);
        }
    }

    fn numbered(&mut self, group: u16, number: u32) -> Result<Option<LogNo>, Inconsistent> {
        self.group_mut(group).numbers.get(&number).copied().ok_or(Inconsistent::UnknownNumber(number))
    }

    fn create_topic(&mut self, topic: TopicId, name: String, options: Vec<u8>, rows: &mut Vec<Row>) {
        if !self.holds(topic.bucket()) || self.topics.contains_key(&topic) {
            return;
        }
        self.topic_names.insert(name.clone(), topic);
        self.topics.insert(topic, Topic::new(name, options));
        rows.extend([Row::Topic(topic), Row::Mark(topic)]);
    }

    fn delete_topic(&mut self, id: TopicId, rows: &mut Vec<Row>) {
        let Some(topic) = self.topics.get_mut(&id).filter(|topic| !topic.deleted) else { return };
        topic.deleted = true;
        if self.topic_names.get(&topic.name) == Some(&id) {
            self.topic_names.remove(&topic.name);
        }
        rows.push(Row::Topic(id));
    }

    fn number_log(
        &mut self,
        group: u16,
        number: u32,
        name: LogName,
        predecessor: Option<Predecessor>,
        rows: &mut Vec<Row>,
    ) {
        if self.group_mut(group).numbers.contains_key(&number) {
            return;
        }
        // Facts that were taken already may come again, of a log that they have closed.
        let wanted = self.holds(name.bucket) && !self.is_closed(&name);
        let log = wanted.then(|| self.open_log(name, predecessor, rows));
        self.group_mut(group).numbers.insert(number, log);
        rows.push(Row::Number { group, number, log });
        if let Some(log) = log {
            self.log_mut(log).number = Some(number);
            self.log_is_named(log);
        }
    }

    fn order(
        &mut self,
        (log, from): (LogNo, u64),
        order_time_ms: u64,
        runs: Vec<OrderedRun>,
        rows: &mut Vec<Row>,
        settled: &mut Vec<Settled>,
    ) -> Result<(), Inconsistent> {
        let known = self.log_mut(log);
        let end = from + runs.iter().map(|run| run.count).sum::<u64>();
        if end <= known.staged {
            return Ok(());
        }
        if from != known.staged {
            return Err(Inconsistent::LogGap { log: known.name, from, ordered: known.staged });
        }
        self.check_ids(&runs)?;
        self.log_mut(log).staged = end;
        let mut seq = from;
        for &run in &runs {
            rows.push(Row::Order { log, seq, run });
            if run.first_id != 0 {
                let topic =
                    self.topics.entry(run.topic).or_insert_with(|| Topic::new(String::new(), Vec::new()));
                topic.staged_next = run.first_id + run.count;
                let indexed = IndexRun { first: run.first_id, log, seq, count: run.count };
                rows.extend([Row::Index { topic: run.topic, run: indexed }, Row::Mark(run.topic)]);
                let news = topic.was_ordered(run.first_id, order_time_ms);
                rows.extend(news.then_some(Row::Time {
                    topic: run.topic,
                    id: run.first_id,
                    ms: order_time_ms,
                }));
            }
            seq += run.count;
        }
        settled.push(Settled::Ordered { log, from, runs });
        Ok(())
    }

    /// IDs are accepted only if they continue the topic's last.
    fn check_ids(&self, runs: &[OrderedRun]) -> Result<(), Inconsistent> {
        let mut next = std::collections::BTreeMap::new();
        for run in runs.iter().filter(|run| run.first_id != 0) {
            let known = self.topics.get(&run.topic).map_or(1, |topic| topic.staged_next);
            let next = next.entry(run.topic).or_insert(known);
            if run.first_id != *next {
                return Err(Inconsistent::TopicGap { topic: run.topic, first: run.first_id, next: *next });
            }
            *next += run.count;
        }
        Ok(())
    }

    pub(super) fn close_log(&mut self, no: LogNo, end: u64, rows: &mut Vec<Row>) {
        let log = self.log_mut(no);
        log.number = None;
        if log.close(end) {
            rows.push(Row::DropBeyond { log: no, end });
        }
        rows.push(Row::Log(no));
        self.forget_if_complete(no);
    }

    /// From here on these may be told.
    pub fn settle(&mut self, settled: &[Settled], effects: &mut Vec<Effect>) {
        for settled in settled {
            match settled {
                Settled::Ordered { log, from, runs } => self.settle_ordered(*log, *from, runs, effects),
                Settled::Facts { group, index } => {
                    let known = self.group_mut(*group);
                    known.settled = known.settled.max(*index);
                    self.index_written(effects);
                }
                Settled::Copied { logs, topics } => self.settle_copied(logs, topics, effects),
            }
        }
    }

    fn settle_ordered(&mut self, no: LogNo, from: u64, runs: &[OrderedRun], effects: &mut Vec<Effect>) {
        let mut seq = from;
        for run in runs {
            if let Some(topic) = self.topics.get_mut(&run.topic).filter(|_| run.first_id != 0) {
                topic.index(IndexRun { first: run.first_id, log: no, seq, count: run.count });
                self.advance(run.topic, effects);
            }
            seq += run.count;
        }
        self.ordered_up_to(no, seq, effects);
    }

    pub(super) fn ordered_up_to(&mut self, no: LogNo, end: u64, effects: &mut Vec<Effect>) {
        let Some(log) = self.find_mut(no) else { return };
        log.ordered = log.ordered.max(end);
        log.runs.drop_below(log.ordered);
        self.runs_wanted(no, effects);
        effects.push(Effect::Reportable(no));
    }
}

impl Log {
    /// Decided, by facts that were taken but need not be on disk.
    pub fn staged(&self) -> u64 {
        self.staged
    }
}
