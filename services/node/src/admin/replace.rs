//! Gives a node's place to a new one: asks the new one who it is, tells group 0, and waits until the map names it.

use tokio::time::{Instant, timeout_at};
use trunkline_placement::voters;
use trunkline_ports::{CallOptions, Class, Peer};
use trunkline_types::limits::DEADLINE_MARGIN;
use trunkline_types::{ClusterMap, GroupId, NodeId, Standing};
use trunkline_wire::internal::map_service::REPLACE_NODE;
use trunkline_wire::internal::node_service::IDENTIFY;
use trunkline_wire::internal::{
    IdentifyRequest, IdentifyResponse, ReplaceNodeRequest, ReplaceNodeResponse, ReplaceRequest,
    ReplaceResponse,
};
use trunkline_wire::status::{self, reason};
use trunkline_wire::{Code, Status};

use super::{Subject, refused};

/// Answers `Replace`.
pub(super) async fn replace(
    subject: &Subject,
    request: &ReplaceRequest,
    deadline: Instant,
) -> Result<ReplaceResponse, Status> {
    let deadline = deadline.checked_sub(DEADLINE_MARGIN).unwrap_or(deadline);
    let map = subject.map.borrow().clone();
    let address = address(&map, &request.new)?;
    let new = identify(subject, &map, &address, deadline).await?;
    let old = old(&map, &request.old, NodeId(new.node))?;
    if old == NodeId(new.node) {
        // By name it is the new node already.
        return Ok(ReplaceResponse { old: 0, new: new.node, map_version: map.version, done: true });
    }
    let asked = ReplaceNodeRequest {
        cluster: map.cluster.0,
        old: old.0,
        new: new.node,
        role: new.role,
        datacenter: new.datacenter,
        name: new.name,
        address,
    };
    let begun = ask(subject, &map, &asked, deadline).await?;
    let mut newer = subject.map.clone();
    let has_place = |map: &std::sync::Arc<ClusterMap>| map.standing(NodeId(new.node)) == Standing::Member;
    let placed = timeout_at(deadline, newer.wait_for(has_place)).await;
    let (map_version, done) = match placed {
        Ok(Ok(map)) => (map.version, true),
        Ok(Err(_)) | Err(_) => (begun.map_version, begun.done),
    };
    Ok(ReplaceResponse { old: old.0, new: new.node, map_version, done })
}

/// By id or by name. By name it may be the new node, where it has its place already.
fn old(map: &ClusterMap, named: &str, new: NodeId) -> Result<NodeId, Status> {
    let by_id = NodeId::try_from(named.to_owned()).ok().filter(|id| map.standing(*id) != Standing::Unknown);
    let by_name = || map.nodes.iter().find(|node| node.name == named).map(|node| node.id);
    by_id.or_else(by_name).ok_or_else(|| {
        let known: Vec<&str> = map.nodes.iter().map(|node| node.name.as_str()).collect();
        let what = format!("{named:?} is not a node of the map (and {new} is to replace it)");
        status::invalid("old", format!("{what}; there are {}", known.join(", ")))
    })
}

fn address(map: &ClusterMap, named: &str) -> Result<String, Status> {
    if let Some(node) = map.nodes.iter().find(|node| node.name == named) {
        return Ok(node.address.clone());
    }
    let is_port =
        named.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    let problem = "is neither HOST:PORT nor the name of a node of the map";
    if is_port { Ok(named.to_owned()) } else { Err(status::invalid("new", format!("{named:?} {problem}"))) }
}

async fn identify(
    subject: &Subject,
    map: &ClusterMap,
    address: &str,
    deadline: Instant,
) -> Result<IdentifyResponse, Status> {
    let peer = Peer::new(address, Class::Calls);
    let options = CallOptions::until(deadline);
    let said =
        subject.network.call(&peer, IDENTIFY, &IdentifyRequest {}, options).await.map_err(|error| {
            status::unavailable(
                reason::UNREACHABLE,
                format!("the new node at {address}: {}", error.message()),
            )
        })?;
    if said.cluster_name != map.name {
        let (wanted, found) = (&map.name, &said.cluster_name);
        return Err(refused(format!("the node at {address} is to join cluster {found:?}, not {wanted:?}")));
    }
    Ok(said)
}

/// Any voter of group 0 will do; one that is not there any more or not yet is passed over.
async fn ask(
    subject: &Subject,
    map: &ClusterMap,
    request: &ReplaceNodeRequest,
    deadline: Instant,
) -> Result<ReplaceNodeResponse, Status> {
    let mut last = status::unavailable(reason::NO_QUORUM, "no voter of group 0 could be asked");
    let voters = voters(map, GroupId::MAP);
    let share =
        deadline.saturating_duration_since(Instant::now()) / u32::try_from(voters.len() + 1).unwrap_or(1);
    for node in voters {
        let options = CallOptions::until(Instant::now() + share);
        let peer = Peer::new(node.address.as_str(), Class::Calls);
        match subject.network.call(&peer, REPLACE_NODE, request, options).await {
            Err(error) if is_of_the_way(&error) => last = error,
            answer => return answer,
        }
    }
    Err(last)
}

fn is_of_the_way(error: &Status) -> bool {
    match error.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Unimplemented => true,
        Code::FailedPrecondition => status::reason_of(error).as_deref() == Some(reason::STALE),
        _ => false,
    }
}
