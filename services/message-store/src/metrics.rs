//! What a store counts.

use std::collections::BTreeMap;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) appended: Counter,
    pub(crate) refused: Counter,
    pub(crate) followed_in: Counter,
    pub(crate) followed_out_bytes: Counter,
    pub(crate) wan_bytes: Counter,
    pub(crate) writes: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) reads: Counter,
    pub(crate) cold_reads: Counter,
    pub(crate) repaired: Counter,
    pub(crate) lost: Counter,
    pub(crate) logs_open: Gauge,
    pub(crate) recent_bytes: Gauge,
    pub(crate) recent_seconds: Gauge,
    pub(crate) unknown_topics: Gauge,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("message_store");
        let counters = [
            ("records_appended", "Records taken as coordinator", &metrics.appended),
            ("records_refused", "Records refused before anything was written", &metrics.refused),
            ("records_followed", "Records taken as follower", &metrics.followed_in),
            ("followed_bytes_sent", "Bytes of records sent to followers", &metrics.followed_out_bytes),
            ("wan_bytes_sent", "Bytes of records sent to followers in other datacenters", &metrics.wan_bytes),
            ("writes", "Batches written, each with one fsync at most", &metrics.writes),
            ("written_bytes", "Bytes of records written", &metrics.written_bytes),
            ("reads", "Reads answered from memory", &metrics.reads),
            ("cold_reads", "Reads answered from disk", &metrics.cold_reads),
            ("records_repaired", "Records that could not be read and were fetched anew", &metrics.repaired),
            ("records_lost", "Records found corrupt on every replica", &metrics.lost),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("logs_open", "Origin logs that are not closed", metrics.logs_open.clone());
        registry.register("recent_bytes", "Bytes of recent records in memory", metrics.recent_bytes.clone());
        registry.register(
            "recent_seconds",
            "How far records in memory reach back: younger ones cost no disk",
            metrics.recent_seconds.clone(),
        );
        registry.register(
            "records_of_unknown_topics",
            "Records that hold up their log, for their topic is not known to be created",
            metrics.unknown_topics.clone(),
        );
        metrics
    }

    /// The same for `trunkline status`.
    #[allow(clippy::cast_precision_loss, reason = "figures are for people")]
    pub(crate) fn figures(&self) -> BTreeMap<String, f64> {
        let counters = [
            ("records_appended", &self.appended),
            ("records_refused", &self.refused),
            ("records_followed", &self.followed_in),
            ("followed_bytes_sent", &self.followed_out_bytes),
            ("wan_bytes_sent", &self.wan_bytes),
            ("writes", &self.writes),
            ("written_bytes", &self.written_bytes),
            ("reads", &self.reads),
            ("cold_reads", &self.cold_reads),
            ("records_repaired", &self.repaired),
            ("records_lost", &self.lost),
        ];
        let unknown = ("records_of_unknown_topics".to_owned(), self.unknown_topics.get() as f64);
        counters
            .into_iter()
            .map(|(name, counter)| (name.to_owned(), counter.get() as f64))
            .chain([unknown])
            .collect()
    }
}
