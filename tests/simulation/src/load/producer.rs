//! Pushes each message of a producer once, and some again: after an error, beside the first or later, through another
//! datacenter, in another order than they are called. Each attempt is a message of its own to the oracle, so that it sees
//! which one got the ID.

use std::sync::Arc;

use futures::future::join;
use trunkline_testkit::Random;
use trunkline_types::{Produced, ProducerId};
use trunkline_wire::convert::from_produced;
use trunkline_wire::v1::{self, AckLevel, PushRequest, push_service};

use super::{AFTER_ERROR, PUSH, Shared};
use crate::oracle::{Sending, payload};
use crate::plan::{self, between, index};

/// Sequences whose order is drawn.
const AT_ONCE: u64 = 4;
/// A message is pushed again so often at most.
const AGAIN_MAX: usize = 3;
const BYTES: usize = 60;

/// A producer id.
pub(super) fn name(random: &Random) -> [u8; 16] {
    let half = || random.below(u64::MAX).to_be_bytes();
    [half(), half()].concat().try_into().expect("two halves")
}

/// A message as its producer calls it.
pub(super) fn named(message: v1::Message, produced: Option<Produced>) -> v1::Message {
    let (producer_id, producer_sequence) = from_produced(produced);
    v1::Message { producer_id, producer_sequence, ..message }
}

struct Producer {
    shared: Arc<Shared>,
    plan: plan::Producer,
    id: ProducerId,
    random: Random,
}

pub(super) async fn run(shared: Arc<Shared>, plan: plan::Producer) {
    let random = shared.random(&plan.name);
    let producer = Producer { id: ProducerId(name(&random)), shared, plan, random };
    let mut next = 1;
    loop {
        let mut block: Vec<u64> = (next..next + AT_ONCE).collect();
        next += AT_ONCE;
        while !block.is_empty() {
            let sequence = block.swap_remove(index(&producer.random, block.len()));
            producer.push(sequence).await;
            if producer.random.one_in(6) {
                // What was pushed long ago, wherever.
                producer.attempt(producer.anywhere(), 1 + producer.random.below(next - 1)).await;
            }
        }
    }
}

impl Producer {
    fn anywhere(&self) -> usize {
        index(&self.random, self.shared.clients.len())
    }

    async fn push(&self, sequence: u64) {
        tokio::time::sleep(self.plan.pace * u32::try_from(between(&self.random, 1, 3)).unwrap_or(1) / 2)
            .await;
        while !self.shared.is_pushing() {
            tokio::time::sleep(AFTER_ERROR).await;
        }
        let home = self.plan.datacenter;
        let mut stored = if self.random.one_in(3) {
            let (here, there) =
                join(self.attempt(home, sequence), self.attempt(self.anywhere(), sequence)).await;
            here || there
        } else {
            self.attempt(home, sequence).await
        };
        for _ in 0..AGAIN_MAX {
            if stored && !self.random.one_in(5) {
                return;
            }
            stored |= self.attempt(self.anywhere(), sequence).await;
        }
    }

    /// Whether it is acknowledged.
    async fn attempt(&self, datacenter: usize, sequence: u64) -> bool {
        let levels = [AckLevel::Local, AckLevel::Ordered, AckLevel::Everywhere, AckLevel::Local];
        let level = levels[index(&self.random, levels.len())];
        let produced = Some(Produced { producer: self.id, sequence });
        let (topic, publisher) = (self.plan.topic, self.plan.name.clone());
        let sending = Sending { datacenter, topic, publisher, stream: None, level, produced };
        let message = self.shared.oracle.sends(&sending);
        let body = v1::Message { payload: payload(message, BYTES).into(), ..v1::Message::default() };
        let request = PushRequest {
            topic: self.shared.plan.topic(topic),
            messages: vec![named(body, produced)],
            ack_level: level.into(),
        };
        let client = &self.shared.clients[self.plan.datacenter][datacenter];
        match client.call_within(PUSH, push_service::PUSH, &request).await {
            Ok(response) => {
                let Some(result) = response.results.first() else { return false };
                self.shared.oracle.answered(message, result);
                result.error.is_none()
            }
            Err(status) => {
                self.shared.oracle.failed(message, &status);
                tokio::time::sleep(AFTER_ERROR).await;
                false
            }
        }
    }
}
