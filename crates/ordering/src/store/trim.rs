//! What is there no more: messages that a committed trim lets go, what is left of deleted topics, and records that are
//! decided to be no message, once every datacenter knows. Readers hear of it at once; the disk follows in pages.
//!
//! **Invariant** (I10): only what was committed is gone. A record that is missing here and is not gone is wanted.

use std::collections::BTreeMap;
use std::ops::Range;

use trunkline_types::TopicId;

use super::catalog::{Catalog, Effect};
use super::facts::{Row, Settled};
use super::log::LogNo;
use super::topic::IndexRun;
use crate::group::OrderedRun;

/// The topic of an ordered run that stands for records which are gone, whatever they were.
pub const GONE: TopicId = TopicId(0);

/// Records that are decided to be no message: of a deleted topic, or repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Void {
    pub count: u64,
    pub group: u16,
    /// The facts' index that decided it, or a later one.
    pub index: u64,
}

/// One page of what leaves the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Records, by log and place, without overlaps.
    pub records: Vec<(LogNo, Range<u64>)>,
    /// Index rows of the topic that begin below this ID.
    pub index_below: u64,
    /// There is another page.
    pub more: bool,
    /// The topic is deleted, and nothing of it is left.
    pub whole: bool,
}

impl Catalog {
    pub(super) fn stage_trim(
        &mut self,
        index: u64,
        id: TopicId,
        below: u64,
        rows: &mut Vec<Row>,
        settled: &mut Vec<Settled>,
    ) {
        let Some(topic) = self.topics.get_mut(&id).filter(|topic| below > topic.earliest()) else { return };
        topic.trim(below);
        rows.push(Row::Trim(id));
        settled.push(Settled::Trimmed { topic: id });
        let group = self.group_of(id.bucket());
        self.group_mut(group).trims.insert(id, index);
    }

    /// The fact of `index` says that facts up to `known` are on disk in every datacenter.
    pub(super) fn stage_everywhere(&mut self, group: u16, index: u64, known: u64, rows: &mut Vec<Row>) {
        let of = self.group_mut(group);
        if known <= of.everywhere {
            return;
        }
        (of.everywhere, of.voids) = (known, Some(index));
        rows.push(Row::Everywhere { group, index: known });
        let of_group = |id: &TopicId| self.group_of(id.bucket()) == group;
        let deleted: Vec<(TopicId, u64)> = self
            .topics
            .keys()
            .filter(|id| of_group(id) && self.may_purge(**id))
            .map(|&id| (id, index))
            .collect();
        self.group_mut(group).trims.extend(deleted);
    }

    /// More facts are on disk, and with them everything of the index that they speak of.
    pub(super) fn trims_settled(&mut self, group: u16, effects: &mut Vec<Effect>) {
        let known = self.group_mut(group);
        let settled = known.settled;
        let due = known.trims.extract_if(.., |_, index| *index <= settled);
        effects.extend(due.map(|(topic, _)| Effect::Purge(topic)));
        let voids = known.voids.take_if(|index| *index <= settled);
        effects.extend(voids.map(|_| Effect::PurgeVoids(group)));
    }

    /// Facts up to here are on disk in every datacenter.
    pub fn everywhere(&self, group: u16) -> u64 {
        self.groups.get(&group).map_or(0, |group| group.everywhere)
    }

    /// Whether there is something of the topic that is kept no more.
    pub fn may_purge(&self, id: TopicId) -> bool {
        let Some(topic) = self.topics.get(&id) else { return false };
        topic.purged < topic.earliest() || self.may_go_whole(id)
    }

    fn may_go_whole(&self, id: TopicId) -> bool {
        let everywhere = self.everywhere(self.group_of(id.bucket()));
        self.topics.get(&id).is_some_and(|topic| topic.deleted && topic.deleted_at <= everywhere)
    }

    /// The next page of what a topic keeps no more. `runs` are those of its index from [`Topic::purged`] on, consecutive,
    /// and `all` of them where the index has no more.
    ///
    /// [`Topic::purged`]: super::Topic::purged
    pub fn purge(&mut self, id: TopicId, runs: &[IndexRun], all: bool) -> Option<Purged> {
        if !self.may_purge(id) {
            return None;
        }
        let whole = self.may_go_whole(id);
        let topic = self.topics.get_mut(&id)?;
        let until = if whole { u64::MAX } else { topic.earliest() };
        let mut page = Purged::default();
        let mut upto = topic.purged;
        for run in runs.iter().filter(|run| run.end() > topic.purged).take_while(|run| run.first < until) {
            let (from, to) = (run.first.max(topic.purged), run.end().min(until));
            page.records.push((run.log, run.seq_of(from)..run.seq_of(from) + (to - from)));
            // A row that reaches beyond stays: what is left is found by it.
            page.index_below = if run.end() <= until { run.end() } else { run.first };
            upto = to;
        }
        page.more = upto < until && !all;
        topic.purged = if page.more { upto } else { topic.earliest().max(upto) };
        page.records = joined(page.records);
        page.whole = whole && !page.more;
        if page.whole {
            self.topics.remove(&id);
            self.gone.insert(id);
        }
        Some(page)
    }

    /// How many of the first records of an ordered run are gone. `void`: they are decided to be no message.
    fn gone_of(&self, run: &OrderedRun, void: Option<&Void>) -> u64 {
        if run.topic == GONE || self.gone.contains(&run.topic) {
            return run.count;
        }
        if run.first_id == 0 {
            // Where nothing says so any more, they have gone.
            let may_go = void.is_none_or(|void| void.index <= self.everywhere(void.group));
            return if may_go { run.count } else { 0 };
        }
        if self.may_go_whole(run.topic) {
            return run.count;
        }
        let earliest = self.topics.get(&run.topic).map_or(1, super::Topic::earliest);
        earliest.saturating_sub(run.first_id).min(run.count)
    }

    /// Up to where the records of a log from `from` on are gone. `orders` are its ordered runs from the one that has
    /// `from` on, by their first sequence, as they are on disk; `voids` those that are no message.
    pub fn gone_until(&self, from: u64, orders: &[(u64, OrderedRun)], voids: &BTreeMap<u64, Void>) -> u64 {
        let mut at = from;
        for (seq, run) in orders.iter().filter(|(seq, run)| seq + run.count > from) {
            let gone = seq + self.gone_of(run, voids.get(seq));
            if *seq > at || gone <= at {
                break;
            }
            at = gone;
            if gone < seq + run.count {
                break;
            }
        }
        at
    }

    /// A log's records up to `end` are gone elsewhere, and need not come. They are ordered: the caller has seen
    /// that they are gone by what is on disk here. The places that are skipped, to be written as such.
    pub fn skip(&mut self, no: LogNo, end: u64) -> Option<Range<u64>> {
        let log = self.find_mut(no)?;
        let (from, end) = (log.accepted(), end.min(log.ordered()));
        (end > from).then(|| {
            log.accept(from, end - from);
            from..end
        })
    }
}

/// Ranges that touch, as one.
fn joined(mut ranges: Vec<(LogNo, Range<u64>)>) -> Vec<(LogNo, Range<u64>)> {
    ranges.sort_unstable_by_key(|(log, range)| (*log, range.start));
    let mut joined: Vec<(LogNo, Range<u64>)> = Vec::new();
    for (log, range) in ranges {
        match joined.last_mut() {
            Some((last, before)) if *last == log && before.end == range.start => before.end = range.end,
            _ => joined.push((log, range)),
        }
    }
    joined
}
