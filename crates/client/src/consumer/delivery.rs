//! A handle on one message.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use trunkline_wire::v1::{Message, ReceivedMessage};
use trunkline_wire::{Status, status};

use super::worker::Command;

/// One message, the program's until it says what became of it. Dropped without a word it is given back.
#[derive(Debug)]
pub struct Delivery {
    received: ReceivedMessage,
    attempt: u32,
    nacks: u32,
    /// `None` once it is settled.
    token: Option<Bytes>,
    worker: mpsc::Sender<Command>,
}

/// Resolves when an acknowledgement is committed. It is on its way whether or not anybody waits.
#[derive(Debug)]
pub struct Acked(oneshot::Receiver<Result<(), Status>>);

impl Delivery {
    pub(super) fn new(delivery: trunkline_wire::v1::Delivery, worker: mpsc::Sender<Command>) -> Self {
        let received = delivery.message.unwrap_or_default();
        let (attempt, nacks, token) = (delivery.attempt, delivery.nacks, Some(delivery.token));
        Self { received, attempt, nacks, token, worker }
    }

    /// Its place in the topic.
    pub fn id(&self) -> u64 {
        self.received.message_id
    }

    pub fn message(&self) -> &Message {
        static NOTHING: std::sync::LazyLock<Message> = std::sync::LazyLock::new(Message::default);
        self.received.message.as_ref().unwrap_or(&NOTHING)
    }

    pub fn received(&self) -> &ReceivedMessage {
        &self.received
    }

    /// 1 the first time.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How often it was given back.
    pub fn nacks(&self) -> u32 {
        self.nacks
    }

    /// It is done. Await the answer to know that it will not come again.
    pub fn ack(mut self) -> Acked {
        let (told, answer) = oneshot::channel();
        if let Some(token) = self.token.take() {
            self.tell(Command::Ack { token, told });
        }
        Acked(answer)
    }

    /// It could not be done: it comes again, to anyone, after the subscription's retry delay.
    pub fn nack(mut self) {
        self.give_back(None);
    }

    /// The same, after a delay of one's own.
    pub fn nack_after(mut self, delay: Duration) {
        self.give_back(Some(delay));
    }

    fn give_back(&mut self, delay: Option<Duration>) {
        if let Some(token) = self.token.take() {
            self.tell(Command::Nack { token, delay });
        }
    }

    fn tell(&self, command: Command) {
        // There is room for as many as there are handles. A worker that has ended has left them all to their deadline.
        let _ = self.worker.try_send(command);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.give_back(None);
    }
}

impl Future for Acked {
    type Output = Result<(), Status>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let told = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(told.unwrap_or_else(|_| {
            Err(status::unavailable(status::reason::UNREACHABLE, "the consumer has ended before the answer"))
        }))
    }
}
