//! What the records of a log are, from the first that is not ordered on: the same whoever tells, so kept once per log.

use std::collections::{BTreeMap, VecDeque};

use trunkline_types::{Produced, TopicId};

/// Consecutive records alike: of one topic; with a producer, of one, and of consecutive sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub topic: TopicId,
    pub count: u64,
    /// What its first record is called.
    pub produced: Option<Produced>,
}

impl Run {
    /// One record.
    pub fn of(topic: TopicId, produced: Option<Produced>) -> Self {
        Self { topic, count: 1, produced }
    }

    /// What a record that comes right after it would be called, were it alike.
    pub fn next(&self) -> Option<Produced> {
        self.produced.map(|first| first.plus(self.count))
    }

    /// Whether `other`, right behind it, is more of the same.
    pub fn continues_with(&self, other: &Self) -> bool {
        self.topic == other.topic && self.next() == other.produced
    }

    /// Without its first records, of which it has more.
    #[must_use]
    pub fn without(self, first: u64) -> Self {
        let produced = self.produced.map(|produced| produced.plus(first));
        Self { count: self.count - first, produced, ..self }
    }
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

    /// The kind of the record at `sequence`, as a run of it alone.
    pub fn at(&self, sequence: u64) -> Option<Run> {
        self.between(sequence, sequence + 1, 1).pop()
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
            self.from += gone;
            if gone == first.count {
                self.runs.pop_front();
            } else {
                *first = first.without(gone);
            }
        }
    }

    /// `from` is at most `self.end`.
    fn append(&mut self, from: u64, runs: &[Run]) {
        let mut at = from;
        for run in runs {
            let next = at.saturating_add(run.count);
            if next > self.end {
                let fresh = run.without(at.max(self.end) - at);
                match self.runs.back_mut() {
                    Some(last) if last.continues_with(&fresh) => last.count += fresh.count,
                    _ => self.runs.push_back(fresh),
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
                between.push(Run { count, ..run.without(at.max(from) - at) });
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
    use trunkline_types::ProducerId;

    use super::*;

    fn runs(pairs: &[(u64, u64)]) -> Vec<Run> {
        pairs.iter().map(|&(topic, count)| Run { topic: TopicId(topic), count, produced: None }).collect()
    }

    fn produced(producer: u8, sequence: u64, count: u64) -> Run {
        let produced = Some(Produced { producer: ProducerId([producer; 16]), sequence });
        Run { topic: TopicId(1), count, produced }
    }

    #[test]
    fn only_consecutive_sequences_of_one_producer_are_one_run() {
        let mut log = Runs::default();
        let told =
            [produced(7, 1, 2), produced(7, 3, 1), produced(7, 5, 1), produced(8, 6, 1), runs(&[(1, 1)])[0]];
        log.add(1, &told);
        assert_eq!(log.between(1, 9, 9), [produced(7, 1, 3), told[2], told[3], told[4]]);
        assert_eq!(log.between(2, 4, 9), [produced(7, 2, 2)]);
        log.drop_below(3);
        assert_eq!((log.between(1, 9, 1), log.at(3)), (vec![], Some(produced(7, 3, 1))));
        assert_eq!(log.between(3, 5, 9), [produced(7, 3, 1), told[2]]);
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
            // Every fifth record has no producer; the others' sequences have gaps.
            let kind = |sequence: u64| {
                let producer = ProducerId([u8::from(sequence % 7 > 2); 16]);
                let produced = Produced { producer, sequence: sequence + sequence / 4 };
                Run::of(TopicId(sequence / 6), (!sequence.is_multiple_of(5)).then_some(produced))
            };
            let mut log = Runs::default();
            for (start, length) in pieces {
                let mut piece: Vec<Run> = Vec::new();
                for one in (start..start + length).map(kind) {
                    match piece.last_mut() {
                        Some(last) if last.continues_with(&one) => last.count += 1,
                        _ => piece.push(one),
                    }
                }
                log.add(start, &piece);
            }
            log.drop_below(below);
            let mut at = from;
            for run in log.between(from, 60, 100) {
                for nth in 0..run.count {
                    prop_assert_eq!(Run { count: 1, ..run.without(nth) }, kind(at + nth));
                }
                at += run.count;
            }
            prop_assert!(!log.covers(at), "all that is known from there on");
        }
    }
}
