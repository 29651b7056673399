//! Pops one subscription, from the next pop server that answers; acknowledges what it got, by echo or by Ack.

use std::sync::Arc;
use std::time::Duration;

use trunkline_delivery::dispatcher::Token;
use trunkline_testkit::Client;
use trunkline_wire::Code;
use trunkline_wire::v1::{
    AckMode, AckRequest, Delivery, Earliest, ExpiredRange, ExtendDeadlineRequest, GetSubscriptionRequest,
    Latest, NackRequest, PopRequest, Start, SubscribeRequest, SubscriptionOptions, pop_service, start,
};

use super::{AFTER_ERROR, Shared};
use crate::oracle::{Hold, Mode, Position, Subscription};
use crate::plan::{self, index};

const ASK: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_secs(1);
/// One pop in so many is followed by a question for the position.
const ASKS_POSITION: u64 = 8;
const ACK_DEADLINE: Duration = Duration::from_secs(4);
/// No hold lasts longer.
const HOLDS: Duration = Duration::from_secs(10);

pub(super) async fn run(shared: Arc<Shared>, plan: plan::Subscriber) {
    let mut subscriber = Subscriber::new(shared, plan);
    subscriber.begin().await;
    loop {
        subscriber.pop().await;
        if subscriber.random.one_in(ASKS_POSITION) {
            subscriber.ask_position().await;
        }
    }
}

/// What a client was given.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) id: u64,
    pub(super) token: bytes::Bytes,
}

pub(super) struct Subscriber {
    shared: Arc<Shared>,
    plan: plan::Subscriber,
    pub(super) random: trunkline_testkit::Random,
    /// The datacenter whose pop server it calls.
    at: usize,
    /// Got, and not yet acknowledged.
    previous: Vec<Got>,
}

impl Subscriber {
    pub(super) fn new(shared: Arc<Shared>, plan: plan::Subscriber) -> Self {
        let random = shared.random(&format!("{} {}", plan.client_id, plan.topic));
        Self { at: plan.datacenter, shared, plan, random, previous: Vec::new() }
    }

    pub(super) async fn begin(&mut self) {
        if let Some(after) = self.plan.latest_after {
            tokio::time::sleep(after).await;
        }
        while !self.subscribe().await {}
    }

    pub(super) fn client(&self) -> &Client {
        &self.shared.clients[self.plan.datacenter][self.at]
    }

    /// Topic, consumer, client id.
    pub(super) fn names(&self) -> (String, String, String) {
        (self.topic(), self.plan.consumer.clone(), self.plan.client_id.clone())
    }

    fn topic(&self) -> String {
        self.shared.plan.topic(self.plan.topic)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Subscription) -> T) -> T {
        let key = (self.plan.topic, self.plan.consumer.clone());
        self.shared.oracle.with(|record| act(record.subscriptions.entry(key).or_default()))
    }

    /// Home, or, after an error, mostly there, too.
    pub(super) async fn turn_elsewhere(&mut self) {
        let all = self.shared.clients.len();
        self.at = if self.random.one_in(2) { self.plan.datacenter } else { index(&self.random, all) };
        tokio::time::sleep(AFTER_ERROR).await;
    }

    async fn subscribe(&mut self) -> bool {
        let late = self.plan.latest_after.is_some();
        let at = if late { start::At::Latest(Latest {}) } else { start::At::Earliest(Earliest {}) };
        let ack_deadline = ACK_DEADLINE.try_into().ok();
        let options = SubscriptionOptions {
            start: Some(Start { at: Some(at) }),
            ack_deadline,
            ack_mode: self.mode().into(),
            ..SubscriptionOptions::default()
        };
        let (topic, consumer) = (self.topic(), self.plan.consumer.clone());
        let request = SubscribeRequest { topic, consumer, options: Some(options) };
        match self.client().call_within(2 * ASK, pop_service::SUBSCRIBE, &request).await {
            Ok(response) => {
                let base = response.subscription.map_or(0, |subscription| subscription.position);
                let (now, mode) = (self.shared.oracle.now(), self.plan.mode);
                self.with(|subscription| {
                    // Another client of it may have begun to pop meanwhile: the first one knows where it begins.
                    subscription.late = late;
                    subscription.mode = mode;
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

    fn mode(&self) -> AckMode {
        match self.plan.mode {
            Mode::OnNextPop => AckMode::OnNextPop,
            Mode::Explicit => AckMode::Explicit,
            Mode::Immediate => AckMode::Immediate,
        }
    }

    async fn pop(&mut self) {
        if self.plan.acks && !self.previous.is_empty() {
            self.settle().await;
        }
        let request = PopRequest {
            topic: self.topic(),
            consumer: self.plan.consumer.clone(),
            client_id: self.plan.client_id.clone(),
            previous: self.previous.iter().map(|got| got.token.clone()).collect(),
            max_messages: 1 + u32::try_from(self.random.below(40)).unwrap_or(0),
            max_bytes: 0,
            wait: WAIT.try_into().ok(),
            share: None,
        };
        let asked = self.shared.oracle.now();
        self.acknowledges(&self.previous.clone());
        // In ON_NEXT_POP what it does not echo comes again.
        self.lets_go_of_all();
        match self.client().call_within(ASK, pop_service::POP, &request).await {
            Ok(response) if self.plan.loses_one_in.is_some_and(|one_in| self.random.one_in(one_in)) => {
                // It came, as far as the server could know.
                response.deliveries.iter().for_each(|delivery| self.counts(delivery));
                self.previous.clear();
            }
            Ok(response) => {
                self.is_told_expired(&response.expired);
                let deliveries = response.deliveries.iter();
                self.previous = deliveries.filter_map(|delivery| self.gets(delivery, Some(asked))).collect();
            }
            Err(_) => {
                // What was echoed may have been acknowledged or not; what is not comes again.
                self.previous.clear();
                self.turn_elsewhere().await;
            }
        }
    }

    pub(super) fn is_told_expired(&self, expired: &[ExpiredRange]) {
        for range in expired {
            let said = format!("[{}, {}) of topic {}", range.from, range.to, self.plan.topic);
            self.shared.oracle.with(|record| record.expired.push(said));
        }
    }

    /// `asked`: when the Pop began that it is the answer of.
    pub(super) fn gets(&self, delivery: &Delivery, asked: Option<Duration>) -> Option<Got> {
        let received = delivery.message.as_ref()?;
        let by = format!("a pop of {} in {}", self.plan.client_id, self.client().name());
        self.shared.oracle.receives(self.plan.topic, received, &by);
        self.counts(delivery);
        let now = self.shared.oracle.now();
        let id = received.message_id;
        let hold = self.hold(delivery, asked, now);
        self.with(|subscription| {
            subscription.got.entry(id).or_insert(now);
            if let Some(mut hold) = hold {
                // When a lower one of the key comes again, so does this one.
                let holds = subscription.holds.iter().rev().take_while(|other| other.from + HOLDS >= now);
                let lower = holds.filter(|other| {
                    (&other.client, other.key) == (&hold.client, hold.key)
                        && other.id < hold.id
                        && other.until > now
                });
                hold.until = lower.map(|other| other.until).fold(hold.until, Duration::min);
                subscription.holds.push(hold);
            }
        });
        Some(Got { id, token: delivery.token.clone() })
    }

    fn counts(&self, delivery: &Delivery) {
        let id = delivery.message.as_ref().map_or(0, |received| received.message_id);
        self.with(|subscription| *subscription.times.entry(id).or_default() += 1);
    }

    fn hold(&self, delivery: &Delivery, asked: Option<Duration>, now: Duration) -> Option<Hold> {
        let key = &delivery.message.as_ref()?.message.as_ref()?.key;
        let Ok(Token::Delivery(token)) = Token::decode(&delivery.token) else { return None };
        // The dispatcher's clock began to run when the Pop came at the earliest. Of a stream that is not known.
        let until = asked.map_or(now, |asked| (asked + ACK_DEADLINE).max(now));
        Some(Hold {
            dispatcher: token.token.0,
            key: key.strip_prefix("key ")?.parse().ok()?,
            id: token.id,
            client: self.plan.client_id.clone(),
            asked,
            from: now,
            until,
        })
    }

    /// From now on what it was given may count as acknowledged.
    pub(super) fn acknowledges(&self, got: &[Got]) {
        let now = self.shared.oracle.now();
        self.with(|subscription| {
            for one in got {
                subscription.acknowledged.entry(one.id).or_insert(now);
            }
        });
        self.lets_go(got);
    }

    /// From now on others may be given it, and the later ones of its key.
    pub(super) fn lets_go(&self, got: &[Got]) {
        let (now, client) = (self.shared.oracle.now(), &self.plan.client_id);
        self.with(|subscription| {
            for one in got {
                let key = subscription.holds.iter().rev().find(|hold| hold.id == one.id).map(|hold| hold.key);
                let holds = subscription.holds.iter_mut().rev().take_while(|hold| hold.from + HOLDS >= now);
                let lets_go = |hold: &&mut Hold| Some(hold.key) == key && hold.client == *client;
                holds.filter(lets_go).for_each(|hold| hold.until = hold.until.min(now));
            }
        });
    }

    fn lets_go_of_all(&self) {
        let (now, client) = (self.shared.oracle.now(), &self.plan.client_id);
        if self.plan.mode == Mode::OnNextPop {
            self.with(|subscription| {
                let holds = subscription.holds.iter_mut().rev().take_while(|hold| hold.from + HOLDS >= now);
                let own = holds.filter(|hold| hold.client == *client);
                own.for_each(|hold| hold.until = hold.until.min(now));
            });
        }
    }

    /// By Ack; in EXPLICIT, now and then by Nack or for more time.
    async fn settle(&mut self) {
        let got = std::mem::take(&mut self.previous);
        let (topic, consumer, _) = self.names();
        let tokens = got.iter().map(|one| one.token.clone()).collect();
        let (within, client) = (ASK, self.client().clone());
        let settled = match self.random.below(12) {
            0 if self.plan.mode == Mode::Explicit => {
                self.lets_go(&got);
                let delay = Duration::from_millis(self.random.below(1_000)).try_into().ok();
                let request = NackRequest { topic, consumer, tokens, delay };
                client.call_within(within, pop_service::NACK, &request).await.map(drop)
            }
            1 if self.plan.mode == Mode::Explicit => {
                let deadline = ACK_DEADLINE.try_into().ok();
                let request = ExtendDeadlineRequest { topic, consumer, tokens, deadline };
                client.call_within(within, pop_service::EXTEND_DEADLINE, &request).await.map(drop)
            }
            _ => {
                self.acknowledges(&got);
                let request = AckRequest { topic, consumer, tokens };
                client.call_within(within, pop_service::ACK, &request).await.map(drop)
            }
        };
        match settled {
            Ok(()) => {}
            // Another client has them now.
            Err(status) if status.code() == Code::FailedPrecondition => {}
            Err(_) => self.turn_elsewhere().await,
        }
    }

    pub(super) async fn ask_position(&self) {
        let request = GetSubscriptionRequest { topic: self.topic(), consumer: self.plan.consumer.clone() };
        let answer = self.client().call_within(ASK, pop_service::GET_SUBSCRIPTION, &request).await;
        if let Some(position) = answer.ok().and_then(|answer| answer.subscription).map(|told| told.position) {
            let at = self.shared.oracle.now();
            self.with(|subscription| subscription.positions.push(Position { at, position }));
        }
    }
}
