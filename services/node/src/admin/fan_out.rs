//! Asks every node how it is.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use trunkline_ports::{CallOptions, Class, Network, Peer};
use trunkline_transport::WanBytes;
use trunkline_types::limits::DEADLINE_MARGIN;
use trunkline_types::{DatacenterName, Node, NodeId, Role};
use trunkline_wire::internal::{
    GetStatusRequest, GetStatusResponse, NodeStatus, StatusResponse, WanWay, node_service,
};

use super::{Subject, pages};
use crate::node::Plan;

/// How long a node may take.
const ANSWER: Duration = Duration::from_secs(1);

/// What is known of a node without asking it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) role: Role,
    pub(crate) datacenter: DatacenterName,
    /// Of push and pop nodes it is not known: they are someone new at each start.
    pub(crate) id: NodeId,
}

impl From<&Plan> for Known {
    fn from(plan: &Plan) -> Self {
        Self {
            name: plan.name.clone(),
            address: plan.advertise.clone(),
            role: plan.role,
            datacenter: plan.datacenter.clone(),
            id: NodeId(0),
        }
    }
}

impl From<&crate::node::Node> for Known {
    fn from(node: &crate::node::Node) -> Self {
        let identity = node.identity();
        Self {
            name: identity.name.clone(),
            address: identity.address.clone(),
            role: identity.role,
            datacenter: identity.datacenter.clone(),
            id: identity.node,
        }
    }
}

impl From<&Node> for Known {
    fn from(node: &Node) -> Self {
        Self {
            name: node.name.clone(),
            address: node.address.clone(),
            role: node.role,
            datacenter: node.datacenter.clone(),
            id: node.id,
        }
    }
}

/// In order of name.
pub(super) async fn status(subject: &Subject, deadline: Instant) -> StatusResponse {
    let map = subject.map.borrow().clone();
    let mut nodes: Vec<Known> = map.nodes.iter().map(Known::from).collect();
    for node in subject.nodes.iter() {
        if nodes.iter().all(|known| known.address != node.address) {
            nodes.push(node.clone());
        }
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let latest = deadline.checked_sub(DEADLINE_MARGIN).unwrap_or(deadline);
    let deadline = latest.min(Instant::now() + ANSWER);
    let mut nodes = join_all(nodes.into_iter().map(|node| ask(&subject.network, node, deadline))).await;
    if let Some(wan) = &subject.wan
        && let Some(status) = nodes.first_mut().and_then(|first| first.status.as_mut())
    {
        status.figures.extend(pages::used(wan));
    }
    let cut_off = subject.wan.iter().flat_map(|wan| wan.cut_off()).map(|datacenter| datacenter.0).collect();
    let wan = subject.wan.iter().flat_map(|wan| wan.bytes()).map(way).collect();
    StatusResponse { nodes, map_version: map.version, cluster: map.cluster.to_string(), cut_off, wan }
}

fn way(way: WanBytes) -> WanWay {
    let delay_us = u64::try_from(way.delay.as_micros()).unwrap_or(u64::MAX);
    WanWay { from: way.from.0, to: way.to.0, delay_us, bytes: way.bytes }
}

async fn ask(network: &Network, node: Known, deadline: Instant) -> NodeStatus {
    let peer = Peer::new(node.address.as_str(), Class::Calls);
    let options = CallOptions::until(deadline);
    let answer = network.call(&peer, node_service::GET_STATUS, &GetStatusRequest {}, options).await;
    let other =
        answer.as_ref().ok().map(|status| status.node).filter(|other| ![0, *other].contains(&node.id.0));
    let error = match (&answer, other) {
        (Err(error), _) => error.message().to_owned(),
        (Ok(_), Some(other)) => {
            let name = &node.name;
            format!("a new node, {}, answers there: trunkline nodes replace {name} {name}", NodeId(other))
        }
        (Ok(_), None) => String::new(),
    };
    let status = answer.unwrap_or_else(|_| GetStatusResponse {
        name: node.name.clone(),
        role: node.role.as_str().to_owned(),
        datacenter: node.datacenter.0,
        node: node.id.0,
        ..GetStatusResponse::default()
    });
    NodeStatus { name: node.name, address: node.address, error, status: Some(status) }
}
