//! Where a new leader's followers are, from what they say themselves.
//!
//! openraft looks for the last entry that a follower shares with a new leader by halving the log, one append and so one
//! round trip per step: a dozen over the WAN before anything commits again. But each answer, the granted vote first,
//! says what the follower has on disk; where the leader has just that entry too, the two logs agree up to it (Raft's
//! log matching), and a step that asks about an earlier place is answered here.
//!
//! Safe, because it says no more than "the follower agrees with you at the place that you ask about", which is true for
//! as long as this leader leads: the follower had accepted its vote, so only a later leader could take entries back, and
//! after that it refuses this one's appends. It is no acknowledgment of a message: openraft takes an answer *at* the
//! asked place for the place only, and neither extends the leader's lease by it nor confirms a read.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use trunkline_types::NodeId;
use trunkline_wire::internal::RaftLogId;

use crate::convert;
use crate::log::Log;
use crate::raft::{AppendRequest, LeaderId, LogId};

/// What each follower first said to the leader that this node is, or wants to be.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<BTreeMap<NodeId, Said>>);

#[derive(Clone, Copy, Debug)]
struct Said {
    leader: LeaderId,
    on_disk: LogId,
    /// Up to here it was answered: a place is answered once.
    answered: u64,
}

impl Followers {
    /// A follower has said this after it had accepted the vote of `leader`.
    pub(super) fn said(&self, follower: NodeId, leader: LeaderId, on_disk: Option<&RaftLogId>) {
        let Some(Ok(on_disk)) = on_disk.map(|on_disk| convert::naming(on_disk, &leader)) else { return };
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(&follower).is_none_or(|said| said.leader != leader) {
            said.insert(follower, Said { leader, on_disk, answered: 0 });
        }
    }

    /// Whether it is known that the follower agrees with `log` at the place after which `request` begins, and that the
    /// place lies before the last such.
    pub(super) fn is_known(&self, follower: NodeId, request: &AppendRequest, log: &Log) -> bool {
        let Some(previous) = &request.prev_log_id else { return false };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(said) = all.get_mut(&follower) else { return false };
        let is_before = previous.index() > said.answered && previous.index() < said.on_disk.index();
        let is_known = !request.entries.is_empty()
            && said.leader == request.vote.leader_id
            && is_before
            && log.contains(&said.on_disk);
        if is_known {
            said.answered = previous.index();
        }
        is_known
    }
}
