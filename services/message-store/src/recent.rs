//! Recent records in memory, all logs together bounded by bytes: what is read and followed soon after it came.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::Duration;

use trunkline_ordering::store::LogNo;
use trunkline_wire::internal::Record;

/// What a record costs beside its body.
const RECORD_BYTES: usize = 96;
/// Consecutive records of a log leave memory together, up to so many bytes.
const SLICE_BYTES_MAX: usize = 256 << 10;

#[derive(Debug, Default)]
struct Shelf {
    /// The sequence of the first record.
    base: u64,
    records: VecDeque<Record>,
}

#[derive(Debug)]
struct Slice {
    log: LogNo,
    end: u64,
    bytes: usize,
    /// When its first record came.
    since: Duration,
}

/// The cache. Records that are not on disk yet are never dropped from it.
#[derive(Debug)]
pub(crate) struct RecentRecords {
    /// Of logs that have records here.
    shelves: BTreeMap<LogNo, Shelf>,
    /// In order of arrival.
    slices: VecDeque<Slice>,
    bytes: usize,
    max: usize,
}

impl RecentRecords {
    pub(crate) fn new(max: usize) -> Self {
        Self { shelves: BTreeMap::new(), slices: VecDeque::new(), bytes: 0, max }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest came that is here.
    pub(crate) fn since(&self) -> Option<Duration> {
        self.slices.front().map(|slice| slice.since)
    }

    /// Adds the record that follows the last one of this log.
    pub(crate) fn push(&mut self, log: LogNo, seq: u64, record: Record, now: Duration) {
        let bytes = record.body.len() + RECORD_BYTES;
        let shelf = self.shelves.entry(log).or_default();
        if shelf.base + shelf.records.len() as u64 != seq {
            shelf.records.clear();
        }
        if shelf.records.is_empty() {
            shelf.base = seq;
        }
        shelf.records.push_back(record);
        self.bytes += bytes;
        match self.slices.back_mut() {
            Some(slice) if slice.log == log && slice.bytes + bytes <= SLICE_BYTES_MAX => {
                slice.end = seq + 1;
                slice.bytes += bytes;
            }
            _ => self.slices.push_back(Slice { log, end: seq + 1, bytes, since: now }),
        }
    }

    pub(crate) fn get(&self, log: LogNo, seq: u64) -> Option<&Record> {
        let shelf = self.shelves.get(&log)?;
        let at = usize::try_from(seq.checked_sub(shelf.base)?).ok()?;
        shelf.records.get(at)
    }

    /// Drops what lies beyond a log's end.
    pub(crate) fn drop_from(&mut self, log: LogNo, end: u64) {
        if let Some(shelf) = self.shelves.get_mut(&log) {
            let keep = end.saturating_sub(shelf.base);
            shelf.records.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        }
    }

    /// Drops the oldest records until the rest fits.
    pub(crate) fn evict(&mut self, durable: impl Fn(LogNo) -> u64) {
        while self.bytes > self.max {
            let Some(slice) = self.slices.front().filter(|slice| durable(slice.log) >= slice.end) else {
                return;
            };
            if let Entry::Occupied(mut shelf) = self.shelves.entry(slice.log) {
                let records = shelf.get_mut();
                while records.base < slice.end && records.records.pop_front().is_some() {
                    records.base += 1;
                }
                if records.records.is_empty() {
                    shelf.remove();
                }
            }
            self.bytes -= slice.bytes;
            self.slices.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> Record {
        Record { topic_id: 1, checksum: 0, body: vec![0; bytes].into() }
    }

    #[test]
    fn the_oldest_go_first_and_nothing_goes_before_it_is_on_disk() {
        let mut recent = RecentRecords::new(3 * (100 << 10));
        for seq in 1..=4 {
            recent.push(LogNo(1), seq, record(100 << 10), Duration::from_secs(seq));
            recent.push(LogNo(2), seq + 10, record(10), Duration::from_secs(seq));
        }
        recent.evict(|_| 1);
        assert_eq!(recent.since(), Some(Duration::from_secs(1)));
        assert!(recent.get(LogNo(1), 1).is_some(), "not on disk");
        recent.evict(|_| 99);
        assert!(recent.get(LogNo(1), 1).is_none() && recent.get(LogNo(1), 2).is_none());
        assert!(recent.since() > Some(Duration::from_secs(1)));
        assert_eq!(recent.get(LogNo(1), 4).map(|record| record.body.len()), Some(100 << 10));
        assert_eq!(recent.get(LogNo(2), 14).map(|record| record.body.len()), Some(10));
        recent.drop_from(LogNo(2), 14);
        assert!(recent.get(LogNo(2), 14).is_none());
        recent.push(LogNo(3), 1, record(4 * (100 << 10)), Duration::from_secs(9));
        recent.evict(|_| 99);
        assert!(
            (recent.shelves.is_empty(), recent.bytes()) == (true, 0),
            "nothing stays of a log that has left"
        );
    }
}
