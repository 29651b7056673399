//! Reading a log: from memory where it is still there, else from disk.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};

use bytes::Bytes;
use trunkline_ports::ScanLimit;
use trunkline_wire::convert::Malformed;

use super::Log;
use crate::raft::{Entry, LeaderId, LogId, OptionalSend, RaftLogReader, Types, Vote};
use crate::{entry, keys};

/// One message's worth of entries.
const READ_BYTES_MAX: usize = 1 << 20;
const SCAN_LIMIT: ScanLimit = ScanLimit { rows: 1_024, bytes: READ_BYTES_MAX };

/// Where the next entries come from.
enum Source {
    Memory,
    /// Up to here, exclusive.
    Disk(u64),
    Nothing,
}

impl Log {
    /// Entries in [from, to), up to `bytes_max`, at least one where there is one.
    async fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut read = Read { entries: Vec::new(), at: from, to, bytes: 0, bytes_max };
        loop {
            match self.source(&mut read) {
                Source::Memory | Source::Nothing => return Ok(read.entries),
                Source::Disk(to) => {
                    let rows = self.scan(read.at, to).await?;
                    if rows.is_empty() && read.entries.is_empty() {
                        // Never there: the log begins later.
                        read.at = to;
                    } else {
                        self.take_rows(rows, &mut read)?;
                    }
                }
            }
        }
    }

    /// Where to go on. Takes from memory at once, so that nothing moves to disk in between.
    fn source(&self, read: &mut Read) -> Source {
        let inner = self.inner();
        let purged = inner.shape.purged.map_or(0, |purged| purged.index() + 1);
        if read.entries.is_empty() {
            read.at = read.at.max(purged);
        }
        let to = read.to.min(inner.shape.last_index().map_or(0, |last| last + 1));
        if read.at >= to || read.is_full() {
            return Source::Nothing;
        }
        if read.at < inner.tail.first() {
            return Source::Disk(to.min(inner.tail.first()));
        }
        while read.at < to {
            let Some(row) = inner.tail.get(read.at) else { break };
            let Some(leader) = inner.shape.leader_of(read.at) else { break };
            if read.is_full() || read.push(leader, row.clone()).is_err() {
                break;
            }
        }
        Source::Memory
    }

    fn take_rows(&self, rows: Vec<(u64, Bytes)>, read: &mut Read) -> io::Result<()> {
        if rows.is_empty() {
            return Err(io::Error::other(format!("entry {} of {} is not on disk", read.at, self.0.group)));
        }
        for (index, row) in rows {
            if index != read.at && !read.entries.is_empty() {
                return Err(io::Error::other(format!("entry {} of {} is missing", read.at, self.0.group)));
            }
            // What is missing at the beginning was purged meanwhile.
            read.at = index;
            let leader = self.inner().shape.leader_of(index);
            let leader =
                leader.ok_or_else(|| io::Error::other(format!("nobody has appended entry {index}")))?;
            read.push(leader, row).map_err(io::Error::other)?;
            if read.is_full() {
                break;
            }
        }
        Ok(())
    }

    async fn scan(&self, from: u64, to: u64) -> io::Result<Vec<(u64, Bytes)>> {
        let (from, to) = (keys::entry(self.0.group, from), keys::entry(self.0.group, to));
        let rows = self.0.storage.scan(keys::LOG, from, to, SCAN_LIMIT).await.map_err(io::Error::other)?;
        rows.into_iter()
            .map(|(key, value)| keys::entry_index(&key).map(|index| (index, value)))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| io::Error::other("a key of the Raft log has the wrong length"))
    }
}

/// A read under way.
struct Read {
    entries: Vec<Entry>,
    at: u64,
    to: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Read {
    fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max && !self.entries.is_empty()
    }

    fn push(&mut self, leader: LeaderId, row: Bytes) -> Result<(), Malformed> {
        self.bytes += row.len();
        self.entries.push(entry::decode(LogId::new(leader, self.at), row)?);
        self.at += 1;
        Ok(())
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let from = match range.start_bound() {
            Bound::Included(&from) => from,
            Bound::Excluded(&before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&to) => to,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        self.read(from, to, READ_BYTES_MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.inner().vote)
    }

    async fn get_key_log_ids(&mut self, range: RangeInclusive<LogId>) -> io::Result<Vec<LogId>> {
        Ok(self.inner().shape.last_of_each_leader(*range.start(), *range.end()))
    }
}
