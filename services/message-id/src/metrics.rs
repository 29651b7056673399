//! What it counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Totals over all groups of this node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Assignments proposed as leader.
    pub(crate) assignments: Counter,
    /// Bytes of the entries that were proposed as leader, as they are encoded, each counted once. Not counted: what
    /// consensus puts around them (a byte each; under 100 bytes of place, term and vote per append to each follower),
    /// and topics' creations and deletions.
    pub(crate) entry_bytes: Counter,
    /// Records that got an ID, as applied here.
    pub(crate) records_ordered: Counter,
    /// Proposals that failed or whose outcome is unknown.
    pub(crate) proposals_failed: Counter,
    /// Reports dropped because a queue was full or no leader could be reached.
    pub(crate) reports_dropped: Counter,
    /// Groups led here whose order time stands still, since the clocks cannot be trusted.
    pub(crate) order_time_held: Gauge,
    /// How many times a store lacks some of a closed log, by the groups led here.
    pub(crate) logs_lacking: Gauge,
}

/// One group's share of a gauge over all groups.
#[derive(Debug)]
pub(crate) struct Share {
    gauge: Gauge,
    mine: i64,
}

impl Share {
    pub(crate) fn of(gauge: &Gauge) -> Self {
        Self { gauge: gauge.clone(), mine: 0 }
    }

    pub(crate) fn set(&mut self, mine: i64) {
        self.gauge.inc_by(mine - self.mine);
        self.mine = mine;
    }
}

impl Figures {
    pub(crate) fn register(metrics: &mut Registry) -> Self {
        let figures = Self::default();
        for (name, help, counter) in figures.counters() {
            metrics.register(name, help, counter);
        }
        for (name, help, gauge) in figures.gauges() {
            metrics.register(name, help, gauge);
        }
        figures
    }

    /// By metric name, for `trunkline status`.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn values(&self) -> impl Iterator<Item = (String, f64)> {
        let counters = self.counters().map(|(name, _, counter)| (name.to_owned(), counter.get() as f64));
        counters
            .into_iter()
            .chain(self.gauges().map(|(name, _, gauge)| (name.to_owned(), gauge.get() as f64)))
    }

    fn counters(&self) -> [(&'static str, &'static str, Counter); 5] {
        [
            ("message_id_assignments", "Assignments proposed as leader", self.assignments.clone()),
            ("message_id_entry_bytes", "Bytes of entries proposed as leader", self.entry_bytes.clone()),
            ("message_id_records_ordered", "Records decided, as applied here", self.records_ordered.clone()),
            (
                "message_id_proposals_failed",
                "Proposals not known to be committed",
                self.proposals_failed.clone(),
            ),
            (
                "message_id_reports_dropped",
                "Reports that could not be passed on",
                self.reports_dropped.clone(),
            ),
        ]
    }

    fn gauges(&self) -> [(&'static str, &'static str, Gauge); 2] {
        [
            (
                "message_id_order_time_held",
                "Groups led here whose order time stands still",
                self.order_time_held.clone(),
            ),
            (
                "message_id_logs_lacking",
                "Stores' words that they lack some of a closed log",
                self.logs_lacking.clone(),
            ),
        ]
    }
}
