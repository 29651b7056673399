//! Broken ways to hand out and to remember it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use trunkline_delivery::dispatcher::DeliveryToken;
use trunkline_types::Generation;
use trunkline_wire::internal::{
    AcquireRequest, AcquireResponse, CommitRequest, ForwardPopRequest, ForwardPopResponse, Range,
    forward_pop_response, pop_peer_service, position_service,
};
use trunkline_wire::v1::{AckRequest, PopRequest, PopResponse, pop_service};
use trunkline_wire::{Message, Status};

use super::tamper::{Tamper, edit};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn decoded<M: Message + Default>(bytes: &Bytes) -> M {
    M::decode(bytes.clone()).unwrap_or_default()
}

/// (topic, consumer).
type Subscription = (String, String);

/// The highest ID that each subscription was handed out, by whichever dispatcher.
#[derive(Clone, Debug, Default)]
pub(super) struct HandedOut(Arc<Mutex<BTreeMap<Subscription, u64>>>);

impl HandedOut {
    fn note(&self, pop: &PopRequest, response: &PopResponse) {
        let ids = response.deliveries.iter().filter_map(|delivery| delivery.message.as_ref());
        let Some(highest) = ids.map(|message| message.message_id).max() else { return };
        let mut handed_out = lock(&self.0);
        let known = handed_out.entry((pop.topic.clone(), pop.consumer.clone())).or_default();
        *known = highest.max(*known);
    }
}

/// A take-over counts handed-out as delivered: what a dispatcher is given to begin with holds all that its predecessor
/// has handed out.
#[derive(Clone, Debug, Default)]
pub(super) struct TakesHandedOutForDelivered(pub(super) HandedOut);

impl Tamper for TakesHandedOutForDelivered {
    fn answer(
        &self,
        path: &'static str,
        request: &Bytes,
        answer: Result<Bytes, Status>,
    ) -> Result<Bytes, Status> {
        let answer = answer?;
        if path == pop_service::POP.path() {
            self.0.note(&decoded(request), &decoded(&answer));
        } else if path == pop_peer_service::FORWARD_POP.path() {
            let (request, response): (ForwardPopRequest, ForwardPopResponse) =
                (decoded(request), decoded(&answer));
            if let Some(forward_pop_response::Outcome::Answered(response)) = response.outcome {
                self.0.note(&request.pop.unwrap_or_default(), &response);
            }
        } else if path == position_service::ACQUIRE.path() {
            let request: AcquireRequest = decoded(request);
            return Ok(edit(answer, |response: &mut AcquireResponse| {
                let Some(stored) = response.subscription.as_mut().filter(|_| response.acquired) else {
                    return;
                };
                let key = (stored.topic.clone(), request.consumer);
                let highest = lock(&self.0.0).get(&key).copied().unwrap_or(0);
                if highest >= stored.start_id {
                    let rest = stored.acknowledged.iter().map(|range| range.to).max().unwrap_or(0);
                    stored.acknowledged = vec![Range { from: stored.start_id, to: rest.max(highest + 1) }];
                }
            }));
        }
        Ok(answer)
    }
}

/// The position as a high-water mark: acknowledging an ID acknowledges all below it.
#[derive(Clone, Debug, Default)]
pub(super) struct CommitsHighWaterMarks {
    /// (topic id, consumer) → the first ID that was ever to be delivered.
    begins: Arc<Mutex<BTreeMap<(u64, String), u64>>>,
}

impl Tamper for CommitsHighWaterMarks {
    fn request(&self, path: &'static str, request: Bytes) -> Bytes {
        if path != position_service::COMMIT.path() {
            return request;
        }
        edit(request, |commit: &mut CommitRequest| {
            let begins = lock(&self.begins).get(&(commit.topic_id, commit.consumer.clone())).copied();
            let highest = commit.acknowledged.iter().map(|range| range.to).max();
            if let (Some(from), Some(to)) = (begins, highest) {
                commit.acknowledged = vec![Range { from: from.min(to - 1), to }];
            }
        })
    }

    fn answer(
        &self,
        path: &'static str,
        _request: &Bytes,
        answer: Result<Bytes, Status>,
    ) -> Result<Bytes, Status> {
        let answer = answer?;
        if path == position_service::ACQUIRE.path() {
            let response: AcquireResponse = decoded(&answer);
            if let Some(stored) = response.subscription {
                lock(&self.begins).insert((stored.topic_id, stored.consumer), stored.start_id);
            }
        }
        Ok(answer)
    }
}

/// Tokens without a generation: one of before a seek is taken for one of after it.
#[derive(Clone, Debug, Default)]
pub(super) struct ForgetsGenerations {
    /// By what a subscription was last acquired: instance and generation.
    present: Arc<Mutex<BTreeMap<Subscription, (u64, u64)>>>,
}

impl ForgetsGenerations {
    fn renew(&self, topic: &str, consumer: &str, tokens: &mut [Bytes]) {
        let present = lock(&self.present).get(&(topic.to_owned(), consumer.to_owned())).copied();
        let Some((instance, generation)) = present else { return };
        for bytes in tokens {
            if let Ok(mut token) = DeliveryToken::decode(bytes)
                && token.instance == instance
            {
                token.generation = Generation(generation);
                *bytes = token.encode().into();
            }
        }
    }
}

impl Tamper for ForgetsGenerations {
    fn request(&self, path: &'static str, request: Bytes) -> Bytes {
        if path == pop_service::POP.path() {
            return edit(request, |pop: &mut PopRequest| {
                self.renew(&pop.topic, &pop.consumer, &mut pop.previous);
            });
        }
        if path == pop_service::ACK.path() {
            return edit(request, |ack: &mut AckRequest| {
                self.renew(&ack.topic, &ack.consumer, &mut ack.tokens);
            });
        }
        request
    }

    fn answer(
        &self,
        path: &'static str,
        _request: &Bytes,
        answer: Result<Bytes, Status>,
    ) -> Result<Bytes, Status> {
        let answer = answer?;
        if path == position_service::ACQUIRE.path() {
            let response: AcquireResponse = decoded(&answer);
            if let Some(stored) = response.subscription {
                let present = (stored.instance, stored.generation);
                lock(&self.present).insert((stored.topic, stored.consumer), present);
            }
        }
        Ok(answer)
    }
}

/// Pop acknowledges what the caller last got, whether its answer has reached the caller or not.
#[derive(Clone, Debug, Default)]
pub(super) struct AcknowledgesLastAnswer {
    /// By topic, consumer and client.
    last: Arc<Mutex<BTreeMap<Caller, Vec<Bytes>>>>,
}

/// (topic, consumer, client).
type Caller = (String, String, String);

fn caller(pop: &PopRequest) -> Caller {
    (pop.topic.clone(), pop.consumer.clone(), pop.client_id.clone())
}

impl Tamper for AcknowledgesLastAnswer {
    fn request(&self, path: &'static str, request: Bytes) -> Bytes {
        if path != pop_service::POP.path() {
            return request;
        }
        edit(request, |pop: &mut PopRequest| {
            if let Some(last) = lock(&self.last).get(&caller(pop)) {
                pop.previous.clone_from(last);
            }
        })
    }

    fn answer(
        &self,
        path: &'static str,
        request: &Bytes,
        answer: Result<Bytes, Status>,
    ) -> Result<Bytes, Status> {
        let answer = answer?;
        if path == pop_service::POP.path() {
            let (pop, response): (PopRequest, PopResponse) = (decoded(request), decoded(&answer));
            let tokens = response.deliveries.into_iter().map(|delivery| delivery.token).collect();
            lock(&self.last).insert(caller(&pop), tokens);
        }
        Ok(answer)
    }
}
