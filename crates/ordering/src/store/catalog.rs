//! All logs, topics and groups that a store knows. [`recover`]: as they were found on disk.

mod recover;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use trunkline_types::{Bucket, LogName, NodeId, Ordinal, TopicId};

use super::closed::ClosedLogs;
use super::facts::Row;
use super::log::{Accepted, Log, LogNo};
use super::producers::Producers;
use super::runs::Run;
use super::topic::{Halt, IndexRun, Topic};
use crate::group::Predecessor;

/// What the driver does about a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The topic's watermark has moved.
    Readable(TopicId),
    /// Read index runs of the topic from this ID on, then [`Catalog::index_loaded`].
    LoadIndex { topic: TopicId, from: u64 },
    /// Read what the records from this sequence on are, then [`Catalog::runs_loaded`].
    LoadRuns { log: LogNo, from: u64 },
    /// What a session is told of this log may have changed.
    Reportable(LogNo),
    /// Write the log's row again: it is complete now.
    Complete(LogNo),
    /// What the topic keeps no more may leave the disk, page by page: [`Catalog::purge`].
    Purge(TopicId),
    /// The same of records of the group that are decided to be no message.
    PurgeVoids(u16),
}

/// What a store knows of an ordering group.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Facts up to here were taken.
    pub(super) staged: u64,
    /// Facts up to here are on disk.
    pub(super) settled: u64,
    /// Of logs that are not closed by the facts.
    pub(super) numbers: BTreeMap<u32, Option<LogNo>>,
    pub(super) boots_ended: BTreeMap<NodeId, u32>,
    /// Logs that need attention: not closed, or closed and not complete here.
    pub(super) open: BTreeSet<LogNo>,
    /// Facts up to here are on disk in every datacenter.
    pub(super) everywhere: u64,
    /// Topics of which messages go once the facts up to this index are on disk.
    pub(super) trims: BTreeMap<TopicId, u64>,
    /// The same of records that are no message.
    pub(super) voids: Option<u64>,
}

/// Logs, topics and groups.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// Those that are not closed, or not complete here.
    logs: BTreeMap<LogNo, Log>,
    names: BTreeMap<LogName, LogNo>,
    closed: ClosedLogs,
    /// Closed and complete since the driver last asked.
    complete: Vec<LogNo>,
    /// Numbers of logs are below it.
    next_log: LogNo,
    pub(super) topics: BTreeMap<TopicId, Topic>,
    pub(super) topic_names: BTreeMap<String, TopicId>,
    pub(super) producers: Producers,
    /// Topics that were deleted, and of which nothing is left here.
    pub(super) gone: BTreeSet<TopicId>,
    pub(super) groups: BTreeMap<u16, Group>,
    held: Vec<bool>,
    group_count: u16,
    /// Topics and logs for which something is being read from disk; of an index also whether rows have come to disk
    /// since, which the read may have missed.
    index_loading: BTreeMap<TopicId, bool>,
    runs_loading: BTreeSet<LogNo>,
    /// Topics whose index runs were not on disk yet when they were read: again with the next write.
    index_late: BTreeSet<TopicId>,
}

impl Catalog {
    /// Empty; `held` says of each bucket whether it is held here.
    pub fn new(held: Vec<bool>, group_count: u16) -> Self {
        Self {
            logs: BTreeMap::new(),
            names: BTreeMap::new(),
            closed: ClosedLogs::default(),
            complete: Vec::new(),
            next_log: LogNo(0),
            topics: BTreeMap::new(),
            topic_names: BTreeMap::new(),
            gone: BTreeSet::new(),
            producers: Producers::default(),
            groups: BTreeMap::new(),
            held,
            group_count,
            index_loading: BTreeMap::new(),
            runs_loading: BTreeSet::new(),
            index_late: BTreeSet::new(),
        }
    }

    /// A newer map: other buckets are held.
    pub fn set_held(&mut self, held: Vec<bool>) {
        self.held = held;
    }

    pub fn holds(&self, bucket: Bucket) -> bool {
        self.held.get(usize::from(bucket.0)).copied().unwrap_or(false)
    }

    pub fn group_of(&self, bucket: Bucket) -> u16 {
        bucket.0 % self.group_count
    }

    /// # Panics
    /// For a number that this catalog did not give, or of a log that it was told to forget.
    pub fn log(&self, no: LogNo) -> &Log {
        self.get(no).expect("whoever names a log lets go of it before it is forgotten")
    }

    /// # Panics
    /// As [`Catalog::log`].
    pub fn log_mut(&mut self, no: LogNo) -> &mut Log {
        self.logs.get_mut(&no).expect("whoever names a log lets go of it before it is forgotten")
    }

    /// `None`: closed, complete and forgotten. For those who were under way meanwhile.
    pub fn get(&self, no: LogNo) -> Option<&Log> {
        self.logs.get(&no)
    }

    pub(super) fn find_mut(&mut self, no: LogNo) -> Option<&mut Log> {
        self.logs.get_mut(&no)
    }

    /// A log that is not closed, or not complete here.
    pub fn find_log(&self, name: &LogName) -> Option<LogNo> {
        self.names.get(name).copied()
    }

    /// By the facts it has come to its end.
    pub fn is_closed(&self, name: &LogName) -> bool {
        let closed = |no| self.log(no).closed.is_some();
        self.find_log(name).map_or_else(|| self.closed.contains(name), closed)
    }

    /// It has come to its end, and there is nothing more to take of it.
    pub fn is_closed_and_complete(&self, name: &LogName) -> bool {
        self.closed.contains(name)
    }

    /// A log is on disk here up to, exclusive; all of one that was forgotten is.
    pub fn durable(&self, no: LogNo) -> u64 {
        self.get(no).map_or(u64::MAX, Log::durable)
    }

    /// Numbers of logs are below it.
    pub fn next_log(&self) -> LogNo {
        self.next_log
    }

    /// Logs that have become closed and complete since this was last asked. Once their rows are given to the disk and
    /// nothing refers to them any more, each is to be forgotten.
    pub fn take_complete(&mut self) -> Vec<LogNo> {
        std::mem::take(&mut self.complete)
    }

    /// What stays of a complete log is that it is closed.
    pub fn forget(&mut self, no: LogNo) {
        if let Some(log) = self.logs.remove(&no) {
            self.names.remove(&log.name);
            self.closed.insert(&log.name);
        }
    }

    pub fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// There was such a topic, by the facts, and it is deleted.
    pub fn is_deleted(&self, id: TopicId) -> bool {
        self.gone.contains(&id) || self.topics.get(&id).is_some_and(|topic| topic.deleted)
    }

    /// Topics that were deleted, and of which nothing is left.
    pub fn gone(&self) -> impl Iterator<Item = TopicId> + '_ {
        self.gone.iter().copied()
    }

    /// Topics from `id` on, in the order of their ids.
    pub fn topics_from(&self, id: TopicId) -> impl Iterator<Item = (TopicId, &Topic)> + '_ {
        self.topics.range(id..).map(|(&id, topic)| (id, topic))
    }

    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    pub fn producers_mut(&mut self) -> &mut Producers {
        &mut self.producers
    }

    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &Topic)> + '_ {
        self.topics.iter().map(|(&id, topic)| (id, topic))
    }

    /// A topic that lives, by name.
    pub fn find_topic(&self, name: &str) -> Option<TopicId> {
        self.topic_names.get(name).copied()
    }

    /// Logs of a group that are not closed and complete here.
    pub fn open_logs(&self, group: u16) -> impl Iterator<Item = LogNo> + '_ {
        self.groups.get(&group).into_iter().flat_map(|group| group.open.iter().copied())
    }

    /// Logs of all groups that are not closed and complete here.
    pub fn all_open_logs(&self) -> impl Iterator<Item = LogNo> + '_ {
        self.groups.values().flat_map(|group| group.open.iter().copied())
    }

    /// The first index of facts that is wanted.
    pub fn facts_from(&self, group: u16) -> u64 {
        self.groups.get(&group).map_or(0, |group| group.staged) + 1
    }

    /// Facts up to here are on disk.
    pub fn facts_index(&self, group: u16) -> u64 {
        self.groups.get(&group).map_or(0, |group| group.settled)
    }

    /// Boots that have ended: all of a node below a counter.
    pub fn boots_ended(&self, group: u16) -> impl Iterator<Item = (NodeId, u32)> + '_ {
        self.groups
            .get(&group)
            .into_iter()
            .flat_map(|group| group.boots_ended.iter().map(|(&node, &end)| (node, end)))
    }

    /// Boots of a node with counters below it have ended, as the facts of some group say: there was a newer one.
    pub fn boots_ended_below(&self, node: NodeId) -> u32 {
        self.groups.values().filter_map(|group| group.boots_ended.get(&node)).copied().max().unwrap_or(0)
    }

    pub(super) fn group_mut(&mut self, group: u16) -> &mut Group {
        self.groups.entry(group).or_default()
    }

    /// The number of a log, given now if it is new.
    pub fn open_log(
        &mut self,
        name: LogName,
        predecessor: Option<Predecessor>,
        rows: &mut Vec<Row>,
    ) -> LogNo {
        if let Some(no) = self.find_log(&name) {
            let log = self.log_mut(no);
            if log.predecessor.is_none() && predecessor.is_some() {
                log.predecessor = predecessor;
                rows.push(Row::Log(no));
            }
            return no;
        }
        let no = self.add(Log::new(name, predecessor));
        rows.push(Row::Log(no));
        no
    }

    fn add(&mut self, mut log: Log) -> LogNo {
        let no = self.take_number();
        let group = self.group_of(log.name.bucket);
        self.names.insert(log.name, no);
        let ended = self.group_mut(group).boots_ended.get(&log.name.node).copied().unwrap_or(0);
        log.ended |= log.name.boot.counter < ended;
        self.logs.insert(no, log);
        self.group_mut(group).open.insert(no);
        no
    }

    fn take_number(&mut self) -> LogNo {
        let no = self.next_log;
        self.next_log = LogNo(no.0.checked_add(1).expect("a store gives fewer than 2^32 numbers"));
        no
    }

    /// Facts name this log: its predecessor, where it has one, gets no more records. They may name the two in either
    /// order.
    pub(super) fn log_is_named(&mut self, no: LogNo) {
        let (name, predecessor) = (self.log(no).name, self.log(no).predecessor);
        if let Some(before) = predecessor {
            let before = LogName { ordinal: Ordinal(before.ordinal), ..name };
            if let Some(before) = self.find_log(&before) {
                self.log_mut(before).ended = true;
            }
        }
        if self.has_successor(&name) {
            self.log_mut(no).ended = true;
        }
    }

    /// Whether facts name a log that the same boot wrote after this one.
    fn has_successor(&self, name: &LogName) -> bool {
        let last = LogName { ordinal: Ordinal(u32::MAX), ..*name };
        let mut later = self.names.range((Bound::Excluded(*name), Bound::Included(last)));
        later.any(|(_, &later)| self.log(later).is_named()) || self.closed.contains_later(name)
    }

    pub(super) fn end_boots(&mut self, group: u16, node: NodeId, counter: u32) {
        let open: Vec<LogNo> = self.open_logs(group).collect();
        for no in open {
            let log = self.log_mut(no);
            log.ended |= log.name.node == node && log.name.boot.counter < counter;
        }
    }

    pub(super) fn forget_if_complete(&mut self, no: LogNo) -> bool {
        let log = self.log(no);
        let group = self.group_of(log.name.bucket);
        let news = log.is_complete() && self.group_mut(group).open.remove(&no);
        self.complete.extend(news.then_some(no));
        news
    }

    /// Takes records that continue the log; `kinds` says of each what it is, from `from` on.
    pub fn accept(&mut self, no: LogNo, from: u64, kinds: &[Run]) -> Accepted {
        let log = self.log_mut(no);
        let accepted = log.accept(from, kinds.len() as u64);
        if let Accepted::New(range) = &accepted {
            for seq in range.clone() {
                let at = usize::try_from(seq - from).expect("within `kinds`");
                log.describe(seq, kinds[at]);
            }
        }
        accepted
    }

    /// Records of the log up to `end` are on disk.
    pub fn written(&mut self, no: LogNo, end: u64, effects: &mut Vec<Effect>) {
        let Some(log) = self.logs.get_mut(&no) else { return };
        for topic in log.written(end) {
            self.advance(topic, effects);
        }
        if self.forget_if_complete(no) {
            effects.push(Effect::Complete(no));
        }
        self.runs_wanted(no, effects);
        effects.push(Effect::Reportable(no));
    }

    /// Moves a topic's watermark as far as it goes.
    pub(super) fn advance(&mut self, id: TopicId, effects: &mut Vec<Effect>) {
        let Some(topic) = self.topics.get_mut(&id) else { return };
        let logs = &self.logs;
        let (moved, halt) = topic.advance(|no| logs.get(&no).map_or(u64::MAX, Log::durable));
        if moved {
            effects.push(Effect::Readable(id));
        }
        match halt {
            Halt::AtEnd => {}
            Halt::Record(no, seq) => {
                self.log_mut(no).waiting.insert(seq, id);
            }
            Halt::Index(from) => {
                if self.index_loading.insert(id, false).is_none() {
                    effects.push(Effect::LoadIndex { topic: id, from });
                }
            }
        }
    }

    /// The answer to [`Effect::LoadIndex`]: runs from the one that has the ID on, consecutive.
    pub fn index_loaded(&mut self, id: TopicId, runs: Vec<IndexRun>, effects: &mut Vec<Effect>) {
        let written_since = self.index_loading.remove(&id).unwrap_or(false);
        let Some(topic) = self.topics.get_mut(&id) else { return };
        topic.loaded(runs);
        if written_since || topic.find(topic.watermark() + 1).is_some() {
            self.advance(id, effects);
        } else {
            self.index_late.insert(id);
        }
    }

    /// Rows of the index have come to disk: topics that wait for some go on.
    pub(super) fn index_written(&mut self, effects: &mut Vec<Effect>) {
        self.index_loading.values_mut().for_each(|written_since| *written_since = true);
        for id in std::mem::take(&mut self.index_late) {
            self.advance(id, effects);
        }
    }

    pub(super) fn runs_wanted(&mut self, no: LogNo, effects: &mut Vec<Effect>) {
        let log = self.log(no);
        let (from, room) = (log.runs.end(), log.runs.has_room());
        if from < log.durable() && room && self.runs_loading.insert(no) {
            effects.push(Effect::LoadRuns { log: no, from });
        }
    }

    /// The answer to [`Effect::LoadRuns`]: first sequences and runs, consecutive.
    pub fn runs_loaded(&mut self, no: LogNo, runs: &[(u64, Run)], effects: &mut Vec<Effect>) {
        self.runs_loading.remove(&no);
        let Some(log) = self.logs.get_mut(&no) else { return };
        let before = log.runs.end();
        for &(from, run) in runs {
            log.describe(from, run);
        }
        if log.runs.end() > before {
            self.runs_wanted(no, effects);
            effects.push(Effect::Reportable(no));
        }
    }
}

#[cfg(test)]
impl Catalog {
    /// No log has a number or needs attention.
    pub(super) fn groups_are_quiet(&self) -> bool {
        self.groups.values().all(|group| group.numbers.is_empty() && group.open.is_empty())
    }
}
