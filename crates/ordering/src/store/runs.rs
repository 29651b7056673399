//! What the records of a log beyond the ordered ones are: consecutive records alike as runs, in a bounded window that
//! is filled again from disk as ordering goes on.

use std::collections::VecDeque;

pub use crate::group::Run;

/// The runs of [start, end) of a log.
#[derive(Clone, Debug)]
pub struct RunWindow {
    start: u64,
    end: u64,
    /// First sequence and run, consecutive.
    runs: VecDeque<(u64, Run)>,
    max: usize,
}

impl RunWindow {
    /// An empty window at `at` that keeps at most `max` runs.
    pub fn new(at: u64, max: usize) -> Self {
        Self { start: at, end: at, runs: VecDeque::new(), max }
    }

    /// First sequence that the window does not know.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn len(&self) -> usize {
        self.runs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether a half or more of the window is free: the moment to fill it from disk, if records lie beyond it.
    pub fn has_room(&self) -> bool {
        self.runs.len() <= self.max / 2
    }

    /// Adds records from `from` on. What lies before the window's end is known already; what lies beyond it, or does
    /// not fit, is left for a later fill.
    pub fn push(&mut self, from: u64, run: Run) {
        let last = from + run.count;
        if from > self.end || last <= self.end {
            return;
        }
        let fresh = run.without(self.end - from);
        let full = self.runs.len() >= self.max;
        match self.runs.back_mut() {
            Some((_, before)) if before.continues_with(&fresh) => before.count += fresh.count,
            _ if full => return,
            _ => self.runs.push_back((self.end, fresh)),
        }
        self.end = last;
    }

    /// Forgets everything below `bound`; the window begins there at the earliest.
    pub fn drop_below(&mut self, bound: u64) {
        while let Some((first, run)) = self.runs.front_mut() {
            let end = *first + run.count;
            if end > bound {
                if *first < bound {
                    *run = run.without(bound - *first);
                    *first = bound;
                }
                break;
            }
            self.runs.pop_front();
        }
        self.start = self.start.max(bound);
        self.end = self.end.max(bound);
    }

    /// Forgets everything from `bound` on.
    pub fn drop_from(&mut self, bound: u64) {
        while let Some((first, run)) = self.runs.back_mut() {
            if *first < bound {
                run.count = run.count.min(bound - *first);
                break;
            }
            self.runs.pop_back();
        }
        self.end = self.end.min(bound.max(self.start));
    }

    /// How many runs reach below `end`.
    pub fn count_below(&self, end: u64) -> usize {
        self.runs.partition_point(|&(first, _)| first < end)
    }

    /// At most `max` runs of [from, until), from the window's start at the earliest; and where the last one ends.
    pub fn take(&self, from: u64, until: u64, max: usize) -> (Vec<Run>, u64) {
        let from = from.max(self.start);
        let mut taken = Vec::new();
        let mut at = from;
        let begin = self.runs.partition_point(|&(first, run)| first + run.count <= from);
        for &(first, run) in self.runs.range(begin..) {
            if taken.len() >= max || first.max(at) >= until {
                break;
            }
            let end = (first + run.count).min(until);
            taken.push(Run { count: end - at, ..run.without(at - first) });
            at = end;
        }
        (taken, at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trunkline_types::{Produced, ProducerId, TopicId};

    use super::*;

    fn run(topic: u64, count: u64) -> Run {
        Run { topic: TopicId(topic), count, produced: None }
    }

    fn one(topic: u64) -> Run {
        run(topic, 1)
    }

    #[test]
    fn consecutive_records_of_a_topic_are_one_run_and_a_full_window_stops_at_a_boundary() {
        let mut window = RunWindow::new(1, 2);
        for (from, topic) in [(1, 7), (2, 7), (3, 8), (4, 9), (5, 9)] {
            window.push(from, one(topic));
        }
        assert_eq!(window.take(1, 100, 10), (vec![run(7, 2), run(8, 1)], 4));
        assert_eq!(window.end(), 4, "4 and 5 are left for a later fill");
        window.drop_below(3);
        assert!(window.has_room());
        window.push(3, one(8));
        window.push(4, run(9, 2));
        assert_eq!(window.take(1, 5, 10), (vec![run(8, 1), run(9, 1)], 5));
        assert_eq!(window.count_below(4), 1);
    }

    #[allow(clippy::cast_possible_truncation, reason = "small numbers")]
    fn index(seq: u64) -> usize {
        seq as usize
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_list(
            kinds in prop::collection::vec((1u64..3, 0u8..3, 0u64..2), 1..40),
            below in 1u64..40, from in 1u64..50, until in 1u64..50,
        ) {
            // Some with a producer, whose sequences have gaps.
            let record = |(at, &(topic, producer, gap)): (usize, &(u64, u8, u64))| {
                let produced = Produced { producer: ProducerId([producer; 16]), sequence: at as u64 + 1 + gap };
                Run::of(TopicId(topic), (producer > 0).then_some(produced))
            };
            let records: Vec<Run> = kinds.iter().enumerate().map(record).collect();
            let mut window = RunWindow::new(1, 1_000);
            for (at, record) in records.iter().enumerate() {
                window.push(at as u64 + 1, *record);
            }
            window.drop_below(below);
            let end = records.len() as u64 + 1;
            prop_assert_eq!(window.end(), end.max(below));
            let (runs, last) = window.take(from, until, 1_000);
            let each = |run: &Run| (0..run.count).map(|nth| Run { count: 1, ..run.without(nth) }).collect::<Vec<_>>();
            let told: Vec<Run> = runs.iter().flat_map(each).collect();
            let first = from.max(below);
            let expected: Vec<Run> = (first..until.min(end)).map(|seq| records[index(seq) - 1]).collect();
            prop_assert_eq!(last, first + expected.len() as u64);
            prop_assert_eq!(told, expected);
        }
    }
}
