//! Many messages to one topic, in order, over one stream.

mod worker;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use trunkline_types::limits::{BATCH_BYTES_MAX, PAYLOAD_INLINE_BYTES_MAX};
use trunkline_wire::Status;
use trunkline_wire::check;
use trunkline_wire::v1::Message;

use crate::client::Client;
use crate::options::StreamOptions;
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
}

/// A message's result to come.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Outcome>);

/// A message on its way to the task.
#[derive(Debug)]
struct Queued {
    message: Message,
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
        PushStream { queue, window: Arc::new(Semaphore::new(options.window)) }
    }
}

impl PushStream {
    /// Sends a message; waits while too many are not answered yet. One that exceeds a limit is not sent: its result
    /// says so, and the stream goes on.
    ///
    /// # Errors
    /// The stream is over: the message was certainly not sent. Results tell what it ended with.
    pub async fn send(&self, message: Message) -> Result<Pending, Status> {
        let place = self.window.clone().acquire_owned().await.expect("never closed");
        let (told, pending) = oneshot::channel();
        if let Err(why) = check::message(0, &message) {
            // The receiver is right here.
            let _ = told.send(Err(why.into()));
            return Ok(Pending(pending));
        }
        let queued = Queued { message, told, place };
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
