//! When a follower is told of a commit alone.
//!
//! openraft sends a follower an append for its entries, and another without any once they are committed, a round trip
//! later. While entries keep coming the next ones say it too, a few milliseconds on: then the append without any is
//! not sent. Safe, because it asks nothing of the follower and nothing is said to openraft in the follower's name; what
//! is held back is superseded by an append that says as much and more, or sent after all.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::raft::AppendRequest;

/// Entries that come at ticks come within so much of one another.
const NEXT_WITHIN: Duration = Duration::from_millis(10);

/// Of one stream of appends.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// When the last entries went.
    entries_at: Option<Instant>,
    held: Option<(AppendRequest, Pin<Box<Sleep>>)>,
}

impl Commits {
    /// The next request; returned if it is to be sent now.
    pub(super) fn take(&mut self, request: AppendRequest) -> Option<AppendRequest> {
        let now = Instant::now();
        if !request.entries.is_empty() {
            self.entries_at = Some(now);
            self.held = None;
            return Some(request);
        }
        let until = self.entries_at.map(|at| at + NEXT_WITHIN).filter(|until| now < *until);
        let Some(until) = until else {
            self.held = None;
            return Some(request);
        };
        match &mut self.held {
            Some((held, _)) => *held = request,
            None => self.held = Some((request, Box::pin(sleep_until(until)))),
        }
        None
    }

    /// What was held back, once no entries have come.
    pub(super) fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<AppendRequest> {
        let Some((_, due)) = &mut self.held else { return Poll::Pending };
        match due.as_mut().poll(context) {
            Poll::Ready(()) => self.rest().map_or(Poll::Pending, Poll::Ready),
            Poll::Pending => Poll::Pending,
        }
    }

    /// What is held back.
    pub(super) fn rest(&mut self) -> Option<AppendRequest> {
        self.held.take().map(|(held, _)| held)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt as _;
    use tokio::time::{advance, timeout};
    use trunkline_types::NodeId;

    use super::*;
    use crate::entry;
    use crate::raft::{Entry, EntryPayload, LeaderId, LogId, Vote};

    fn request(previous: u64, entries: u64, committed: u64) -> AppendRequest {
        let leader = LeaderId { term: 1, node_id: NodeId(1) };
        let at = |index| LogId::new(leader, index);
        let entry = |index| Entry { log_id: at(index), payload: EntryPayload::Normal(entry::command(&[7])) };
        AppendRequest {
            vote: Vote { leader_id: leader, committed: true },
            prev_log_id: Some(at(previous)),
            entries: (previous + 1..=previous + entries).map(entry).collect(),
            leader_commit: Some(at(committed)),
        }
    }

    fn committed(request: Option<&AppendRequest>) -> Option<u64> {
        Some(request?.leader_commit?.index())
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_goes_with_the_next_entries_where_entries_keep_coming() {
        let mut commits = Commits::default();
        assert_eq!(committed(commits.take(request(4, 0, 4)).as_ref()), Some(4), "none have come");
        assert!(commits.take(request(4, 1, 4)).is_some());
        advance(NEXT_WITHIN / 2).await;
        assert!(commits.take(request(5, 0, 5)).is_none());
        assert_eq!(committed(commits.take(request(5, 1, 5)).as_ref()), Some(5));
        assert!(commits.rest().is_none(), "it was said");
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_goes_alone_once_no_entries_have_come_for_a_while() {
        let mut commits = Commits::default();
        assert!(commits.take(request(4, 2, 4)).is_some());
        let sent = Instant::now();
        advance(NEXT_WITHIN / 4).await;
        assert!(commits.take(request(6, 0, 5)).is_none());
        assert!(commits.take(request(6, 0, 6)).is_none());
        assert!(poll_fn(|context| commits.poll_due(context)).now_or_never().is_none());
        let due = timeout(NEXT_WITHIN, poll_fn(|context| commits.poll_due(context))).await;
        assert_eq!(committed(due.as_ref().ok()), Some(6), "the newest");
        assert_eq!(sent.elapsed(), NEXT_WITHIN, "counted from the entries, not from the commit");
        assert_eq!(committed(commits.take(request(6, 0, 6)).as_ref()), Some(6), "at once");
    }
}
