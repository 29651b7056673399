//! Topics whose messages do not stay: one keeps them for some seconds, under readers that fall behind; one is deleted and
//! created again, while pushes to it go on. What clients see of them is in a record of its own, for all other checks
//! expect that messages stay.

use std::sync::Arc;
use std::time::Duration;

use trunkline_testkit::{Client, Random};
use trunkline_types::Receipt;
use trunkline_wire::v1::{
    self, AckLevel, CreateTopicRequest, DeleteTopicRequest, PushRequest, ReadRequest, TopicOptions,
    pop_service, push_service, topic_service,
};

use super::{AFTER_ERROR, Shared};
use crate::oracle::{Brief, BriefPush, Message, number_of, payload};
use crate::plan::index;

pub(super) const KEPT: &str = "brief";
pub(super) const REBORN: &str = "reborn";
/// Numbers of these messages begin here: the oracle's own are below.
pub const FIRST: u64 = 5_000_000_000;
const ASK: Duration = Duration::from_secs(3);
const BYTES: usize = 200;

pub(super) async fn create(shared: &Shared, topic: &str) -> Option<u64> {
    let age = shared.oracle.with(|record| record.brief.kept_for);
    let kept = TopicOptions { retention_age: age.try_into().ok(), ..TopicOptions::default() };
    let options = Some(if topic == KEPT { kept } else { TopicOptions::default() });
    let request = CreateTopicRequest { topic: topic.to_owned(), options };
    let created = shared.clients[0][0].call_within(ASK, topic_service::CREATE_TOPIC, &request).await;
    created.ok().and_then(|created| created.topic).map(|topic| topic.topic_id)
}

/// Pushes to both from its own datacenter.
pub(super) async fn publish(shared: Arc<Shared>, datacenter: usize) {
    let random = shared.random(&format!("brief publisher {datacenter}"));
    let client = shared.clients[datacenter][datacenter].clone();
    loop {
        tokio::time::sleep(Duration::from_millis(150 + random.below(300))).await;
        if !shared.is_pushing() {
            continue;
        }
        let topic = if random.one_in(3) { REBORN } else { KEPT };
        let level = if random.one_in(3) { AckLevel::Ordered } else { AckLevel::Local };
        push(&shared, &client, topic, level).await;
    }
}

async fn push(shared: &Shared, client: &Client, topic: &str, level: AckLevel) {
    let sent = shared.oracle.now();
    let message = shared.oracle.with(|record| record.brief.sends(topic, sent));
    let body = v1::Message { payload: payload(message, BYTES).into(), ..v1::Message::default() };
    let request =
        PushRequest { topic: topic.to_owned(), messages: vec![body], ack_level: level.into() };
    let Ok(response) = client.call_within(ASK, push_service::PUSH, &request).await else {
        return tokio::time::sleep(AFTER_ERROR).await;
    };
    let Some(result) = response.results.first() else { return };
    let topic_id = Receipt::from_text(&result.receipt).ok().map(|receipt| receipt.topic.0);
    shared.oracle.with(|record| {
        let push = record.brief.push_mut(message);
        push.topic_id = topic_id;
        push.id = (result.message_id > 0).then_some(result.message_id);
    });
}

/// Reads in its own datacenter, now and then from far back.
pub(super) async fn read(shared: Arc<Shared>, datacenter: usize) {
    let random = shared.random(&format!("brief reader {datacenter}"));
    let client = shared.clients[datacenter][datacenter].clone();
    let mut next = 1;
    loop {
        tokio::time::sleep(Duration::from_millis(200 + random.below(600))).await;
        if random.one_in(6) {
            next = 1 + random.below(next);
        }
        next = read_kept(&shared, &client, next).await.unwrap_or(next);
        if random.one_in(4) {
            read_reborn(&shared, &client).await;
        }
    }
}

async fn read_kept(shared: &Shared, client: &Client, from: u64) -> Option<u64> {
    let request = ReadRequest { topic: KEPT.to_owned(), from, max_messages: 200, ..ReadRequest::default() };
    let response = client.call_within(ASK, pop_service::READ, &request).await.ok()?;
    let now = shared.oracle.now();
    let read: Vec<(u64, Message)> = response.messages.iter().filter_map(of).collect();
    let disks = shared.oracle.disks().clone();
    shared.oracle.with(|record| {
        for range in &response.expired {
            record.brief.expires(range.from..range.to, from, now, &disks);
        }
        record.brief.reads(from, &read, &response.expired);
    });
    Some(response.next.max(1))
}

/// All that one answer has is of one topic, whichever it is by now.
async fn read_reborn(shared: &Shared, client: &Client) {
    let request = ReadRequest { topic: REBORN.to_owned(), from: 1, ..ReadRequest::default() };
    let Ok(response) = client.call_within(ASK, pop_service::READ, &request).await else { return };
    let read: Vec<(u64, Message)> = response.messages.iter().filter_map(of).collect();
    shared.oracle.with(|record| record.brief.reads_reborn(&read));
}

fn of(received: &v1::ReceivedMessage) -> Option<(u64, Message)> {
    Some((received.message_id, number_of(&received.message.as_ref()?.payload)?))
}

/// Deletes the one topic, and creates it again after a while, or leaves that to whoever pushes.
pub(super) async fn delete(shared: Arc<Shared>) {
    let random: Random = shared.random("brief deleter");
    loop {
        tokio::time::sleep(Duration::from_millis(6_000 + random.below(12_000))).await;
        if !shared.is_pushing() {
            continue;
        }
        let at = index(&random, shared.clients.len());
        let request = DeleteTopicRequest { topic: REBORN.to_owned() };
        let client = &shared.clients[at][at];
        if client.call_within(ASK, topic_service::DELETE_TOPIC, &request).await.is_ok() {
            shared.oracle.with(|record| record.brief.deletions += 1);
            if random.one_in(2) {
                create(&shared, REBORN).await;
            }
        }
    }
}

impl Brief {
    fn push_mut(&mut self, message: Message) -> &mut BriefPush {
        &mut self.pushes[usize::try_from(message.0 - FIRST).expect("it was counted in memory")]
    }

    fn sends(&mut self, topic: &str, sent: Duration) -> Message {
        let is_kept = topic == KEPT;
        self.pushes.push(BriefPush { is_kept, sent, topic_id: None, id: None });
        Message(FIRST + self.pushes.len() as u64 - 1)
    }
}
