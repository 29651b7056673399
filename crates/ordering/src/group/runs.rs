//! What the records of a log are, from the first that is not ordered on: the same whoever tells, so kept once per log.

use std::collections::VecDeque;

use trunkline_types::TopicId;

/// Consecutive records of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub topic: TopicId,
    pub count: u64,
}

/// The runs of one log over [from, end), without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    from: u64,
    end: u64,
    runs: VecDeque<Run>,
}

impl Runs {
    /// Whether it says what the record at `sequence` is.
    pub fn covers(&self, sequence: u64) -> bool {
        (self.from..self.end).contains(&sequence)
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many runs it remembers.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Forgets what lies below `sequence`.
    pub fn drop_below(&mut self, sequence: u64) {
        while self.from < sequence {
            let Some(first) = self.runs.front_mut() else {
                self.from = sequence;
                self.end = sequence;
                return;
            };
            let gone = first.count.min(sequence - self.from);
            first.count -= gone;
            self.from += gone;
            if first.count == 0 {
                self.runs.pop_front();
            }
        }
    }

    /// Takes from a report what is not known yet. Of two pieces with a gap between them the lower one is kept: it is
    /// wanted first, and the other comes again.
    pub fn add(&mut self, from: u64, runs: &[Run]) {
        let end = from.saturating_add(runs.iter().fold(0, |sum: u64, run| sum.saturating_add(run.count)));
        if self.runs.is_empty() || from < self.from {
            let known = std::mem::take(self);
            *self = Self { from, end: from, runs: VecDeque::new() };
            self.append(from, runs);
            if !known.is_empty() && known.from <= end {
                let (later, known_from) = (known.runs.into_iter().collect::<Vec<_>>(), known.from);
                self.append(known_from, &later);
            }
        } else if from <= self.end {
            self.append(from, runs);
        }
    }

    /// `from` is at most `self.end`.
    fn append(&mut self, from: u64, runs: &[Run]) {
        let mut at = from;
        for run in runs {
            let next = at.saturating_add(run.count);
            if next > self.end {
                let count = next - at.max(self.end);
                match self.runs.back_mut() {
                    Some(last) if last.topic == run.topic => last.count += count,
                    _ => self.runs.push_back(Run { topic: run.topic, count }),
                }
                self.end = next;
            }
            at = next;
        }
    }

    /// Runs over [from, upto), as far as known, at most `runs_max`.
    pub fn between(&self, from: u64, upto: u64, runs_max: usize) -> Vec<Run> {
        let mut between = Vec::new();
        if !self.covers(from) {
            return between;
        }
        let mut at = self.from;
        for run in &self.runs {
            let end = at + run.count;
            let count = end.min(upto).saturating_sub(at.max(from));
            if count > 0 {
                if between.len() == runs_max {
                    break;
                }
                between.push(Run { topic: run.topic, count });
            }
            at = end;
            if at >= upto {
                break;
            }
        }
        between
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn runs(pairs: &[(u64, u64)]) -> Vec<Run> {
        pairs.iter().map(|&(topic, count)| Run { topic: TopicId(topic), count }).collect()
    }

    #[test]
    fn reports_that_overlap_are_joined_and_a_gap_is_not_jumped() {
        let mut log = Runs::default();
        log.add(4, &runs(&[(1, 2), (2, 2)]));
        log.add(6, &runs(&[(2, 2), (3, 1)]));
        assert_eq!(log.between(4, 100, 9), runs(&[(1, 2), (2, 2), (3, 1)]));
        log.add(20, &runs(&[(9, 9)]));
        assert_eq!(log.end(), 9, "beyond a gap nothing is taken");
        log.add(1, &runs(&[(7, 2)]));
        assert_eq!(
            (log.between(1, 100, 9), log.end()),
            (runs(&[(7, 2)]), 3),
            "the lower piece is wanted first"
        );
        log.drop_below(2);
        assert_eq!(log.between(2, 100, 9), runs(&[(7, 1)]));
        assert!(!log.covers(1) && log.covers(2));
        log.drop_below(50);
        log.add(50, &runs(&[(1, 1)]));
        assert!(log.covers(50));
    }

    proptest! {
        /// A log's content is a function of the sequence; whatever pieces of it come in whatever order, what is
        /// known is that content.
        #[test]
        fn what_is_known_is_what_the_log_is(
            pieces in prop::collection::vec((1u64..40, 0u64..20), 1..20), from in 1u64..40, below in 1u64..20,
        ) {
            let topic = |sequence: u64| TopicId(sequence / 3);
            let mut log = Runs::default();
            for (start, length) in pieces {
                let mut piece: Vec<Run> = Vec::new();
                for sequence in start..start + length {
                    match piece.last_mut() {
                        Some(last) if last.topic == topic(sequence) => last.count += 1,
                        _ => piece.push(Run { topic: topic(sequence), count: 1 }),
                    }
                }
                log.add(start, &piece);
            }
            log.drop_below(below);
            let mut at = from;
            for run in log.between(from, 60, 100) {
                for sequence in at..at + run.count {
                    prop_assert_eq!(run.topic, topic(sequence));
                }
                at += run.count;
            }
            prop_assert!(at == from || at == log.end());
        }
    }
}
