//! What the records of a log are, from the first that is not ordered on: the same whoever tells, so kept once per log.

use std::collections::{BTreeMap, VecDeque};

use trunkline_types::TopicId;

/// Consecutive records of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub topic: TopicId,
    pub count: u64,
}

/// What is known of one log's records: pieces in order, apart from each other. There is more than one only for a
/// moment, where stores whose index is at different places report first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// By the sequence that they begin at.
    pieces: BTreeMap<u64, Piece>,
}

/// Runs over [from, end), without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Piece {
    from: u64,
    end: u64,
    runs: VecDeque<Run>,
}

impl Runs {
    /// Whether it says what the record at `sequence` is.
    pub fn covers(&self, sequence: u64) -> bool {
        self.piece_at(sequence).is_some()
    }

    /// How many runs it remembers.
    pub fn len(&self) -> usize {
        self.pieces.values().map(|piece| piece.runs.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    fn piece_at(&self, sequence: u64) -> Option<&Piece> {
        self.pieces
            .range(..=sequence)
            .next_back()
            .map(|(_, piece)| piece)
            .filter(|piece| sequence < piece.end)
    }

    /// Forgets what lies below `sequence`.
    pub fn drop_below(&mut self, sequence: u64) {
        while let Some(mut first) = self.pieces.first_entry().filter(|first| *first.key() < sequence) {
            if first.get().end <= sequence {
                first.remove();
                continue;
            }
            let mut piece = std::mem::take(first.get_mut());
            first.remove();
            piece.drop_below(sequence);
            self.pieces.insert(piece.from, piece);
        }
    }

    /// Takes from a report what is not known yet.
    pub fn add(&mut self, from: u64, runs: &[Run]) {
        let count = runs.iter().fold(0, |sum: u64, run| sum.saturating_add(run.count));
        if count == 0 {
            return;
        }
        let before = self.pieces.range_mut(..=from).next_back().map(|(_, piece)| piece);
        let begins_at = match before.filter(|piece| from <= piece.end) {
            Some(piece) => {
                piece.append(from, runs);
                piece.from
            }
            None => {
                let mut piece = Piece { from, end: from, runs: VecDeque::new() };
                piece.append(from, runs);
                self.pieces.insert(from, piece);
                from
            }
        };
        self.join(begins_at);
    }

    /// Joins what has come to touch the piece that begins at `from`.
    fn join(&mut self, from: u64) {
        while let Some(next) = self.pieces.range(from + 1..).next().map(|(&next, _)| next) {
            if self.pieces[&from].end < next {
                return;
            }
            let mut later = self.pieces.remove(&next).expect("it was found above");
            let piece = self.pieces.get_mut(&from).expect("the caller names a piece");
            piece.append(next, later.runs.make_contiguous());
        }
    }

    /// Runs over [from, upto), as far as known, at most `runs_max`.
    pub fn between(&self, from: u64, upto: u64, runs_max: usize) -> Vec<Run> {
        self.piece_at(from).map(|piece| piece.between(from, upto, runs_max)).unwrap_or_default()
    }
}

impl Piece {
    fn drop_below(&mut self, sequence: u64) {
        while self.from < sequence
            && let Some(first) = self.runs.front_mut()
        {
            let gone = first.count.min(sequence - self.from);
            first.count -= gone;
            self.from += gone;
            if first.count == 0 {
                self.runs.pop_front();
            }
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

    fn between(&self, from: u64, upto: u64, runs_max: usize) -> Vec<Run> {
        let mut between = Vec::new();
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
        log.add(1, &runs(&[(7, 2)]));
        log.add(3, &[]);
        assert_eq!(log.between(1, 100, 9), runs(&[(7, 2)]), "3 is not known");
        assert!(log.covers(8), "and what lies beyond it is not forgotten");
        log.add(3, &runs(&[(7, 1)]));
        assert_eq!(log.between(1, 100, 9), runs(&[(7, 3), (1, 2), (2, 2), (3, 1)]));
        assert_eq!(log.between(2, 5, 9), runs(&[(7, 2), (1, 1)]));
        assert_eq!(log.between(2, 100, 2), runs(&[(7, 2), (1, 2)]));
        log.drop_below(5);
        assert_eq!((log.between(5, 6, 9), log.len()), (runs(&[(1, 1)]), 3));
        assert!(!log.covers(4) && log.covers(5));
        log.drop_below(50);
        assert!(log.is_empty());
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
            prop_assert!(!log.covers(at), "all that is known from there on");
        }
    }
}
