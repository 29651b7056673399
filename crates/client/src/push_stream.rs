//! Many messages to one topic, in order, over one stream.

mod worker;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use trunkline_types::limits::{BATCH_BYTES_MAX, PAYLOAD_INLINE_BYTES_MAX};
use trunkline_wire::Status;
use trunkline_wire::check;
use trunkline_wire::v1::{LargeMessage, Message};

use crate::client::Client;
use crate::options::StreamOptions;
use crate::payload::{PayloadSource, Source};
use crate::push::Outcome;
use worker::Worker;

/// Messages between the handle and its task.
const QUEUED_MAX: usize = 256;

/// A handle on the task that owns the stream. Messages are stored and ordered as they are sent; their results come
/// as they are reached. Dropping it lets what was sent finish.
#[derive(Debug)]
pub struct PushStream {
    queue: mpsc::Sender<Queued>,
    window: Arc<Semaphore>,
    inline_bytes_max: u64,
}

/// A message's result to come.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Outcome>);

/// A message on its way to the task.
#[derive(Debug)]
struct Queued {
    message: Message,
    /// The payload, where it does not go with the message.
    large: Option<Source>,
    told: oneshot::Sender<Outcome>,
    place: OwnedSemaphorePermit,
}

impl Client {
    /// Opens a stream of pushes to one topic, at the nearest datacenter.
    pub fn push_stream(&self, topic: &str, options: StreamOptions) -> PushStream {
        let options = StreamOptions {
            batch_bytes: options.batch_bytes.clamp(1, BATCH_BYTES_MAX - 2 * PAYLOAD_INLINE_BYTES_MAX),
            window: options.window.max(1),
            ..options
        };
        let (queue, queued) = mpsc::channel(QUEUED_MAX);
        let worker = Worker::new(self.clone(), topic.to_owned(), options, queued);
        self.inner.process.spawn("push-stream", worker.run());
        let inline_bytes_max = self.inner.options.inline_bytes_max;
        PushStream { queue, window: Arc::new(Semaphore::new(options.window)), inline_bytes_max }
    }
}

impl PushStream {
    /// Sends a message, in chunks where it is too large for one; waits while too many are not answered yet. One that exceeds a limit is not sent: its result
    /// says so, and the stream goes on.
    ///
    /// # Errors
    /// The stream is over: the message was certainly not sent. Results tell what it ended with.
    pub async fn send(&self, mut message: Message) -> Result<Pending, Status> {
        if message.payload.len() as u64 > self.inline_bytes_max {
            let payload = std::mem::take(&mut message.payload);
            return self.send_large(message, payload).await;
        }
        let checked = check::message(0, &message);
        self.queue(message, None, checked).await
    }

    /// Sends a message whose payload is not in memory, in its place among the others.
    ///
    /// # Errors
    /// As [`PushStream::send`].
    pub async fn send_large(&self, message: Message, payload: impl PayloadSource) -> Result<Pending, Status> {
        let (payload_bytes, message) = (payload.bytes(), message);
        let announced = LargeMessage { message: Some(message), payload_bytes };
        let checked = check::large(&announced, self.inline_bytes_max);
        self.queue(announced.message.unwrap_or_default(), Some(Source::new(payload)), checked).await
    }

    async fn queue(
        &self,
        message: Message,
        large: Option<Source>,
        checked: Result<(), Status>,
    ) -> Result<Pending, Status> {
        let place = self.window.clone().acquire_owned().await.expect("never closed");
        let (told, pending) = oneshot::channel();
        if let Err(why) = checked {
            // The receiver is right here.
            let _ = told.send(Err(why.into()));
            return Ok(Pending(pending));
        }
        let queued = Queued { message, large, told, place };
        self.queue.send(queued).await.map_err(|_| over())?;
        Ok(Pending(pending))
    }

    /// Whether the stream has ended, so that nothing more can be sent.
    pub fn is_over(&self) -> bool {
        self.queue.is_closed()
    }
}

impl Pending {
    /// The message's result.
    ///
    /// # Errors
    /// Its failure; where that does not say that nothing was stored, it may have been.
    pub async fn outcome(self) -> Outcome {
        self.0.await.unwrap_or_else(|_| Err(Status::unavailable("the stream's task has ended").into()))
    }
}

fn over() -> Status {
    let gone = Status::unavailable("the stream is over; open a new one");
    trunkline_wire::status::not_stored(&gone)
}
