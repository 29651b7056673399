//! Messages of a subscription as they come, each with a handle to say what became of it.

mod delivery;
mod outstanding;
mod stream;
mod worker;

use std::time::Duration;

use tokio::sync::mpsc;
use trunkline_types::limits::{CREDIT_BYTES_MAX, CREDIT_MESSAGES_MAX};
use trunkline_wire::Status;
use trunkline_wire::v1::Share;

use crate::client::Client;
pub use delivery::{Acked, Delivery};
use worker::Worker;

/// As many as a server gives credit for.
const MESSAGES_MAX: u32 = 100_000;
const _: () = assert!(MESSAGES_MAX as u64 == CREDIT_MESSAGES_MAX);

/// How a [`Consumer`] behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumeOptions {
    /// Messages that the program may have at once: those it works on and those that wait for it.
    pub messages_max: u32,
    /// The same in bytes; one message may be larger.
    pub bytes_max: u64,
    /// Only these keys.
    pub share: Option<Share>,
    /// A message is kept from others for so long while the program works on it, beyond the subscription's ack deadline.
    pub work_max: Duration,
}

impl Default for ConsumeOptions {
    fn default() -> Self {
        Self { messages_max: 100, bytes_max: 8 << 20, share: None, work_max: Duration::from_secs(3_600) }
    }
}

/// What a [`Consumer`] has for the program.
#[derive(Debug)]
pub enum Event {
    Message(Delivery),
    /// IDs [from, to) will never come: retention has removed them. Told again until [`Consumer::next`] is called once
    /// more.
    Expired {
        from: u64,
        to: u64,
    },
}

/// Messages as they come. It renews their ack deadlines while the program has them, and goes on over another stream, in
/// another datacenter if need be, when one ends; what the program has stays its own where that is possible.
///
/// Dropped, it takes no more; handles that are out still count.
#[derive(Debug)]
pub struct Consumer {
    events: mpsc::Receiver<Result<worker::Queued, Status>>,
    worker: mpsc::Sender<worker::Command>,
    /// To be acknowledged once the program comes back for more.
    told: Option<bytes::Bytes>,
}

impl Client {
    /// Consumes a subscription.
    pub fn consume(&self, topic: &str, consumer: &str, options: ConsumeOptions) -> Consumer {
        let options = ConsumeOptions {
            messages_max: options.messages_max.clamp(1, MESSAGES_MAX),
            bytes_max: options.bytes_max.clamp(1, CREDIT_BYTES_MAX),
            ..options
        };
        let (events, receiver) = mpsc::channel(options.messages_max as usize + worker::EXPIRED_QUEUE);
        let (worker, commands) = mpsc::channel(worker::COMMANDS_MAX);
        let task = Worker::new(self.clone(), topic, consumer, options, events, worker.clone(), commands);
        self.inner.process.spawn("consumer", task.run());
        Consumer { events: receiver, worker, told: None }
    }
}

impl Consumer {
    /// The next message, or notice; `None` after an error. Cancel safe.
    ///
    /// # Errors
    /// What cannot pass by itself: `NOT_SUBSCRIBED`, a field that is wrong. Nothing follows.
    pub async fn next(&mut self) -> Option<Result<Event, Status>> {
        if let Some(token) = &self.told {
            // A worker that has ended has nothing to say any more.
            if let Ok(place) = self.worker.reserve().await {
                place.send(worker::Command::Heard(token.clone()));
            }
            self.told = None;
        }
        let queued = self.events.recv().await?;
        Some(queued.map(|event| match event {
            worker::Queued::Message(delivery) => Event::Message(delivery),
            worker::Queued::Expired { from, to, token } => {
                self.told = Some(token);
                Event::Expired { from, to }
            }
        }))
    }
}
