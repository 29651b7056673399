//! Makes the first members of a group, once.
//!
//! A group is initialized by its first-ranked voter, and never while a peer may know it: a voter that lost its memory
//! would begin a second history. So it asks the others first, and goes on only when so many have answered "no" that
//! every quorum of the group has one of them in it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tracing::{info, warn};
use trunkline_placement::voters;
use trunkline_ports::{CallOptions, Class, ConsensusError, Group, Host, Peer};
use trunkline_runtime::{Backoff, Shutdown};
use trunkline_types::NodeId;
use trunkline_wire::internal::GetGroupRequest;
use trunkline_wire::internal::position_service::GET_GROUP;

use crate::groups::Groups;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// One task for every group that is not initialized yet.
pub(crate) fn spawn(host: &Host, groups: &Groups, shutdown: &Shutdown) {
    for member in groups.iter().filter(|member| !member.group.is_initialized()) {
        let (host, group, shutdown) = (host.clone(), member.group.clone(), shutdown.clone());
        let process = host.process.clone();
        process.spawn("position-initialize", async move {
            tokio::select! {
                biased;
                () = shutdown.draining() => {}
                () = initialize(&host, group) => {}
            }
        });
    }
}

async fn initialize(host: &Host, group: Arc<dyn Group>) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    while !group.is_initialized() {
        let map = host.map();
        let all: Vec<NodeId> = voters(&map, group.id()).iter().map(|voter| voter.id).collect();
        if all.first() == Some(&host.identity.node) && nobody_knows(host, group.as_ref()).await {
            match group.initialize(all).await {
                Ok(()) => info!(group = %group.id(), "initialized"),
                Err(ConsensusError::Initialized) => {}
                Err(error) => warn!(group = %group.id(), %error, "not initialized, trying again"),
            }
        }
        backoff.wait(&host.process).await;
    }
}

/// So many of the other voters say that they do not have the group that no quorum can have it.
async fn nobody_knows(host: &Host, group: &dyn Group) -> bool {
    let map = host.map();
    let all = voters(&map, group.id());
    let others: Vec<_> = all.iter().filter(|voter| voter.id != host.identity.node).collect();
    let needed = (all.len() / 2 + 1).min(others.len());
    let ask = |address: &str| {
        let to = Peer::new(address, Class::Calls);
        let request = GetGroupRequest { envelope: Some(host.envelope()), group: group.id().to_u32() };
        async move {
            let options = CallOptions::until(Instant::now() + ASK_TIMEOUT);
            host.network.call(&to, GET_GROUP, &request, options).await.ok()
        }
    };
    let answers = join_all(others.iter().map(|voter| ask(&voter.address))).await;
    let answered: Vec<_> = answers.into_iter().flatten().collect();
    answered.len() >= needed && answered.iter().all(|answer| !answer.initialized)
}
