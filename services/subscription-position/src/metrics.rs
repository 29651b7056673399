//! What can be measured of this service.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What came of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    pub(crate) call: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) proposals: Family<Outcome, Counter>,
    pub(crate) subscriptions: Gauge,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("position");
        registry.register("proposals", "Proposals by call and outcome", metrics.proposals.clone());
        registry.register(
            "subscriptions",
            "Subscriptions in this node's groups",
            metrics.subscriptions.clone(),
        );
        metrics
    }

    pub(crate) fn proposed(&self, call: &'static str, outcome: &'static str) {
        self.proposals.get_or_create(&Outcome { call, outcome }).inc();
    }
}
