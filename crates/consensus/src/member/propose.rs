//! A proposal's way to its commit: here if this voter leads, else over the link to the leader or to a voter that reaches
//! it. Tried again only while it is certain that nothing was proposed.

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_ports::{Committed, ProposeError};
use trunkline_types::NodeId;
use trunkline_wire::internal::raft_frame::Body;
use trunkline_wire::internal::raft_proposed::Outcome;
use trunkline_wire::internal::{RaftCommitted, RaftLeaderHint, RaftProposal, RaftProposed};

use super::Member;
use super::route::{Route, Way, route};
use crate::entry;
use crate::link::NoAnswer;
use crate::raft::{ClientWriteError, RaftError};

/// How often a proposal may be handed on: to a voter in a third datacenter, and by that to the leader.
pub(super) const HOPS: u32 = 2;

/// One attempt's end.
enum Attempt {
    Committed(Committed),
    /// Certainly not proposed: another attempt may succeed.
    NotProposed,
    /// Certainly not proposed, and not to be tried again now.
    Overloaded,
    Unknown,
}

impl Member {
    pub(crate) async fn propose(&self, entry: Bytes, deadline: Instant) -> Result<Committed, ProposeError> {
        if entry.len() > super::ENTRY_BYTES_MAX {
            return Err(ProposeError::Overloaded(self.id));
        }
        let permits = u32::try_from(entry.len() / super::PERMIT_BYTES + 1).unwrap_or(u32::MAX);
        let Ok(_permit) = self.admission.try_acquire_many(permits) else {
            return Err(ProposeError::Overloaded(self.id));
        };
        self.counters.proposed();
        let mut leadership = self.leadership.clone();
        for attempts in 0.. {
            if self.stopped.is_cancelled() {
                return Err(ProposeError::ShuttingDown);
            }
            leadership.mark_unchanged();
            match self.attempt(&entry, Way { hops: HOPS, attempts }, deadline).await {
                Attempt::Committed(committed) => return Ok(committed),
                Attempt::Unknown => return Err(ProposeError::Unknown(self.id)),
                Attempt::Overloaded => return Err(ProposeError::Overloaded(self.id)),
                Attempt::NotProposed if self.pause(&mut leadership, deadline).await => {}
                Attempt::NotProposed => break,
            }
        }
        Err(ProposeError::NoQuorum(self.id))
    }

    /// A peer's proposal: one attempt, for the peer knows best what to do next.
    pub(crate) async fn propose_for_peer(&self, entry: Bytes, hops: u32, deadline: Instant) -> RaftProposed {
        let hint = || RaftLeaderHint { leader: self.leader().map_or(0, |leader| leader.0) };
        let outcome = match self.attempt(&entry, Way { hops, attempts: 0 }, deadline).await {
            Attempt::Committed(Committed { index, answer }) => {
                Outcome::Committed(RaftCommitted { index, answer })
            }
            Attempt::NotProposed => Outcome::NotLeader(hint()),
            Attempt::Overloaded => Outcome::Overloaded(true),
            Attempt::Unknown => Outcome::Unknown(true),
        };
        RaftProposed { outcome: Some(outcome) }
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.leadership.borrow().leader
    }

    pub(super) fn route(&self, way: Way) -> Route {
        route(self.me, self.leader(), way, || self.other_voters(), |peer| self.peers.is_up(peer))
    }

    async fn attempt(&self, entry: &Bytes, way: Way, deadline: Instant) -> Attempt {
        match self.route(way) {
            Route::Here => self.propose_here(entry, deadline).await,
            Route::To(voter) => self.propose_at(voter, entry, way.hops - 1, deadline).await,
            Route::Nowhere => Attempt::NotProposed,
        }
    }

    async fn propose_here(&self, entry: &[u8], deadline: Instant) -> Attempt {
        let written = self.raft.client_write(entry::command(entry));
        match tokio::time::timeout_at(deadline, written).await {
            Ok(Ok(response)) => {
                Attempt::Committed(Committed { index: response.log_id.index(), answer: response.data })
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Attempt::NotProposed,
            Ok(Err(RaftError::APIError(_) | RaftError::Fatal(_))) | Err(_) => Attempt::Unknown,
        }
    }

    async fn propose_at(&self, peer: NodeId, entry: &Bytes, hops: u32, deadline: Instant) -> Attempt {
        let proposal = RaftProposal { entry: entry.clone(), hops, wait_ms: wait_ms(deadline) };
        let answer = self.peers.link(peer).submit(self.id, Body::Propose(proposal));
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(Ok(Body::Proposed(RaftProposed { outcome: Some(outcome) })))) => match outcome {
                Outcome::Committed(RaftCommitted { index, answer }) => {
                    Attempt::Committed(Committed { index, answer })
                }
                Outcome::NotLeader(_) => Attempt::NotProposed,
                Outcome::Overloaded(_) => Attempt::Overloaded,
                Outcome::Unknown(_) => Attempt::Unknown,
            },
            Ok(Ok(Ok(Body::Refused(_)) | Err(NoAnswer::NotSent))) => Attempt::NotProposed,
            Ok(Ok(Ok(_) | Err(NoAnswer::Lost)) | Err(_)) | Err(_) => Attempt::Unknown,
        }
    }
}

pub(super) fn wait_ms(deadline: Instant) -> u32 {
    let left = deadline.saturating_duration_since(Instant::now());
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX)
}
