//! Consumes one subscription over one stream after the other: acknowledges, gives back, asks for more time, and now and
//! then vanishes in the middle of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use trunkline_ports::Sender;
use trunkline_wire::v1::{
    ConsumeExtension, ConsumeNack, ConsumeRequest, ConsumeResponse, ConsumeStart, pop_service,
};

use super::subscriber::{Got, Subscriber};
use super::{AFTER_ERROR, Shared};
use crate::plan;

/// A stream that says nothing for so long is left: there may be nothing.
const SILENCE: Duration = Duration::from_secs(4);
const CREDIT: u32 = 40;
const CREDIT_BYTES: u64 = 200_000;

pub(super) async fn run(shared: Arc<Shared>, plan: plan::Subscriber) {
    let mut subscriber = Subscriber::new(shared, plan);
    subscriber.begin().await;
    loop {
        if !stream(&mut subscriber).await {
            subscriber.turn_elsewhere().await;
        }
        subscriber.ask_position().await;
    }
}

/// One stream; false if it ended by itself.
async fn stream(subscriber: &mut Subscriber) -> bool {
    let opened = subscriber.client().open(pop_service::CONSUME).await;
    let Ok((sender, mut receiver)) = opened else { return false };
    let (topic, consumer, client_id) = subscriber.names();
    let start = Some(ConsumeStart { topic, consumer, client_id, ..ConsumeStart::default() });
    let first = ConsumeRequest { start, ..credit(CREDIT, CREDIT_BYTES) };
    if sender.send(&first).await.is_err() {
        return false;
    }
    let responses = 1 + subscriber.random.below(30);
    for _ in 0..responses {
        match timeout_at(Instant::now() + SILENCE, receiver.next()).await {
            Ok(Ok(Some(response))) => {
                if !answer(subscriber, response, &sender).await {
                    return false;
                }
            }
            Ok(Ok(None) | Err(_)) => return false,
            Err(_) => break,
        }
    }
    tokio::time::sleep(AFTER_ERROR).await;
    true
}

fn credit(messages: u32, bytes: u64) -> ConsumeRequest {
    ConsumeRequest { credit_messages: messages, credit_bytes: bytes, ..ConsumeRequest::default() }
}

/// Acknowledges most of it, gives some back, asks for more time for some, forgets some.
async fn answer(
    subscriber: &mut Subscriber,
    response: ConsumeResponse,
    sender: &Sender<ConsumeRequest>,
) -> bool {
    let got: Vec<Got> = response.deliveries.iter().filter_map(|one| subscriber.gets(one, None)).collect();
    subscriber.is_told_expired(&response.expired);
    if got.is_empty() {
        return true;
    }
    let mut request = credit(u32::try_from(got.len()).unwrap_or(0), CREDIT_BYTES / 10);
    request.credit_bytes = response.deliveries.iter().map(bytes).sum();
    let (mut acked, mut returned) = (Vec::new(), Vec::new());
    for one in got {
        match subscriber.random.below(20) {
            0 => {
                let delay = Duration::from_millis(subscriber.random.below(1_000)).try_into().ok();
                request.nacks.push(ConsumeNack { token: one.token.clone(), delay });
                returned.push(one);
            }
            1 => {
                let deadline = Duration::from_secs(5).try_into().ok();
                request.extensions.push(ConsumeExtension { token: one.token, deadline });
            }
            2 => {}
            _ => {
                request.acks.push(one.token.clone());
                acked.push(one);
            }
        }
    }
    subscriber.acknowledges(&acked);
    subscriber.lets_go(&returned);
    sender.send(&request).await.is_ok()
}

fn bytes(delivery: &trunkline_wire::v1::Delivery) -> u64 {
    let message = delivery.message.as_ref().and_then(|received| received.message.as_ref());
    message.map_or(0, |message| (message.payload.len() + message.key.len()) as u64)
}
