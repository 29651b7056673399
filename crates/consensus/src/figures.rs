//! What a group has done since its start, counted for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// One group's figures at this voter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Entries that were proposed through this voter, whatever became of them.
    pub proposals: u64,
    /// Entries applied here.
    pub committed: u64,
    /// Bytes of the entries that this voter led to their commit, as stored and sent, each counted once.
    pub raft_bytes: u64,
    /// Snapshots taken here.
    pub snapshots: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    proposals: AtomicU64,
    committed: AtomicU64,
    raft_bytes: AtomicU64,
    snapshots: AtomicU64,
}

impl Counters {
    pub(crate) fn proposed(&self) {
        self.proposals.fetch_add(1, Ordering::Relaxed);
    }

    /// `led` are its bytes where this voter proposed it as leader.
    pub(crate) fn applied(&self, led: Option<usize>) {
        self.committed.fetch_add(1, Ordering::Relaxed);
        self.raft_bytes.fetch_add(led.map_or(0, |bytes| bytes as u64), Ordering::Relaxed);
    }

    pub(crate) fn snapshot_taken(&self) {
        self.snapshots.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            proposals: self.proposals.load(Ordering::Relaxed),
            committed: self.committed.load(Ordering::Relaxed),
            raft_bytes: self.raft_bytes.load(Ordering::Relaxed),
            snapshots: self.snapshots.load(Ordering::Relaxed),
        }
    }
}
