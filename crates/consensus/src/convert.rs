//! Between openraft's types and the messages of raft.proto, which are also what is stored.

use std::collections::BTreeSet;

use trunkline_types::NodeId;
use trunkline_wire::convert::{Malformed, number};
use trunkline_wire::internal as wire;

use crate::entry;
use crate::raft::{
    AppendRequest, AppendResponse, Entry, LeaderId, LogId, Membership, SnapshotMeta, StoredMembership,
    TransferRequest, Vote, VoteRequest, VoteResponse,
};

pub(crate) fn from_leader(leader: &LeaderId) -> wire::RaftLeader {
    wire::RaftLeader { term: leader.term, node: leader.node_id.0 }
}

/// Terms and indexes are counted on, here and in openraft.
pub(crate) fn to_leader(leader: &wire::RaftLeader) -> Result<LeaderId, Malformed> {
    Ok(LeaderId { term: number(leader.term, "leader.term")?, node_id: NodeId(leader.node) })
}

pub(crate) fn from_vote(vote: &Vote) -> wire::RaftVote {
    wire::RaftVote { leader: Some(from_leader(&vote.leader_id)), committed: vote.committed }
}

pub(crate) fn to_vote(vote: Option<&wire::RaftVote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(Malformed("vote"))?;
    let leader = vote.leader.as_ref().ok_or(Malformed("vote.leader"))?;
    Ok(Vote { leader_id: to_leader(leader)?, committed: vote.committed })
}

pub(crate) fn from_log_id(log_id: &LogId) -> wire::RaftLogId {
    wire::RaftLogId { leader: Some(from_leader(log_id.committed_leader_id())), index: log_id.index() }
}

pub(crate) fn to_log_id(log_id: &wire::RaftLogId) -> Result<LogId, Malformed> {
    let leader = log_id.leader.as_ref().ok_or(Malformed("log_id.leader"))?;
    Ok(LogId::new(to_leader(leader)?, number(log_id.index, "log_id.index")?))
}

pub(crate) fn to_log_id_or_none(log_id: Option<&wire::RaftLogId>) -> Result<Option<LogId>, Malformed> {
    log_id.map(to_log_id).transpose()
}

/// In an append and its answer, a place of the leader's own entries does not name it again: almost all are.
pub(crate) fn sparing(mut log_id: wire::RaftLogId, leader: &LeaderId) -> wire::RaftLogId {
    log_id.leader.take_if(|named| *named == from_leader(leader));
    log_id
}

/// See [`sparing`].
pub(crate) fn naming(log_id: &wire::RaftLogId, leader: &LeaderId) -> Result<LogId, Malformed> {
    to_log_id(&wire::RaftLogId { leader: log_id.leader.or_else(|| Some(from_leader(leader))), ..*log_id })
}

pub(crate) fn from_membership(membership: &Membership) -> wire::RaftMembership {
    let configurations = membership.get_joint_config().iter();
    wire::RaftMembership {
        configurations: configurations
            .map(|voters| wire::RaftVoters { nodes: voters.iter().map(|node| node.0).collect() })
            .collect(),
        nodes: membership.nodes().map(|(node, ())| node.0).collect(),
    }
}

pub(crate) fn to_membership(membership: &wire::RaftMembership) -> Result<Membership, Malformed> {
    let set = |nodes: &[u64]| nodes.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    let configurations =
        membership.configurations.iter().map(|voters| set(&voters.nodes)).collect::<Vec<_>>();
    if configurations.is_empty() && membership.nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configurations, set(&membership.nodes)).map_err(|_| Malformed("membership"))
}

/// `size`, `checksum`, `chunks` and `number` are left to the caller.
pub(crate) fn from_snapshot_meta(meta: &SnapshotMeta) -> wire::RaftSnapshot {
    wire::RaftSnapshot {
        last: meta.last_log_id.as_ref().map(from_log_id),
        membership_at: meta.last_membership.log_id().as_ref().map(from_log_id),
        membership: Some(from_membership(meta.last_membership.membership())),
        ..wire::RaftSnapshot::default()
    }
}

pub(crate) fn to_snapshot_meta(snapshot: &wire::RaftSnapshot) -> Result<SnapshotMeta, Malformed> {
    let membership = snapshot.membership.as_ref().ok_or(Malformed("snapshot.membership"))?;
    let membership_at = to_log_id_or_none(snapshot.membership_at.as_ref())?;
    Ok(SnapshotMeta {
        last_log_id: to_log_id_or_none(snapshot.last.as_ref())?,
        last_membership: StoredMembership::new(membership_at, to_membership(membership)?),
    })
}

pub(crate) fn from_vote_request(request: &VoteRequest) -> wire::RaftVoteRequest {
    wire::RaftVoteRequest {
        vote: Some(from_vote(&request.vote)),
        last: request.last_log_id.as_ref().map(from_log_id),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn to_vote_request(request: &wire::RaftVoteRequest) -> Result<VoteRequest, Malformed> {
    Ok(VoteRequest {
        vote: to_vote(request.vote.as_ref())?,
        last_log_id: to_log_id_or_none(request.last.as_ref())?,
        leadership_transfer: request.leadership_transfer,
    })
}

pub(crate) fn from_vote_response(response: &VoteResponse) -> wire::RaftVoteResponse {
    wire::RaftVoteResponse {
        vote: Some(from_vote(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(from_log_id),
        on_disk: None,
    }
}

pub(crate) fn to_vote_response(response: &wire::RaftVoteResponse) -> Result<VoteResponse, Malformed> {
    Ok(VoteResponse {
        vote: to_vote(response.vote.as_ref())?,
        vote_granted: response.granted,
        last_log_id: to_log_id_or_none(response.last.as_ref())?,
    })
}

pub(crate) fn from_append(request: &AppendRequest) -> wire::RaftAppend {
    let own = &request.vote.leader_id;
    let spared = |log_id: &LogId| sparing(from_log_id(log_id), own);
    let mut runs: Vec<wire::RaftRun> = Vec::new();
    let mut current: Option<LeaderId> = None;
    for entry in &request.entries {
        let leader = *entry.log_id.committed_leader_id();
        if current != Some(leader) {
            let named = (leader != *own).then(|| from_leader(&leader));
            runs.push(wire::RaftRun { leader: named, entries: Vec::new() });
            current = Some(leader);
        }
        if let Some(run) = runs.last_mut() {
            run.entries.push(entry::encode(entry));
        }
    }
    wire::RaftAppend {
        vote: Some(from_vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(spared),
        committed: request.leader_commit.as_ref().map(spared),
        runs,
    }
}

pub(crate) fn to_append(request: wire::RaftAppend) -> Result<AppendRequest, Malformed> {
    let vote = to_vote(request.vote.as_ref())?;
    let named = |log_id: Option<&wire::RaftLogId>| log_id.map(|id| naming(id, &vote.leader_id)).transpose();
    let (previous, leader_commit) = (named(request.previous.as_ref())?, named(request.committed.as_ref())?);
    let mut index = previous.map_or(0, |previous| previous.index() + 1);
    let mut entries: Vec<Entry> = Vec::with_capacity(request.runs.iter().map(|run| run.entries.len()).sum());
    for run in request.runs {
        let leader = run.leader.as_ref().map_or(Ok(vote.leader_id), to_leader)?;
        for bytes in run.entries {
            entries.push(entry::decode(LogId::new(leader, index), bytes)?);
            index += 1;
        }
    }
    Ok(AppendRequest { vote, prev_log_id: previous, entries, leader_commit })
}

/// `leader` is that of the append.
pub(crate) fn from_append_response(response: &AppendResponse, leader: &LeaderId) -> wire::RaftAppended {
    use wire::raft_appended::Outcome;
    let outcome = match response {
        AppendResponse::Success => Outcome::Success(true),
        AppendResponse::PartialSuccess(Some(upto)) => Outcome::Upto(sparing(from_log_id(upto), leader)),
        // Nothing of it: as good as not fitting.
        AppendResponse::PartialSuccess(None) | AppendResponse::Conflict => Outcome::Conflict(true),
        AppendResponse::HigherVote(vote) => Outcome::HigherVote(from_vote(vote)),
    };
    wire::RaftAppended { outcome: Some(outcome), on_disk: None }
}

pub(crate) fn to_append_response(
    response: &wire::RaftAppended,
    leader: &LeaderId,
) -> Result<AppendResponse, Malformed> {
    use wire::raft_appended::Outcome;
    Ok(match response.outcome.as_ref().ok_or(Malformed("appended.outcome"))? {
        Outcome::Success(_) => AppendResponse::Success,
        Outcome::Upto(upto) => AppendResponse::PartialSuccess(Some(naming(upto, leader)?)),
        Outcome::Conflict(_) => AppendResponse::Conflict,
        Outcome::HigherVote(vote) => AppendResponse::HigherVote(to_vote(Some(vote))?),
    })
}

pub(crate) fn from_transfer(request: &TransferRequest) -> wire::RaftTransfer {
    wire::RaftTransfer {
        from: Some(from_vote(request.from_leader())),
        to: request.to_node_id().0,
        last: request.last_log_id().map(from_log_id),
    }
}

pub(crate) fn to_transfer(request: &wire::RaftTransfer) -> Result<TransferRequest, Malformed> {
    let from = to_vote(request.from.as_ref())?;
    Ok(TransferRequest::new(from, NodeId(request.to), to_log_id_or_none(request.last.as_ref())?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use trunkline_types::limits::PEER_NUMBER_MAX;

    use super::*;

    fn leaders() -> impl Strategy<Value = LeaderId> {
        (0u64..5, 1u64..4).prop_map(|(term, node)| LeaderId { term, node_id: NodeId(node) })
    }

    fn log_ids() -> impl Strategy<Value = LogId> {
        (leaders(), 0u64..1000).prop_map(|(leader, index)| LogId::new(leader, index))
    }

    fn votes() -> impl Strategy<Value = Vote> {
        (leaders(), any::<bool>()).prop_map(|(leader_id, committed)| Vote { leader_id, committed })
    }

    proptest! {
        #[test]
        fn an_append_survives_the_wire(
            vote in votes(), previous in prop::option::of(log_ids()), committed in prop::option::of(log_ids()),
            contents in prop::collection::vec((leaders(), prop::collection::vec(any::<u8>(), 0..20)), 0..20),
        ) {
            let first = previous.map_or(0, |previous| previous.index() + 1);
            let entry = |(index, (leader, content)): (u64, (LeaderId, Vec<u8>))| {
                let payload = crate::raft::EntryPayload::Normal(entry::command(&content));
                Entry { log_id: LogId::new(leader, index), payload }
            };
            let entries = (first..).zip(contents).map(entry).collect();
            let request = AppendRequest { vote, prev_log_id: previous, entries, leader_commit: committed };
            let back = to_append(from_append(&request)).unwrap();
            prop_assert_eq!(back.vote, request.vote);
            prop_assert_eq!(back.prev_log_id, request.prev_log_id);
            prop_assert_eq!(back.leader_commit, request.leader_commit);
            prop_assert_eq!(back.entries, request.entries);
        }

        #[test]
        fn votes_and_their_answers_survive_the_wire(
            vote in votes(), last in prop::option::of(log_ids()), flag in any::<bool>(), to in any::<u64>(),
        ) {
            let request = VoteRequest { vote, last_log_id: last, leadership_transfer: flag };
            prop_assert_eq!(to_vote_request(&from_vote_request(&request)), Ok(request));
            let response = VoteResponse { vote, vote_granted: flag, last_log_id: last };
            prop_assert_eq!(to_vote_response(&from_vote_response(&response)), Ok(response));
            let transfer = TransferRequest::new(vote, NodeId(to), last);
            prop_assert_eq!(to_transfer(&from_transfer(&transfer)), Ok(transfer));
        }
    }

    /// What replication costs beside the entries: paid per append and follower, so a reason to make few of them.
    #[test]
    fn an_append_costs_less_than_50_bytes_beside_its_entries() {
        let leader = LeaderId { term: 100, node_id: NodeId(u64::MAX) };
        let at = |index| LogId::new(leader, index);
        let payload = crate::raft::EntryPayload::Normal(entry::command(&[7; 30]));
        let request = AppendRequest {
            vote: Vote { leader_id: leader, committed: true },
            prev_log_id: Some(at(100_000_000)),
            entries: vec![Entry { log_id: at(100_000_001), payload }],
            leader_commit: Some(at(100_000_000)),
        };
        let bytes = from_append(&request).encoded_len() - 30;
        assert!(bytes < 50, "{bytes}");
    }

    #[test]
    fn a_number_that_nobody_can_have_counted_to_is_refused() {
        let leader = |term| Some(wire::RaftLeader { term, node: 1 });
        let vote = |term| Some(wire::RaftVote { leader: leader(term), committed: true });
        let at = |term, index| wire::RaftLogId { leader: leader(term), index };
        let append = |previous| {
            let run = wire::RaftRun { leader: leader(1), entries: vec![bytes::Bytes::from_static(&[0]); 2] };
            wire::RaftAppend { vote: vote(1), previous: Some(previous), committed: None, runs: vec![run] }
        };
        let max = PEER_NUMBER_MAX;
        assert!(to_append(append(at(1, max))).is_ok());
        for index in [max + 1, u64::MAX] {
            assert_eq!(to_append(append(at(1, index))).err(), Some(Malformed("log_id.index")), "{index}");
            assert_eq!(to_log_id(&at(index, 1)), Err(Malformed("leader.term")), "{index}");
            assert_eq!(to_vote(vote(index).as_ref()), Err(Malformed("leader.term")), "{index}");
        }
    }

    #[test]
    fn what_a_message_lacks_is_named() {
        assert_eq!(to_vote(None), Err(Malformed("vote")));
        assert_eq!(to_vote(Some(&wire::RaftVote::default())), Err(Malformed("vote.leader")));
        let leader = LeaderId { term: 1, node_id: NodeId(1) };
        let empty = wire::RaftAppended::default();
        assert_eq!(to_append_response(&empty, &leader), Err(Malformed("appended.outcome")));
    }
}
