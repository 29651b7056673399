//! Publishes by Push: some messages per call, one call after the other.

use std::sync::Arc;

use trunkline_wire::v1::{self, PushRequest, push_service};

use super::{AFTER_ERROR, PUSH, Shared};
use crate::oracle::{Message, Sending, key_of, payload};
use crate::plan::{Publisher, between};

const SMALL_BYTES: usize = 60;
const LARGE_BYTES: usize = 20_000;

pub(super) fn body(
    publisher: &Publisher,
    message: Message,
    random: &trunkline_testkit::Random,
) -> v1::Message {
    let bytes = if random.one_in(publisher.large_one_in) { LARGE_BYTES } else { SMALL_BYTES };
    let key = key_of(message).map(|key| format!("key {key}")).unwrap_or_default();
    v1::Message { payload: payload(message, bytes).into(), key, ..v1::Message::default() }
}

pub(super) async fn run(shared: Arc<Shared>, publisher: Publisher) {
    let random = shared.random(&publisher.name);
    let client = shared.clients[publisher.datacenter][publisher.datacenter].clone();
    let sending = Sending {
        datacenter: publisher.datacenter,
        topic: publisher.topic,
        publisher: publisher.name.clone(),
        stream: None,
        level: publisher.level,
        produced: None,
    };
    loop {
        tokio::time::sleep(publisher.pace * u32::try_from(between(&random, 1, 3)).unwrap_or(1) / 2).await;
        if !shared.is_pushing() {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        }
        let count = between(&random, 1, publisher.at_once);
        let sent: Vec<Message> = (0..count).map(|_| shared.oracle.sends(&sending)).collect();
        let request = PushRequest {
            topic: shared.plan.topic(publisher.topic),
            messages: sent.iter().map(|message| body(&publisher, *message, &random)).collect(),
            ack_level: publisher.level.into(),
        };
        match client.call_within(PUSH, push_service::PUSH, &request).await {
            Ok(response) => {
                for (message, result) in sent.iter().zip(&response.results) {
                    shared.oracle.answered(*message, result);
                }
            }
            Err(status) => {
                sent.iter().for_each(|message| shared.oracle.failed(*message, &status));
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}
