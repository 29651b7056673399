//! Where leaders belong: with a group's first-ranked voter when all is well; with anyone else when this node drains.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use trunkline_types::NodeId;

use crate::member::Member;
use crate::voter::{Voter, peers};

/// How often a leader looks whether it leads in another's place.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The first-ranked voter has been reachable for so long before leadership goes back to it.
const STABLE_FOR: Duration = Duration::from_secs(10);
/// After an attempt, the next one waits.
const ATTEMPT_EVERY: Duration = Duration::from_secs(60);
/// How long draining waits for others to take over.
const HANDOVER_MAX: Duration = Duration::from_secs(3);

/// Gives a group's leadership back to its first-ranked voter.
pub(crate) async fn keep(voter: Arc<Voter>, member: Arc<Member>) {
    let mut pause = LOOK_EVERY;
    loop {
        tokio::select! {
            biased;
            () = voter.shutdown.draining() => return,
            () = sleep(pause) => {}
        }
        pause = LOOK_EVERY;
        let map = voter.host.map();
        let first = trunkline_placement::voters(&map, member.id()).first().map(|node| node.id);
        if let Some(first) = first
            && member.leadership().is_here
            && first != voter.host.identity.node
            && is_stable(&voter, first)
        {
            tracing::debug!(group = %member.id(), to = %first, "hands leadership to its first-ranked voter");
            member.group.transfer(first);
            pause = ATTEMPT_EVERY;
        }
    }
}

fn is_stable(voter: &Voter, peer: NodeId) -> bool {
    let links = voter.links.borrow();
    let link = links.get(&peer).filter(|link| link.up);
    link.and_then(|link| link.since).is_some_and(|since| Instant::now().duration_since(since) >= STABLE_FOR)
}

/// On drain: hands every leadership to the nearest voter that is reachable, and waits until it is taken.
pub(crate) async fn hand_over(voter: Arc<Voter>) {
    let _ = timeout(HANDOVER_MAX, async {
        for member in voter.members.values() {
            let reachable = |peer: &NodeId| voter.links.borrow().get(peer).is_some_and(|link| link.up);
            let Some(to) = peers(&voter.host, member.group.as_ref()).into_iter().find(reachable) else {
                continue;
            };
            let mut leadership = member.group.leadership();
            if leadership.borrow().is_here {
                member.group.transfer(to);
                let _ = leadership.wait_for(|leadership| !leadership.is_here).await;
            }
        }
    })
    .await;
}
