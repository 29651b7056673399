//! Asks every node how it is.

use std::sync::PoisonError;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use trunkline_ports::{CallOptions, Class, Network, Peer};
use trunkline_types::limits::DEADLINE_MARGIN;
use trunkline_wire::internal::{GetStatusRequest, NodeStatus, StatusResponse, node_service};

use super::Subject;

/// How long a node may take.
const ANSWER: Duration = Duration::from_secs(1);

/// A node that does not stand in the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) address: String,
}

/// In order of name.
pub(super) async fn status(subject: &Subject, deadline: Instant) -> StatusResponse {
    let map = subject.map.borrow().clone();
    let of_map =
        map.nodes.iter().map(|node| Known { name: node.name.clone(), address: node.address.clone() });
    let mut nodes: Vec<Known> = of_map.collect();
    let own = subject.nodes.read().unwrap_or_else(PoisonError::into_inner).clone();
    for node in own {
        if nodes.iter().all(|known| known.address != node.address) {
            nodes.push(node);
        }
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let latest = deadline.checked_sub(DEADLINE_MARGIN).unwrap_or(deadline);
    let deadline = latest.min(Instant::now() + ANSWER);
    let nodes = join_all(nodes.into_iter().map(|node| ask(&subject.network, node, deadline))).await;
    let cut_off = subject.wan.iter().flat_map(|wan| wan.cut_off()).map(|datacenter| datacenter.0).collect();
    StatusResponse { nodes, map_version: map.version, cluster: map.cluster.to_string(), cut_off }
}

async fn ask(network: &Network, node: Known, deadline: Instant) -> NodeStatus {
    let peer = Peer::new(node.address.as_str(), Class::Calls);
    let options = CallOptions::until(deadline);
    let answer = network.call(&peer, node_service::GET_STATUS, &GetStatusRequest {}, options).await;
    let error = answer.as_ref().err().map(|error| error.message().to_owned()).unwrap_or_default();
    NodeStatus { name: node.name, address: node.address, error, status: answer.ok() }
}
