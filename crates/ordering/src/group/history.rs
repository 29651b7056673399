//! Recent facts, kept until stores of two datacenters have them on disk.

use std::collections::VecDeque;

use trunkline_types::limits::{FACTS_MESSAGE_BYTES_MAX, FACTS_MESSAGE_RUNS_MAX};

use super::fact::{Fact, FactsAt};

/// Facts by index, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    entries: VecDeque<FactsAt>,
    /// The first index of which all facts are here.
    from: u64,
    runs: usize,
}

/// What is there from an index on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// In index order; `upto` is the last index that this covers, the same as asked for less one if there is nothing.
    Facts { at: Vec<FactsAt>, upto: u64 },
    /// Facts at or above the wanted index are gone already.
    Gone { from: u64 },
}

impl History {
    pub fn push(&mut self, index: u64, order_time_ms: u64, facts: Vec<Fact>) {
        if facts.is_empty() {
            return;
        }
        self.runs += runs(&facts);
        self.entries.push_back(FactsAt { index, order_time_ms, facts: facts.into() });
    }

    /// Forgets all facts at or below `index`. Never goes back.
    pub fn trim(&mut self, index: u64) {
        while let Some(oldest) = self.entries.front().filter(|oldest| oldest.index <= index) {
            self.from = oldest.index + 1;
            self.runs -= runs(&oldest.facts);
            self.entries.pop_front();
        }
    }

    /// The first index of which all facts are here.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// How much is kept, in runs.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// The oldest index that is kept.
    pub fn oldest(&self) -> Option<u64> {
        self.entries.front().map(|oldest| oldest.index)
    }

    pub fn iter(&self) -> impl Iterator<Item = &FactsAt> + '_ {
        self.entries.iter()
    }

    /// Facts from index `from` on, bounded, at least one entry's. `applied` is the last index applied.
    pub fn since(&self, from: u64, applied: u64) -> Since {
        if from < self.from {
            return Since::Gone { from: self.from };
        }
        let first = self.entries.partition_point(|at| at.index < from);
        let mut at = Vec::new();
        let (mut taken, mut bytes) = (0, 0);
        for facts in self.entries.range(first..) {
            taken += runs(&facts.facts);
            bytes += facts.facts.iter().map(Fact::bytes).sum::<usize>();
            let full = taken > FACTS_MESSAGE_RUNS_MAX || bytes > FACTS_MESSAGE_BYTES_MAX;
            if full && let Some(upto) = at.last().map(|last: &FactsAt| last.index) {
                return Since::Facts { at, upto };
            }
            at.push(facts.clone());
        }
        Since::Facts { at, upto: applied.max(from.saturating_sub(1)) }
    }

    /// The index to trim to so that what stays is just above `runs_kept`; at most `bound`.
    pub fn index_above(&self, runs_kept: usize, bound: u64) -> u64 {
        let mut left = self.runs;
        let mut index = 0;
        for at in self.entries.iter().take_while(|at| at.index <= bound) {
            left -= runs(&at.facts);
            if left < runs_kept {
                break;
            }
            index = at.index;
        }
        index
    }

    /// From a snapshot.
    pub fn from_parts(from: u64, entries: Vec<(u64, u64, Vec<Fact>)>) -> Self {
        let mut history = Self { from, ..Self::default() };
        for (index, order_time_ms, facts) in entries {
            history.push(index, order_time_ms, facts);
        }
        history
    }
}

fn runs(facts: &[Fact]) -> usize {
    facts.iter().map(Fact::runs).sum()
}

#[cfg(test)]
mod tests {
    use trunkline_types::{NodeId, TopicId};

    use super::*;

    fn history() -> History {
        let mut history = History::default();
        for index in [3, 5, 8] {
            history.push(index, 0, vec![Fact::TopicDeleted { topic: TopicId(index) }]);
        }
        history.push(9, 0, Vec::new());
        history
    }

    fn indexes(since: &Since) -> Vec<u64> {
        match since {
            Since::Facts { at, .. } => at.iter().map(|facts| facts.index).collect(),
            Since::Gone { .. } => panic!("gone"),
        }
    }

    #[test]
    fn facts_come_in_index_order_from_where_they_are_wanted() {
        let history = history();
        assert_eq!(indexes(&history.since(0, 9)), [3, 5, 8]);
        assert_eq!(indexes(&history.since(4, 9)), [5, 8]);
        assert_eq!(history.since(10, 9), Since::Facts { at: vec![], upto: 9 });
    }

    #[test]
    fn what_was_trimmed_is_gone_and_what_never_was_is_not() {
        let mut history = history();
        history.trim(4);
        assert_eq!(history.since(3, 9), Since::Gone { from: 4 });
        assert_eq!(indexes(&history.since(4, 9)), [5, 8]);
        history.trim(2);
        assert_eq!((history.from(), history.runs(), history.oldest()), (4, 2, Some(5)));
    }

    #[test]
    fn a_long_history_comes_in_parts() {
        let mut history = History::default();
        let many = |count| vec![Fact::BootsEnded { node: NodeId(1), counter: 2 }; count];
        history.push(1, 0, many(FACTS_MESSAGE_RUNS_MAX + 1));
        history.push(2, 0, many(1));
        let Since::Facts { at, upto } = history.since(0, 7) else { panic!("gone") };
        assert_eq!((at.len(), upto), (1, 1));
        assert_eq!(indexes(&history.since(2, 7)), [2]);
    }

    #[test]
    fn topics_with_many_labels_come_in_parts_too() {
        let mut history = History::default();
        let created = |counter| Fact::TopicCreated {
            topic: TopicId(counter << 16),
            name: "t".repeat(200),
            options: vec![0; 16 << 10],
        };
        (1..=600).for_each(|index| history.push(index, 0, vec![created(index)]));
        let (mut next, mut told) = (0, 0);
        while next <= 600 {
            let Since::Facts { at, upto } = history.since(next, 600) else { panic!("gone") };
            let bytes: usize = at.iter().flat_map(|at| at.facts.iter()).map(Fact::bytes).sum();
            assert!(bytes <= FACTS_MESSAGE_BYTES_MAX, "{bytes} bytes in one message");
            told += at.len();
            next = upto + 1;
        }
        assert_eq!(told, 600);
    }

    #[test]
    fn for_stores_that_were_away_some_is_kept() {
        let history = history();
        assert_eq!(history.index_above(2, 9), 3);
        assert_eq!(history.index_above(1, 9), 5);
        assert_eq!(history.index_above(0, 5), 5);
        assert_eq!(history.index_above(9, 9), 0);
    }
}
