//! What a crash takes, who shares an fsync, what scans return.

use super::*;

const SPACE: Space = Space::new("test");

fn put(key: u8) -> Batch {
    let mut batch = Batch::new();
    batch.put(SPACE, vec![key], vec![key]);
    batch
}

async fn keys(storage: &MemoryStorage) -> Vec<u8> {
    let all = ScanLimit::rows(100);
    let rows = storage.scan(SPACE, Bytes::new(), Bytes::from_static(&[255]), all).await.unwrap();
    rows.into_iter().map(|(key, _)| key[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn writers_that_wait_together_share_one_sync() {
    let storage = MemoryStorage::new().with_sync_latency(Duration::from_millis(5));
    let start = Instant::now();
    let first = storage.write(put(1));
    tokio::time::advance(Duration::from_millis(1)).await;
    let second = storage.write(put(2));
    let third = storage.write(put(3));
    first.await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(5));
    second.await.unwrap();
    third.await.unwrap();
    assert_eq!((start.elapsed(), storage.syncs()), (Duration::from_millis(10), 2));
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_a_prefix_that_holds_all_that_had_resolved() {
    let mut lengths = BTreeSet::new();
    for seed in 0..32 {
        let storage = MemoryStorage::new().with_sync_latency(Duration::from_millis(5));
        storage.write(put(1)).await.unwrap();
        for key in 2..6 {
            drop(storage.write(put(key)));
        }
        assert_eq!(keys(&storage).await.len(), 5, "visible at once");
        storage.crash(&Random::new(seed));
        assert!(storage.write(put(9)).await.is_err(), "the old handle is dead");
        let kept = keys(&storage.reopen()).await;
        assert_eq!(kept, (1..=u8::try_from(kept.len()).unwrap()).collect::<Vec<_>>());
        lengths.insert(kept.len());
    }
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_does_not_take_the_batch_back() {
    let storage = MemoryStorage::new().with_sync_latency(Duration::from_millis(5));
    let storage = storage.with_visibility(Visibility::AtSync);
    drop(storage.write(put(1)));
    assert!(keys(&storage).await.is_empty());
    tokio::time::advance(Duration::from_millis(6)).await;
    storage.crash(&Random::new(0));
    assert_eq!(keys(&storage.reopen()).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn ranges_are_half_open_and_scans_go_both_ways_within_their_limit() {
    let storage = MemoryStorage::new();
    for key in 1..=5 {
        storage.write(put(key)).await.unwrap();
    }
    let (from, to) = (Bytes::from_static(&[2]), Bytes::from_static(&[5]));
    let limit = ScanLimit { rows: 10, bytes: 4 };
    let forward = storage.scan(SPACE, from.clone(), to.clone(), limit).await.unwrap();
    assert_eq!(forward.iter().map(|(key, _)| key[0]).collect::<Vec<_>>(), [2, 3]);
    let back = storage.scan_back(SPACE, from.clone(), to.clone(), ScanLimit::rows(2)).await.unwrap();
    assert_eq!(back.iter().map(|(key, _)| key[0]).collect::<Vec<_>>(), [4, 3]);
    let mut batch = Batch::new();
    batch.delete_range(SPACE, from, to);
    batch.delete(SPACE, vec![5]);
    storage.write(batch).await.unwrap();
    assert_eq!(keys(&storage).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_spoiled_row_is_spoiled_until_it_is_written_again() {
    for (damage, expected) in [
        (Damage::Flipped, Ok(Some(Bytes::from_static(&[6])))),
        (Damage::Lost, Ok(None)),
        (Damage::Unreadable, Err(StorageError::Corrupt("test 07".to_owned()))),
    ] {
        let storage = MemoryStorage::new();
        for key in 5..9 {
            storage.write(put(key)).await.unwrap();
        }
        assert_eq!(storage.damage(SPACE, &[7], damage), 1);
        let get = || storage.get(SPACE, Bytes::from_static(&[7]));
        assert_eq!(get().await, expected);
        let scan =
            storage.scan(SPACE, Bytes::from_static(&[5]), Bytes::from_static(&[9]), ScanLimit::rows(9));
        assert_eq!(scan.await.is_err(), damage == Damage::Unreadable);
        let before =
            storage.scan(SPACE, Bytes::from_static(&[5]), Bytes::from_static(&[9]), ScanLimit::rows(2));
        assert_eq!(before.await.unwrap().len(), 2, "it is not met");
        storage.write(put(7)).await.unwrap();
        assert_eq!(get().await, Ok(Some(Bytes::from_static(&[7]))));
    }
}
