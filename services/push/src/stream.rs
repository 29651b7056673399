//! PushStream: messages in, in order; results out, as they are reached.
//!
//! Two halves in one task. The reader takes requests while there is room, and gives their records to the coordinator;
//! the writer waits for outcomes and answers. The stream ends with `ORDER_NOT_KEPT` when the coordinator of a bucket
//! it uses changes, by loss or by refusal: nothing is moved silently. Large payloads come in chunks ([`large`]).

mod large;
mod reader;
mod writer;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkline_ports::{Receiver, Responder, Span};
use trunkline_types::{NodeId, TopicId, TopicName};
use trunkline_wire::Status;
use trunkline_wire::v1::{PushResult, PushStreamRequest, PushStreamResponse};

use crate::handle::Server;
use crate::progress::Progress;
use crate::push::OUTCOMES_MAX;
use crate::upload::Upload;
use reader::Reader;
use writer::Writer;

/// Notes from the reader to the writer that wait at once.
const NOTES_MAX: usize = 1_024;
/// Bytes of one stream that are under way at once.
const STREAM_BYTES_MAX: usize = 16 << 20;

/// What the reader tells the writer, before a link could tell anything of the same message.
#[derive(Debug)]
enum Note {
    /// A message is on its way.
    Begun {
        index: u64,
        topic: (TopicName, TopicId),
        /// Who takes it.
        node: NodeId,
        progress: Progress,
        since: Instant,
        until: Instant,
        place: Place,
        /// Of the batch that it travels in; ends with the last of them.
        span: Option<Span>,
        /// What its payload came by: until it is answered, the store keeps it for its record.
        upload: Option<Upload>,
    },
    /// A message was answered without being sent anywhere.
    Refused { index: u64, result: PushResult },
    /// Nothing follows. The stream ends with this once what is under way is answered.
    Ended(Result<(), Status>),
}

/// A message's place among those of its stream that are under way.
#[derive(Clone, Debug)]
struct Place {
    _message: Arc<OwnedSemaphorePermit>,
    _bytes: Arc<OwnedSemaphorePermit>,
}

/// How much of one stream is under way.
#[derive(Clone, Debug)]
struct Places {
    messages: Arc<Semaphore>,
    messages_max: usize,
    bytes: Arc<Semaphore>,
}

impl Places {
    fn new(messages_max: usize) -> Self {
        Self {
            messages: Arc::new(Semaphore::new(messages_max)),
            messages_max,
            bytes: Arc::new(Semaphore::new(STREAM_BYTES_MAX)),
        }
    }

    /// Waits until so much has been answered that these fit.
    async fn take(&self, bytes: usize) -> Place {
        let bytes = u32::try_from(bytes.min(STREAM_BYTES_MAX)).unwrap_or(u32::MAX);
        let message = self.messages.clone().acquire_owned().await.expect("never closed");
        let bytes = self.bytes.clone().acquire_many_owned(bytes).await.expect("never closed");
        Place { _message: Arc::new(message), _bytes: Arc::new(bytes) }
    }

    /// Whether every message that was taken is answered, apart from `held` places that are not given out yet.
    fn idle(&self, held: usize) -> bool {
        self.messages.available_permits() + held >= self.messages_max
    }
}

impl Server {
    /// Runs until the caller's half has ended and everything is answered, or order is lost.
    pub(crate) async fn push_stream(
        &self,
        deadline: Instant,
        requests: Receiver<PushStreamRequest>,
        responses: Responder<PushStreamResponse>,
    ) -> Result<(), Status> {
        let _inside = self.admission.enter()?;
        let _open = self.metrics.stream();
        let places = Places::new(self.options.stream_messages_max);
        let (notes, noted) = mpsc::channel(NOTES_MAX);
        // Twice what can be under way, for what is still told after its deadline.
        let (reply, told) = mpsc::channel(self.options.stream_messages_max * OUTCOMES_MAX * 2);
        let broken = CancellationToken::new();
        let reader = Reader::new(self, deadline, places, notes, reply, broken.clone());
        let writer = Writer::new(self, noted, told, broken);
        let mut reading = std::pin::pin!(reader.run(requests));
        let mut writing = std::pin::pin!(writer.run(responses));
        tokio::select! {
            biased;
            ended = &mut writing => return ended,
            () = &mut reading => {}
        }
        writing.await
    }
}
