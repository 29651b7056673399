//! Gives the room of what was deleted back to the disk.
//!
//! A deletion is a note beside what it deletes until a compaction brings the two together. So the ranges are compacted,
//! which moves keys and no payloads: a blob file that holds nothing else any more goes as a whole. Where retention drops
//! everything of a time, that is all of it. Where topics that keep for long have payloads among those of topics that
//! keep for short, files stay for the sake of a few: once half of all payload bytes are such garbage, what is left in the
//! oldest half of the files is moved to new ones. So a byte is moved about once for each byte that is given back.

use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{BottommostLevelCompaction, CompactOptions, DB};
use trunkline_ports::{Space, StorageError};

use super::shared::Shared;

/// Payloads are moved at most so often in a row: the next time goes on.
const PASSES_MAX: usize = 4;
/// Garbage below it is not worth moving anything.
const GARBAGE_BYTES_MIN: u64 = 1 << 20;
/// Part of the files, the oldest, of which payloads are moved in one pass.
const PASS_OF_FILES: &str = "0.5";

pub(super) async fn reclaim(
    shared: Arc<Shared>,
    space: Space,
    ranges: Vec<(Bytes, Bytes)>,
) -> Result<u64, StorageError> {
    #[allow(clippy::disallowed_methods, reason = "this is the adapter; one at a time is its caller's bound")]
    let job = tokio::task::spawn_blocking(move || {
        let before = shared.with(|database| used(database, space))?;
        for (from, to) in &ranges {
            shared.with(|database| compact(database, space, Some((from, to))))?;
        }
        let mut garbage = shared.with(|database| garbage(database, space))?;
        for _ in 0..PASSES_MAX {
            if !is_worth_moving(garbage) {
                break;
            }
            shared.with(|database| move_payloads(database, space))??;
            let left = shared.with(|database| self::garbage(database, space))?;
            if left.0 >= garbage.0 {
                break;
            }
            garbage = left;
        }
        let after = shared.with(|database| used(database, space))?;
        Ok(before.saturating_sub(after))
    });
    job.await.unwrap_or_else(|_| Err(StorageError::Failed("giving room back was cut short".into())))
}

fn compact(database: &DB, space: Space, range: Option<(&Bytes, &Bytes)>) {
    let family = database.cf_handle(space.name).expect("every space was opened with the store");
    let mut options = CompactOptions::default();
    options.set_exclusive_manual_compaction(false);
    if range.is_none() {
        // Also what lies as deep as it can already.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
    }
    database.compact_range_cf_opt(&family, range.map(|(from, _)| from), range.map(|(_, to)| to), &options);
}

/// What is alive in the oldest files goes to new ones. Only now: compactions in between leave payloads where they are.
fn move_payloads(database: &DB, space: Space) -> Result<(), StorageError> {
    let family = database.cf_handle(space.name).expect("every space was opened with the store");
    let set = |moves: &str| {
        let options = [
            ("enable_blob_garbage_collection", moves),
            ("blob_garbage_collection_age_cutoff", PASS_OF_FILES),
        ];
        database.set_options_cf(&family, &options).map_err(|error| StorageError::Failed(error.to_string()))
    };
    set("true")?;
    compact(database, space, None);
    set("false")
}

/// (bytes of payload files, of which no row speaks any more), and all of them.
fn garbage(database: &DB, space: Space) -> (u64, u64) {
    let of = |name| property(database, space, name);
    (of("rocksdb.live-blob-file-garbage-size"), of("rocksdb.live-blob-file-size"))
}

fn is_worth_moving((garbage, all): (u64, u64)) -> bool {
    garbage >= GARBAGE_BYTES_MIN && garbage >= all / 2
}

/// Bytes of the space's files, those of an older state that somebody reads among them.
fn used(database: &DB, space: Space) -> u64 {
    let of = |name| property(database, space, name);
    of("rocksdb.total-sst-files-size") + of("rocksdb.total-blob-file-size")
}

fn property(database: &DB, space: Space, name: &str) -> u64 {
    let family = database.cf_handle(space.name).expect("every space was opened with the store");
    database.property_int_value_cf(&family, name).ok().flatten().unwrap_or(0)
}
