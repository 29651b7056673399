//! What the cluster says of itself around a run.

use std::time::Duration;

use serde::Serialize;
use trunkline_ports::Network;
use trunkline_wire::internal::{StatusRequest, StatusResponse, admin_service};

use super::light::Distances;
use crate::admin;
use crate::output;

/// Summed over its nodes. Absent where it does not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    /// What the links between datacenters carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wan_bytes: Option<f64>,
    /// Encoded entries of all groups, counted once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) raft_bytes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resident_bytes: Option<f64>,
    /// How long bytes are under way.
    #[serde(skip)]
    pub(super) distances: Distances,
    /// What stores know of and do not have on disk.
    #[serde(skip)]
    pub(super) records_behind: Option<u64>,
}

impl Figures {
    /// As the cluster stands now; nothing where it has no admin listener that answers.
    pub(super) async fn read(network: &Network, admin: &[String]) -> Self {
        let answer = admin::call_first(network, admin, admin_service::STATUS, &StatusRequest {}).await;
        answer.map(Self::of).unwrap_or_default()
    }

    pub(super) fn of(answer: StatusResponse) -> Self {
        let ways = answer.wan.into_iter();
        let distances =
            Distances::new(ways.map(|way| (way.from, way.to, Duration::from_micros(way.delay_us))));
        let all: Vec<_> = answer.nodes.into_iter().filter_map(|node| node.status).collect();
        let sum = |name: &str| {
            let said: Vec<f64> = all.iter().filter_map(|status| status.figures.get(name).copied()).collect();
            (!said.is_empty()).then(|| said.iter().sum())
        };
        let behind = all.iter().flat_map(|status| &status.replication).map(|stream| stream.records_behind);
        Self {
            // Outside of dev nobody counts what links carry: then what stores sent over them.
            wan_bytes: sum("wan_bytes").or_else(|| sum("wan_bytes_sent")),
            raft_bytes: sum("raft_bytes"),
            cpu_seconds: sum("cpu_seconds"),
            resident_bytes: sum("resident_bytes"),
            distances,
            records_behind: behind.reduce(|sum, behind| sum + behind),
        }
    }

    /// What was used in between; memory and distances as they were at the end.
    pub(super) fn between(before: Self, after: Self) -> Self {
        // Less than before means that a node began to count anew: then nothing is known.
        let used = |before: Option<f64>, after: Option<f64>| {
            Some(output::round(after? - before?)).filter(|used| *used >= 0.0)
        };
        Self {
            wan_bytes: used(before.wan_bytes, after.wan_bytes),
            raft_bytes: used(before.raft_bytes, after.raft_bytes),
            cpu_seconds: used(before.cpu_seconds, after.cpu_seconds),
            ..after
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_wire::internal::{GetStatusResponse, NodeStatus, ReplicationStatus, WanWay};

    use super::*;

    fn node(figures: &[(&str, f64)], records_behind: u64) -> NodeStatus {
        let figures = figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let stream = ReplicationStatus { records_behind, ..ReplicationStatus::default() };
        let status = GetStatusResponse { figures, replication: vec![stream], ..GetStatusResponse::default() };
        NodeStatus { status: Some(status), ..NodeStatus::default() }
    }

    #[test]
    fn nodes_are_summed_and_what_nobody_says_is_absent() {
        let way = WanWay { from: "a".into(), to: "b".into(), delay_us: 5_000, bytes: 1 };
        let back = WanWay { from: "b".into(), to: "a".into(), delay_us: 5_000, bytes: 1 };
        let nodes =
            vec![node(&[("raft_bytes", 3.0), ("wan_bytes", 7.0)], 2), node(&[("raft_bytes", 4.0)], 0)];
        let answer = StatusResponse { nodes, wan: vec![way, back], ..StatusResponse::default() };
        let figures = Figures::of(answer);
        assert_eq!(
            (figures.raft_bytes, figures.wan_bytes, figures.cpu_seconds),
            (Some(7.0), Some(7.0), None)
        );
        assert_eq!(figures.records_behind, Some(2));
        assert_eq!(figures.distances.visible_min("a", "b"), Duration::from_millis(15));
    }

    #[test]
    fn figures_are_what_was_used_in_between() {
        let at = |bytes| Figures { wan_bytes: Some(bytes), ..Figures::default() };
        assert_eq!(Figures::between(at(10.0), at(25.0)).wan_bytes, Some(15.0));
        assert_eq!(Figures::between(at(25.0), at(10.0)).wan_bytes, None, "a node has started anew");
        assert_eq!(Figures::between(Figures::default(), at(25.0)).wan_bytes, None);
    }
}
