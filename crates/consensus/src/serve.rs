//! What other voters ask of this one.

mod answer;
mod exchange;
mod install;

use std::sync::Arc;

use trunkline_ports::{Host, Router};
use trunkline_wire::Status;
use trunkline_wire::internal::{Envelope, raft_service};

use crate::members::Members;

pub(crate) fn router(host: &Host, members: &Arc<Members>) -> Router {
    let (exchange_host, exchange_members) = (host.clone(), members.clone());
    let (install_host, install_members) = (host.clone(), members.clone());
    Router::new()
        .streaming(raft_service::EXCHANGE, move |_, requests, responses| {
            exchange::serve(exchange_host.clone(), exchange_members.clone(), requests, responses)
        })
        .streaming(raft_service::INSTALL_SNAPSHOT, move |_, chunks, responses| {
            install::serve(install_host.clone(), install_members.clone(), chunks, responses)
        })
}

/// The cluster only: Raft keeps its own safety under any map, and group 0 is what carries the map. A voter that was
/// refused for an old map could be the one that the others need.
fn check(host: &Host, hello: Option<&Envelope>) -> Result<(), Status> {
    let Some(hello) = hello else {
        return Err(Status::invalid_argument("malformed message: hello"));
    };
    let own = host.map().cluster;
    if hello.cluster == own.0 {
        return Ok(());
    }
    Err(Status::failed_precondition(format!("this node belongs to cluster {own}")))
}
