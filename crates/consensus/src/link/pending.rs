//! Requests that were sent and not answered.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use trunkline_wire::internal::RaftFrame;

use super::{Answer, NoAnswer};

/// By the number that the answer will repeat. Abandoned ones are forgotten when new ones come.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    swept_at: u64,
}

/// New requests between two looks for abandoned ones.
const SWEEP_EVERY: u64 = 1_024;

impl Pending {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a number for a request that is about to be sent.
    pub(crate) fn register(&self, answer: oneshot::Sender<Answer>) -> u64 {
        let mut inner = self.inner();
        inner.next += 1;
        let number = inner.next;
        if number - inner.swept_at >= SWEEP_EVERY {
            inner.swept_at = number;
            inner.waiting.retain(|_, answer| !answer.is_closed());
        }
        inner.waiting.insert(number, answer);
        number
    }

    pub(crate) fn answer(&self, frame: RaftFrame) {
        let waiting = self.inner().waiting.remove(&frame.id);
        if let (Some(waiting), Some(body)) = (waiting, frame.body) {
            drop(waiting.send(Ok(body)));
        }
    }

    /// The connection is gone.
    pub(crate) fn lose_all(&self) {
        let waiting = std::mem::take(&mut self.inner().waiting);
        for answer in waiting.into_values() {
            drop(answer.send(Err(NoAnswer::Lost)));
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_wire::internal::RaftRefused;
    use trunkline_wire::internal::raft_frame::Body;

    use super::*;

    #[test]
    fn an_answer_goes_to_its_request_and_a_lost_connection_to_all_others() {
        let pending = Pending::default();
        let (first, mut first_answer) = oneshot::channel();
        let (second, mut second_answer) = oneshot::channel();
        pending.register(first);
        let id = pending.register(second);
        let body = Some(Body::Refused(RaftRefused {}));
        pending.answer(RaftFrame { id, group: 0, body: body.clone() });
        pending.answer(RaftFrame { id, group: 0, body });
        pending.lose_all();
        assert_eq!(first_answer.try_recv(), Ok(Err(NoAnswer::Lost)));
        assert_eq!(second_answer.try_recv(), Ok(Ok(Body::Refused(RaftRefused {}))));
    }

    #[test]
    fn requests_that_nobody_waits_for_do_not_pile_up() {
        let pending = Pending::default();
        for _ in 0..10 * SWEEP_EVERY {
            pending.register(oneshot::channel().0);
        }
        assert!(pending.inner().waiting.len() as u64 <= SWEEP_EVERY);
    }
}
