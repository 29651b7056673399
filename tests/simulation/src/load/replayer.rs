//! A client that pops a subscription, and beside it somebody who takes the subscription back to earlier places, or
//! deletes it and creates it again. Neither knows of the other: what the client acknowledges may be of an era that is
//! over.

use std::sync::Arc;
use std::time::Duration;

use trunkline_delivery::dispatcher::DeliveryToken;
use trunkline_testkit::Random;
use trunkline_wire::method::Unary;
use trunkline_wire::v1::{
    AckRequest, DeleteSubscriptionRequest, Delivery, Earliest, GetSubscriptionRequest, PopRequest, SeekRequest,
    Start, SubscribeRequest, SubscriptionOptions, pop_service, start,
};
use trunkline_wire::{Code, Message, Status};

use super::{AFTER_ERROR, Shared};
use crate::oracle::{Era, Position, Replayed};
use crate::plan::{self, index};

const ASK: Duration = Duration::from_secs(3);
const WAIT: Duration = Duration::from_secs(1);
const ACK_DEADLINE: Duration = Duration::from_secs(4);
const MOVES_MIN: Duration = Duration::from_secs(3);
const MOVES_MORE_MS: u64 = 7_000;

/// One of the two.
struct Side {
    shared: Arc<Shared>,
    plan: plan::Replayer,
    random: Random,
    /// The datacenter whose pop server it calls.
    at: usize,
}

impl Side {
    fn new(shared: Arc<Shared>, plan: plan::Replayer, name: &str) -> Self {
        let random = shared.random(&format!("{} {name}", plan.consumer));
        Self { at: plan.datacenter, shared, plan, random }
    }

    fn names(&self) -> (String, String) {
        (self.shared.plan.topic(self.plan.topic), self.plan.consumer.to_owned())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Replayed) -> T) -> T {
        let key = (self.plan.topic, self.plan.consumer.to_owned());
        self.shared.oracle.with(|record| act(record.replayed.entry(key).or_default()))
    }

    async fn call<Q: Message, A: Message + Default>(
        &mut self,
        method: Unary<Q, A>,
        request: &Q,
    ) -> Result<A, Status> {
        let client = self.shared.clients[self.plan.datacenter][self.at].clone();
        let answer = client.call_within(ASK, method, request).await;
        if answer.is_err() {
            self.at = index(&self.random, self.shared.clients.len());
            tokio::time::sleep(AFTER_ERROR).await;
        }
        answer
    }

    /// As often as it takes.
    async fn surely<Q: Message, A: Message + Default>(&mut self, method: Unary<Q, A>, request: &Q) -> A {
        loop {
            if let Ok(answer) = self.call(method, request).await {
                return answer;
            }
        }
    }
}

/// Pops, and acknowledges by echo or by Ack, at once or late.
pub(super) async fn pop(shared: Arc<Shared>, plan: plan::Replayer) {
    let mut side = Side::new(shared, plan, "pops");
    let mut previous: Vec<(Era, u64, bytes::Bytes)> = Vec::new();
    loop {
        if side.random.one_in(3) && !previous.is_empty() {
            side.ack(&mut previous).await;
        }
        side.acknowledges(&previous);
        let (topic, consumer) = side.names();
        let request = PopRequest {
            topic,
            consumer,
            client_id: "replayer".to_owned(),
            previous: previous.drain(..).map(|(_, _, token)| token).collect(),
            max_messages: 1 + u32::try_from(side.random.below(60)).unwrap_or(0),
            max_bytes: 0,
            wait: WAIT.try_into().ok(),
        };
        if let Ok(response) = side.call(pop_service::POP, &request).await {
            previous = response.deliveries.iter().filter_map(|delivery| side.gets(delivery)).collect();
        }
        if side.random.one_in(4) {
            // What it holds may be of another era by then.
            tokio::time::sleep(Duration::from_millis(side.random.below(2_000))).await;
        }
    }
}

impl Side {
    fn gets(&self, delivery: &Delivery) -> Option<(Era, u64, bytes::Bytes)> {
        let received = delivery.message.as_ref()?;
        let oracle = &self.shared.oracle;
        oracle.receives(self.plan.topic, received, &format!("a pop of {}", self.plan.consumer));
        let token = DeliveryToken::decode(&delivery.token).ok()?;
        let (era, now) = ((token.instance, token.generation.0), oracle.now());
        self.with(|replayed| {
            replayed.instances.entry(token.instance).or_insert(now);
            replayed.got.insert((era, received.message_id));
        });
        Some((era, received.message_id, delivery.token.clone()))
    }

    /// From now on what it was given may count as acknowledged, in the era that it was given in.
    fn acknowledges(&self, given: &[(Era, u64, bytes::Bytes)]) {
        let now = self.shared.oracle.now();
        self.with(|replayed| {
            for (era, id, _) in given {
                replayed.acknowledged.entry((*era, *id)).or_insert(now);
            }
        });
    }

    async fn ack(&mut self, previous: &mut Vec<(Era, u64, bytes::Bytes)>) {
        self.acknowledges(previous);
        let (topic, consumer) = self.names();
        let tokens = previous.iter().map(|(_, _, token)| token.clone()).collect();
        let answer = self.call(pop_service::ACK, &AckRequest { topic, consumer, tokens }).await;
        // Of another outcome it echoes them once more.
        if answer.is_ok_and(|_| self.random.one_in(2)) {
            previous.clear();
        }
    }
}

/// Takes the subscription elsewhere, and asks for its position in between.
pub(super) async fn move_about(shared: Arc<Shared>, plan: plan::Replayer) {
    let mut side = Side::new(shared, plan, "moves");
    let deletes = side.plan.deletes;
    side.with(|replayed| replayed.deleted = deletes);
    side.create().await;
    loop {
        tokio::time::sleep(MOVES_MIN + Duration::from_millis(side.random.below(MOVES_MORE_MS))).await;
        let position = side.ask_position().await;
        // While nothing is pushed all is to come to its end.
        if side.shared.is_pushing() {
            match position {
                _ if deletes => side.delete_and_create().await,
                Some(position) => side.seek(position).await,
                None => {}
            }
        }
    }
}

impl Side {
    async fn create(&mut self) {
        let ((topic, consumer), ack_deadline) = (self.names(), ACK_DEADLINE.try_into().ok());
        let start = Some(Start { at: Some(start::At::Earliest(Earliest {})) });
        let options = SubscriptionOptions { start, ack_deadline, ..SubscriptionOptions::default() };
        let request = SubscribeRequest { topic, consumer, options: Some(options) };
        // It is there from some moment of this call on.
        let begun = self.shared.oracle.now();
        self.surely(pop_service::SUBSCRIBE, &request).await;
        self.with(|replayed| {
            replayed.bases = [(0, 0)].into();
            replayed.stands_since = Some(begun);
        });
    }

    async fn delete_and_create(&mut self) {
        self.with(|replayed| replayed.stands_since = None);
        let (topic, consumer) = self.names();
        self.surely(pop_service::DELETE_SUBSCRIPTION, &DeleteSubscriptionRequest { topic, consumer }).await;
        self.create().await;
        let (consumer, topic) = (self.plan.consumer, self.plan.topic);
        self.shared.world.tell(format_args!("{consumer} of {topic} was deleted and created again"));
    }

    /// Never to beyond what this generation has come to: nothing is to be skipped.
    async fn seek(&mut self, position: u64) {
        let stood = self.with(|replayed| replayed.stands_since.take());
        let (topic, consumer) = self.names();
        let id = if self.random.one_in(4) { 1 } else { 1 + self.random.below(position + 1) };
        let to = Some(Start { at: Some(start::At::MessageId(id)) });
        let request = SeekRequest { topic, consumer, to, seek_id: format!("{:x}", self.random.bits()) };
        let sought = self.surely(pop_service::SEEK, &request).await.subscription.unwrap_or_default();
        self.with(|replayed| {
            replayed.bases.insert(sought.generation, id - 1);
            replayed.stands_since = stood;
        });
        let (topic, generation) = (self.plan.topic, sought.generation);
        self.shared.world.tell(format_args!("{} of {topic} goes back to {id}, generation {generation}", self.plan.consumer));
    }

    /// Of the present generation, if that is what is told.
    async fn ask_position(&mut self) -> Option<u64> {
        let (topic, consumer) = self.names();
        let answer = self.call(pop_service::GET_SUBSCRIPTION, &GetSubscriptionRequest { topic, consumer }).await;
        let told = match answer {
            Ok(answer) => answer.subscription?,
            Err(status) => {
                debug_assert_ne!(status.code(), Code::InvalidArgument, "{status}");
                return None;
            }
        };
        let at = self.shared.oracle.now();
        self.with(|replayed| {
            let is_present = !replayed.deleted && told.generation == replayed.last().0;
            is_present.then(|| {
                let position = Position { at, position: told.position };
                replayed.positions.push((told.generation, position));
                told.position
            })
        })
    }
}
