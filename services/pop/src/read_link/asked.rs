//! What is asked of one store and has no answer yet: who waits for it, and what is still to be said.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use trunkline_types::TopicId;
use trunkline_types::limits::{READ_WAITERS_MAX, READS_UNDER_WAY_BYTES_MAX};
use trunkline_wire::Status;
use trunkline_wire::internal::{ReadAnswered, ReadAsked, ReadRequest, ReadsRequest, read_answered};
use trunkline_wire::status;

use super::{Answer, Ask};
use crate::error;

/// Reads of one message.
const READS_PER_MESSAGE_MAX: usize = 1_000;

/// One read of a caller, who is gone when nobody listens any more.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) ask: Ask,
    pub(super) caller: oneshot::Sender<Answer>,
}

#[derive(Debug)]
struct Reading {
    ask: Ask,
    callers: Vec<oneshot::Sender<Answer>>,
    said: bool,
}

/// All of them, by tag. Tags increase over the link's whole life.
#[derive(Debug, Default)]
pub(super) struct Asked {
    readings: BTreeMap<u64, Reading>,
    /// Those that wait for a message: one for each message.
    waits: BTreeMap<(TopicId, u64), u64>,
    last_tag: u64,
    unsaid: Vec<u64>,
    abandoned: Vec<u64>,
    /// One of the unsaid does not wait for a message: it goes at once.
    urgent: bool,
    /// Of answers that have come on this stream; and what of it was told.
    taken_bytes: u64,
    told_bytes: u64,
}

impl Asked {
    pub(super) fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }

    /// Whether there is something to say; and whether at once.
    pub(super) fn due(&self) -> (bool, bool) {
        // The store goes on within its window as soon as it hears of this.
        let window = self.taken_bytes - self.told_bytes >= READS_UNDER_WAY_BYTES_MAX / 4;
        (window || !self.unsaid.is_empty() || !self.abandoned.is_empty(), window || self.urgent)
    }

    pub(super) fn ask(&mut self, Read { ask, caller }: Read) {
        if caller.is_closed() {
            return;
        }
        let key = (ask.topic, ask.from);
        if ask.waits
            && let Some(shared) = self.waits.get(&key).and_then(|tag| self.readings.get_mut(tag))
        {
            shared.callers.retain(|caller| !caller.is_closed());
            return shared.callers.push(caller);
        }
        if self.readings.len() >= READ_WAITERS_MAX {
            self.sweep();
        }
        if self.readings.len() >= READ_WAITERS_MAX {
            let _ = caller.send(Err(error::overloaded("too many reads wait")));
            return;
        }
        self.last_tag += 1;
        self.urgent |= !ask.waits;
        if ask.waits {
            self.waits.insert(key, self.last_tag);
        }
        self.readings.insert(self.last_tag, Reading { ask, callers: vec![caller], said: false });
        self.unsaid.push(self.last_tag);
    }

    /// Forgets what nobody waits for any more.
    pub(super) fn sweep(&mut self) {
        let abandoned = self.readings.extract_if(.., |_, reading| {
            reading.callers.retain(|caller| !caller.is_closed());
            reading.callers.is_empty()
        });
        for (tag, reading) in abandoned.collect::<Vec<_>>() {
            self.abandoned.extend(reading.said.then_some(tag));
            self.no_wait(tag, &reading);
        }
    }

    fn no_wait(&mut self, tag: u64, reading: &Reading) {
        let key = (reading.ask.topic, reading.ask.from);
        if self.waits.get(&key) == Some(&tag) {
            self.waits.remove(&key);
        }
    }

    /// A new stream: everything is to be said again.
    pub(super) fn begin(&mut self) {
        self.unsaid = self.readings.keys().copied().collect();
        self.urgent = !self.unsaid.is_empty();
        self.readings.values_mut().for_each(|reading| reading.said = false);
        self.abandoned.clear();
        (self.taken_bytes, self.told_bytes) = (0, 0);
    }

    /// What is to be said, in one message; what is left over is still due.
    pub(super) fn message(&mut self) -> ReadsRequest {
        let count = self.unsaid.len().min(READS_PER_MESSAGE_MAX);
        let mut asked = Vec::with_capacity(count);
        for tag in self.unsaid.drain(..count) {
            let Some(reading) = self.readings.get_mut(&tag) else { continue };
            reading.said = true;
            asked.push(said(tag, &reading.ask));
        }
        self.urgent &= !self.unsaid.is_empty();
        let count = self.abandoned.len().min(READS_PER_MESSAGE_MAX);
        let abandoned = self.abandoned.drain(..count).collect();
        self.told_bytes = self.taken_bytes;
        ReadsRequest { hello: None, asked, abandoned, taken_bytes: self.taken_bytes }
    }

    pub(super) fn answered(&mut self, answered: ReadAnswered) {
        self.taken_bytes = self.taken_bytes.saturating_add(answered.counted_bytes);
        let Some(reading) = self.readings.remove(&answered.tag) else { return };
        self.no_wait(answered.tag, &reading);
        let answer = match answered.what {
            Some(read_answered::What::Read(found)) => Ok(Arc::new(found)),
            Some(read_answered::What::Failed(failed)) => Err(status::from_message(&failed)),
            None => Err(Status::internal("an answer of a later version")),
        };
        reading.tell(&answer);
    }

    /// Nothing of it will be answered.
    pub(super) fn fail(&mut self, why: &Status) {
        self.waits.clear();
        let failed = Err(why.clone());
        std::mem::take(&mut self.readings).into_values().for_each(|reading| reading.tell(&failed));
        self.begin();
    }
}

impl Reading {
    fn tell(self, answer: &Answer) {
        for caller in self.callers {
            // Who is gone needs no answer.
            let _ = caller.send(answer.clone());
        }
    }
}

fn said(tag: u64, ask: &Ask) -> ReadAsked {
    let read = ReadRequest {
        envelope: None,
        topic_id: ask.topic.0,
        from: ask.from,
        max_messages: ask.messages_max,
        max_bytes: ask.bytes_max,
    };
    ReadAsked {
        tag,
        read: Some(read),
        wait: ask.waits,
        traceparent: ask.traceparent.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use trunkline_types::Bucket;
    use trunkline_wire::internal::ReadResponse;

    use super::*;

    fn read(from: u64, waits: bool) -> (Read, oneshot::Receiver<Answer>) {
        let (caller, answer) = oneshot::channel();
        let topic = TopicId::new(1, Bucket(1));
        let ask = Ask { topic, from, messages_max: 10, bytes_max: 100, waits, traceparent: None };
        (Read { ask, caller }, answer)
    }

    fn tags(message: &ReadsRequest) -> Vec<u64> {
        message.asked.iter().map(|asked| asked.tag).collect()
    }

    fn found(tag: u64, first_id: u64, counted_bytes: u64) -> ReadAnswered {
        let found = ReadResponse { first_id, ..ReadResponse::default() };
        ReadAnswered { tag, counted_bytes, what: Some(read_answered::What::Read(found)) }
    }

    #[test]
    fn who_waits_for_the_same_message_shares_one_wait_and_one_answer() {
        let mut asked = Asked::default();
        let ((one, first), (two, second), (three, third)) = (read(7, true), read(7, true), read(8, true));
        asked.ask(one);
        asked.ask(two);
        asked.ask(three);
        assert_eq!(asked.due(), (true, false), "at the next tick");
        assert_eq!(tags(&asked.message()), [1, 2]);
        let (at_once, fourth) = read(7, false);
        asked.ask(at_once);
        assert_eq!(asked.due(), (true, true), "it waits for no message");
        assert_eq!(tags(&asked.message()), [3]);
        asked.answered(found(1, 7, 0));
        for mut answer in [first, second] {
            assert_eq!(answer.try_recv().unwrap().unwrap().first_id, 7);
        }
        assert_eq!(asked.readings.len(), 2, "those of the other ID, and the one that does not wait");
        let (again, _answer) = read(7, true);
        asked.ask(again);
        assert_eq!(tags(&asked.message()), [4], "the wait before has its answer");
        drop((third, fourth));
    }

    #[test]
    fn what_nobody_waits_for_is_abandoned_and_not_before() {
        let mut asked = Asked::default();
        let ((one, first), (two, second), (three, third)) = (read(7, true), read(7, true), read(8, true));
        [one, two, three].into_iter().for_each(|read| asked.ask(read));
        asked.message();
        drop(first);
        asked.sweep();
        assert_eq!(asked.due(), (false, false), "another one waits for it");
        drop((second, third));
        let (unsaid, gone) = read(9, true);
        asked.ask(unsaid);
        drop(gone);
        asked.sweep();
        let message = asked.message();
        assert_eq!(
            (tags(&message), message.abandoned),
            (vec![], vec![1, 2]),
            "what was not said is not taken back"
        );
        assert!(asked.is_empty() && asked.waits.is_empty());
    }

    #[test]
    fn a_new_stream_is_asked_everything_again_and_begins_its_count_anew() {
        let mut asked = Asked::default();
        let ((one, _first), (two, mut second)) = (read(7, true), read(8, false));
        asked.ask(one);
        asked.ask(two);
        asked.message();
        asked.answered(found(99, 1, READS_UNDER_WAY_BYTES_MAX / 4));
        assert_eq!(asked.due(), (true, true), "the window is told of");
        assert_eq!(asked.message().taken_bytes, READS_UNDER_WAY_BYTES_MAX / 4);
        asked.begin();
        let message = asked.message();
        assert_eq!((tags(&message), message.taken_bytes), (vec![1, 2], 0));
        asked.fail(&Status::unavailable("gone"));
        assert!(second.try_recv().unwrap().is_err());
        assert_eq!((asked.is_empty(), asked.due()), (true, (false, false)));
    }
}
