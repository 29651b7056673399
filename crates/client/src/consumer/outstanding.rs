//! What the program has, and what it has said of it and no server has answered yet.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use trunkline_types::limits::TOKENS_MAX;
use trunkline_wire::Status;
use trunkline_wire::v1::{ConsumeExtension, ConsumeNack, ConsumeRequest};

type Told = oneshot::Sender<Result<(), Status>>;

/// With the program.
#[derive(Debug)]
struct Held {
    bytes: u64,
    since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Outstanding {
    held: BTreeMap<Bytes, Held>,
    held_bytes: u64,
    /// Until it is answered; `true`: on its way in the present stream.
    acks: BTreeMap<Bytes, (Option<Told>, bool)>,
    nacks: Vec<ConsumeNack>,
    renew_at: Option<Instant>,
}

impl Outstanding {
    /// Messages and bytes with the program.
    pub(super) fn held(&self) -> (u64, u64) {
        (self.held.len() as u64, self.held_bytes)
    }

    /// Nobody has anything to say any more, and all is answered.
    pub(super) fn is_settled(&self) -> bool {
        self.held.is_empty() && self.acks.is_empty() && self.nacks.is_empty()
    }

    pub(super) fn take(&mut self, token: Bytes, bytes: u64, now: Instant) {
        self.held_bytes += bytes;
        self.held.insert(token, Held { bytes, since: now });
    }

    pub(super) fn ack(&mut self, token: Bytes, told: Option<Told>) {
        self.release(&token);
        self.acks.insert(token, (told, false));
    }

    pub(super) fn nack(&mut self, token: Bytes, delay: Option<Duration>) {
        self.release(&token);
        self.nacks.push(ConsumeNack { token, delay: delay.and_then(|delay| delay.try_into().ok()) });
    }

    fn release(&mut self, token: &Bytes) {
        if let Some(held) = self.held.remove(token) {
            self.held_bytes -= held.bytes;
        }
    }

    pub(super) fn acked(&mut self, token: &Bytes) {
        self.answer(token, Ok(()));
    }

    /// Of an ack, or of what the server has not got any more.
    pub(super) fn failed(&mut self, token: &Bytes, status: Status, is_final: bool) {
        if is_final {
            self.answer(token, Err(status));
        } else if let Some((_, is_sent)) = self.acks.get_mut(token) {
            *is_sent = false;
        }
    }

    fn answer(&mut self, token: &Bytes, answer: Result<(), Status>) {
        if let Some((Some(told), _)) = self.acks.remove(token) {
            // Nobody may be listening.
            let _ = told.send(answer);
        }
    }

    /// A new stream: what was not answered is said again.
    pub(super) fn begin_again(&mut self) {
        self.acks.values_mut().for_each(|(_, is_sent)| *is_sent = false);
        self.renew_at = None;
    }

    pub(super) fn fail_all(&mut self, status: &Status) {
        let tokens: Vec<Bytes> = self.acks.keys().cloned().collect();
        tokens.iter().for_each(|token| self.answer(token, Err(status.clone())));
    }

    /// What is to be said, as much as one request may carry.
    pub(super) fn say(&mut self) -> Option<ConsumeRequest> {
        let unsent = self.acks.iter_mut().filter(|(_, (_, is_sent))| !is_sent);
        let acks = unsent.take(TOKENS_MAX).map(|(token, (_, is_sent))| {
            *is_sent = true;
            token.clone()
        });
        let acks: Vec<Bytes> = acks.collect();
        let some = self.nacks.len().min(TOKENS_MAX);
        let nacks: Vec<ConsumeNack> = self.nacks.drain(..some).collect();
        let is_nothing = acks.is_empty() && nacks.is_empty();
        (!is_nothing).then(|| ConsumeRequest { acks, nacks, ..ConsumeRequest::default() })
    }

    pub(super) fn renew_at(&self) -> Option<Instant> {
        self.renew_at.filter(|_| !self.held.is_empty())
    }

    /// From now on, everything that is held is renewed so often.
    pub(super) fn renew_after(&mut self, now: Instant, interval: Duration) {
        if self.renew_at.is_none() || self.held.is_empty() {
            self.renew_at = Some(now + interval);
        }
    }

    /// What has been with the program for less than `work_max` gets more time.
    pub(super) fn renew(
        &mut self,
        now: Instant,
        interval: Duration,
        work_max: Duration,
    ) -> Vec<ConsumeRequest> {
        self.renew_at = Some(now + interval);
        let held = self.held.iter().filter(|(_, held)| now.duration_since(held.since) < work_max);
        let extend = |(token, _): (&Bytes, &Held)| ConsumeExtension { token: token.clone(), deadline: None };
        let extensions: Vec<ConsumeExtension> = held.map(extend).collect();
        let request = |extensions: &[ConsumeExtension]| ConsumeRequest {
            extensions: extensions.to_vec(),
            ..ConsumeRequest::default()
        };
        extensions.chunks(TOKENS_MAX).map(request).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_answered_is_said_again_in_the_next_stream() {
        let mut outstanding = Outstanding::default();
        let (now, a, b) = (Instant::now(), Bytes::from_static(b"a"), Bytes::from_static(b"b"));
        outstanding.take(a.clone(), 10, now);
        outstanding.take(b.clone(), 20, now);
        let (told, mut answer) = oneshot::channel();
        outstanding.ack(a.clone(), Some(told));
        assert_eq!(outstanding.held(), (1, 20));
        assert_eq!(outstanding.say().unwrap().acks, [a.clone()]);
        assert_eq!(outstanding.say(), None, "it is on its way");
        outstanding.begin_again();
        assert_eq!(outstanding.say().unwrap().acks, [a.clone()]);
        outstanding.acked(&a);
        assert!(matches!(answer.try_recv(), Ok(Ok(()))));
        outstanding.nack(b, Some(Duration::from_secs(1)));
        assert_eq!(outstanding.say().unwrap().nacks.len(), 1);
        assert!(outstanding.is_settled(), "who gives back waits for no answer");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_program_works_on_is_renewed_until_it_takes_too_long() {
        let mut outstanding = Outstanding::default();
        let (start, every, most) = (Instant::now(), Duration::from_secs(10), Duration::from_secs(25));
        outstanding.renew_after(start, every);
        outstanding.take(Bytes::from_static(b"a"), 1, start);
        for (after, renewed) in [(10, 1), (20, 1), (30, 0)] {
            let now = start + Duration::from_secs(after);
            assert_eq!(outstanding.renew_at(), Some(now));
            assert_eq!(outstanding.renew(now, every, most).len(), renewed, "{after}");
        }
    }
}
