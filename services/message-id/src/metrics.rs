//! What it counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Totals over all groups of this node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Assignments proposed as leader.
    pub(crate) assignments: Counter,
    /// Bytes of entries proposed as leader.
    pub(crate) entry_bytes: Counter,
    /// Records that got an ID, as applied here.
    pub(crate) records_ordered: Counter,
    /// Proposals that failed or whose outcome is unknown.
    pub(crate) proposals_failed: Counter,
    /// Reports dropped because a queue was full or no leader could be reached.
    pub(crate) reports_dropped: Counter,
}

impl Figures {
    pub(crate) fn register(metrics: &mut Registry) -> Self {
        let figures = Self::default();
        for (name, help, counter) in figures.all() {
            metrics.register(name, help, counter);
        }
        figures
    }

    /// By metric name, for `trunkline status`.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn values(&self) -> impl Iterator<Item = (String, f64)> {
        self.all().into_iter().map(|(name, _, counter)| (name.to_owned(), counter.get() as f64))
    }

    fn all(&self) -> [(&'static str, &'static str, Counter); 5] {
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
}
