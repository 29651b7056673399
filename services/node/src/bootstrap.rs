//! The first map of a cluster, given to its message-id nodes by `trunkline cluster init`.

use futures::future::try_join_all;
use trunkline_ports::{CallContext, Class, Host, Peer};
use trunkline_types::{ClusterMap, Node, Role};
use trunkline_wire::Status;
use trunkline_wire::internal::{BootstrapRequest, BootstrapResponse, GetMapRequest, node_service};
use trunkline_wire::status::{self, reason};

use crate::follow_map::{decode, encode};
use crate::known_map::KnownMap;

/// Takes the map given, unless there is one here or a peer knows one: then that one. Safe to repeat.
///
/// # Errors
/// `FAILED_PRECONDITION` where the map belongs to another cluster or does not name this node; `UNAVAILABLE` while a
/// peer does not answer, for it might know a map.
pub(crate) async fn bootstrap(
    host: &Host,
    known: &KnownMap,
    context: CallContext,
    request: BootstrapRequest,
) -> Result<BootstrapResponse, Status> {
    let given = decode(&request.map)?.ok_or_else(|| status::invalid("map", "must not be empty"))?;
    if host.identity.role != Role::MessageId {
        let what = format!("this is a {} node: only message-id nodes begin a cluster", host.identity.role);
        return Err(refused(what));
    }
    let here = known.get();
    if here.version == 0 {
        if given.node(host.identity.node).is_none() {
            return Err(refused(format!("the map does not name this node, {}", host.identity.node)));
        }
        let peers = peers_map(host, &given, &context).await?;
        known.offer(peers.unwrap_or(given.clone())).await.map_err(refused)?;
    }
    let in_force = known.get();
    if in_force.cluster != given.cluster {
        return Err(refused(format!("this node belongs to cluster {}", in_force.cluster)));
    }
    Ok(BootstrapResponse { map: encode(&in_force).into() })
}

/// The newest map that another message-id node knows.
async fn peers_map(
    host: &Host,
    given: &ClusterMap,
    context: &CallContext,
) -> Result<Option<ClusterMap>, Status> {
    let others = given.nodes_of(Role::MessageId).filter(|node| node.id != host.identity.node);
    let known = try_join_all(others.map(|node| map_of(host, node, context))).await?;
    Ok(known.into_iter().flatten().max_by_key(|map| map.version))
}

async fn map_of(host: &Host, node: &Node, context: &CallContext) -> Result<Option<ClusterMap>, Status> {
    let peer = Peer::new(node.address.as_str(), Class::Calls);
    let answer =
        host.network.call(&peer, node_service::GET_MAP, &GetMapRequest::default(), context.onward()).await;
    match answer {
        Ok(answer) => decode(&answer.map),
        Err(error) => {
            let why = format!("{} does not answer: {}", node.name, error.message());
            Err(status::unavailable(reason::UNREACHABLE, why))
        }
    }
}

fn refused(why: impl std::fmt::Display) -> Status {
    status::failed_precondition("CLUSTER", why.to_string())
}
