//! RocksDB: the contract, and what holds when it is closed, killed, torn or damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bytes::Bytes;
use futures::future::BoxFuture;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use trunkline_ports::{Batch, Process, ProcessPort, ScanLimit, Space, Storage, StorageError};
use trunkline_storage::{OpenError, Options, RocksStorage, SharedMemory};
use trunkline_types::ByteSize;

use crate::contract::{self, INDEX, PAYLOADS, SPACES, get, put};

/// Remembers why it was to end, and closes the store, instead of ending.
#[derive(Clone, Default)]
pub(crate) struct Listener {
    failures: Arc<Mutex<Vec<String>>>,
    store: Arc<OnceLock<Weak<RocksStorage>>>,
}

impl ProcessPort for Listener {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) -> JoinHandle<()> {
        tokio::spawn(task)
    }

    fn wall_clock_ms(&self) -> u64 {
        0
    }

    fn random(&self) -> u64 {
        0
    }

    fn fail(&self, why: &str) {
        self.failures.lock().unwrap().push(why.to_owned());
        if let Some(store) = self.store.get().and_then(Weak::upgrade) {
            store.close();
        }
    }
}

fn open_with(path: &Path, options: &Options) -> Result<Arc<RocksStorage>, OpenError> {
    let memory = SharedMemory::new(options);
    RocksStorage::open(path, &SPACES, options, &memory, Process::new(Listener::default()))
}

fn open(path: &Path) -> Result<Arc<RocksStorage>, OpenError> {
    open_with(path, &Options::small())
}

/// A copy of the directory as a crash would leave it: the store is open and nothing is flushed by closing it.
fn crash(path: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "LOCK" {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

fn file_with(path: &Path, extension: &str) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|found| found == extension))
        .filter(|file| file.metadata().unwrap().len() > 0)
        .collect();
    files.sort();
    files.pop().unwrap_or_else(|| panic!("no file with the extension {extension}"))
}

fn flip(path: &Path, at: impl Fn(usize) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn numbered(number: u32) -> String {
    format!("{number:06}")
}

/// Writes batches one after the other, so that each has a record of the log of its own.
async fn write_numbered(store: &RocksStorage, count: u32) {
    for number in 0..count {
        store.write(put(INDEX, &numbered(number), vec![b'v'; 200])).await.unwrap();
    }
}

async fn count(store: &RocksStorage) -> usize {
    let rows = store.scan(INDEX, Bytes::new(), Bytes::from_static(&[0xff]), ScanLimit::rows(usize::MAX));
    rows.await.unwrap().len()
}

#[tokio::test]
async fn the_contract_holds() {
    let memory = SharedMemory::new(&Options::small());
    let directories = Mutex::new(Vec::new());
    contract::holds(|| {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::new(Listener::default());
        let store =
            RocksStorage::open(directory.path(), &SPACES, &Options::small(), &memory, process).unwrap();
        directories.lock().unwrap().push(directory);
        store
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_contract_holds_on_several_threads() {
    let memory = SharedMemory::new(&Options::small());
    let directories = Mutex::new(Vec::new());
    contract::holds(|| {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::new(Listener::default());
        let store =
            RocksStorage::open(directory.path(), &SPACES, &Options::small(), &memory, process).unwrap();
        directories.lock().unwrap().push(directory);
        store
    })
    .await;
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_store_at_once() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let store = open(directory.path()).unwrap();
        assert_eq!(count(&store).await, round);
        drop(store.write(put(INDEX, &round.to_string(), "queued when the store is dropped")));
        drop(store);
    }
}

#[tokio::test]
async fn a_closed_store_refuses_and_its_directory_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let before = store.write(put(INDEX, "before", ""));
    let read_late = store.get(INDEX, "before".into());
    store.close();
    before.await.unwrap();
    let closed = Err(StorageError::Failed("the store is closed".into()));
    assert_eq!(read_late.await.map(|_| ()), closed);
    assert_eq!(store.write(put(INDEX, "after", "")).await, closed);
    store.close();
    let again = open(directory.path()).unwrap();
    assert!(get(&*again, INDEX, "before").await.is_some());
    assert!(get(&*again, INDEX, "after").await.is_none());
}

#[tokio::test]
async fn a_store_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _store = open(directory.path()).unwrap();
    assert!(matches!(open(directory.path()).unwrap_err(), OpenError::InUse { .. }));
}

#[tokio::test]
async fn what_was_answered_survives_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    write_numbered(&store, 100).await;
    let mut batch = Batch::new();
    batch.delete_range(INDEX, numbered(10), numbered(20));
    batch.put(PAYLOADS, "large", vec![1; 100_000]);
    store.write(batch).await.unwrap();
    let copy = crash(directory.path());
    let after = open(copy.path()).unwrap();
    assert_eq!(count(&after).await, 90);
    assert_eq!(get(&*after, PAYLOADS, "large").await.unwrap().len(), 100_000);
}

#[tokio::test]
async fn a_torn_tail_is_dropped_and_all_before_it_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    write_numbered(&store, 100).await;
    for torn in [1, 7, 100, 230] {
        let copy = crash(directory.path());
        let log = file_with(copy.path(), "log");
        let length = log.metadata().unwrap().len();
        fs::File::options().write(true).open(&log).unwrap().set_len(length - torn).unwrap();
        let after = open(copy.path()).unwrap();
        assert_eq!(count(&after).await, 99, "{torn} bytes torn off the last record");
        after.write(put(INDEX, "goes on", "")).await.unwrap();
        drop(after);
        assert_eq!(count(&open(copy.path()).unwrap()).await, 100);
    }
}

#[tokio::test]
async fn zeros_that_a_file_system_left_behind_the_log_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    write_numbered(&store, 100).await;
    for (torn, zeros) in [(0, 1), (0, 70_000), (230, 0)] {
        let copy = crash(directory.path());
        let log = fs::File::options().write(true).open(file_with(copy.path(), "log")).unwrap();
        let length = log.metadata().unwrap().len() - torn;
        log.set_len(length).unwrap();
        log.set_len(length + zeros).unwrap();
        let after = open(copy.path()).unwrap_or_else(|error| panic!("{torn} torn, {zeros} zeros: {error}"));
        assert!(count(&after).await >= 99, "{torn} bytes torn off, {zeros} zeros behind");
    }
}

#[tokio::test]
async fn a_log_that_is_damaged_before_its_end_refuses_to_open() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    write_numbered(&store, 500).await;
    for (place, at) in [("the first record", 60), ("the middle", 50_000), ("a record near the end", 115_000)]
    {
        let copy = crash(directory.path());
        flip(&file_with(copy.path(), "log"), |_| at);
        let error = open(copy.path()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{place}: {error}");
        assert!(!error.to_string().contains('\n'));
    }
}

#[tokio::test]
async fn a_record_that_is_half_there_and_followed_by_more_is_no_tail() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    write_numbered(&store, 100).await;
    let copy = crash(directory.path());
    let log = fs::File::options().write(true).open(file_with(copy.path(), "log")).unwrap();
    let length = log.metadata().unwrap().len() - 100;
    log.set_len(length).unwrap();
    log.set_len(length + 4_096).unwrap();
    let error = open(copy.path()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_log_that_is_missing_refuses_to_open() {
    let directory = tempfile::tempdir().unwrap();
    // A log as small as can be, so that it is followed by others.
    let options = Options { write_buffer: ByteSize::mib(1), ..Options::small() };
    let store = open_with(directory.path(), &options).unwrap();
    store.write(put(contract::OTHER, "holds the first log", "")).await.unwrap();
    for number in 0..40 {
        store.write(put(INDEX, &numbered(number), vec![b'v'; 100_000])).await.unwrap();
    }
    let copy = crash(directory.path());
    let mut logs: Vec<_> = fs::read_dir(copy.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|found| found == "log"))
        .collect();
    logs.sort();
    assert!(logs.len() > 1, "{logs:?}");
    fs::remove_file(&logs[0]).unwrap();
    let error = open(copy.path()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

/// A store whose rows are in table and blob files, closed.
async fn in_files() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { write_buffer: ByteSize::mib(1), ..Options::small() };
    let store = open_with(directory.path(), &options).unwrap();
    for number in 0..600 {
        let mut batch = put(INDEX, &numbered(number), noise(number, 3_000));
        batch.put(PAYLOADS, numbered(number), noise(number, 5_000));
        store.write(batch).await.unwrap();
    }
    drop(store);
    // Opening replays the log into table files.
    drop(open_with(directory.path(), &options).unwrap());
    directory
}

/// Bytes that do not compress.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn payloads_live_in_blob_files_and_are_read_from_there() {
    let directory = in_files().await;
    let size = |extension: &str| -> u64 {
        let entries = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.path().extension().is_some_and(|found| found == extension));
        files.map(|entry| entry.metadata().unwrap().len()).sum()
    };
    assert!(size("blob") >= 600 * 5_000, "{}", size("blob"));
    assert!(size("sst") < 3_000_000, "{}", size("sst"));
    let store = open(directory.path()).unwrap();
    for number in [0, 1, 299, 599] {
        assert_eq!(get(&*store, PAYLOADS, &numbered(number)).await.unwrap(), noise(number, 5_000));
    }
    let end = Bytes::from_static(&[0xff]);
    let rows = store.scan(PAYLOADS, Bytes::new(), end.clone(), ScanLimit::rows(usize::MAX)).await.unwrap();
    assert_eq!(rows.len(), 600);
    let last = store.scan_back(PAYLOADS, Bytes::new(), end, ScanLimit::rows(1)).await.unwrap();
    assert_eq!(last[0].0, numbered(599));
}

#[tokio::test]
async fn a_damaged_table_or_blob_answers_corrupt_and_never_other_bytes() {
    for (extension, space, length) in [("sst", INDEX, 3_000), ("blob", PAYLOADS, 5_000)] {
        let directory = in_files().await;
        let copy = crash(directory.path());
        // Somewhere inside a value.
        flip(&largest(copy.path(), extension), |length| length / 2);
        let store = open(copy.path()).unwrap();
        let mut corrupt = 0;
        for number in 0..600 {
            match store.get(space, numbered(number).into()).await {
                Ok(value) => assert_eq!(value.unwrap(), noise(number, length)),
                Err(StorageError::Corrupt(_)) => corrupt += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(corrupt > 0, "a damaged {extension} file went unnoticed");
        let rows =
            store.scan(space, Bytes::new(), Bytes::from_static(&[0xff]), ScanLimit::rows(usize::MAX)).await;
        assert!(matches!(rows, Err(StorageError::Corrupt(_))), "a scan stopped in silence");
    }
}

fn largest(path: &Path, extension: &str) -> PathBuf {
    fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|found| found == extension))
        .max_by_key(|file| file.metadata().unwrap().len())
        .unwrap()
}

#[tokio::test]
async fn spaces_of_another_version_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::small();
    let memory = SharedMemory::new(&options);
    let later = Space::new("of-another-version");
    let open = |spaces: &[Space]| {
        let process = Process::new(Listener::default());
        RocksStorage::open(directory.path(), spaces, &options, &memory, process).unwrap()
    };
    open(&[INDEX, later]).write(put(later, "kept", "")).await.unwrap();
    open(&[INDEX]).write(put(INDEX, "a", "")).await.unwrap();
    assert!(get(&*open(&[INDEX, later]), later, "kept").await.is_some());
}

#[tokio::test]
async fn a_failed_write_fails_the_process_and_every_later_call() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { write_buffer: ByteSize::mib(1), ..Options::small() };
    let memory = SharedMemory::new(&options);
    let listener = Listener::default();
    let process = Process::new(listener.clone());
    let store = RocksStorage::open(directory.path(), &SPACES, &options, &memory, process).unwrap();
    listener.store.set(Arc::downgrade(&store)).unwrap();
    store.write(put(INDEX, "a", "")).await.unwrap();
    // The next table or log file has nowhere to go.
    fs::remove_dir_all(directory.path()).unwrap();
    let mut outcome = Ok(());
    for number in 0..200 {
        outcome = store.write(put(INDEX, &numbered(number), vec![0; 100_000])).await;
        if outcome.is_err() {
            break;
        }
    }
    let failed = outcome.unwrap_err();
    assert!(matches!(failed, StorageError::Failed(_)), "{failed}");
    assert_eq!(listener.failures.lock().unwrap().len(), 1);
    assert!(matches!(store.write(put(INDEX, "b", "")).await, Err(StorageError::Failed(_))));
    assert!(matches!(store.get(INDEX, "a".into()).await, Err(StorageError::Failed(_))));
}

#[tokio::test]
async fn below_the_reserve_there_is_no_room_and_writes_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { disk_reserve: Some(ByteSize(u64::MAX)), ..Options::small() };
    let store = open_with(directory.path(), &options).unwrap();
    assert!(!store.has_room());
    store.write(put(INDEX, "a", "")).await.unwrap();
}
