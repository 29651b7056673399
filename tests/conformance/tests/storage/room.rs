//! What was deleted gives its room back to the disk: shown by the bytes of the files of a real store.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use trunkline_ports::{Batch, Storage as _};
use trunkline_storage::RocksStorage;

use crate::contract::PAYLOADS;
use crate::rocks::open;

const PAYLOAD: usize = 16 << 10;
const ROWS: u32 = 2_000;

fn key(n: u32) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

async fn get(store: &RocksStorage, n: u32) -> Option<Vec<u8>> {
    store.get(PAYLOADS, key(n)).await.unwrap().map(|value| value.to_vec())
}

/// Bytes of payload and table files; the write-ahead log is bounded by itself.
fn on_disk(path: &Path) -> u64 {
    let files = fs::read_dir(path).unwrap().map(Result::unwrap);
    let of_rows = |name: &str| name.ends_with(".blob") || name.ends_with(".sst");
    files
        .filter(|file| of_rows(&file.file_name().to_string_lossy()))
        .map(|file| file.metadata().unwrap().len())
        .sum()
}

/// 32 MB of payloads that cannot be compressed, each told by its key.
async fn fill(store: &Arc<RocksStorage>) {
    for chunk in (0..ROWS).collect::<Vec<_>>().chunks(100) {
        let mut batch = Batch::new();
        for &n in chunk {
            batch.put(PAYLOADS, key(n), payload(n));
        }
        store.write(batch).await.unwrap();
    }
    store.reclaim(PAYLOADS, vec![(key(0), key(ROWS))]).await.unwrap();
}

fn payload(n: u32) -> Vec<u8> {
    let mut state = u64::from(n) << 32 | 0x9e37_79b9;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..PAYLOAD).map(|_| next()).collect()
}

#[tokio::test]
async fn a_range_that_is_deleted_gives_its_room_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    fill(&store).await;
    let full = on_disk(directory.path());
    assert!(full > u64::from(ROWS) * PAYLOAD as u64, "{full} bytes");
    let mut batch = Batch::new();
    batch.delete_range(PAYLOADS, key(0), key(1_800));
    store.write(batch).await.unwrap();
    let reclaimed = store.reclaim(PAYLOADS, vec![(key(0), key(1_800))]).await.unwrap();
    let left = on_disk(directory.path());
    assert!(
        left < full / 3 && reclaimed > full / 2,
        "{full} bytes before, {left} after, {reclaimed} given back"
    );
    assert_eq!(get(&store, 1_900).await, Some(payload(1_900)));
    assert_eq!(get(&store, 7).await, None);
}

#[tokio::test]
async fn rows_among_others_that_stay_give_their_room_back_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    fill(&store).await;
    let full = on_disk(directory.path());
    let mut batch = Batch::new();
    for n in (0..ROWS).filter(|n| n % 4 > 0) {
        batch.delete(PAYLOADS, key(n));
    }
    store.write(batch).await.unwrap();
    store.reclaim(PAYLOADS, vec![(key(0), key(ROWS))]).await.unwrap();
    let left = on_disk(directory.path());
    assert!(left < full / 2, "{full} bytes before, {left} after");
    for n in (0..ROWS).step_by(4) {
        assert_eq!(get(&store, n).await, Some(payload(n)), "row {n}");
    }
    drop(store);
    let again = open(directory.path()).unwrap();
    assert_eq!(get(&again, 400).await, Some(payload(400)), "after a restart");
}
