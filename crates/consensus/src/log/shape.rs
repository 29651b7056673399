//! The shape of a log: where it begins, where it ends, and who appended what. Kept beside the entries so that an entry
//! need not name its leader.

use std::collections::VecDeque;

use trunkline_wire::convert::Malformed;
use trunkline_wire::internal as wire;

use crate::convert;
use crate::raft::{LeaderId, LogId};

/// Entries are dense from `purged + 1` (or wherever the first was put) to `last`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) purged: Option<LogId>,
    /// First index of each leader's entries, ascending; covers everything up to `last`.
    runs: VecDeque<(u64, LeaderId)>,
    /// The last entry's index; `None` where all that was ever there is purged.
    last: Option<u64>,
}

impl Shape {
    /// The last entry, or else the last that was purged.
    pub(crate) fn last(&self) -> Option<LogId> {
        match self.last {
            Some(index) => self.leader_of(index).map(|leader| LogId::new(leader, index)),
            None => self.purged,
        }
    }

    pub(crate) fn last_index(&self) -> Option<u64> {
        self.last
    }

    pub(crate) fn leader_of(&self, index: u64) -> Option<LeaderId> {
        let after = self.runs.partition_point(|&(first, _)| first <= index);
        self.runs.get(after.checked_sub(1)?).map(|&(_, leader)| leader)
    }

    /// Adds an entry at the end. Returns whether the stored part changed: a new leader's first entry.
    pub(crate) fn push(&mut self, log_id: &LogId) -> bool {
        self.last = Some(log_id.index());
        let leader = *log_id.committed_leader_id();
        if self.runs.back().is_some_and(|&(_, last)| last == leader) {
            return false;
        }
        self.runs.push_back((log_id.index(), leader));
        true
    }

    /// Forgets entries from `index` on. Returns whether the stored part changed.
    pub(crate) fn truncate(&mut self, index: u64) -> bool {
        let runs = self.runs.len();
        while self.runs.back().is_some_and(|&(first, _)| first >= index) {
            self.runs.pop_back();
        }
        self.last = match self.last {
            Some(last) if last >= index => index.checked_sub(1).filter(|_| !self.runs.is_empty()),
            last => last,
        };
        runs != self.runs.len()
    }

    /// Forgets entries up to and including `upto`.
    pub(crate) fn purge(&mut self, upto: LogId) {
        self.purged = Some(upto);
        if self.last.is_none_or(|last| last <= upto.index()) {
            self.last = None;
            self.runs.clear();
            return;
        }
        while self.runs.get(1).is_some_and(|&(first, _)| first <= upto.index() + 1) {
            self.runs.pop_front();
        }
    }

    /// The last entry of each leader within `from ..= to`.
    pub(crate) fn last_of_each_leader(&self, from: LogId, to: LogId) -> Vec<LogId> {
        let mut ids: Vec<LogId> = Vec::new();
        let mut leader = *from.committed_leader_id();
        for &(first, next) in
            self.runs.iter().filter(|&&(first, _)| first > from.index() && first <= to.index())
        {
            ids.push(LogId::new(leader, first - 1));
            leader = next;
        }
        ids.push(to);
        ids
    }

    pub(crate) fn to_message(&self) -> wire::RaftLogShape {
        let run =
            |&(first, ref leader)| wire::RaftLogRun { first, leader: Some(convert::from_leader(leader)) };
        wire::RaftLogShape {
            purged: self.purged.as_ref().map(convert::from_log_id),
            runs: self.runs.iter().map(run).collect(),
        }
    }

    /// `last` is the index of the last entry that is there.
    pub(crate) fn from_message(message: &wire::RaftLogShape, last: Option<u64>) -> Result<Self, Malformed> {
        let mut runs = VecDeque::new();
        for run in &message.runs {
            let leader = run.leader.as_ref().ok_or(Malformed("shape.leader"))?;
            runs.push_back((run.first, convert::to_leader(leader)?));
        }
        let purged = message.purged.as_ref().map(convert::to_log_id).transpose()?;
        let last = last.filter(|&last| purged.is_none_or(|purged| last > purged.index()));
        let shape = Self { purged, runs, last };
        match shape.last {
            Some(last) if shape.leader_of(last).is_none() => Err(Malformed("shape.runs")),
            _ => Ok(shape),
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_types::NodeId;

    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(LeaderId { term, node_id: NodeId(1) }, index)
    }

    fn shape(ids: &[(u64, u64)]) -> Shape {
        let mut shape = Shape::default();
        for &(term, index) in ids {
            shape.push(&id(term, index));
        }
        shape
    }

    #[test]
    fn only_a_leaders_first_entry_changes_what_is_stored() {
        let mut shape = Shape::default();
        let changed: Vec<bool> =
            [(1, 0), (1, 1), (2, 2), (2, 3)].map(|(t, i)| shape.push(&id(t, i))).to_vec();
        assert_eq!(changed, [true, false, true, false]);
        assert_eq!(
            (shape.last(), shape.leader_of(1)),
            (Some(id(2, 3)), Some(*id(1, 1).committed_leader_id()))
        );
    }

    #[test]
    fn a_log_is_cut_at_either_end() {
        let full = shape(&[(1, 0), (1, 1), (2, 2), (2, 3), (5, 4)]);
        let cut = |from| {
            let mut shape = full.clone();
            let changed = shape.truncate(from);
            (changed, shape.last())
        };
        assert_eq!(cut(9), (false, Some(id(5, 4))));
        assert_eq!(cut(4), (true, Some(id(2, 3))));
        assert_eq!(cut(3), (true, Some(id(2, 2))));
        assert_eq!(cut(0), (true, None));
        let mut purged = full.clone();
        purged.purge(id(1, 1));
        assert_eq!((purged.purged, purged.last(), purged.runs.len()), (Some(id(1, 1)), Some(id(5, 4)), 2));
        purged.purge(id(9, 20));
        assert_eq!((purged.last(), purged.last_index(), purged.runs.len()), (Some(id(9, 20)), None, 0));
        purged.push(&id(9, 21));
        assert_eq!(purged.last(), Some(id(9, 21)));
    }

    #[test]
    fn the_last_entry_of_each_leader_is_known_without_reading_the_log() {
        let full = shape(&[(1, 0), (1, 1), (2, 2), (2, 3), (5, 4)]);
        assert_eq!(full.last_of_each_leader(id(1, 0), id(5, 4)), [id(1, 1), id(2, 3), id(5, 4)]);
        assert_eq!(full.last_of_each_leader(id(2, 2), id(2, 3)), [id(2, 3)]);
        assert_eq!(full.last_of_each_leader(id(1, 1), id(2, 2)), [id(1, 1), id(2, 2)]);
    }

    #[test]
    fn a_shape_survives_the_disk_and_one_that_lacks_a_leader_is_refused() {
        let mut full = shape(&[(1, 0), (2, 1), (2, 2)]);
        full.purge(id(1, 0));
        assert_eq!(Shape::from_message(&full.to_message(), Some(2)), Ok(full));
        let message = wire::RaftLogShape::default();
        assert_eq!(Shape::from_message(&message, Some(2)), Err(Malformed("shape.runs")));
    }
}
