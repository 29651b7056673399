//! What a store says of itself to Prometheus.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

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
        }
    }
}

impl Metrics {
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
    }
}
