//! What other voters ask of this one.

mod answer;
mod exchange;
mod install;

use std::sync::Arc;

use trunkline_ports::{Host, Router};
use trunkline_types::{GroupId, NodeId};
use trunkline_wire::Status;
use trunkline_wire::internal::{Envelope, RaftKnowsRequest, RaftKnowsResponse, raft_service};

use crate::members::Members;

pub(crate) fn router(host: &Host, members: &Arc<Members>) -> Router {
    let (exchange_host, exchange_members) = (host.clone(), members.clone());
    let (install_host, install_members) = (host.clone(), members.clone());
    let (knows_host, knows_members) = (host.clone(), members.clone());
    Router::new()
        .streaming(raft_service::EXCHANGE, move |_, requests, responses| {
            exchange::serve(exchange_host.clone(), exchange_members.clone(), requests, responses)
        })
        .streaming(raft_service::INSTALL_SNAPSHOT, move |_, chunks, responses| {
            install::serve(install_host.clone(), install_members.clone(), chunks, responses)
        })
        .unary(raft_service::KNOWS, move |_, request: RaftKnowsRequest| {
            std::future::ready(knows(&knows_host, &knows_members, &request))
        })
}

/// Only a group that was started here can say "no": of another it is not known what the log has.
fn knows(host: &Host, members: &Members, request: &RaftKnowsRequest) -> Result<RaftKnowsResponse, Status> {
    check(host, request.envelope.as_ref())?;
    let member = GroupId::from_u32(request.group).and_then(|group| members.get(group));
    let member = member.ok_or_else(|| Status::unavailable("the group is not there"))?;
    let voters = member.voters_agreed().into_iter().map(|voter| voter.0).collect();
    Ok(RaftKnowsResponse { initialized: member.is_initialized(), voters })
}

/// The cluster, and that it was not replaced: Raft keeps its own safety under any map, and group 0 is what carries the
/// map. A voter that was refused for an old map could be the one that the others need.
fn check(host: &Host, hello: Option<&Envelope>) -> Result<(), Status> {
    let Some(hello) = hello else {
        return Err(Status::invalid_argument("malformed message: hello"));
    };
    let map = host.map();
    if hello.cluster != map.cluster.0 {
        return Err(Status::failed_precondition(format!("this node belongs to cluster {}", map.cluster)));
    }
    host.check_standing(NodeId(hello.node))
}
