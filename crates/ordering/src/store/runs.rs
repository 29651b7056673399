//! What the records of a log beyond the ordered ones are: consecutive records alike as runs, in a bounded window that
//! is filled again from disk as ordering goes on.

use std::collections::VecDeque;

use trunkline_types::TopicId;

/// Consecutive records of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub topic: TopicId,
    pub count: u64,
}

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

    /// Adds `count` records of `topic` from `from` on. What lies before the window's end is known already; what lies
    /// beyond it, or does not fit, is left for a later fill.
    pub fn push(&mut self, from: u64, topic: TopicId, count: u64) {
        let last = from + count;
        if from > self.end || last <= self.end {
            return;
        }
        let fresh = last - self.end;
        let full = self.runs.len() >= self.max;
        match self.runs.back_mut() {
            Some((_, run)) if run.topic == topic => run.count += fresh,
            _ if full => return,
            _ => self.runs.push_back((self.end, Run { topic, count: fresh })),
        }
        self.end = last;
    }

    /// Forgets everything below `bound`; the window begins there at the earliest.
    pub fn drop_below(&mut self, bound: u64) {
        while let Some((first, run)) = self.runs.front_mut() {
            let end = *first + run.count;
            if end > bound {
                if *first < bound {
                    *run = Run { topic: run.topic, count: end - bound };
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
            taken.push(Run { topic: run.topic, count: end - at });
            at = end;
        }
        (taken, at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(topic: u64, count: u64) -> Run {
        Run { topic: TopicId(topic), count }
    }

    #[test]
    fn consecutive_records_of_a_topic_are_one_run_and_a_full_window_stops_at_a_boundary() {
        let mut window = RunWindow::new(1, 2);
        for (from, topic) in [(1, 7), (2, 7), (3, 8), (4, 9), (5, 9)] {
            window.push(from, TopicId(topic), 1);
        }
        assert_eq!(window.take(1, 100, 10), (vec![run(7, 2), run(8, 1)], 4));
        assert_eq!(window.end(), 4, "4 and 5 are left for a later fill");
        window.drop_below(3);
        assert!(window.has_room());
        window.push(3, TopicId(8), 1);
        window.push(4, TopicId(9), 2);
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
            topics in prop::collection::vec(1u64..4, 1..40), below in 1u64..40, from in 1u64..50, until in 1u64..50,
        ) {
            let mut window = RunWindow::new(1, 1_000);
            for (at, &topic) in topics.iter().enumerate() {
                window.push(at as u64 + 1, TopicId(topic), 1);
            }
            window.drop_below(below);
            let end = topics.len() as u64 + 1;
            prop_assert_eq!(window.end(), end.max(below));
            let (runs, last) = window.take(from, until, 1_000);
            let told: Vec<u64> =
                runs.iter().flat_map(|run| std::iter::repeat_n(run.topic.0, index(run.count))).collect();
            let first = from.max(below);
            let expected: Vec<u64> = (first..until.min(end)).map(|seq| topics[index(seq) - 1]).collect();
            prop_assert_eq!(last, first + expected.len() as u64);
            prop_assert_eq!(told, expected);
        }
    }
}
