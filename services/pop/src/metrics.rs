//! What can be measured of this service.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) pops: Counter,
    pub(crate) bare_pops: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) redeliveries: Counter,
    pub(crate) nacks: Counter,
    pub(crate) streams: Gauge,
    pub(crate) dispatched: Gauge,
    pub(crate) damaged: Counter,
    pub(crate) reads_elsewhere: Counter,
    forwards: Family<Outcome, Counter>,
    acquires: Family<Outcome, Counter>,
    commits: Family<Outcome, Counter>,
    dead_letters: Family<Outcome, Counter>,
    commit_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            pops: Counter::default(),
            bare_pops: Counter::default(),
            deliveries: Counter::default(),
            redeliveries: Counter::default(),
            nacks: Counter::default(),
            streams: Gauge::default(),
            dispatched: Gauge::default(),
            damaged: Counter::default(),
            reads_elsewhere: Counter::default(),
            forwards: Family::default(),
            acquires: Family::default(),
            commits: Family::default(),
            dead_letters: Family::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
        };
        let to = registry.sub_registry_with_prefix("pop");
        to.register("pops", "Pops dispatched here", metrics.pops.clone());
        to.register(
            "bare_pops",
            "Pops without client id and tokens, which lose what a lost reply had",
            metrics.bare_pops.clone(),
        );
        to.register("deliveries", "Messages handed out", metrics.deliveries.clone());
        to.register("redeliveries", "Messages handed out again", metrics.redeliveries.clone());
        to.register("nacks", "Deliveries given back by clients", metrics.nacks.clone());
        to.register("streams", "Consume streams open here", metrics.streams.clone());
        to.register(
            "dead_letters",
            "Messages moved to dead letter topics, by outcome",
            metrics.dead_letters.clone(),
        );
        to.register("dispatched", "Subscriptions dispatched here", metrics.dispatched.clone());
        to.register("damaged", "Records whose checksum was wrong", metrics.damaged.clone());
        to.register(
            "reads_elsewhere",
            "Reads that no local store could serve",
            metrics.reads_elsewhere.clone(),
        );
        to.register(
            "forwards",
            "Calls forwarded to another dispatcher, by outcome",
            metrics.forwards.clone(),
        );
        to.register("acquires", "Subscriptions acquired, by outcome", metrics.acquires.clone());
        to.register("commits", "Commits of acknowledgements, by outcome", metrics.commits.clone());
        to.register("commit_seconds", "How long commits take", metrics.commit_seconds.clone());
        metrics
    }

    pub(crate) fn forwarded(&self, outcome: &'static str) {
        self.forwards.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn acquired(&self, outcome: &'static str) {
        self.acquires.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn moved(&self, outcome: &'static str) {
        self.dead_letters.get_or_create(&Outcome { outcome }).inc();
    }

    /// A Consume stream, for as long as this is held.
    pub(crate) fn stream(&self) -> impl Drop + use<> {
        struct Open(Gauge);
        impl Drop for Open {
            fn drop(&mut self) {
                self.0.dec();
            }
        }
        self.streams.inc();
        Open(self.streams.clone())
    }

    pub(crate) fn committed(&self, outcome: &'static str, took: Duration) {
        self.commits.get_or_create(&Outcome { outcome }).inc();
        self.commit_seconds.observe(took.as_secs_f64());
    }
}
