//! How far one log has come here, and as far as is known elsewhere. All ends are exclusive: 1 is "nothing".

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use trunkline_types::limits::REPORT_RUNS_PER_LOG_MAX;
use trunkline_types::{LogName, NodeId, TopicId};

use super::runs::{Run, RunWindow};
use crate::group::Predecessor;

/// This store's own short number of a log. Given once, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogNo(pub u32);

/// What became of records that a holder sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// They do not continue the log: this is the next one wanted.
    Gap { next: u64 },
    /// These are new; empty where all were known or lie beyond the log's end.
    New(Range<u64>),
}

/// What a store told to have on disk, under its newest boot and under all before it.
#[derive(Clone, Copy, Debug)]
struct Told {
    counter: u32,
    end: u64,
    before: u64,
}

impl Told {
    fn most(&self) -> u64 {
        self.end.max(self.before)
    }
}

/// One origin log, as this store knows it.
#[derive(Clone, Debug)]
pub struct Log {
    pub name: LogName,
    pub predecessor: Option<Predecessor>,
    /// Its boot has ended, or its successor has begun, by the facts: nothing is appended any more.
    pub ended: bool,
    /// The group's own number for it, once the facts name it and until they close it.
    pub(super) number: Option<u32>,
    /// Ordered to its end everywhere; nothing lies beyond.
    pub closed: Option<u64>,
    accepted: u64,
    durable: u64,
    pub(super) staged: u64,
    pub(super) ordered: u64,
    pub(super) runs: RunWindow,
    /// Topics whose watermark waits for a record of this log.
    pub(super) waiting: BTreeMap<u64, TopicId>,
    stores: BTreeMap<NodeId, Told>,
    datacenters: BTreeMap<u16, u64>,
}

impl Log {
    pub fn new(name: LogName, predecessor: Option<Predecessor>) -> Self {
        Self {
            name,
            predecessor,
            ended: false,
            number: None,
            closed: None,
            accepted: 1,
            durable: 1,
            staged: 1,
            ordered: 1,
            runs: RunWindow::new(1, REPORT_RUNS_PER_LOG_MAX * 2),
            waiting: BTreeMap::new(),
            stores: BTreeMap::new(),
            datacenters: BTreeMap::new(),
        }
    }

    /// As found on disk: records up to `durable`, ordered up to `ordered`.
    pub fn recover(&mut self, durable: u64, ordered: u64) {
        (self.accepted, self.durable) = (durable, durable);
        (self.staged, self.ordered) = (ordered, ordered);
        self.runs.drop_below(ordered);
    }

    /// The facts know it.
    pub fn is_named(&self) -> bool {
        self.number.is_some() || self.closed.is_some()
    }

    /// The group's own number for it, while it is open.
    pub fn number(&self) -> Option<u32> {
        self.number
    }

    /// In memory here.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// On disk here.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Decided, by facts that are on disk here.
    pub fn ordered(&self) -> u64 {
        self.ordered
    }

    pub fn runs(&self) -> &RunWindow {
        &self.runs
    }

    /// Takes records from `from` on if they continue the log.
    pub fn accept(&mut self, from: u64, count: u64) -> Accepted {
        if from > self.accepted {
            return Accepted::Gap { next: self.accepted };
        }
        let end = (from + count).min(self.closed.unwrap_or(u64::MAX)).max(self.accepted);
        let new = self.accepted..end;
        self.accepted = end;
        Accepted::New(new)
    }

    /// Says what accepted records are.
    pub fn describe(&mut self, from: u64, run: Run) {
        self.runs.push(from, run);
    }

    /// Records up to `end` are on disk. Returns the topics that waited for one of them.
    pub fn written(&mut self, end: u64) -> Vec<TopicId> {
        let end = end.min(self.closed.unwrap_or(u64::MAX));
        self.durable = self.durable.max(end);
        let still = self.waiting.split_off(&self.durable);
        std::mem::replace(&mut self.waiting, still).into_values().collect()
    }

    /// Nothing lies beyond `end`. True if something of it was held here: it is to be dropped.
    pub fn close(&mut self, end: u64) -> bool {
        self.closed = Some(end);
        self.ended = true;
        let beyond = self.accepted > end;
        self.accepted = self.accepted.min(end);
        self.durable = self.durable.min(end);
        self.runs.drop_from(end);
        beyond
    }

    /// Closed and completely here: it needs no attention any more.
    pub fn is_complete(&self) -> bool {
        self.closed.is_some_and(|end| self.durable >= end)
    }

    /// A store says, under the boot with this counter, what it has on disk. Returns whether its datacenter's end has
    /// moved by that.
    pub fn stored_at(&mut self, store: NodeId, counter: u32, datacenter: u16, end: u64) -> bool {
        let told = self.stores.entry(store).or_insert(Told { counter, end: 1, before: 1 });
        if counter > told.counter {
            *told = Told { counter, end: 1, before: told.end.max(told.before) };
        }
        let known = if counter < told.counter { &mut told.before } else { &mut told.end };
        *known = (*known).max(end);
        self.stored_in(datacenter, end)
    }

    /// What a store told under boots before the one with this counter, whichever way and in whichever order it came: a
    /// later boot that has less on disk has lost some of it. What lies beyond the log's end does not count, it was
    /// dropped.
    pub fn told_before(&self, store: NodeId, counter: u32) -> u64 {
        let told = self.stores.get(&store).map_or(1, |told| match counter.cmp(&told.counter) {
            Ordering::Greater => told.most(),
            Ordering::Equal => told.before,
            Ordering::Less => 1,
        });
        told.min(self.closed.unwrap_or(u64::MAX))
    }

    /// A store is no more, and with it what it told of its disk. `left`: the others of its datacenter.
    pub fn forget_store(&mut self, store: NodeId, datacenter: u16, left: impl Iterator<Item = NodeId>) {
        self.stores.remove(&store);
        let end = left.map(|other| self.at(other)).max().unwrap_or(1);
        self.datacenters.insert(datacenter, end);
    }

    /// A datacenter has so much on disk. Returns whether that is news.
    pub fn stored_in(&mut self, datacenter: u16, end: u64) -> bool {
        let known = self.datacenters.entry(datacenter).or_insert(1);
        let moved = end > *known;
        *known = (*known).max(end);
        moved
    }

    /// What a store is known to have on disk.
    pub fn at(&self, store: NodeId) -> u64 {
        self.stores.get(&store).map_or(1, Told::most)
    }

    /// What datacenters are known to have on disk, as their stores or others said.
    pub fn elsewhere(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.datacenters.iter().map(|(&datacenter, &end)| (datacenter, end))
    }

    /// On disk here and on one other store; `alone`: where the deployment has no other, here.
    pub fn stored_end(&self, alone: bool) -> u64 {
        let other = if alone { u64::MAX } else { self.stores.values().map(Told::most).max().unwrap_or(1) };
        self.durable.min(other)
    }

    /// On disk in every one of `datacenters`, of which `here` is this store's.
    pub fn everywhere_end(&self, here: u16, datacenters: u16) -> u64 {
        let end = |datacenter| {
            let told = self.datacenters.get(&datacenter).copied().unwrap_or(1);
            if datacenter == here { told.max(self.durable) } else { told }
        };
        (0..datacenters).map(end).min().unwrap_or(1)
    }

    /// On disk in some datacenter other than `here`.
    pub fn away_end(&self, here: u16) -> u64 {
        let ends = self.datacenters.iter().filter(|&(&datacenter, _)| datacenter != here);
        ends.map(|(_, &end)| end).max().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use trunkline_types::{Boot, Bucket, Lane, Ordinal};

    use super::*;

    fn log() -> Log {
        let boot = Boot { counter: 1, random: 1 };
        Log::new(
            LogName { bucket: Bucket(1), node: NodeId(1), boot, lane: Lane(0), ordinal: Ordinal(1) },
            None,
        )
    }

    #[test]
    fn only_records_that_continue_the_log_are_accepted() {
        let mut log = log();
        for (from, count, expected) in [
            (2, 1, Accepted::Gap { next: 1 }),
            (1, 3, Accepted::New(1..4)),
            (1, 2, Accepted::New(4..4)),
            (2, 4, Accepted::New(4..6)),
            (7, 1, Accepted::Gap { next: 6 }),
            (6, 0, Accepted::New(6..6)),
        ] {
            assert_eq!(log.accept(from, count), expected, "{from}+{count}");
        }
    }

    #[test]
    fn stored_takes_two_stores_and_everywhere_every_datacenter() {
        let mut log = log();
        log.accept(1, 9);
        log.written(8);
        assert_eq!((log.stored_end(false), log.stored_end(true), log.everywhere_end(0, 1)), (1, 8, 8));
        log.stored_at(NodeId(2), 1, 0, 5);
        assert_eq!((log.stored_end(false), log.away_end(0)), (5, 1));
        assert!(log.stored_at(NodeId(3), 1, 1, 9), "news of datacenter 1");
        assert_eq!((log.stored_end(false), log.everywhere_end(0, 3), log.away_end(0)), (8, 1, 9));
        assert!(log.stored_in(2, 4));
        assert!(!log.stored_in(2, 3), "an end never goes back");
        assert_eq!(log.everywhere_end(0, 3), 4);
    }

    #[test]
    fn what_a_store_told_counts_against_its_later_boots_only() {
        let (mut log, store) = (log(), NodeId(2));
        // (boot, told, what boots before it had told)
        for (counter, end, before) in
            [(3, 5, 1), (3, 4, 1), (3, 9, 1), (2, 7, 1), (4, 9, 9), (3, 12, 1), (4, 12, 12)]
        {
            log.stored_at(store, counter, 0, end);
            assert_eq!(log.told_before(store, counter), before, "boot {counter} told {end}");
        }
        assert_eq!((log.told_before(store, 5), log.told_before(NodeId(3), 5)), (12, 1));
        assert_eq!(log.at(store), 12);
        log.close(6);
        assert_eq!(log.told_before(store, 5), 6, "what lay beyond was dropped");
    }

    #[test]
    fn a_store_that_is_no_more_has_nothing_on_disk_and_its_siblings_have_what_they_had() {
        let mut log = log();
        log.accept(1, 9);
        log.written(9);
        log.stored_at(NodeId(2), 1, 1, 8);
        log.stored_at(NodeId(3), 1, 1, 5);
        assert_eq!((log.stored_end(false), log.away_end(0), log.everywhere_end(0, 2)), (8, 8, 8));
        log.forget_store(NodeId(2), 1, [NodeId(3)].into_iter());
        assert_eq!((log.stored_end(false), log.away_end(0), log.everywhere_end(0, 2)), (5, 5, 5));
        assert_eq!((log.at(NodeId(2)), log.told_before(NodeId(2), 9)), (1, 1));
        log.forget_store(NodeId(3), 1, std::iter::empty());
        assert_eq!((log.stored_end(false), log.everywhere_end(0, 2)), (1, 1));
    }

    #[test]
    fn what_lies_beyond_a_closed_end_is_dropped_and_not_accepted_again() {
        let mut log = log();
        log.accept(1, 9);
        log.written(9);
        assert!(log.close(5));
        assert_eq!((log.accepted(), log.durable(), log.is_complete()), (5, 5, true));
        assert_eq!(log.accept(5, 4), Accepted::New(5..5));
        assert!(log.written(9).is_empty());
        assert_eq!(log.durable(), 5, "a write under way when it was closed does not bring it back");
    }
}
