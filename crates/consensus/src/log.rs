//! One group's log on the node's log: entries in memory at once, on disk when the node's writer has them there.

mod read;
mod shape;
mod tail;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use prost::Message as _;
use trunkline_ports::{Batch, ConsensusError, ScanLimit, Storage, StorageError};
use trunkline_types::GroupId;
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal as wire;

use crate::raft::{Entry, Flushed, LogId, LogState, OptionalSend, RaftLogStorage, Types, Vote};
use crate::writer::Writer;
use crate::{convert, entry, keys};
use shape::Shape;
use tail::Tail;

/// A handle on a group's log: what openraft appends to, and what it reads from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    group: GroupId,
    storage: Arc<dyn Storage>,
    writer: Writer,
    inner: Mutex<Inner>,
}

struct Inner {
    vote: Option<Vote>,
    committed: Option<LogId>,
    shape: Shape,
    tail: Tail,
    /// Counts this log's writes.
    writes: u64,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.0.group).finish()
    }
}

impl Log {
    /// Reads what is there, but for the entries. `tail_bytes_max` bounds what is kept in memory of what is on disk.
    pub(crate) async fn open(
        group: GroupId,
        storage: Arc<dyn Storage>,
        writer: Writer,
        tail_bytes_max: usize,
    ) -> Result<Self, ConsensusError> {
        let row = async |what| storage.get(keys::STATE, keys::state(group, what)).await;
        let vote = row(keys::State::Vote).await?.map(decode_vote).transpose().map_err(corrupt)?;
        let committed = row(keys::State::Committed).await?.map(decode_log_id).transpose().map_err(corrupt)?;
        let last = {
            let (from, to) = (keys::entry(group, 0), keys::entries_end(group));
            let rows = storage.scan_back(keys::LOG, from, to, ScanLimit::rows(1)).await?;
            rows.first().and_then(|(key, _)| keys::entry_index(key))
        };
        let shape = match row(keys::State::LogShape).await? {
            Some(bytes) => wire::RaftLogShape::decode(bytes).map_err(|_| corrupt(Malformed("log shape")))?,
            None => wire::RaftLogShape::default(),
        };
        let shape = Shape::from_message(&shape, last).map_err(corrupt)?;
        let next = shape.last().map_or(0, |last| last.index() + 1);
        let inner = Inner { vote, committed, shape, tail: Tail::new(next, tail_bytes_max), writes: 0 };
        Ok(Self(Arc::new(Shared { group, storage, writer, inner: Mutex::new(inner) })))
    }

    /// Whether anything was ever in this log.
    pub(crate) fn is_pristine(&self) -> bool {
        self.inner().shape.last().is_none()
    }

    /// The last entry that is on disk with all before it; the last purged one where there is none.
    pub(crate) fn last_on_disk(&self) -> Option<LogId> {
        let inner = self.inner();
        let index = inner.shape.last_index().and_then(|last| last.checked_sub(inner.tail.unwritten()));
        let on_disk =
            index.and_then(|index| inner.shape.leader_of(index).map(|leader| LogId::new(leader, index)));
        on_disk.max(inner.shape.purged)
    }

    /// Whether this log has, or had, just this entry.
    pub(crate) fn contains(&self, log_id: &LogId) -> bool {
        let inner = self.inner();
        let is_there = inner.shape.last_index().is_some_and(|last| log_id.index() <= last);
        is_there && inner.shape.leader_of(log_id.index()) == Some(*log_id.committed_leader_id())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries in memory, and the batch that brings them to disk, with its number.
    fn admit(&self, entries: impl IntoIterator<Item = Entry>) -> (Batch, u64) {
        let mut inner = self.inner();
        inner.writes += 1;
        let number = inner.writes;
        let mut batch = Batch::new();
        let mut shape_changed = false;
        for entry in entries {
            let index = entry.log_id.index();
            let bytes = entry::encode(&entry);
            batch.put(keys::LOG, keys::entry(self.0.group, index), bytes.clone());
            shape_changed |= inner.shape.push(&entry.log_id);
            inner.tail.push(index, bytes, number);
        }
        if shape_changed {
            self.put_shape(&inner.shape, &mut batch);
        }
        (batch, number)
    }

    fn put_shape(&self, shape: &Shape, batch: &mut Batch) {
        let key = keys::state(self.0.group, keys::State::LogShape);
        batch.put(keys::STATE, key, shape.to_message().encode_to_vec());
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState> {
        let inner = self.inner();
        Ok(LogState { last_purged_log_id: inner.shape.purged, last_log_id: inner.shape.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.inner().vote = Some(*vote);
        let mut batch = Batch::new();
        let key = keys::state(self.0.group, keys::State::Vote);
        batch.put(keys::STATE, key, convert::from_vote(vote).encode_to_vec());
        self.0.writer.write(batch).await
    }

    /// Not worth an fsync: it goes with the next write. A voter that restarts without it applies the rest of its log
    /// once a leader says that it is committed.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.inner().committed = committed;
        if let Some(committed) = committed {
            let key = keys::state(self.0.group, keys::State::Committed);
            let value = convert::from_log_id(&committed).encode_to_vec();
            self.0.writer.write_lazily(key, value.into());
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.inner().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: Flushed) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (batch, number) = self.admit(entries);
        let log = self.clone();
        let done = Box::new(move || {
            log.inner().tail.written(number);
            callback.io_completed(Ok(()));
        });
        self.0.writer.queue(batch, Some(done)).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |last| last.index() + 1);
        let mut batch = Batch::new();
        {
            let mut inner = self.inner();
            inner.tail.truncate(from);
            if inner.shape.truncate(from) {
                self.put_shape(&inner.shape, &mut batch);
            }
        }
        batch.delete_range(keys::LOG, keys::entry(self.0.group, from), keys::entries_end(self.0.group));
        self.0.writer.queue(batch, None).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let mut batch = Batch::new();
        {
            let mut inner = self.inner();
            inner.tail.purge(upto.index());
            inner.shape.purge(upto);
            self.put_shape(&inner.shape, &mut batch);
        }
        let group = self.0.group;
        batch.delete_range(keys::LOG, keys::entry(group, 0), keys::entry(group, upto.index() + 1));
        self.0.writer.queue(batch, None).await
    }
}

fn decode_vote(bytes: Bytes) -> Result<Vote, Malformed> {
    let vote = wire::RaftVote::decode(bytes).map_err(|_| Malformed("vote"))?;
    convert::to_vote(Some(&vote))
}

fn decode_log_id(bytes: Bytes) -> Result<LogId, Malformed> {
    let log_id = wire::RaftLogId::decode(bytes).map_err(|_| Malformed("committed"))?;
    convert::to_log_id(&log_id)
}

fn corrupt(malformed: Malformed) -> ConsensusError {
    ConsensusError::Storage(StorageError::Corrupt(format!("the Raft log's {}", malformed.0)))
}
