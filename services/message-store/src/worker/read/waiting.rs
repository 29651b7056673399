//! Reads that wait until a topic's watermark reaches them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use tokio::time::Instant;
use trunkline_types::TopicId;
use trunkline_types::limits::READ_THROUGH_AFTER;

use super::streams::Asked;

#[derive(Debug)]
struct Waiter {
    stream: u64,
    asked: Asked,
    /// What it asks for is ordered and not readable here: at this time it is told so, and asks elsewhere.
    late_at: Option<Instant>,
}

/// All of them, by topic.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    waiters: BTreeMap<TopicId, Vec<Waiter>>,
    count: usize,
    /// When waiters of a topic are late, in order of time: at most one entry for each that came within the last
    /// `READ_THROUGH_AFTER`, or was told of more within it.
    late: VecDeque<(Instant, TopicId)>,
}

impl Waiting {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// `indexed`: what it asks for is ordered already.
    pub(super) fn add(&mut self, topic: TopicId, stream: u64, asked: Asked, indexed: bool) {
        let late_at = indexed.then(|| Instant::now() + READ_THROUGH_AFTER);
        self.late.extend(late_at.map(|at| (at, topic)));
        self.waiters.entry(topic).or_default().push(Waiter { stream, asked, late_at });
        self.count += 1;
    }

    /// Takes the waiters of a topic that `which` is true of.
    fn take(&mut self, topic: TopicId, which: impl FnMut(&mut Waiter) -> bool) -> Vec<(u64, Asked)> {
        let Some(waiters) = self.waiters.get_mut(&topic) else { return Vec::new() };
        let taken: Vec<(u64, Asked)> =
            waiters.extract_if(.., which).map(|waiter| (waiter.stream, waiter.asked)).collect();
        if waiters.is_empty() {
            self.waiters.remove(&topic);
        }
        self.count -= taken.len();
        taken
    }

    /// Those that ask for an ID up to the watermark.
    pub(super) fn readable(&mut self, topic: TopicId, watermark: u64) -> Vec<(u64, Asked)> {
        self.take(topic, |waiter| waiter.asked.request.from <= watermark)
    }

    /// Those of which no more is to be expected.
    pub(super) fn all_where(&mut self, over: impl Fn(TopicId) -> bool) -> Vec<(u64, Asked)> {
        let topics: Vec<TopicId> = self.waiters.keys().copied().filter(|topic| over(*topic)).collect();
        topics.into_iter().flat_map(|topic| self.take(topic, |_| true)).collect()
    }

    pub(super) fn abandon(&mut self, topic: TopicId, stream: u64, tag: u64) {
        self.take(topic, |waiter| waiter.stream == stream && waiter.asked.tag == tag);
    }

    /// Forgets those of streams that are gone.
    pub(super) fn retain_streams(&mut self, is_there: impl Fn(u64) -> bool) {
        self.waiters.retain(|_, waiters| {
            waiters.retain(|waiter| is_there(waiter.stream));
            !waiters.is_empty()
        });
        self.count = self.waiters.values().map(Vec::len).sum();
    }

    /// `ids` of a topic are ordered and not readable here: who waits for one of them waits a while longer.
    pub(super) fn indexed(&mut self, topic: TopicId, ids: &Range<u64>) {
        let late_at = Instant::now() + READ_THROUGH_AFTER;
        let mut any = false;
        for waiter in self.waiters.get_mut(&topic).into_iter().flatten() {
            if waiter.late_at.is_none() && ids.contains(&waiter.asked.request.from) {
                waiter.late_at = Some(late_at);
                any = true;
            }
        }
        if any {
            self.late.push_back((late_at, topic));
        }
    }

    /// When the next waiter is late.
    pub(super) fn due(&self) -> Option<Instant> {
        self.late.front().map(|&(at, _)| at)
    }

    /// Those that have waited long enough for what is ordered and does not come.
    pub(super) fn late(&mut self, now: Instant) -> Vec<(u64, Asked)> {
        let mut late = Vec::new();
        while let Some((_, topic)) = self.late.pop_front_if(|(at, _)| *at <= now) {
            late.extend(self.take(topic, |waiter| waiter.late_at.is_some_and(|at| at <= now)));
        }
        late
    }
}
