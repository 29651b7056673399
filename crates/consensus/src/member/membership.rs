//! A group's voters follow the map: where it says that a node takes another's place, that one joins as a learner, catches
//! up, and then votes instead. The group's leader sees to it, whoever that is and however often it changes: what is to be
//! done next follows from the members that the group has and those that the map wants.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use trunkline_types::{ClusterMap, GroupId, NodeId, Standing};

use super::Member;
use super::balance::BEHIND_MAX;
use crate::raft::{ChangeMembers, WatchReceiver as _};

/// A change that takes longer is looked at anew; it may be committed yet.
const CHANGE_MAX: Duration = Duration::from_secs(10);

/// A group's members by its leader's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Members {
    /// Two sets while it goes from one to the other.
    voters: Vec<BTreeSet<NodeId>>,
    learners: BTreeSet<NodeId>,
}

impl Members {
    fn all(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().flatten().chain(&self.learners).copied()
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// The members are those of the map, or this leader's map is older than what an earlier one made of them.
    Nothing,
    /// It joins without a vote.
    Learn(NodeId),
    /// A learner lacks too much yet.
    Wait,
    /// This leader is to go: first another one leads.
    HandOver,
    Vote(BTreeSet<NodeId>),
    /// Learners that nobody wants any more.
    Forget(BTreeSet<NodeId>),
}

/// `is_known`: the map has heard of the node, whatever became of it.
fn next(
    me: NodeId,
    members: &Members,
    wanted: &BTreeSet<NodeId>,
    is_known: impl Fn(NodeId) -> bool,
    has_caught_up: impl Fn(NodeId) -> bool,
) -> Change {
    if wanted.is_empty() || members.voters.is_empty() || !members.all().all(is_known) {
        return Change::Nothing;
    }
    if members.voters == [wanted.clone()] {
        let unwanted = &members.learners - wanted;
        return if unwanted.is_empty() { Change::Nothing } else { Change::Forget(unwanted) };
    }
    let votes = |node: &NodeId| members.voters.iter().any(|voters| voters.contains(node));
    let new = || wanted.iter().filter(|node| !votes(node)).copied();
    if let Some(unknown) = new().find(|node| !members.learners.contains(node)) {
        Change::Learn(unknown)
    } else if !new().all(has_caught_up) {
        Change::Wait
    } else if !wanted.contains(&me) {
        Change::HandOver
    } else {
        Change::Vote(wanted.clone())
    }
}

/// The voters of a group once what is to be replaced is.
pub(crate) fn wanted(map: &ClusterMap, group: GroupId) -> BTreeSet<NodeId> {
    trunkline_placement::voters(&map.target(), group).into_iter().map(|node| node.id).collect()
}

impl Member {
    /// The voters that a quorum of the group has agreed on; none while it goes from some to others.
    pub(crate) fn voters_agreed(&self) -> Vec<NodeId> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let agreed = &metrics.committed_membership_config;
        let is_last = agreed.log_id() == metrics.membership_config.log_id();
        match &agreed.membership().get_joint_config()[..] {
            [voters] if is_last => voters.iter().copied().collect(),
            _ => Vec::new(),
        }
    }

    fn members(&self) -> Members {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        Members {
            voters: membership.get_joint_config().clone(),
            learners: membership.learner_ids().collect(),
        }
    }

    fn has_caught_up(&self, learner: NodeId) -> bool {
        let data = self.raft.data_metrics();
        let data = data.borrow_watched();
        let last = data.last_log.map_or(0, |last| last.index());
        let matched = data.replication.as_ref().and_then(|progress| *progress.get(&learner)?);
        matched.is_some_and(|matched| matched.index() + BEHIND_MAX >= last)
    }

    /// One step towards the voters of the map, if this voter leads.
    pub(crate) async fn follow_map(self: Arc<Self>) {
        if !self.leadership.borrow().is_here {
            return;
        }
        let map = self.host.map();
        let wanted = wanted(&map, self.id);
        let is_known = |node| map.standing(node) != Standing::Unknown;
        let change = next(self.me, &self.members(), &wanted, is_known, |node| self.has_caught_up(node));
        let changing = async {
            match change {
                Change::Nothing | Change::Wait => Ok(()),
                Change::HandOver => {
                    self.hand_over_to(&wanted);
                    Ok(())
                }
                Change::Learn(node) => {
                    tracing::debug!(group = %self.id, %node, "a learner joins");
                    self.raft.add_learner(node, (), false).await.map(drop)
                }
                Change::Vote(voters) => {
                    tracing::debug!(group = %self.id, ?voters, "other nodes vote");
                    self.raft.change_membership(voters, false).await.map(drop)
                }
                Change::Forget(learners) => {
                    self.raft.change_membership(ChangeMembers::RemoveNodes(learners), false).await.map(drop)
                }
            }
        };
        match timeout(CHANGE_MAX, changing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(group = %self.id, %error, "its members have not changed"),
            Err(_) => tracing::debug!(group = %self.id, "its members have not changed in time"),
        }
    }

    /// Leadership goes to a voter that stays.
    fn hand_over_to(&self, staying: &BTreeSet<NodeId>) {
        let to =
            self.other_voters().into_iter().find(|voter| staying.contains(voter) && self.is_ready(*voter));
        if let Some(to) = to {
            tracing::debug!(group = %self.id, %to, "this voter is to go: it hands leadership over");
            self.transfer(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn members(voters: &[&[u64]], learners: &[u64]) -> Members {
        Members { voters: voters.iter().map(|ids| set(ids)).collect(), learners: set(learners) }
    }

    /// 1 is to be replaced by 4; voter 2 leads. Nobody has heard of 9.
    #[test]
    fn a_new_voter_learns_catches_up_and_votes() {
        const CAUGHT_UP: bool = true;
        let (before, after) = (&[1, 2, 3][..], &[2, 3, 4][..]);
        let table: &[(&str, Members, &[u64], bool, Change)] = &[
            ("nothing is to be done", members(&[before], &[]), before, CAUGHT_UP, Change::Nothing),
            ("it joins", members(&[before], &[]), after, CAUGHT_UP, Change::Learn(NodeId(4))),
            ("it lacks much", members(&[before], &[4]), after, !CAUGHT_UP, Change::Wait),
            ("it has caught up", members(&[before], &[4]), after, CAUGHT_UP, Change::Vote(set(after))),
            ("half-way", members(&[before, after], &[]), after, CAUGHT_UP, Change::Vote(set(after))),
            ("done", members(&[after], &[]), after, CAUGHT_UP, Change::Nothing),
            ("a learner is left over", members(&[after], &[5]), after, CAUGHT_UP, Change::Forget(set(&[5]))),
            ("given up for another", members(&[before], &[5]), after, CAUGHT_UP, Change::Learn(NodeId(4))),
            ("no members yet", members(&[], &[]), after, CAUGHT_UP, Change::Nothing),
            ("no map yet", members(&[before], &[]), &[], CAUGHT_UP, Change::Nothing),
            ("a newer map's voter", members(&[&[2, 3, 9]], &[]), before, CAUGHT_UP, Change::Nothing),
            ("a newer map's learner", members(&[before], &[9]), after, CAUGHT_UP, Change::Nothing),
        ];
        for (name, members, wanted, caught_up, expected) in table {
            let found = next(NodeId(2), members, &set(wanted), |node| node != NodeId(9), |_| *caught_up);
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn a_leader_that_is_replaced_lets_another_lead_first() {
        let found = next(NodeId(1), &members(&[&[1, 2, 3]], &[4]), &set(&[2, 3, 4]), |_| true, |_| true);
        assert_eq!(found, Change::HandOver);
    }
}
