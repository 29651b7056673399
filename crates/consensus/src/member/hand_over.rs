//! On drain: leadership goes to the next voter that can take it.

use std::sync::Arc;

use tokio::time::timeout;
use trunkline_types::NodeId;

use super::Member;

impl Member {
    /// Resolves when this voter does not lead: at once where it does not, or where nobody is up to take it.
    pub(crate) async fn hand_over(self: Arc<Self>) {
        let mut leadership = self.leadership.clone();
        while leadership.borrow().is_here {
            let ranked = self.other_voters_ranked();
            if !ranked.iter().any(|voter| self.peers.is_up(*voter)) {
                return;
            }
            let mut patience = self.timing.heartbeat;
            if let Some(to) = ranked.into_iter().find(|voter| self.is_ready(*voter)) {
                tracing::debug!(group = %self.id, %to, "hands leadership over");
                self.transfer(to);
                patience = 2 * self.timing.election_max;
            }
            let taken = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != self.me));
            if matches!(timeout(patience, taken).await, Ok(Ok(_) | Err(_))) {
                return;
            }
        }
    }

    /// The other voters, by their rank in the group.
    fn other_voters_ranked(&self) -> Vec<NodeId> {
        let map = self.host.map();
        let voters = self.voters();
        let ranked = trunkline_placement::voters(&map, self.id).into_iter().map(|node| node.id);
        ranked.filter(|node| *node != self.me && voters.contains(node)).collect()
    }
}
