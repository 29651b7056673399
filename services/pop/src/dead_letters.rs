//! Messages that nobody could process, on their way to another topic.
//!
//! A letter is pushed as any message is, to the bucket's coordinator, but under a producer id and sequence that follow from
//! the subscription and the message's ID: whoever repeats the push, be it another dispatcher, repeats the same one.
//! It counts as moved when it has its ID, for then it is as safe as it was where it came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use trunkline_delivery::position::Counts;
use trunkline_ports::CallOptions;
use trunkline_types::limits::SILENCE_MAX;
use trunkline_types::{TopicId, TopicName, checksum, hash64};
use trunkline_wire::internal::store_service::APPEND;
use trunkline_wire::internal::{AppendRecord, AppendRequest, Record, RecordBody, appended};
use trunkline_wire::status::from_message;
use trunkline_wire::{Message, Status, v1};

use crate::error;
use crate::memory::Held;
use crate::nearest::{Candidate, Nearest};
use crate::positions::Key;
use crate::topics::Topics;

/// Message IDs that share a producer id: so many that one which moves every other of them has no more gaps than a producer
/// may have.
const IDS_PER_PRODUCER: u64 = 2_048;

/// One message to be moved.
pub(crate) struct Letter {
    pub(crate) to: TopicName,
    pub(crate) key: Key,
    pub(crate) topic: TopicName,
    pub(crate) instance: u64,
    pub(crate) id: u64,
    pub(crate) counts: Counts,
    pub(crate) message: Held,
}

pub(crate) struct DeadLetters {
    nearest: Nearest,
    topics: Arc<Topics>,
}

impl DeadLetters {
    pub(crate) fn new(nearest: Nearest, topics: Arc<Topics>) -> Arc<Self> {
        Arc::new(Self { nearest, topics })
    }

    /// Resolves when it has its ID in the dead letter topic. After an error it may have it yet.
    pub(crate) async fn push(&self, letter: &Letter, deadline: Instant) -> Result<(), Status> {
        let topic = match self.topics.resolve(&letter.to, deadline).await? {
            Some(topic) => topic,
            None => self.topics.create(&letter.to, deadline).await?.0,
        };
        let record = self.record(letter, topic);
        let mut failed = error::no_answer();
        // As for a push: local replicas by rank; others only when none of them takes it.
        for store in self.nearest.stores(topic.bucket()).iter() {
            match timeout_at(deadline, self.append(store, record.clone(), deadline)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => failed = error,
                Err(_) => return Err(failed),
            }
        }
        // Perhaps the topic is not what it was.
        self.topics.forget(&letter.to);
        Err(failed)
    }

    async fn append(&self, to: &Candidate, record: Record, deadline: Instant) -> Result<(), Status> {
        let host = self.nearest.host();
        let opening = host.network.open(&to.peer, APPEND, CallOptions::default());
        let reached = timeout_at(deadline.min(Instant::now() + SILENCE_MAX), opening).await;
        let (sender, mut answers) = reached.map_err(|_| error::no_answer())??;
        let patience = deadline.saturating_duration_since(Instant::now()).as_millis();
        let append = AppendRecord {
            tag: 1,
            record: Some(record),
            level: v1::AckLevel::Ordered.into(),
            patience_ms: u32::try_from(patience).unwrap_or(u32::MAX),
            traceparent: String::new(),
        };
        let request = AppendRequest { hello: Some(host.envelope()), records: vec![append] };
        sender.send(&request).await.map_err(|_| error::no_answer())?;
        while let Some(answer) = answers.next().await? {
            for result in answer.results {
                match result.what {
                    Some(appended::What::Ordered(ordered)) if ordered.message_id == 0 => {
                        return Err(trunkline_wire::status::not_found("the dead letter topic is deleted"));
                    }
                    // It, or the same one before it, has its ID.
                    Some(appended::What::Ordered(_) | appended::What::Duplicate(_)) => return Ok(()),
                    Some(appended::What::Refused(why) | appended::What::Failed(why)) => {
                        return Err(from_message(&why));
                    }
                    _ => {}
                }
            }
        }
        Err(error::no_answer())
    }

    fn record(&self, letter: &Letter, topic: TopicId) -> Record {
        let message = letter.message.received().message.clone().unwrap_or_default();
        let mut attributes = message.attributes;
        attributes.extend(why(letter));
        let body = RecordBody {
            payload: message.payload,
            key: message.key,
            attributes,
            push_time_ms: self.nearest.host().process.wall_clock_ms(),
        };
        let body: bytes::Bytes = body.encode_to_vec().into();
        let (producer_id, producer_sequence) = producer(letter);
        let checksum = checksum(&body);
        Record { topic_id: topic.0, checksum, body, producer_id: producer_id.into(), producer_sequence }
    }
}

/// Producer id and sequence: those of this message of this subscription, and of no other.
fn producer(letter: &Letter) -> (Vec<u8>, u64) {
    let block = letter.id / IDS_PER_PRODUCER;
    let consumer = letter.key.consumer.as_str();
    let half = |half: u8| {
        let name = format!("dead letters {half} {} {consumer} {} {block}", letter.key.topic, letter.instance);
        hash64(name.as_bytes()).to_be_bytes()
    };
    ([half(0), half(1)].concat(), letter.id % IDS_PER_PRODUCER + 1)
}

fn why(letter: &Letter) -> BTreeMap<String, String> {
    let Counts { deliveries, nacks } = letter.counts;
    let attributes = [
        ("reason", if nacks > 0 { "nack" } else { "deadline" }.to_owned()),
        ("attempts", deliveries.to_string()),
        ("topic", letter.topic.as_str().to_owned()),
        ("message-id", letter.id.to_string()),
        ("consumer", letter.key.consumer.as_str().to_owned()),
    ];
    attributes.into_iter().map(|(name, value)| (format!("trunkline-dead-letter-{name}"), value)).collect()
}
