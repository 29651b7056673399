//! A consumer among servers of one subscription, of which each may go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use trunkline_ports::{Receiver, Responder, Router};
use trunkline_wire::status::{failed_precondition, reason, unavailable};
use trunkline_wire::v1::{
    ConsumeRequest, ConsumeResponse, Delivery, GetSubscriptionResponse, ReceivedMessage, Subscription,
    SubscriptionOptions, pop_service,
};
use trunkline_wire::{Code, Status};

use super::{World, pass};
use crate::{ConsumeOptions, Consumer, Event};

/// What all servers know.
#[derive(Debug, Default)]
struct State {
    /// Pushed, and delivered to nobody.
    waiting: BTreeSet<u8>,
    acked: BTreeSet<Bytes>,
    nacked: Vec<Bytes>,
    extended: BTreeMap<Bytes, u32>,
    /// Acks are taken and not answered.
    silent: bool,
    credit: (u32, u64),
}

#[derive(Clone)]
struct Servers {
    state: Arc<Mutex<State>>,
    /// Something was pushed, or streams end (the second, counted).
    changed: watch::Sender<(u64, u64)>,
}

impl Servers {
    fn of(world: &World) -> Self {
        let servers = Self { state: Arc::default(), changed: watch::Sender::new((0, 0)) };
        world.servers.iter().for_each(|server| server.also(&world.network, servers.router()));
        servers
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().expect("not poisoned"))
    }

    fn push(&self, ids: impl IntoIterator<Item = u8>) {
        self.with(|state| state.waiting.extend(ids));
        self.changed.send_modify(|(pushed, _)| *pushed += 1);
    }

    fn end_streams(&self) {
        self.changed.send_modify(|(_, ended)| *ended += 1);
    }

    fn router(&self) -> Router {
        let servers = self.clone();
        Router::new()
            .streaming(pop_service::CONSUME, move |_, requests, responses| {
                let servers = servers.clone();
                async move { servers.consume(requests, responses).await }
            })
            .unary(pop_service::GET_SUBSCRIPTION, |_, _| async {
                let ack_deadline = Some(prost_types::Duration { seconds: 3, nanos: 0 });
                let options = SubscriptionOptions { ack_deadline, ..SubscriptionOptions::default() };
                let subscription = Subscription { options: Some(options), ..Subscription::default() };
                Ok(GetSubscriptionResponse { subscription: Some(subscription), status: None })
            })
    }

    async fn consume(
        &self,
        mut requests: Receiver<ConsumeRequest>,
        responses: Responder<ConsumeResponse>,
    ) -> Result<(), Status> {
        let mut changed = self.changed.subscribe();
        let ended = changed.borrow_and_update().1;
        self.with(|state| state.credit = (0, 0));
        loop {
            let deliveries = self.with(|state| {
                let count = usize::try_from(state.credit.0).expect("small").min(state.waiting.len());
                state.credit.0 -= u32::try_from(count).expect("small");
                (0..count).filter_map(|_| state.waiting.pop_first()).map(delivery).collect::<Vec<_>>()
            });
            if !deliveries.is_empty() {
                let response = ConsumeResponse { deliveries, ..ConsumeResponse::default() };
                responses.send(&response).await.map_err(|_| Status::cancelled("gone"))?;
            }
            tokio::select! {
                biased;
                request = requests.next() => match request? {
                    Some(request) => self.take(request, &responses).await?,
                    None => return Ok(()),
                },
                _ = changed.changed() => {
                    if changed.borrow_and_update().1 > ended {
                        return Err(unavailable(reason::DRAINING, "ending"));
                    }
                }
            }
        }
    }

    async fn take(
        &self,
        request: ConsumeRequest,
        responses: &Responder<ConsumeResponse>,
    ) -> Result<(), Status> {
        if request.start.as_ref().is_some_and(|start| start.consumer == "nobody") {
            return Err(failed_precondition(reason::NOT_SUBSCRIBED, "call Subscribe first"));
        }
        let acked = request.acks.clone();
        let silent = self.with(|state| {
            state.credit.0 += request.credit_messages;
            state.credit.1 += request.credit_bytes;
            state.acked.extend(request.acks);
            state.nacked.extend(request.nacks.into_iter().map(|nack| nack.token));
            for extension in request.extensions {
                *state.extended.entry(extension.token).or_default() += 1;
            }
            state.silent
        });
        if !acked.is_empty() && !silent {
            let response = ConsumeResponse { acked, ..ConsumeResponse::default() };
            responses.send(&response).await.map_err(|_| Status::cancelled("gone"))?;
        }
        Ok(())
    }
}

fn token(id: u8) -> Bytes {
    Bytes::from(vec![id])
}

fn delivery(id: u8) -> Delivery {
    let received = ReceivedMessage { message_id: id.into(), ..ReceivedMessage::default() };
    Delivery { message: Some(received), attempt: 1, token: token(id), nacks: 0 }
}

async fn next(consumer: &mut Consumer) -> crate::Delivery {
    match consumer.next().await.expect("it goes on").expect("no error") {
        Event::Message(delivery) => delivery,
        Event::Expired { .. } => panic!("nothing expires here"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_has_as_many_as_it_wants_and_gets_more_for_what_it_has_done() {
    let world = World::new();
    let servers = Servers::of(&world);
    servers.push(1..=10);
    let options = ConsumeOptions { messages_max: 4, ..ConsumeOptions::default() };
    let mut consumer = world.client.consume("t", "c", options);
    let first = next(&mut consumer).await;
    assert_eq!((first.id(), first.attempt()), (1, 1));
    pass(1_000).await;
    assert_eq!(servers.with(|state| state.waiting.len()), 6, "four are with the program");
    first.ack().await.expect("answered when it is committed");
    drop(next(&mut consumer).await);
    next(&mut consumer).await.nack_after(Duration::from_secs(1));
    for id in 4..=10 {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.id(), id);
        drop(delivery.ack());
    }
    pass(1_000).await;
    let nacked = servers.with(|state| state.nacked.clone());
    assert_eq!(nacked, [token(2), token(3)], "dropped without a word is given back");
    assert_eq!(servers.with(|state| state.acked.len()), 8);
}

#[tokio::test(start_paused = true)]
async fn what_the_program_works_on_is_renewed_and_nothing_else() {
    let world = World::new();
    let servers = Servers::of(&world);
    servers.push(1..=2);
    let options = ConsumeOptions { work_max: Duration::from_secs(10), ..ConsumeOptions::default() };
    let mut consumer = world.client.consume("t", "c", options);
    let (slow, quick) = (next(&mut consumer).await, next(&mut consumer).await);
    quick.ack().await.expect("acked");
    pass(5_500).await;
    let extended = servers.with(|state| state.extended.clone());
    assert_eq!(extended.get(&token(1)), Some(&5), "each second of an ack deadline of three");
    assert_eq!(extended.get(&token(2)), None);
    pass(60_000).await;
    let extended = servers.with(|state| state.extended[&token(1)]);
    assert!((9..=10).contains(&extended), "not for ever: {extended}");
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_is_resumed_elsewhere_and_what_was_not_answered_is_said_again() {
    let world = World::new();
    let servers = Servers::of(&world);
    servers.push(1..=3);
    let mut consumer = world.client.consume("t", "c", ConsumeOptions::default());
    let (first, second) = (next(&mut consumer).await, next(&mut consumer).await);
    servers.with(|state| state.silent = true);
    let acked = first.ack();
    pass(500).await;
    assert_eq!(servers.with(|state| std::mem::take(&mut state.acked)), [token(1)].into());
    servers.with(|state| state.silent = false);
    servers.end_streams();
    acked.await.expect("said again, and answered");
    second.ack().await.expect("what it got over the stream before is still its own");
    assert_eq!(next(&mut consumer).await.id(), 3);
    servers.push([4]);
    assert_eq!(next(&mut consumer).await.id(), 4, "with new credit");
    assert_eq!(servers.with(|state| state.acked.clone()), [token(1), token(2)].into());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_consumer_gives_back_what_nobody_has_seen_and_waits_for_the_handles_that_are_out() {
    let world = World::new();
    let servers = Servers::of(&world);
    servers.push(1..=3);
    let mut consumer = world.client.consume("t", "c", ConsumeOptions::default());
    let first = next(&mut consumer).await;
    pass(100).await;
    drop(consumer);
    pass(100).await;
    assert_eq!(servers.with(|state| state.nacked.clone()), [token(2), token(3)]);
    pass(5_000).await;
    first.ack().await.expect("it still counts");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_pass_by_itself_is_told_to_the_program() {
    let world = World::new();
    let _servers = Servers::of(&world);
    let mut consumer = world.client.consume("t", "nobody", ConsumeOptions::default());
    let error = consumer.next().await.expect("an event").expect_err("an error");
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(consumer.next().await.is_none());
}
