//! What reading costs on RocksDB, by its own counters: filters, caches, payloads.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use trunkline_ports::{Batch, Part, Process, ScanLimit, Space, Storage};
use trunkline_storage::{Options, Reads, RocksStorage, SharedMemory};
use trunkline_types::{ByteSize, hash64};

use crate::rocks::Listener;

const TOPICS: Space = Space::new("topics").with_prefix(8);
const SMALL: Space = Space::of_payloads("small");
const LARGE: Space = Space::of_payloads("large");
const ONE: ScanLimit = ScanLimit::rows(1);

fn key(topic: u64, id: u64) -> Bytes {
    [topic.to_be_bytes(), id.to_be_bytes()].concat().into()
}

fn open(path: &Path, cache: ByteSize) -> Arc<RocksStorage> {
    let options = Options { block_cache: cache, ..Options::small() };
    let memory = SharedMemory::new(&options);
    let process = Process::new(Listener::default());
    RocksStorage::open(path, &[TOPICS, SMALL, LARGE], &options, &memory, process).unwrap()
}

/// Bytes that cannot be compressed.
fn noise(number: usize, bytes: usize) -> Vec<u8> {
    let word = |at: usize| hash64([number, at].map(usize::to_le_bytes).as_flattened()).to_le_bytes();
    (0..bytes.div_ceil(8)).flat_map(word).take(bytes).collect()
}

/// A store whose rows are all in table files: what the log holds goes there when it is opened again.
async fn filled(
    rows: impl Iterator<Item = (Space, Bytes, usize)>,
    cache: ByteSize,
) -> (TempDir, Arc<RocksStorage>) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), cache);
    let mut batch = Batch::new();
    for (number, (space, key, bytes)) in rows.enumerate() {
        batch.put(space, key, noise(number, bytes));
        if batch.changes.len() == 1_000 {
            store.write(std::mem::take(&mut batch)).await.unwrap();
        }
    }
    store.write(batch).await.unwrap();
    drop(store);
    let store = open(directory.path(), cache);
    (directory, store)
}

fn since(store: &RocksStorage, before: Reads) -> Reads {
    let now = store.reads();
    Reads {
        files: now.files - before.files,
        payload_bytes: now.payload_bytes - before.payload_bytes,
        filtered: now.filtered - before.filtered,
    }
}

#[tokio::test]
async fn what_is_not_there_costs_no_disk() {
    // Topics with even numbers, of which each fills a block of its own.
    let rows = (0..500).flat_map(|topic| (0..16).map(move |id| (TOPICS, key(topic * 2, id), 1_000)));
    let (_directory, store) = filled(rows, ByteSize::mib(4)).await;
    let absent = async |topic: u64| {
        assert_eq!(store.get(TOPICS, key(topic, 7)).await.unwrap(), None);
        assert!(store.scan_back(TOPICS, key(topic, 0), key(topic, 9), ONE).await.unwrap().is_empty());
        assert!(store.scan(TOPICS, key(topic, 0), key(topic, 9), ONE).await.unwrap().is_empty());
    };
    let before = store.reads();
    for topic in 0..500 {
        absent(topic * 2 + 1).await;
    }
    let cost = since(&store, before);
    assert!(cost.filtered >= 1_400, "of 1,500 looks into a table: {cost:?}");
    // A filter is wrong once in a hundred times.
    assert!(cost.files <= 50, "{cost:?}");
    let before = store.reads();
    for topic in 0..500 {
        assert!(store.get(TOPICS, key(topic * 2, 7)).await.unwrap().is_some());
        assert_eq!(
            store.scan_back(TOPICS, key(topic * 2, 0), key(topic * 2, 9), ONE).await.unwrap().len(),
            1
        );
    }
    let cost = since(&store, before);
    assert!(cost.files >= 400, "what is there is read, so the counter counts: {cost:?}");
}

#[tokio::test]
async fn a_replay_leaves_the_cache_as_it_was() {
    let hot = (0..50).map(|id| (TOPICS, key(1, id), 1_000));
    let old = (0..20_000).map(|id| (SMALL, key(2, id), 900));
    let (_directory, store) = filled(hot.chain(old), ByteSize::mib(2)).await;
    let read_hot = async || {
        let before = store.reads();
        for id in 0..50 {
            assert!(store.get(TOPICS, key(1, id)).await.unwrap().is_some());
        }
        since(&store, before).files
    };
    read_hot().await;
    assert_eq!(read_hot().await, 0, "they are in the cache");
    let limit = ScanLimit { rows: 1_000, bytes: 1 << 20 };
    let before = store.reads();
    for first in (0..20_000).step_by(1_000) {
        let part = Part { from: key(2, first), to: key(2, u64::MAX), rows: 1_000 };
        assert_eq!(store.replay(SMALL, vec![part], limit).await.unwrap().len(), 1_000);
    }
    let cost = since(&store, before);
    assert!(cost.files >= 60, "it was read from disk: {cost:?}");
    assert_eq!(read_hot().await, 0, "and they still are");
    for first in (0..20_000).step_by(1_000) {
        assert_eq!(store.scan(SMALL, key(2, first), key(2, u64::MAX), limit).await.unwrap().len(), 1_000);
    }
    assert!(read_hot().await > 0, "a scan keeps what it reads");
}

#[tokio::test]
async fn payloads_are_in_no_cache_and_what_is_behind_a_part_is_not_read() {
    let rows = (0..100).map(|id| (LARGE, key(1, id), 50_000));
    let (_directory, store) = filled(rows, ByteSize::mib(64)).await;
    let read = async |parts: Vec<Part>| {
        let before = store.reads();
        let rows = store.replay(LARGE, parts, ScanLimit::rows(1_000)).await.unwrap().len();
        (rows, since(&store, before).payload_bytes)
    };
    let all = || vec![Part { from: key(1, 0), to: key(1, 100), rows: 100 }];
    let (rows, bytes) = read(all()).await;
    assert!(rows == 100 && bytes >= 5_000_000, "{rows}, {bytes}");
    assert_eq!(read(all()).await, (rows, bytes), "the same again: the cache is for keys");
    let every_tenth = (0..10).map(|id| Part { from: key(1, id * 10), to: key(1, id * 10 + 1), rows: 1 });
    let (rows, bytes) = read(every_tenth.collect()).await;
    assert!(rows == 10 && bytes < 10 * 60_000, "{rows}, {bytes}: not their neighbors");
}
