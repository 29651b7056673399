//! Makes the first members of a group, once.
//!
//! A group is initialized by its first-ranked voter, and never while another may know it: a voter that lost its memory
//! would begin a second history. So it asks the others first, and goes on only when so many of them have answered "no"
//! that every quorum of the group has one of them in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use trunkline_ports::{CallOptions, Class, Peer};
use trunkline_types::{Node, NodeId};
use trunkline_wire::internal::RaftKnowsRequest;
use trunkline_wire::internal::raft_service::KNOWS;

use super::Member;
use crate::backoff::backoff;
use crate::raft::{InitializeError, RaftError};

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// What the other voters say of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// One has it: it exists, and its leader will find this voter.
    BySomeone,
    /// Every quorum has a voter in it that has not: nothing is committed.
    ByNobody,
    TooFewAnswer,
}

impl Known {
    /// From what the other voters answer: `None` where one does not.
    fn from_answers(answers: &[Option<bool>]) -> Self {
        if answers.contains(&Some(true)) {
            return Self::BySomeone;
        }
        let voters = answers.len() + 1;
        let needed = voters.div_ceil(2).min(answers.len());
        let have_not = answers.iter().filter(|answer| **answer == Some(false)).count();
        if have_not >= needed { Self::ByNobody } else { Self::TooFewAnswer }
    }
}

impl Member {
    /// Whether the group has members, by this voter's log.
    pub(crate) fn is_initialized(&self) -> bool {
        !self.log.is_pristine()
    }

    /// Runs until the group has members, as far as this voter is the one to see to it.
    pub(crate) async fn keep_initializing(self: Arc<Self>) {
        let mut attempts = 0_u32;
        while !self.is_initialized() {
            let map = self.host.map();
            let voters = trunkline_placement::voters(&map, self.id);
            if voters.first().is_some_and(|first| first.id == self.me) {
                match self.ask_others(&voters).await {
                    Known::BySomeone => return,
                    Known::ByNobody => self.initialize(&voters).await,
                    Known::TooFewAnswer => {}
                }
            }
            let pause = backoff(&self.host.process, BACKOFF_FIRST, BACKOFF_MAX, attempts);
            attempts = attempts.saturating_add(1);
            tokio::select! {
                biased;
                () = self.stopped.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn ask_others(&self, voters: &[&Node]) -> Known {
        let others = voters.iter().filter(|voter| voter.id != self.me);
        Known::from_answers(&join_all(others.map(|voter| self.ask_whether_it_knows(voter))).await)
    }

    async fn ask_whether_it_knows(&self, voter: &Node) -> Option<bool> {
        let request = RaftKnowsRequest { envelope: Some(self.host.envelope()), group: self.id.to_u32() };
        let to = Peer::new(voter.address.as_str(), Class::Consensus);
        let options = CallOptions::until(Instant::now() + ASK_TIMEOUT);
        let answer = self.host.network.call(&to, KNOWS, &request, options).await;
        answer.ok().map(|answer| answer.initialized)
    }

    async fn initialize(&self, voters: &[&Node]) {
        let ids: BTreeSet<NodeId> = voters.iter().map(|voter| voter.id).collect();
        match self.raft.initialize(ids).await {
            Ok(()) => tracing::info!(group = %self.id, "initialized"),
            // Its leader was faster than the answers.
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) if self.stopped.is_cancelled() => {
                tracing::debug!(group = %self.id, %error, "has stopped")
            }
            Err(error) => tracing::warn!(group = %self.id, %error, "not initialized, trying again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES: Option<bool> = Some(true);
    const NO: Option<bool> = Some(false);

    #[test]
    fn a_group_is_new_once_every_quorum_has_a_voter_in_it_that_says_so() {
        let table: &[(&[Option<bool>], Known)] = &[
            (&[], Known::ByNobody),
            (&[None], Known::TooFewAnswer),
            (&[NO], Known::ByNobody),
            (&[YES], Known::BySomeone),
            (&[NO, None], Known::TooFewAnswer),
            (&[NO, NO], Known::ByNobody),
            (&[None, YES], Known::BySomeone),
            (&[NO, None, None], Known::TooFewAnswer),
            (&[NO, NO, None], Known::ByNobody),
            (&[NO, NO, None, None], Known::TooFewAnswer),
            (&[NO, NO, NO, None], Known::ByNobody),
            (&[NO, NO, NO, YES], Known::BySomeone),
        ];
        for (answers, expected) in table {
            assert_eq!(Known::from_answers(answers), *expected, "{answers:?}");
        }
    }
}
