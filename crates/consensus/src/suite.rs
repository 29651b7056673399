//! openraft's own storage suite on our log and state machine, and what it does not ask.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt as _;
use tokio::sync::{Notify, watch};
use trunkline_ports::{Process, StateMachine};
use trunkline_testkit::{MemoryStorage, SimulatedProcess, Visibility};
use trunkline_types::{GroupId, NodeId};

use crate::figures::Counters;
use crate::log::Log;
use crate::machine::{Builder, Machine, Surroundings};
use crate::raft::{
    Command, Entry, EntryPayload, EntryResponder, Flushed, LeaderId, LogId, OptionalSend, RaftLogReader as _,
    RaftLogStorage as _, RaftSnapshotBuilder, RaftStateMachine, Snapshot, SnapshotMeta, StoredMembership,
    Types, Vote,
};
use crate::snapshot::{Snapshots, StoredSnapshot};
use crate::writer::Writer;

const GROUP: GroupId = GroupId::ordering(1);

/// Remembers everything it was given.
#[derive(Default)]
struct Memory(Vec<u8>);

impl StateMachine for Memory {
    fn apply(&mut self, _index: u64, entry: &[u8]) -> Bytes {
        self.0.extend_from_slice(entry);
        Bytes::copy_from_slice(entry)
    }

    fn snapshot(&self) -> Bytes {
        self.0.clone().into()
    }

    fn restore(&mut self, _index: u64, snapshot: &[u8]) -> Result<(), String> {
        self.0 = snapshot.to_vec();
        Ok(())
    }
}

async fn machine(storage: &MemoryStorage, process: &Process) -> (Machine, Snapshots) {
    let snapshots = Snapshots::open(GROUP, Arc::new(storage.clone())).await.unwrap();
    let surroundings = Surroundings {
        process: process.clone(),
        counters: Arc::new(Counters::default()),
        applied: watch::Sender::new(0),
        snapshot_due: Arc::new(Notify::new()),
        snapshot_bytes: u64::MAX,
    };
    (Machine::new(Box::new(Memory::default()), snapshots.clone(), surroundings), snapshots)
}

async fn log(storage: &MemoryStorage, process: &Process, tail_bytes_max: usize) -> Log {
    let storage = Arc::new(storage.clone());
    let writer = Writer::start(storage.clone(), process);
    Log::open(GROUP, storage, writer, tail_bytes_max).await.unwrap()
}

/// A snapshot on its way between two voters, which the suite does not model.
struct Carried {
    snapshot: StoredSnapshot,
    from: Snapshots,
}

struct Carrier {
    machine: Machine,
    snapshots: Snapshots,
}

struct CarrierBuilder(Builder, Snapshots);

impl RaftSnapshotBuilder<Types> for CarrierBuilder {
    type SnapshotData = Carried;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<Carried>> {
        let Snapshot { meta, snapshot } = self.0.build_snapshot().await?;
        Ok(Snapshot { meta, snapshot: Carried { snapshot, from: self.1.clone() } })
    }
}

impl RaftStateMachine<Types> for Carrier {
    type SnapshotData = Carried;
    type SnapshotBuilder = CarrierBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.machine.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        self.machine.apply(entries).await
    }

    async fn get_snapshot_builder(&mut self) -> CarrierBuilder {
        CarrierBuilder(self.machine.get_snapshot_builder().await, self.snapshots.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, carried: Carried) -> io::Result<()> {
        let bytes = carried.from.read(&carried.snapshot).await.map_err(io::Error::other)?;
        let mut writer = self.snapshots.begin();
        writer.push(&bytes).await.map_err(io::Error::other)?;
        let snapshot = writer.finish().await.map_err(io::Error::other)?;
        self.machine.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<Carried>>> {
        let current = self.machine.get_current_snapshot().await?;
        Ok(current.map(|Snapshot { meta, snapshot }| Snapshot {
            meta,
            snapshot: Carried { snapshot, from: self.snapshots.clone() },
        }))
    }
}

/// Each store on a disk of its own.
struct Stores {
    process: Process,
    tail_bytes_max: usize,
    visibility: Visibility,
}

impl StoreBuilder<Types, Log, Carrier> for Stores {
    async fn build(&self) -> Result<((), Log, Carrier), StorageError<Types>> {
        let storage = MemoryStorage::new().with_visibility(self.visibility);
        let log = log(&storage, &self.process, self.tail_bytes_max).await;
        let (machine, snapshots) = machine(&storage, &self.process).await;
        Ok(((), log, Carrier { machine, snapshots }))
    }
}

#[tokio::test(start_paused = true)]
async fn openrafts_storage_suite_passes_from_memory_and_from_disk() {
    for (tail_bytes_max, visibility) in [(1 << 20, Visibility::AtOnce), (0, Visibility::AtSync)] {
        let process = SimulatedProcess::alone(1).process();
        Suite::test_all(Stores { process, tail_bytes_max, visibility }).await.unwrap();
    }
}

fn entry(term: u64, index: u64) -> Entry {
    let leader = LeaderId { term, node_id: NodeId(term) };
    let content = [index.to_be_bytes(), term.to_be_bytes()].concat();
    Entry {
        log_id: LogId::new(leader, index),
        payload: EntryPayload::Normal(crate::entry::command(&content)),
    }
}

async fn append(log: &mut Log, entries: Vec<Entry>) {
    let (on_disk, done) = Types::oneshot();
    log.append(entries, Flushed::signal(on_disk)).await.unwrap();
    done.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_log_reads_the_same_after_a_restart_as_before_it() {
    let storage = MemoryStorage::new();
    let process = SimulatedProcess::alone(1).process();
    let mut before = log(&storage, &process, 100).await;
    append(&mut before, (0..50).map(|index| entry(1, index)).collect()).await;
    before.purge(entry(1, 9).log_id).await.unwrap();
    before.truncate_after(Some(entry(1, 29).log_id)).await.unwrap();
    append(&mut before, (30..60).map(|index| entry(3, index)).collect()).await;
    let vote = Vote::new_committed(3, NodeId(3));
    before.save_vote(&vote).await.unwrap();
    let mut after = log(&storage, &process, 100).await;
    for log in [&mut before, &mut after] {
        let read = log.try_get_log_entries(..).await.unwrap();
        let expected: Vec<Entry> =
            (10..60).map(|index| entry(if index < 30 { 1 } else { 3 }, index)).collect();
        assert_eq!(read, expected);
        assert_eq!(log.read_vote().await.unwrap(), Some(vote));
        let state = log.get_log_state().await.unwrap();
        let ends = (state.last_purged_log_id, state.last_log_id);
        assert_eq!(ends, (Some(entry(1, 9).log_id), Some(entry(3, 59).log_id)));
        let part: Vec<u64> = log
            .limited_get_log_entries(25, 35)
            .await
            .unwrap()
            .iter()
            .map(|entry| entry.log_id.index())
            .collect();
        assert_eq!(part, (25..35).collect::<Vec<_>>());
    }
    assert!(matches!(entry(1, 1).payload, EntryPayload::Normal(Command(_))));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_kept_while_someone_reads_it_and_a_half_written_one_is_gone_after_a_restart() {
    let storage = MemoryStorage::new();
    let process = SimulatedProcess::alone(1).process();
    let (_, snapshots) = machine(&storage, &process).await;
    let content = |byte: u8| vec![byte; 700_000];
    let meta = |index| SnapshotMeta { last_log_id: Some(entry(1, index).log_id), ..SnapshotMeta::default() };
    let write = async |byte, index| {
        let mut writer = snapshots.begin();
        writer.push(&content(byte)).await.unwrap();
        let stored = writer.finish().await.unwrap();
        snapshots.make_current(stored.clone(), meta(index)).await.unwrap();
        stored
    };
    let first = write(1, 10).await;
    let second = write(2, 20).await;
    assert_eq!(storage.len(crate::keys::SNAPSHOTS), 6, "the first is still held");
    assert_eq!(snapshots.read(&first).await.unwrap(), content(1));
    drop(first);
    let third = write(3, 15).await;
    assert_eq!(
        snapshots.current().map(|(current, _)| current.number),
        Some(second.number),
        "the newer one stays"
    );
    drop(third);
    let mut half = snapshots.begin();
    half.push(&content(4)).await.unwrap();
    let (_, reopened) = machine(&storage, &process).await;
    assert_eq!(storage.len(crate::keys::SNAPSHOTS), 3);
    let (current, of) = reopened.current().unwrap();
    assert_eq!((reopened.read(&current).await.unwrap().to_vec(), of), (content(2), meta(20)));
}
