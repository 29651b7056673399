//! Pops one subscription, from the next pop server that answers; acknowledges what it got, by echo or by Ack.

use std::sync::Arc;
use std::time::Duration;

use trunkline_testkit::Client;
use trunkline_wire::Code;
use trunkline_wire::v1::{
    AckRequest, Delivery, Earliest, GetSubscriptionRequest, Latest, PopRequest, Start, SubscribeRequest,
    SubscriptionOptions, pop_service, start,
};

use super::{AFTER_ERROR, Shared};
use crate::oracle::{Position, Subscription};
use crate::plan::{self, index};

const ASK: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_secs(1);
/// One pop in so many is followed by a question for the position.
const ASKS_POSITION: u64 = 8;
const ACK_DEADLINE: Duration = Duration::from_secs(4);

pub(super) async fn run(shared: Arc<Shared>, plan: plan::Subscriber) {
    let random = shared.random(&format!("{} {}", plan.client_id, plan.topic));
    let mut subscriber = Subscriber { at: plan.datacenter, shared, plan, random, previous: Vec::new() };
    if let Some(after) = subscriber.plan.latest_after {
        tokio::time::sleep(after).await;
    }
    while !subscriber.subscribe().await {}
    loop {
        subscriber.pop().await;
        if subscriber.random.one_in(ASKS_POSITION) {
            subscriber.ask_position().await;
        }
    }
}

struct Subscriber {
    shared: Arc<Shared>,
    plan: plan::Subscriber,
    random: trunkline_testkit::Random,
    /// The datacenter whose pop server it calls.
    at: usize,
    /// Got, and not yet acknowledged: IDs and tokens.
    previous: Vec<(u64, bytes::Bytes)>,
}

impl Subscriber {
    fn client(&self) -> &Client {
        &self.shared.clients[self.plan.datacenter][self.at]
    }

    fn topic(&self) -> String {
        self.shared.plan.topic(self.plan.topic)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Subscription) -> T) -> T {
        let key = (self.plan.topic, self.plan.consumer.clone());
        self.shared.oracle.with(|record| act(record.subscriptions.entry(key).or_default()))
    }

    /// Home, or, after an error, mostly there, too.
    async fn turn_elsewhere(&mut self) {
        let all = self.shared.clients.len();
        self.at = if self.random.one_in(2) { self.plan.datacenter } else { index(&self.random, all) };
        tokio::time::sleep(AFTER_ERROR).await;
    }

    async fn subscribe(&mut self) -> bool {
        let late = self.plan.latest_after.is_some();
        let at = if late { start::At::Latest(Latest {}) } else { start::At::Earliest(Earliest {}) };
        let ack_deadline = ACK_DEADLINE.try_into().ok();
        let options = SubscriptionOptions { start: Some(Start { at: Some(at) }), ack_deadline };
        let (topic, consumer) = (self.topic(), self.plan.consumer.clone());
        let request = SubscribeRequest { topic, consumer, options: Some(options) };
        match self.client().call_within(2 * ASK, pop_service::SUBSCRIBE, &request).await {
            Ok(response) => {
                let base = response.subscription.map_or(0, |subscription| subscription.position);
                let now = self.shared.oracle.now();
                self.with(|subscription| {
                    // Another client of it may have begun to pop meanwhile: the first one knows where it begins.
                    subscription.late = late;
                    subscription.began.get_or_insert((now, if late { base } else { 0 }));
                });
                true
            }
            Err(_) => {
                self.turn_elsewhere().await;
                false
            }
        }
    }

    async fn pop(&mut self) {
        if self.plan.acks && !self.previous.is_empty() {
            self.ack().await;
        }
        let request = PopRequest {
            topic: self.topic(),
            consumer: self.plan.consumer.clone(),
            client_id: self.plan.client_id.clone(),
            previous: self.previous.iter().map(|(_, token)| token.clone()).collect(),
            max_messages: 1 + u32::try_from(self.random.below(40)).unwrap_or(0),
            max_bytes: 0,
            wait: WAIT.try_into().ok(),
        };
        self.acknowledges();
        match self.client().call_within(ASK, pop_service::POP, &request).await {
            Ok(_) if self.plan.loses_one_in.is_some_and(|one_in| self.random.one_in(one_in)) => {
                self.previous.clear();
            }
            Ok(response) => {
                for range in &response.expired {
                    let said = format!("[{}, {}) of topic {}", range.from, range.to, self.plan.topic);
                    self.shared.oracle.with(|record| record.expired.push(said));
                }
                self.previous =
                    response.deliveries.iter().filter_map(|delivery| self.gets(delivery)).collect();
            }
            Err(_) => {
                // What was echoed may have been acknowledged or not; what is not comes again.
                self.previous.clear();
                self.turn_elsewhere().await;
            }
        }
    }

    fn gets(&self, delivery: &Delivery) -> Option<(u64, bytes::Bytes)> {
        let received = delivery.message.as_ref()?;
        let by = format!("a pop of {} in {}", self.plan.client_id, self.client().name());
        self.shared.oracle.receives(self.plan.topic, received, &by);
        let now = self.shared.oracle.now();
        self.with(|subscription| *subscription.got.entry(received.message_id).or_insert(now));
        Some((received.message_id, delivery.token.clone()))
    }

    /// From now on what it was given may count as acknowledged.
    fn acknowledges(&self) {
        let now = self.shared.oracle.now();
        self.with(|subscription| {
            for (id, _) in &self.previous {
                subscription.acknowledged.entry(*id).or_insert(now);
            }
        });
    }

    async fn ack(&mut self) {
        self.acknowledges();
        let tokens = self.previous.drain(..).map(|(_, token)| token).collect();
        let (topic, consumer) = (self.topic(), self.plan.consumer.clone());
        let request = AckRequest { topic, consumer, tokens };
        match self.client().call_within(ASK, pop_service::ACK, &request).await {
            Ok(_) => {}
            // Another client has them now.
            Err(status) if status.code() == Code::FailedPrecondition => {}
            Err(_) => self.turn_elsewhere().await,
        }
    }

    async fn ask_position(&self) {
        let request = GetSubscriptionRequest { topic: self.topic(), consumer: self.plan.consumer.clone() };
        let answer = self.client().call_within(ASK, pop_service::GET_SUBSCRIPTION, &request).await;
        if let Some(position) = answer.ok().and_then(|answer| answer.subscription).map(|told| told.position) {
            let at = self.shared.oracle.now();
            self.with(|subscription| subscription.positions.push(Position { at, position }));
        }
    }
}
