//! The newest entries of a log in memory: readable before they are on disk, and without a read after it.

use std::collections::VecDeque;

use bytes::Bytes;

/// Entries as stored, dense from `first`. What is not on disk yet is never dropped.
#[derive(Debug)]
pub(crate) struct Tail {
    first: u64,
    entries: VecDeque<(Bytes, u64)>,
    bytes: usize,
    bytes_max: usize,
    /// Entries of writes up to this one are on disk.
    on_disk: u64,
}

impl Tail {
    pub(crate) fn new(next: u64, bytes_max: usize) -> Self {
        Self { first: next, entries: VecDeque::new(), bytes: 0, bytes_max, on_disk: 0 }
    }

    /// The first index that is here, or would be.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Adds an entry that write number `write` brings to disk. One that does not follow begins anew.
    pub(crate) fn push(&mut self, index: u64, entry: Bytes, write: u64) {
        if index != self.next() {
            self.truncate(index);
            if index != self.next() {
                *self = Self { on_disk: self.on_disk, ..Self::new(index, self.bytes_max) };
            }
        }
        self.bytes += entry.len();
        self.entries.push_back((entry, write));
    }

    /// Entry `index`, if it is here.
    pub(crate) fn get(&self, index: u64) -> Option<&Bytes> {
        let offset = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(offset).map(|(entry, _)| entry)
    }

    /// Forgets entries from `index` on.
    pub(crate) fn truncate(&mut self, index: u64) {
        while self.next() > index && !self.entries.is_empty() {
            if let Some((entry, _)) = self.entries.pop_back() {
                self.bytes -= entry.len();
            }
        }
        self.first = self.first.min(index);
    }

    /// Forgets entries up to and including `upto`.
    pub(crate) fn purge(&mut self, upto: u64) {
        while self.first <= upto && self.drop_first() {}
        self.first = self.first.max(upto + 1);
    }

    /// Write number `write` and all before it are on disk: what exceeds the budget may go.
    pub(crate) fn written(&mut self, write: u64) {
        self.on_disk = self.on_disk.max(write);
        while self.bytes > self.bytes_max
            && self.entries.front().is_some_and(|&(_, write)| write <= self.on_disk)
        {
            self.drop_first();
        }
    }

    /// How many of the newest entries are not on disk.
    pub(crate) fn unwritten(&self) -> u64 {
        self.entries.iter().rev().take_while(|&&(_, write)| write > self.on_disk).count() as u64
    }

    fn drop_first(&mut self) -> bool {
        let Some((entry, _)) = self.entries.pop_front() else { return false };
        self.bytes -= entry.len();
        self.first += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(indexes: std::ops::Range<u64>) -> Tail {
        let mut tail = Tail::new(indexes.start, 30);
        for index in indexes {
            tail.push(index, Bytes::from_static(&[0; 10]), index);
        }
        tail
    }

    #[test]
    fn what_is_not_on_disk_stays_whatever_the_budget_says() {
        let mut tail = tail(5..15);
        assert_eq!((tail.first(), tail.unwritten()), (5, 10));
        tail.written(6);
        assert_eq!(tail.unwritten(), 8);
        assert_eq!((tail.first(), tail.get(6), tail.get(7).is_some()), (7, None, true));
        tail.written(14);
        assert_eq!((tail.first(), tail.bytes), (12, 30));
    }

    #[test]
    fn an_overwritten_entry_counts_as_on_disk_only_with_its_own_write() {
        let mut tail = tail(5..15);
        tail.truncate(7);
        for index in 7..15 {
            tail.push(index, Bytes::from_static(&[1; 10]), 20);
        }
        tail.written(14);
        assert_eq!((tail.first(), tail.get(7).map(|entry| entry[0])), (7, Some(1)));
        tail.written(20);
        assert_eq!(tail.first(), 12);
    }

    #[test]
    fn it_is_cut_at_either_end_and_begins_anew_after_a_gap() {
        let mut tail = tail(5..10);
        tail.purge(6);
        assert_eq!((tail.first(), tail.get(7).is_some()), (7, true));
        tail.truncate(3);
        assert_eq!((tail.first(), tail.next(), tail.bytes), (3, 3, 0));
        tail.push(20, Bytes::from_static(b"x"), 1);
        assert_eq!((tail.first(), tail.next(), tail.bytes), (20, 21, 1));
        tail.purge(30);
        assert_eq!((tail.first(), tail.next()), (31, 31));
    }
}
