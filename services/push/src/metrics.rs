//! What the server counts.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use trunkline_wire::status;
use trunkline_wire::v1::{AckLevel, PushResult};

use crate::progress;

/// Seconds, from well below a local fsync to the longest deadline.
const BUCKETS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Push {
    level: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Level {
    level: &'static str,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    messages: Family<Push, Counter>,
    seconds: Family<Level, Histogram>,
    bytes: Counter,
    streams: Gauge,
    figures: Arc<Figures>,
}

/// The same for `trunkline status`.
#[derive(Debug, Default)]
struct Figures {
    messages: AtomicU64,
    failed: AtomicU64,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            messages: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            bytes: Counter::default(),
            streams: Gauge::default(),
            figures: Arc::default(),
        };
        registry.register(
            "push_messages",
            "Messages answered, by level and outcome",
            metrics.messages.clone(),
        );
        registry.register(
            "push_seconds",
            "From a message's arrival to its answer, by level",
            metrics.seconds.clone(),
        );
        registry.register(
            "push_bytes",
            "Bytes of payloads, keys and attributes taken",
            metrics.bytes.clone(),
        );
        registry.register("push_streams", "PushStreams that are open", metrics.streams.clone());
        metrics
    }

    /// One message was answered.
    pub(crate) fn answered(&self, level: AckLevel, result: &PushResult, since: Instant) {
        let outcome = outcome(result);
        self.messages.get_or_create(&Push { level: progress::name(level), outcome }).inc();
        self.count(outcome == "ok", 1);
        if outcome == "ok" {
            let level = Level { level: progress::name(level) };
            self.seconds.get_or_create(&level).observe(since.elapsed().as_secs_f64());
        }
    }

    /// So many messages were refused before they were sent anywhere.
    pub(crate) fn refused(&self, level: AckLevel, messages: usize) {
        let label = Push { level: progress::name(level), outcome: "not_stored" };
        self.messages.get_or_create(&label).inc_by(messages as u64);
        self.count(false, messages as u64);
    }

    pub(crate) fn took(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }

    /// Counted while the guard lives.
    pub(crate) fn stream(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }

    /// By metric name.
    pub(crate) fn figures(&self) -> [(&'static str, u64); 3] {
        let load = |figure: &AtomicU64| figure.load(std::sync::atomic::Ordering::Relaxed);
        [
            ("push_messages", load(&self.figures.messages)),
            ("push_messages_failed", load(&self.figures.failed)),
            ("push_bytes", self.bytes.get()),
        ]
    }

    fn count(&self, ok: bool, messages: u64) {
        let figure = if ok { &self.figures.messages } else { &self.figures.failed };
        figure.fetch_add(messages, std::sync::atomic::Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(crate) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn outcome(result: &PushResult) -> &'static str {
    match &result.error {
        None => "ok",
        Some(error) if status::is_not_stored(&status::from_message(error)) => "not_stored",
        Some(_) if !result.receipt.is_empty() => "level_not_reached",
        Some(_) => "unknown",
    }
}
