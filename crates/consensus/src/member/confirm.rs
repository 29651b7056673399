//! Read index: an index at or above everything that was committed before, from the leader; then waiting for it here.

use tokio::time::Instant;
use trunkline_ports::ProposeError;
use trunkline_types::NodeId;
use trunkline_wire::internal::raft_confirmed::Outcome;
use trunkline_wire::internal::raft_frame::Body;
use trunkline_wire::internal::{RaftConfirm, RaftConfirmed, RaftLeaderHint};

use super::Member;
use super::propose::{HOPS, wait_ms};
use super::route::{Route, Way};
use crate::raft::ReadPolicy;

impl Member {
    pub(crate) async fn confirm(&self, deadline: Instant) -> Result<u64, ProposeError> {
        let index = self.read_index(deadline).await?;
        let mut applied = self.applied.clone();
        tokio::select! {
            biased;
            applied = applied.wait_for(|&applied| applied >= index) => match applied {
                Ok(applied) => Ok(*applied),
                Err(_) => Err(ProposeError::ShuttingDown),
            },
            () = self.deaf() => Err(ProposeError::NoQuorum(self.id)),
            () = tokio::time::sleep_until(deadline) => Err(ProposeError::NoQuorum(self.id)),
        }
    }

    /// Resolves when this voter hears of no leader, be there one that others hear: what is committed does not come here
    /// either, and whoever asks does better to ask another. An election is waited for.
    async fn deaf(&self) {
        let mut leadership = self.leadership.clone();
        loop {
            let is_deaf = leadership.borrow_and_update().leader.is_none();
            tokio::select! {
                biased;
                changed = leadership.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
                () = tokio::time::sleep(self.timing.election_max), if is_deaf => return,
            }
        }
    }

    /// Asking changes nothing, so it is tried until the deadline.
    async fn read_index(&self, deadline: Instant) -> Result<u64, ProposeError> {
        let mut leadership = self.leadership.clone();
        for attempts in 0.. {
            if self.stopped.is_cancelled() {
                return Err(ProposeError::ShuttingDown);
            }
            leadership.mark_unchanged();
            if let Some(index) = self.ask(Way { hops: HOPS, attempts }, deadline).await {
                return Ok(index);
            }
            if !self.pause(&mut leadership, deadline).await {
                break;
            }
        }
        Err(ProposeError::NoQuorum(self.id))
    }

    pub(crate) async fn confirm_for_peer(&self, hops: u32, deadline: Instant) -> RaftConfirmed {
        let outcome = match self.ask(Way { hops, attempts: 0 }, deadline).await {
            Some(index) => Outcome::Index(index),
            None => Outcome::NotLeader(RaftLeaderHint { leader: self.leader().map_or(0, |leader| leader.0) }),
        };
        RaftConfirmed { outcome: Some(outcome) }
    }

    async fn ask(&self, way: Way, deadline: Instant) -> Option<u64> {
        match self.route(way) {
            Route::Here => self.ask_here(deadline).await,
            Route::To(voter) => self.ask_at(voter, way.hops - 1, deadline).await,
            Route::Nowhere => None,
        }
    }

    /// No lease is trusted: a quorum is heard first.
    async fn ask_here(&self, deadline: Instant) -> Option<u64> {
        let until = deadline.min(Instant::now() + 2 * self.timing.election_max);
        let asked = self.raft.get_read_linearizer(ReadPolicy::ReadIndex);
        let linearizer = tokio::time::timeout_at(until, asked).await.ok()?.ok()?;
        Some(linearizer.read_log_id().index())
    }

    async fn ask_at(&self, peer: NodeId, hops: u32, deadline: Instant) -> Option<u64> {
        let request = RaftConfirm { hops, wait_ms: wait_ms(deadline) };
        let answer = self.peers.link(peer).submit(self.id, Body::Confirm(request));
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(Ok(Body::Confirmed(RaftConfirmed { outcome: Some(Outcome::Index(index)) })))) => {
                Some(index)
            }
            _ => None,
        }
    }
}
