//! A group's state machine as openraft drives it: entries applied in order, snapshots taken and restored.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use tokio::sync::{Notify, watch};
use trunkline_ports::{Process, StateMachine, StorageError};

use crate::entry;
use crate::figures::Counters;
use crate::raft::{
    Entry, EntryPayload, EntryResponder, LogId, OptionalSend, RaftSnapshotBuilder, RaftStateMachine,
    Snapshot, SnapshotMeta, StoredMembership, Types,
};
use crate::snapshot::{Snapshots, StoredSnapshot};

/// What a machine shares with the rest of its member.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) process: Process,
    pub(crate) counters: Arc<Counters>,
    /// Last index applied.
    pub(crate) applied: watch::Sender<u64>,
    /// Told when so many bytes were applied that a snapshot is due.
    pub(crate) snapshot_due: Arc<Notify>,
    pub(crate) snapshot_bytes: u64,
}

pub(crate) struct Machine {
    /// Never locked: there is one owner. It makes the whole `Sync`, as openraft wants it.
    machine: Mutex<Box<dyn StateMachine>>,
    snapshots: Snapshots,
    surroundings: Surroundings,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    bytes_since_snapshot: u64,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("last_applied", &self.last_applied).finish_non_exhaustive()
    }
}

impl Machine {
    /// An empty machine; openraft restores the current snapshot and what the log has beyond it.
    pub(crate) fn new(
        machine: Box<dyn StateMachine>,
        snapshots: Snapshots,
        surroundings: Surroundings,
    ) -> Self {
        Self {
            machine: Mutex::new(machine),
            snapshots,
            surroundings,
            last_applied: None,
            membership: StoredMembership::default(),
            bytes_since_snapshot: 0,
        }
    }

    fn machine(&mut self) -> &mut dyn StateMachine {
        self.machine.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut()
    }

    fn apply_one(&mut self, entry: &Entry, led: bool) -> Bytes {
        let log_id = entry.log_id;
        let answer = match &entry.payload {
            EntryPayload::Blank => Bytes::new(),
            EntryPayload::Normal(command) => {
                self.bytes_since_snapshot += command.0.len() as u64;
                self.surroundings.counters.applied(led.then_some(command.0.len()));
                self.machine().apply(log_id.index(), entry::content(command))
            }
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(log_id), membership.clone());
                Bytes::new()
            }
        };
        self.last_applied = Some(log_id);
        answer
    }

    fn tell_applied(&mut self) {
        let Some(last) = self.last_applied.map(|last| last.index()) else { return };
        self.machine().applied(last);
        self.surroundings.applied.send_replace(last);
        if self.bytes_since_snapshot >= self.surroundings.snapshot_bytes {
            self.bytes_since_snapshot = 0;
            self.surroundings.snapshot_due.notify_one();
        }
    }

    /// What cannot be restored ends the process: going on without it would be another state machine.
    fn unusable(&self, why: String) -> io::Error {
        tracing::error!(%why, "a snapshot cannot be restored; the process ends");
        self.surroundings.process.fail(&format!("a snapshot cannot be restored: {why}"));
        io::Error::other(why)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = StoredSnapshot;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::new();
        while let Some((entry, responder)) = entries.try_next().await? {
            let answer = self.apply_one(&entry, responder.is_some());
            answers.extend(responder.map(|responder| (responder, answer)));
        }
        self.tell_applied();
        // After everyone was told: a proposer that has its answer finds it applied.
        answers.into_iter().for_each(|(responder, answer)| responder.send(answer));
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.bytes_since_snapshot = 0;
        Builder {
            state: self.machine().snapshot(),
            meta: SnapshotMeta { last_log_id: self.last_applied, last_membership: self.membership.clone() },
            snapshots: self.snapshots.clone(),
            process: self.surroundings.process.clone(),
            counters: self.surroundings.counters.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: StoredSnapshot) -> io::Result<()> {
        let bytes = self.snapshots.read(&snapshot).await.map_err(|error| self.unusable(error.to_string()))?;
        let index = meta.last_log_id.map_or(0, |last| last.index());
        if let Err(why) = self.machine().restore(index, &bytes) {
            return Err(self.unusable(why));
        }
        let made_current = self.snapshots.make_current(snapshot, meta.clone()).await;
        made_current.map_err(|error| cannot_write(&self.surroundings.process, &error))?;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.bytes_since_snapshot = 0;
        self.tell_applied();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<StoredSnapshot>>> {
        Ok(self.snapshots.current().map(|(snapshot, meta)| Snapshot { meta, snapshot }))
    }
}

/// A state that was copied at one moment, on its way to disk.
pub(crate) struct Builder {
    state: Bytes,
    meta: SnapshotMeta,
    snapshots: Snapshots,
    process: Process,
    counters: Arc<Counters>,
}

impl Builder {
    async fn store(&self) -> Result<StoredSnapshot, StorageError> {
        let mut writer = self.snapshots.begin();
        writer.push(&self.state).await?;
        let snapshot = writer.finish().await?;
        self.snapshots.make_current(snapshot.clone(), self.meta.clone()).await?;
        Ok(snapshot)
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = StoredSnapshot;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<StoredSnapshot>> {
        let snapshot = self.store().await.map_err(|error| cannot_write(&self.process, &error))?;
        self.counters.snapshot_taken();
        Ok(Snapshot { meta: self.meta.clone(), snapshot })
    }
}

fn cannot_write(process: &Process, error: &StorageError) -> io::Error {
    tracing::error!(%error, "a snapshot cannot be written; the process ends");
    process.fail(&format!("a snapshot cannot be written: {error}"));
    io::Error::other(error.to_string())
}
