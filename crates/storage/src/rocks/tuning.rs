//! How RocksDB is set up, and why.

use rocksdb::statistics::StatsLevel;
use rocksdb::{BlockBasedOptions, DBCompressionType, DBRecoveryMode, LogLevel, SliceTransform};
use trunkline_ports::Space;

use crate::memory::SharedMemory;
use crate::options::{Compression, Options};

/// Values from here on go to blob files, in spaces of payloads.
const BLOB_BYTES_MIN: u64 = 1 << 10;
const BLOCK_BYTES: usize = 16 << 10;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Small steps, so that a space that is hardly used hardly costs.
const ARENA_BLOCK_BYTES: usize = 256 << 10;
/// Written back in steps, so that a flush does not pile up dirty pages that the next fsync of the log waits for.
const BYTES_PER_SYNC: u64 = 1 << 20;
const LOG_FILE_BYTES: usize = 4 << 20;
const LOG_FILES: usize = 2;

pub(super) fn of_database(options: &Options, memory: &SharedMemory) -> rocksdb::Options {
    let mut database = rocksdb::Options::default();
    database.create_if_missing(true);
    database.create_missing_column_families(true);

    // A torn tail is what a crash leaves, and is dropped; anything else that does not fit is refused. The default,
    // point in time, would take the first bad byte anywhere for the end. Recycled log files would hide the tail.
    database.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    database.set_recycle_log_file_num(0);
    database.set_track_and_verify_wals_in_manifest(true);
    database.set_paranoid_checks(true);
    database.set_max_total_wal_size(options.write_ahead_log.bytes());

    database.set_write_buffer_manager(&memory.write_buffers);
    database.set_max_open_files(i32::try_from(options.open_files_max).unwrap_or(i32::MAX));
    database.set_max_background_jobs(i32::try_from(options.background_jobs).unwrap_or(i32::MAX));
    database.set_bytes_per_sync(BYTES_PER_SYNC);
    // One thread writes, so there is nothing to coordinate.
    database.set_allow_concurrent_memtable_write(false);

    // The system reads ahead where someone reads in order, as a replay does; what is read here and there it leaves.
    database.set_advise_random_on_open(false);
    database.set_use_direct_reads(options.direct_reads);

    database.enable_statistics();
    database.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    database.set_skip_stats_update_on_db_open(true);
    database.set_stats_dump_period_sec(0);
    database.set_stats_persist_period_sec(0);
    database.set_log_level(LogLevel::Warn);
    database.set_max_log_file_size(LOG_FILE_BYTES);
    database.set_keep_log_file_num(LOG_FILES);
    database
}

/// `space` is `None` for what is not one of ours: the store's own keys, and spaces of another version.
pub(super) fn of_space(space: Option<Space>, options: &Options, memory: &SharedMemory) -> rocksdb::Options {
    let mut family = rocksdb::Options::default();
    family.set_write_buffer_size(options.write_buffer.as_usize());
    family.set_arena_block_size(ARENA_BLOCK_BYTES.min(options.write_buffer.as_usize() / 4));
    family.set_block_based_table_factory(&of_tables(memory));
    family.set_level_compaction_dynamic_level_bytes(true);
    family.set_compression_type(match options.compression {
        Compression::None => DBCompressionType::None,
        Compression::Lz4 => DBCompressionType::Lz4,
    });
    if let Some(prefix) = space.map(|space| usize::from(space.prefix)).filter(|prefix| *prefix > 0) {
        family.set_prefix_extractor(SliceTransform::create_fixed_prefix(prefix));
    }
    if space.is_some_and(|space| space.blobs) {
        // Written once, never moved by a compaction: keys and places are sorted, payloads stay where they are.
        // What is deleted gives its space back when a file holds nothing else: retention drops whole ranges.
        family.set_enable_blob_files(true);
        family.set_min_blob_size(BLOB_BYTES_MIN);
        family.set_blob_file_size(options.blob_file.bytes());
        family.set_blob_compression_type(DBCompressionType::None);
        family.set_enable_blob_gc(false);
        // No cache for them: what is recent the service has in memory, and who reads what is old reads it once. So
        // the cache belongs to keys and filters, which tell where the rest is.
    }
    family
}

fn of_tables(memory: &SharedMemory) -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(&memory.cache);
    tables.set_block_size(BLOCK_BYTES);
    tables.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    // Indexes and filters count against the one cache, and leave it last.
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_cache_index_and_filter_blocks_with_high_priority(true);
    tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
    tables
}
