//! A message whose payload comes in chunks: these go on to the coordinator as they come, and the record when all are
//! there. Its place in the order is that of its record.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use trunkline_types::limits::{DEADLINE_MAX, PAYLOAD_IDLE_MAX, UPLOAD_CHUNKS_AHEAD};
use trunkline_types::{Bucket, Lane, TopicId, TopicName};
use trunkline_wire::Status;
use trunkline_wire::status::invalid;
use trunkline_wire::v1::{AckLevel, LargeMessage, Message, PayloadChunk};

use super::reader::{Reader, Stop, Taken};
use crate::admission::Room;
use crate::coordinator::Coordinator;
use crate::error;
use crate::handle::bounded;
use crate::link::Batch;
use crate::progress::Outcome;
use crate::push::{OUTCOMES_MAX, Refusal, refusal};
use crate::upload::Upload;
use crate::validate;

/// Coordinators that are asked to take one payload.
const ATTEMPTS_MAX: usize = 3;
/// From its last chunk on, how long a large message may take to reach its level: it has a long way to go.
pub(super) const LEVEL_WITHIN: Duration = DEADLINE_MAX;

/// What the chunks that come belong to.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A message that was answered already.
    Answered,
    Uploading(Box<Uploading>),
}

#[derive(Debug)]
pub(super) struct Uploading {
    name: TopicName,
    message: Message,
    coordinator: Coordinator,
    upload: Upload,
    /// The record's, once there is one.
    run: Taken,
    /// Nothing has come for so long: given up.
    idle_at: Instant,
}

impl Incoming {
    pub(super) fn idle_at(&self) -> Option<Instant> {
        match self {
            Self::Answered => None,
            Self::Uploading(uploading) => Some(uploading.idle_at),
        }
    }
}

impl Reader<'_> {
    /// A message begins whose payload follows. It is refused before any of that is read, if it is to be.
    pub(super) async fn begin_large(
        &mut self,
        name: TopicName,
        large: LargeMessage,
        mut run: Taken,
    ) -> Result<(), Stop> {
        self.incoming = Some(Incoming::Answered);
        let checked = validate::large(&large, self.server.options.inline_bytes_max.bytes())
            .and_then(|()| validate::large_of_topic(large.payload_bytes, run.topic.message_bytes_max));
        let message = match checked {
            Ok(()) => large.message.unwrap_or_default(),
            Err(why) => return self.refuse_all(1, &why).await,
        };
        // What is held of it at a time; the rest is on its way or on disk.
        run.bytes = self.server.options.chunk_bytes.as_usize() * UPLOAD_CHUNKS_AHEAD as usize;
        run.first = self.next;
        run.places.push(self.places.take(run.bytes).await);
        let begun = self.upload(&name, run.topic.id, large.payload_bytes, run.until).await;
        let (coordinator, upload) = match begun {
            Ok(begun) => begun,
            Err(why) => return self.refuse_all(1, &why).await,
        };
        self.next += 1;
        let idle_at = Instant::now() + PAYLOAD_IDLE_MAX;
        let uploading = Uploading { name, message, coordinator, upload, run, idle_at };
        self.incoming = Some(Incoming::Uploading(Box::new(uploading)));
        Ok(())
    }

    async fn upload(
        &mut self,
        name: &TopicName,
        topic: TopicId,
        bytes: u64,
        until: Instant,
    ) -> Result<(Coordinator, Upload), Status> {
        let (server, chunk_bytes) = (self.server, self.server.options.chunk_bytes());
        let mut coordinator = server.coordinators.of(topic.bucket(), until).await?;
        for _ in 1..ATTEMPTS_MAX {
            let address = &coordinator.link.address;
            let why = match Upload::begin(&server.host, address, topic, bytes, chunk_bytes).await {
                Ok(upload) => return Ok((coordinator, upload)),
                Err(why) => why,
            };
            // Another coordinator takes it only where nothing of this stream is with the first.
            let instead = match refusal(&why) {
                Refusal::StoreUnfit => server.coordinators.instead_of(coordinator.link.node, topic.bucket()),
                Refusal::TopicEnded => {
                    server.topics.forget(name, topic);
                    None
                }
                Refusal::StoreGone | Refusal::Final => None,
            };
            match instead {
                Some(other) if !self.writers.contains_key(&topic.bucket()) => coordinator = other,
                Some(_) => {
                    self.broken.cancel();
                    return Err(why);
                }
                None => return Err(why),
            }
        }
        Err(error::no_coordinator(topic.bucket()))
    }

    /// The next chunk of the message that has begun.
    pub(super) async fn chunk(&mut self, chunk: PayloadChunk) -> Result<(), Stop> {
        match self.incoming.take() {
            None => Err(Err(invalid("chunk", "belongs to no message"))),
            Some(Incoming::Answered) => {
                self.incoming = Some(Incoming::Answered);
                Ok(())
            }
            Some(Incoming::Uploading(mut uploading)) => {
                if let Err(why) = uploading.upload.send(chunk).await {
                    self.incoming = Some(Incoming::Answered);
                    return self.refuse(uploading.run.first, 1, &why).await;
                }
                if uploading.upload.is_sent() {
                    return self.finish(*uploading).await;
                }
                uploading.idle_at = Instant::now() + PAYLOAD_IDLE_MAX;
                self.incoming = Some(Incoming::Uploading(uploading));
                Ok(())
            }
        }
    }

    /// Nothing more comes of a message that has begun: certainly not stored.
    pub(super) async fn abandon(&mut self, why: &Status) -> Result<(), Stop> {
        match self.incoming.take() {
            Some(Incoming::Uploading(uploading)) => {
                self.incoming = Some(Incoming::Answered);
                self.refuse(uploading.run.first, 1, why).await
            }
            _ => Ok(()),
        }
    }

    /// All chunks have come: the record follows them.
    async fn finish(&mut self, uploading: Uploading) -> Result<(), Stop> {
        let Uploading { name, message, coordinator, mut upload, mut run, .. } = uploading;
        let payload = match upload.finish().await {
            Ok(payload) => payload,
            Err(why) => return self.refuse(run.first, 1, &why).await,
        };
        run.since = Instant::now();
        run.until = bounded(self.deadline).min(run.since + LEVEL_WITHIN);
        let now = self.server.host.process.wall_clock_ms();
        run.records.push(self.server.encode_large(message, payload, now));
        run.upload = Some(upload);
        self.bring(&name, run, coordinator, Lane::LARGE).await
    }

    /// All that was sent to a bucket in one lane has its ID: what goes into another lane comes after it.
    pub(super) async fn ordered(
        &mut self,
        coordinator: &Coordinator,
        room: &Arc<Room>,
        bucket: Bucket,
        lane: Lane,
        until: Instant,
    ) -> Result<(), Status> {
        let (reply, mut told) = mpsc::channel(OUTCOMES_MAX);
        let batch = Batch {
            records: Vec::new(),
            barrier: Some((bucket, lane)),
            level: AckLevel::Ordered,
            until,
            reply,
            room: room.clone(),
            writer: coordinator.writer,
            span: None,
        };
        let asking = async {
            coordinator.link.append(batch).await;
            loop {
                match told.recv().await.map(|told| told.outcome) {
                    Some(Outcome::Ordered(_)) => return Ok(()),
                    Some(Outcome::Refused(why) | Outcome::Failed(why)) => {
                        return Err(error::before_storing(&why));
                    }
                    Some(Outcome::Lost) | None => return Err(error::refused_in_order()),
                    Some(_) => {}
                }
            }
        };
        tokio::select! {
            biased;
            () = self.broken.cancelled() => Err(error::refused_in_order()),
            ordered = timeout_at(until, asking) => {
                ordered.unwrap_or_else(|_| Err(error::no_time_left("ordering what was sent before")))
            }
        }
    }

    /// A request, unless nothing comes of a payload that has begun.
    pub(super) async fn in_time<T>(idle_at: Option<Instant>, next: impl Future<Output = T>) -> Option<T> {
        match idle_at {
            Some(idle_at) => timeout_at(idle_at, next).await.ok(),
            None => Some(next.await),
        }
    }
}
