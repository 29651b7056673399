//! What a store says of itself to Prometheus.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use rocksdb::Options;
use rocksdb::statistics::Ticker;

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) batches: Counter,
    pub(super) bytes: Counter,
    pub(super) commit: Histogram,
    pub(super) group: Histogram,
    pub(super) waiting: Gauge,
    pub(super) free: Gauge,
    pub(super) disk_reads: Counter,
    pub(super) memory_reads: Counter,
    pub(super) replays: Counter,
    pub(super) file_reads: Gauge,
    pub(super) filtered: Gauge,
}

/// What reading has cost since a store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Of files: of tables what no cache had of keys, indexes and filters, and payloads.
    pub files: u64,
    /// Bytes of payloads, of blob files.
    pub payload_bytes: u64,
    /// Tables that were not looked into, for a filter said that what was looked for is not there.
    pub filtered: u64,
}

impl Reads {
    pub(super) fn of(tuning: &Options) -> Self {
        let count = |ticker| tuning.get_ticker_count(ticker);
        Self {
            files: count(Ticker::LastLevelReadCount) + count(Ticker::NonLastLevelReadCount),
            payload_bytes: count(Ticker::BlobDbBlobFileBytesRead),
            filtered: count(Ticker::BloomFilterUseful)
                + count(Ticker::LastLevelSeekFiltered)
                + count(Ticker::NonLastLevelSeekFiltered),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            batches: Counter::default(),
            bytes: Counter::default(),
            commit: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            group: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
            waiting: Gauge::default(),
            free: Gauge::default(),
            disk_reads: Counter::default(),
            memory_reads: Counter::default(),
            replays: Counter::default(),
            file_reads: Gauge::default(),
            filtered: Gauge::default(),
        }
    }
}

impl Metrics {
    pub(super) fn told(&self, reads: Reads) {
        self.file_reads.set(i64::try_from(reads.files).unwrap_or(i64::MAX));
        self.filtered.set(i64::try_from(reads.filtered).unwrap_or(i64::MAX));
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("storage");
        registry.register("batches", "Batches on disk", self.batches.clone());
        registry.register("written", "Bytes of keys and values on disk", self.bytes.clone());
        registry.register_with_unit(
            "commit",
            "Time of one group commit: write and fsync",
            Unit::Seconds,
            self.commit.clone(),
        );
        registry.register("group_batches", "Batches that shared one fsync", self.group.clone());
        registry.register_with_unit(
            "waiting",
            "What waits for the writer",
            Unit::Bytes,
            self.waiting.clone(),
        );
        registry.register_with_unit("free", "Free space of the disk", Unit::Bytes, self.free.clone());
        registry.register("disk_reads", "Reads that went to the disk", self.disk_reads.clone());
        registry.register("memory_reads", "Reads answered from memory", self.memory_reads.clone());
        registry.register("replays", "Reads of many old rows at once", self.replays.clone());
        registry.register("file_reads", "Reads of files since the start", self.file_reads.clone());
        registry.register(
            "filtered",
            "Tables that a filter has saved from being looked into since the start",
            self.filtered.clone(),
        );
    }
}
