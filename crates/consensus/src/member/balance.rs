//! Leadership goes to the group's first-ranked voter when all is well, and only then.

use std::time::Duration;

use tokio::time::Instant;
use trunkline_types::NodeId;

use super::Member;
use crate::raft::{RaftInstant as _, WatchReceiver as _};

/// All must be well at so many looks in a row.
const LOOKS: u32 = 2;
const COOL_DOWN_FIRST: Duration = Duration::from_secs(15);
const COOL_DOWN_MAX: Duration = Duration::from_secs(600);
/// Entries that the first-ranked voter may lack: it gets them before it takes over.
pub(super) const BEHIND_MAX: u64 = 64;

/// What one look at a group finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// This voter does not lead, or is where leadership belongs.
    Fine,
    /// This voter leads, and leadership belongs elsewhere.
    Elsewhere { to: NodeId, is_ready: bool },
}

/// Remembers enough of a group's past not to hand leadership to and fro.
#[derive(Clone, Debug, Default)]
pub(crate) struct Balance {
    ready_looks: u32,
    not_before: Option<Instant>,
    cool_down: Duration,
}

impl Balance {
    /// Whom to hand leadership to now.
    pub(crate) fn look(&mut self, look: Look, now: Instant) -> Option<NodeId> {
        let Look::Elsewhere { to, is_ready: true } = look else {
            self.ready_looks = 0;
            return None;
        };
        self.ready_looks += 1;
        if self.ready_looks < LOOKS || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.ready_looks = 0;
        // Each time it has not lasted, the next attempt comes later.
        let lasted = self.not_before.is_none_or(|at| now >= at + 4 * self.cool_down);
        self.cool_down = if lasted { COOL_DOWN_FIRST } else { (2 * self.cool_down).min(COOL_DOWN_MAX) };
        self.not_before = Some(now + self.cool_down);
        Some(to)
    }
}

impl Member {
    /// Where leadership of this group belongs, if it is here and belongs elsewhere.
    pub(crate) fn look(&self) -> Look {
        if !self.leadership.borrow().is_here {
            return Look::Fine;
        }
        let map = self.host.map();
        let voters = self.voters();
        let ranked = trunkline_placement::voters(&map, self.id);
        match ranked.into_iter().map(|node| node.id).find(|node| voters.contains(node)) {
            Some(first) if first != self.me => Look::Elsewhere { to: first, is_ready: self.is_ready(first) },
            _ => Look::Fine,
        }
    }

    /// Whether a voter hears this leader and has almost all of its log.
    pub(super) fn is_ready(&self, voter: NodeId) -> bool {
        let data = self.raft.data_metrics();
        let data = data.borrow_watched();
        let last = data.last_log.map_or(0, |last| last.index());
        let matched = data.replication.as_ref().and_then(|progress| *progress.get(&voter)?);
        let heard = data.heartbeat.as_ref().and_then(|heard| *heard.get(&voter)?);
        matched.is_some_and(|matched| matched.index() + BEHIND_MAX >= last)
            && heard.is_some_and(|at| at.elapsed() < self.timing.election_max)
            && self.peers.is_up(voter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: Look = Look::Elsewhere { to: NodeId(2), is_ready: true };
    const NOT_READY: Look = Look::Elsewhere { to: NodeId(2), is_ready: false };

    #[tokio::test(start_paused = true)]
    async fn leadership_is_handed_over_when_all_was_well_twice_and_ever_later_if_it_does_not_last() {
        let (mut balance, start) = (Balance::default(), Instant::now());
        let mut look = |seconds, look| balance.look(look, start + Duration::from_secs(seconds));
        assert_eq!(look(0, Look::Fine), None);
        assert_eq!(look(3, READY), None);
        assert_eq!(look(6, NOT_READY), None, "a look that was not well begins anew");
        assert_eq!(look(9, READY), None);
        assert_eq!(look(12, READY), Some(NodeId(2)));
        assert_eq!((look(15, READY), look(18, READY)), (None, None), "it cools down for 15 s");
        assert_eq!(look(27, READY), Some(NodeId(2)));
        assert_eq!((look(50, READY), look(53, READY)), (None, None), "and then for 30 s");
        assert_eq!(look(57, READY), Some(NodeId(2)));
        assert_eq!(look(400, Look::Fine), None);
        assert_eq!((look(403, READY), look(406, READY)), (None, Some(NodeId(2))));
        assert_eq!((look(420, READY), look(423, READY)), (None, Some(NodeId(2))), "what lasted is forgiven");
    }
}
