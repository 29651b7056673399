//! A group's first members, set by its first-ranked voter, once it is certain that the group is new.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use trunkline_ports::{CallOptions, Class, ConsensusError, Group, Host, Peer};
use trunkline_runtime::{Backoff, Shutdown};
use trunkline_types::{Node, NodeId};
use trunkline_wire::internal::OrderKnowsGroupRequest;
use trunkline_wire::internal::order_service::KNOWS_GROUP;

const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// What the other voters say of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// One has it: it exists, and its leader will find this voter.
    BySomeone,
    /// A majority, with this voter, has not: it cannot have committed anything.
    ByNobody,
    TooFewAnswer,
}

/// Runs until the group has members, as far as this node is the one to see to it.
pub(crate) async fn initialize(host: Host, group: Arc<dyn Group>, shutdown: Shutdown) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    while !group.is_initialized() {
        let map = host.map();
        let voters = trunkline_placement::voters(&map, group.id());
        if voters.first().is_none_or(|first| first.id != host.identity.node) {
            return;
        }
        match ask(&host, group.as_ref(), &voters).await {
            Known::BySomeone => return,
            Known::ByNobody => {
                let ids: Vec<NodeId> = voters.iter().map(|node| node.id).collect();
                match group.initialize(ids).await {
                    Ok(()) | Err(ConsensusError::Initialized) => return,
                    Err(error) => {
                        tracing::warn!(group = %group.id(), %error, "the group is not initialized yet")
                    }
                }
            }
            Known::TooFewAnswer => {}
        }
        tokio::select! {
            biased;
            () = shutdown.stopped() => return,
            () = backoff.wait(&host.process) => {}
        }
    }
}

async fn ask(host: &Host, group: &dyn Group, voters: &[&Node]) -> Known {
    let others = voters.iter().filter(|node| node.id != host.identity.node);
    let answers = join_all(others.map(|node| knows(host, group, node))).await;
    if answers.contains(&Some(true)) {
        return Known::BySomeone;
    }
    let know_nothing = 1 + answers.iter().filter(|answer| **answer == Some(false)).count();
    if know_nothing > voters.len() / 2 { Known::ByNobody } else { Known::TooFewAnswer }
}

/// `None`: it does not answer.
async fn knows(host: &Host, group: &dyn Group, node: &Node) -> Option<bool> {
    let request = OrderKnowsGroupRequest { envelope: Some(host.envelope()), group: group.id().to_u32() };
    let peer = Peer::new(node.address.as_str(), Class::Calls);
    let options = CallOptions::until(Instant::now() + ASK_TIMEOUT);
    let answer = host.network.call(&peer, KNOWS_GROUP, &request, options).await;
    answer.ok().map(|answer| answer.initialized)
}
