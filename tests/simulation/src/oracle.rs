//! What clients were told, and what was on the simulated disks when they were told it.
//!
//! Only what a client has seen counts as seen; a call that timed out, or failed without saying that nothing was stored,
//! is unknown: its message may appear or not. The checks (`check`) look at this record and at nothing else.

mod disks;
mod record;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trunkline_wire::Status;
use trunkline_wire::status::{is_not_stored, reason_of};
use trunkline_wire::v1::{AckLevel, PushResult, ReceiptState, ReceivedMessage};

pub use disks::{Copies, Disks};
pub use record::{
    Acked, Deployment, Era, Fault, Message, Name, Outcome, Position, Push, Record, Replayed, ResolvedReceipt,
    Settled, Sighting, Subscription,
};

use crate::simulation::World;

/// Payloads begin with their message's number, in so many digits.
const DIGITS: usize = 10;

/// Writes the record. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Oracle {
    world: World,
    disks: Disks,
    record: Arc<Mutex<Record>>,
}

/// A push that is under way, of one message.
#[derive(Clone, Debug)]
pub struct Sending {
    pub datacenter: usize,
    pub topic: usize,
    pub publisher: String,
    pub stream: Option<u64>,
    pub level: AckLevel,
}

impl Oracle {
    pub fn new(world: &World, deployment: Deployment, disks: Disks) -> Self {
        Self { world: world.clone(), disks, record: Arc::new(Mutex::new(Record::new(deployment))) }
    }

    pub fn now(&self) -> Duration {
        self.world.network.elapsed()
    }

    /// What was seen so far.
    pub fn with<T>(&self, look: impl FnOnce(&mut Record) -> T) -> T {
        look(&mut self.record())
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A push begins: the message's number.
    pub fn sends(&self, sending: &Sending) -> Message {
        let mut record = self.record();
        let number = record.pushes.len() as u64;
        record.pushes.push(Push {
            topic: sending.topic,
            datacenter: sending.datacenter,
            publisher: sending.publisher.clone(),
            stream: sending.stream,
            level: sending.level,
            sent: self.now(),
            ended: None,
            outcome: Outcome::Waiting,
        });
        Message(number)
    }

    /// What a push server has said of one message.
    pub fn answered(&self, message: Message, result: &PushResult) {
        let reached =
            if result.error.is_some() { result.reached() } else { AckLevel::None.max(result.reached()) };
        let id = (result.message_id != 0).then_some(result.message_id);
        let outcome = match &result.error {
            Some(error) if reached < AckLevel::Local => failure(&trunkline_wire::status::from_message(error)),
            _ => Outcome::Acked(Acked {
                reached,
                id,
                receipt: result.receipt.clone(),
                copies: self.disks.copies(message),
            }),
        };
        let topic = self.end(message, outcome);
        if let Some(id) = id {
            self.sees(topic, id, message, "an answer");
        }
    }

    /// A push failed as a whole, or nobody will hear of it any more.
    pub fn failed(&self, message: Message, status: &Status) {
        self.end(message, failure(status));
    }

    fn end(&self, message: Message, outcome: Outcome) -> usize {
        let now = self.now();
        let mut record = self.record();
        let push = record.push_mut(message);
        (push.ended, push.outcome) = (Some(now), outcome);
        let line = format!("{} {message} to {}: {}", push.publisher, push.topic, push.outcome);
        let topic = push.topic;
        drop(record);
        self.world.tell(line);
        topic
    }

    /// A client has seen a message under an ID.
    pub fn sees(&self, topic: usize, id: u64, message: Message, by: &str) {
        let mut record = self.record();
        let seen = record.named.entry(Name { topic, id }).or_default();
        if seen.iter().all(|sighting| sighting.message != message) {
            let (at, copies) = (self.now(), self.disks.copies(message));
            seen.push(Sighting { message, at, by: by.to_owned(), copies });
        }
    }

    /// The same, as it is in a response of Pop or Read.
    pub fn receives(&self, topic: usize, received: &ReceivedMessage, by: &str) {
        let payload = received.message.as_ref().map(|message| &message.payload[..]).unwrap_or_default();
        match number_of(payload) {
            Some(message) => self.sees(topic, received.message_id, message, by),
            None => self.record().foreign.push(format!("topic {topic}, ID {}: {by}", received.message_id)),
        }
    }

    pub fn resolved(&self, message: Message, state: ReceiptState, id: u64, at: usize) {
        self.record().receipts.push(ResolvedReceipt { message, state, id, datacenter: at });
    }

    pub fn disks(&self) -> &Disks {
        &self.disks
    }
}

fn failure(status: &Status) -> Outcome {
    let why = format!("{:?} {}", status.code(), reason_of(status).unwrap_or_default());
    if is_not_stored(status) { Outcome::Refused(why) } else { Outcome::Unknown(why) }
}

/// A payload of at least so many bytes that names its message.
pub fn payload(message: Message, bytes: usize) -> Vec<u8> {
    let mut payload = format!("{:0DIGITS$} ", message.0).into_bytes();
    payload.resize(bytes.max(payload.len()), filler(message));
    payload
}

/// What fills a message's payload.
fn filler(message: Message) -> u8 {
    u8::try_from(message.0 % 251).unwrap_or(0)
}

/// The message that a payload belongs to, if it is whole.
pub fn number_of(body: &[u8]) -> Option<Message> {
    let (digits, rest) = body.split_at_checked(DIGITS)?;
    let (b' ', rest) = rest.split_first()? else { return None };
    let number = digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))?;
    let filler = [filler(Message(number)); 256];
    rest.chunks(filler.len()).all(|part| part == &filler[..part.len()]).then_some(Message(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_its_message_and_shows_any_change() {
        let mut body = payload(Message(77), 40);
        assert_eq!((number_of(&body), body.len()), (Some(Message(77)), 40));
        body[30] ^= 1;
        assert_eq!(number_of(&body), None);
        for other in [&b"other"[..], b"0000000077", b"+000000077 ", b"0000000077x"] {
            assert_eq!(number_of(other), None);
        }
    }
}
