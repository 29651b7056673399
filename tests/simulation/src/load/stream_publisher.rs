//! Publishes by PushStream: some messages under way at a time; a new stream where one has ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use trunkline_testkit::Random;
use trunkline_wire::Status;
use trunkline_wire::status::{reason, unavailable};
use trunkline_wire::v1::{PushStreamRequest, PushStreamResponse};

use super::publisher::body;
use super::{AFTER_ERROR, PUSH, Shared, large};
use crate::oracle::{Message, Sending};
use crate::plan::Publisher;

pub(super) async fn run(shared: Arc<Shared>, publisher: Publisher) {
    let random = shared.random(&publisher.name);
    for stream in 0_u64.. {
        let mut under_way = BTreeMap::new();
        let ended = one_stream(&shared, &publisher, stream, &random, &mut under_way).await;
        let why = ended.err().unwrap_or_else(|| unavailable(reason::UNREACHABLE, "the stream has ended"));
        // Sent on a stream: nobody can say any more that nothing was stored.
        let why = Status::unknown(format!("{:?} {}", why.code(), why.message()));
        under_way.into_values().for_each(|message| shared.oracle.failed(message, &why));
        tokio::time::sleep(AFTER_ERROR).await;
    }
}

/// Until the stream ends, or answers nothing for too long.
async fn one_stream(
    shared: &Shared,
    publisher: &Publisher,
    stream: u64,
    random: &Random,
    under_way: &mut BTreeMap<u64, Message>,
) -> Result<(), Status> {
    while !shared.is_pushing() {
        tokio::time::sleep(AFTER_ERROR).await;
    }
    let client = &shared.clients[publisher.datacenter][publisher.datacenter];
    let opened = tokio::time::timeout(PUSH, client.push_stream()).await;
    let (sender, mut receiver) = opened.map_err(|_| Status::deadline_exceeded("no stream"))??;
    let sending = Sending {
        datacenter: publisher.datacenter,
        topic: publisher.topic,
        publisher: publisher.name.clone(),
        stream: Some(stream),
        level: publisher.level,
    };
    let mut index = 0;
    let mut next = tokio::time::Instant::now();
    let mut heard = next;
    loop {
        let may_send = under_way.len() < publisher.at_once && shared.is_pushing();
        tokio::select! {
            biased;
            response = receiver.next() => {
                let Some(response) = response? else { return Ok(()) };
                heard = tokio::time::Instant::now();
                answered(shared, under_way, &response);
            }
            () = tokio::time::sleep_until(next), if may_send => {
                next += publisher.pace;
                if under_way.is_empty() {
                    heard = tokio::time::Instant::now();
                }
                let message = shared.oracle.sends(&sending);
                under_way.insert(index, message);
                index += 1;
                if random.one_in(publisher.chunked_one_in) {
                    let topic = shared.plan.topic(publisher.topic);
                    large::send(&sender, topic, publisher.level, message, random).await?;
                    continue;
                }
                let request = PushStreamRequest {
                    topic: shared.plan.topic(publisher.topic),
                    messages: vec![body(publisher, message, random)],
                    ack_level: publisher.level.into(),
                    ..PushStreamRequest::default()
                };
                sender.send(&request).await.map_err(|_| Status::unknown("the stream has ended"))?;
            }
            () = tokio::time::sleep_until(heard + 2 * PUSH), if !under_way.is_empty() => {
                return Err(Status::deadline_exceeded("the stream answers nothing"));
            }
            () = tokio::time::sleep(AFTER_ERROR), if under_way.is_empty() && !may_send => {}
        }
        next = next.max(tokio::time::Instant::now());
    }
}

fn answered(shared: &Shared, under_way: &mut BTreeMap<u64, Message>, response: &PushStreamResponse) {
    for answer in &response.results {
        if let (Some(message), Some(result)) = (under_way.remove(&answer.index), &answer.result) {
            shared.oracle.answered(message, result);
        }
    }
}
