//! The contract of `Storage`, as one suite for every implementation.

use std::sync::Arc;

use bytes::Bytes;
use trunkline_ports::storage::Row;
use trunkline_ports::{Batch, Part, ScanLimit, Space, Storage};

pub(crate) const INDEX: Space = Space::new("index");
pub(crate) const OTHER: Space = Space::new("other");
pub(crate) const PAYLOADS: Space = Space::of_payloads("payloads");
pub(crate) const PREFIXED: Space = Space::new("prefixed").with_prefix(1);
pub(crate) const SPACES: [Space; 4] = [INDEX, OTHER, PAYLOADS, PREFIXED];

const ALL: ScanLimit = ScanLimit { rows: usize::MAX, bytes: usize::MAX };

pub(crate) fn put(space: Space, key: &str, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(space, key.to_owned(), value);
    batch
}

pub(crate) async fn get(store: &dyn Storage, space: Space, key: &str) -> Option<Bytes> {
    store.get(space, Bytes::from(key.to_owned())).await.unwrap()
}

async fn scan(store: &dyn Storage, from: &'static str, to: &'static str, limit: ScanLimit) -> Vec<Row> {
    store.scan(INDEX, from.into(), to.into(), limit).await.unwrap()
}

async fn scan_back(store: &dyn Storage, from: &'static str, to: &'static str, limit: ScanLimit) -> Vec<Row> {
    store.scan_back(INDEX, from.into(), to.into(), limit).await.unwrap()
}

fn keys(rows: &[Row]) -> String {
    rows.iter().map(|(key, _)| std::str::from_utf8(key).unwrap()).collect::<Vec<_>>().join(" ")
}

/// Writes single letters, each with itself as value.
async fn write_letters(store: &dyn Storage, letters: &str) {
    let mut batch = Batch::new();
    for letter in letters.chars() {
        batch.put(INDEX, letter.to_string(), letter.to_string());
    }
    store.write(batch).await.unwrap();
}

/// Everything that holds for a store that stays open. `make` gives an empty one each time.
pub(crate) async fn holds(make: impl Fn() -> Arc<dyn Storage>) {
    what_was_written_is_read(&*make()).await;
    spaces_are_apart(&*make()).await;
    the_last_change_of_a_batch_wins(&*make()).await;
    a_range_is_deleted_half_open(&*make()).await;
    a_range_that_ends_before_it_begins_is_empty(&*make()).await;
    a_scan_is_half_open_and_ascending(&*make()).await;
    a_scan_back_is_half_open_and_descending(&*make()).await;
    a_scan_ends_at_its_limits_with_at_least_one_row(&*make()).await;
    parts_are_replayed_one_after_the_other_within_one_limit(&*make()).await;
    a_scan_among_keys_with_one_prefix_finds_them_all(&*make()).await;
    keys_are_ordered_as_unsigned_bytes(&*make()).await;
    large_scans_are_whole(&*make()).await;
    payloads_of_all_sizes_come_back(&*make()).await;
    batches_apply_in_call_order_whatever_is_awaited_first(&*make()).await;
    an_answer_means_that_all_calls_before_are_readable(&*make()).await;
    a_dropped_future_does_not_take_its_batch_back(&*make()).await;
    an_empty_batch_is_answered(&*make()).await;
    a_reader_never_sees_half_of_a_batch(&*make()).await;
    concurrent_writers_each_keep_their_order(make()).await;
    assert!(make().has_room());
}

async fn what_was_written_is_read(store: &dyn Storage) {
    assert_eq!(get(store, INDEX, "a").await, None);
    store.write(put(INDEX, "a", "1")).await.unwrap();
    assert_eq!(get(store, INDEX, "a").await.unwrap(), "1");
    store.write(put(INDEX, "a", "2")).await.unwrap();
    assert_eq!(get(store, INDEX, "a").await.unwrap(), "2");
    let mut batch = Batch::new();
    batch.delete(INDEX, "a");
    batch.delete(INDEX, "never there");
    store.write(batch).await.unwrap();
    assert_eq!(get(store, INDEX, "a").await, None);
    store.write(put(INDEX, "", "the empty key")).await.unwrap();
    store.write(put(INDEX, "empty value", "")).await.unwrap();
    assert_eq!(get(store, INDEX, "").await.unwrap(), "the empty key");
    assert_eq!(get(store, INDEX, "empty value").await.unwrap(), "");
}

async fn spaces_are_apart(store: &dyn Storage) {
    let mut batch = put(INDEX, "a", "index");
    batch.put(OTHER, "a", "other");
    batch.put(PAYLOADS, "a", "payload");
    batch.delete(OTHER, "a");
    store.write(batch).await.unwrap();
    assert_eq!(get(store, INDEX, "a").await.unwrap(), "index");
    assert_eq!(get(store, OTHER, "a").await, None);
    assert_eq!(get(store, PAYLOADS, "a").await.unwrap(), "payload");
}

async fn the_last_change_of_a_batch_wins(store: &dyn Storage) {
    let mut batch = put(INDEX, "a", "1");
    batch.delete_range(INDEX, "a", "z");
    batch.put(INDEX, "b", "2");
    batch.delete(INDEX, "b");
    batch.put(INDEX, "b", "3");
    store.write(batch).await.unwrap();
    assert_eq!(scan(store, "a", "z", ALL).await, [("b".into(), "3".into())]);
}

async fn a_range_is_deleted_half_open(store: &dyn Storage) {
    write_letters(store, "abcdef").await;
    let mut batch = Batch::new();
    batch.delete_range(INDEX, "b", "e");
    store.write(batch).await.unwrap();
    assert_eq!(keys(&scan(store, "a", "z", ALL).await), "a e f");
    assert_eq!(keys(&scan_back(store, "a", "z", ALL).await), "f e a");
    assert_eq!(get(store, INDEX, "c").await, None);
    write_letters(store, "c").await;
    assert_eq!(keys(&scan(store, "a", "z", ALL).await), "a c e f");
}

async fn a_range_that_ends_before_it_begins_is_empty(store: &dyn Storage) {
    write_letters(store, "abc").await;
    let mut batch = Batch::new();
    batch.delete_range(INDEX, "c", "a");
    batch.delete_range(INDEX, "b", "b");
    store.write(batch).await.unwrap();
    assert_eq!(keys(&scan(store, "a", "z", ALL).await), "a b c");
    assert!(scan(store, "c", "a", ALL).await.is_empty());
    assert!(scan_back(store, "c", "a", ALL).await.is_empty());
    assert!(scan(store, "b", "b", ALL).await.is_empty());
}

async fn a_scan_is_half_open_and_ascending(store: &dyn Storage) {
    write_letters(store, "acegik").await;
    for (from, to, expected) in [
        ("a", "k", "a c e g i"),
        ("b", "h", "c e g"),
        ("c", "g", "c e"),
        ("d", "e", ""),
        ("l", "z", ""),
        ("", "b", "a"),
    ] {
        assert_eq!(keys(&scan(store, from, to, ALL).await), expected, "[{from}, {to})");
    }
}

async fn a_scan_back_is_half_open_and_descending(store: &dyn Storage) {
    write_letters(store, "acegik").await;
    for (from, to, expected) in [
        ("a", "k", "i g e c a"),
        ("b", "h", "g e c"),
        ("c", "g", "e c"),
        ("d", "e", ""),
        ("l", "z", ""),
        ("h", "z", "k i"),
    ] {
        assert_eq!(keys(&scan_back(store, from, to, ALL).await), expected, "[{from}, {to})");
    }
    assert_eq!(keys(&scan_back(store, "a", "k", ScanLimit::rows(1)).await), "i", "the last key below `to`");
}

async fn a_scan_ends_at_its_limits_with_at_least_one_row(store: &dyn Storage) {
    write_letters(store, "abcd").await;
    let bytes = |bytes| ScanLimit { rows: usize::MAX, bytes };
    for (limit, ascending, descending) in [
        (ScanLimit::rows(1), "a", "d"),
        (ScanLimit::rows(3), "a b c", "d c b"),
        (ScanLimit::rows(4), "a b c d", "d c b a"),
        (bytes(0), "a", "d"),
        (bytes(1), "a", "d"),
        (bytes(4), "a b", "d c"),
        (bytes(5), "a b", "d c"),
        (bytes(8), "a b c d", "d c b a"),
    ] {
        assert_eq!(keys(&scan(store, "a", "z", limit).await), ascending, "{limit:?}");
        assert_eq!(keys(&scan_back(store, "a", "z", limit).await), descending, "{limit:?}");
    }
}

async fn parts_are_replayed_one_after_the_other_within_one_limit(store: &dyn Storage) {
    write_letters(store, "abcdefgh").await;
    let part = |from: &'static str, to: &'static str, rows| Part { from: from.into(), to: to.into(), rows };
    let replay = async |parts, limit| keys(&store.replay(INDEX, parts, limit).await.unwrap());
    let parts = vec![part("f", "h", 9), part("b", "e", 2), part("x", "z", 9), part("a", "b", 1)];
    assert_eq!(replay(parts.clone(), ALL).await, "f g b c a");
    assert_eq!(replay(parts.clone(), ScanLimit::rows(3)).await, "f g b");
    assert_eq!(replay(parts.clone(), ScanLimit { rows: 9, bytes: 7 }).await, "f g b");
    assert_eq!(replay(parts, ScanLimit { rows: 9, bytes: 1 }).await, "f", "one row comes, whatever its size");
    assert_eq!(replay(Vec::new(), ALL).await, "");
}

async fn a_scan_among_keys_with_one_prefix_finds_them_all(store: &dyn Storage) {
    let mut batch = Batch::new();
    for key in ["ka", "kb", "la", "lb", "ma"] {
        batch.put(PREFIXED, key, key);
    }
    store.write(batch).await.unwrap();
    for (from, to, found) in [
        ("la", "lz", "la lb"),
        ("l", "m", "la lb"),
        ("ka", "mz", "ka kb la lb ma"),
        ("na", "nz", ""),
        ("kc", "kz", ""),
    ] {
        let there = store.scan(PREFIXED, from.into(), to.into(), ALL).await.unwrap();
        assert_eq!(keys(&there), found, "from {from} to {to}");
        let mut back = store.scan_back(PREFIXED, from.into(), to.into(), ALL).await.unwrap();
        back.reverse();
        assert_eq!(keys(&back), found, "back from {to} to {from}");
    }
}

async fn keys_are_ordered_as_unsigned_bytes(store: &dyn Storage) {
    let ordered: [&[u8]; 6] = [&[], &[0], &[0, 0], &[0x7f], &[0x80], &[0xff, 0xfe]];
    let mut batch = Batch::new();
    for key in ordered.iter().rev() {
        batch.put(INDEX, Bytes::from_static(key), "");
    }
    store.write(batch).await.unwrap();
    let end = Bytes::from_static(&[0xff, 0xff]);
    let rows = store.scan(INDEX, Bytes::new(), end, ALL).await.unwrap();
    assert_eq!(rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), ordered);
}

async fn large_scans_are_whole(store: &dyn Storage) {
    let mut batch = Batch::new();
    for number in 0..5_000_u32 {
        batch.put(INDEX, number.to_be_bytes().to_vec(), vec![7; 100]);
    }
    store.write(batch).await.unwrap();
    let end = Bytes::copy_from_slice(&5_000_u32.to_be_bytes());
    let rows = store.scan(INDEX, Bytes::new(), end.clone(), ALL).await.unwrap();
    assert!(
        rows.iter()
            .map(|(key, _)| key.to_vec())
            .eq((0..5_000_u32).map(|number| number.to_be_bytes().to_vec()))
    );
    let back = store.scan_back(INDEX, Bytes::new(), end, ALL).await.unwrap();
    assert!(rows.iter().eq(back.iter().rev()));
}

async fn payloads_of_all_sizes_come_back(store: &dyn Storage) {
    let sizes = [0, 1, 1_023, 1_024, 5_000, 1 << 20];
    let payload =
        |size: usize| Bytes::from((0..size).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>());
    let mut batch = Batch::new();
    for (at, size) in sizes.into_iter().enumerate() {
        batch.put(PAYLOADS, at.to_string(), payload(size));
    }
    store.write(batch).await.unwrap();
    for (at, size) in sizes.into_iter().enumerate() {
        assert_eq!(get(store, PAYLOADS, &at.to_string()).await.unwrap(), payload(size), "{size}");
    }
}

async fn batches_apply_in_call_order_whatever_is_awaited_first(store: &dyn Storage) {
    let mut calls: Vec<_> =
        (0..100).map(|number| store.write(put(INDEX, "last", number.to_string()))).collect();
    while let Some(call) = calls.pop() {
        call.await.unwrap();
    }
    assert_eq!(get(store, INDEX, "last").await.unwrap(), "99");
}

async fn an_answer_means_that_all_calls_before_are_readable(store: &dyn Storage) {
    let keys: Vec<_> = (0..50).map(|number| format!("key {number}")).collect();
    let mut calls: Vec<_> = keys.iter().map(|key| store.write(put(INDEX, key, ""))).collect();
    calls.pop().unwrap().await.unwrap();
    for key in &keys {
        assert!(get(store, INDEX, key).await.is_some(), "{key}");
    }
}

async fn a_dropped_future_does_not_take_its_batch_back(store: &dyn Storage) {
    drop(store.write(put(INDEX, "dropped", "")));
    store.write(Batch::new()).await.unwrap();
    assert!(get(store, INDEX, "dropped").await.is_some());
}

async fn an_empty_batch_is_answered(store: &dyn Storage) {
    store.write(Batch::new()).await.unwrap();
}

async fn a_reader_never_sees_half_of_a_batch(store: &dyn Storage) {
    for round in 0..200_u32 {
        let mut batch = put(INDEX, "one", round.to_string());
        batch.put(INDEX, "two", round.to_string());
        let write = store.write(batch);
        // Before, while or after it is written: both or none.
        match &scan(store, "one", "tz", ALL).await[..] {
            [(_, one), (_, two)] => assert_eq!(one, two),
            rows => assert!(rows.is_empty() && round == 0, "{rows:?}"),
        }
        write.await.unwrap();
        assert_eq!(get(store, INDEX, "two").await.unwrap(), round.to_string());
    }
}

async fn concurrent_writers_each_keep_their_order(store: Arc<dyn Storage>) {
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..50_u32 {
                store.write(put(INDEX, &format!("writer {writer}"), round.to_string())).await.unwrap();
                let seen = get(&*store, INDEX, &format!("writer {writer}")).await.unwrap();
                assert_eq!(seen, round.to_string());
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(scan(&*store, "writer", "writes", ALL).await.len(), 8);
}
