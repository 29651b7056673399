//! The half that takes requests.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use trunkline_ports::{Receiver, Span};
use trunkline_types::{Bucket, Lane, NodeId, TopicName};
use trunkline_wire::Status;
use trunkline_wire::status::invalid;
use trunkline_wire::v1::{AckLevel, Message, PushStreamRequest};

use super::large::Incoming;
use super::{Note, Place, Places};
use crate::coordinator::Coordinator;
use crate::error;
use crate::handle::{Encoded, Server, bounded};
use crate::link::{Batch, Told};
use crate::progress::{self, Progress, Writer};
use crate::push::outgoing;
use crate::topics::Topic;
use crate::trace;
use crate::upload::Upload;
use crate::validate;

/// Why the reader stops, with what the stream is to end with.
pub(super) type Stop = Result<(), Status>;

pub(super) struct Reader<'a> {
    pub(super) server: &'a Server,
    pub(super) deadline: Instant,
    pub(super) places: Places,
    notes: mpsc::Sender<Note>,
    reply: mpsc::Sender<Told>,
    pub(super) broken: CancellationToken,
    /// The index of the next message.
    pub(super) next: u64,
    topic: Option<TopicName>,
    level: AckLevel,
    /// Who took the messages of each bucket so far, and in which lane the last of them went.
    pub(super) writers: BTreeMap<Bucket, (Writer, Lane)>,
    /// What chunks belong to.
    pub(super) incoming: Option<Incoming>,
}

/// The messages of one request that go to a coordinator, each with its place.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) topic: Topic,
    level: AckLevel,
    pub(super) first: u64,
    pub(super) since: Instant,
    pub(super) until: Instant,
    pub(super) records: Vec<Encoded>,
    pub(super) places: Vec<Place>,
    pub(super) bytes: usize,
    /// What the one record's payload came by.
    pub(super) upload: Option<Upload>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        server: &'a Server,
        deadline: Instant,
        places: Places,
        notes: mpsc::Sender<Note>,
        reply: mpsc::Sender<Told>,
        broken: CancellationToken,
    ) -> Self {
        Self {
            server,
            deadline,
            places,
            notes,
            reply,
            broken,
            next: 0,
            topic: None,
            level: AckLevel::Unspecified,
            writers: BTreeMap::new(),
            incoming: None,
        }
    }

    pub(super) async fn run(mut self, mut requests: Receiver<PushStreamRequest>) {
        let broken = self.broken.clone();
        let ended = loop {
            let idle_at = self.incoming.as_ref().and_then(Incoming::idle_at);
            let request = tokio::select! {
                biased;
                () = broken.cancelled() => break Err(error::order_not_kept(self.next)),
                () = self.server.admission.draining() => break Err(error::stream_drained(self.next)),
                request = Self::in_time(idle_at, requests.next()) => request,
            };
            let taken = match request {
                Some(Ok(Some(request))) => self.take(request).await,
                Some(Ok(None)) => break Ok(()),
                Some(Err(status)) => break Err(status),
                None => self.abandon(&error::payload_not_sent()).await,
            };
            if let Err(stop) = taken {
                break stop;
            }
        };
        // It has its answer, too.
        let _ = self.abandon(&error::payload_not_sent()).await;
        let _ = self.notes.send(Note::Ended(ended)).await;
    }

    /// `Err` ends the stream.
    async fn take(&mut self, request: PushStreamRequest) -> Result<(), Stop> {
        if let Some(chunk) = request.chunk {
            return self.chunk(chunk).await;
        }
        let name = self.settle(&request).map_err(Err)?;
        if !request.messages.is_empty() || request.large.is_some() {
            self.abandon(&error::payload_not_sent()).await?;
            self.incoming = None;
        }
        validate::batch(&request.messages).map_err(Err)?;
        let since = Instant::now();
        let until = bounded(self.deadline).min(since + self.server.options.stream_deadline);
        let topic = match self.server.topics.find_or_create(&name, until).await {
            Ok(topic) => topic,
            Err(why) => {
                if request.large.is_some() {
                    self.incoming = Some(Incoming::Answered);
                }
                let count = request.messages.len() + usize::from(request.large.is_some());
                return self.refuse_all(count, &why).await;
            }
        };
        let level = if self.level == AckLevel::Unspecified { topic.default_level } else { self.level };
        let now = self.server.host.process.wall_clock_ms();
        // Runs of valid messages travel together; one that is not valid is answered in its turn.
        let new = |first| Taken {
            topic,
            level,
            first,
            since,
            until,
            records: vec![],
            places: vec![],
            bytes: 0,
            upload: None,
        };
        let mut run = new(self.next);
        for (index, message) in request.messages.into_iter().enumerate() {
            if let Err(why) = check(index, &message, topic) {
                let before = std::mem::replace(&mut run, new(self.next + 1));
                self.give(&name, before).await?;
                self.refuse_all(1, &why).await?;
                continue;
            }
            let bytes = validate::size(&message);
            if !run.places.is_empty() && self.must_wait(bytes) {
                // What is taken goes out first: its answers make the room that this one waits for.
                let before = std::mem::replace(&mut run, new(self.next));
                self.give(&name, before).await?;
            }
            run.places.push(self.places.take(bytes).await);
            run.records.push(self.server.encode(message, now));
            run.bytes += bytes;
            self.next += 1;
        }
        self.give(&name, run).await?;
        match request.large {
            Some(large) => self.begin_large(name, large, new(self.next)).await,
            None => Ok(()),
        }
    }

    /// Topic and level hold on until another one is said.
    fn settle(&mut self, request: &PushStreamRequest) -> Result<TopicName, Status> {
        let level = validate::ack_level("ack_level", request.ack_level)?;
        if level != AckLevel::Unspecified {
            self.level = level;
        }
        if !request.topic.is_empty() {
            self.topic = Some(validate::topic(request.topic.clone())?);
        }
        self.topic.clone().ok_or_else(|| invalid("topic", "must not be empty in a stream's first request"))
    }

    fn must_wait(&self, bytes: usize) -> bool {
        self.places.messages.available_permits() == 0 || self.places.bytes.available_permits() < bytes
    }

    /// Brings a run to its coordinator, in one batch.
    async fn give(&mut self, name: &TopicName, run: Taken) -> Result<(), Stop> {
        if run.records.is_empty() {
            return Ok(());
        }
        match self.server.coordinators.of(run.topic.id.bucket(), run.until).await {
            Ok(coordinator) => self.bring(name, run, coordinator, Lane::SMALL).await,
            Err(why) => self.refuse(run.first, run.records.len(), &why).await,
        }
    }

    /// To this coordinator, into this lane: after another one only once all that went there is ordered.
    pub(super) async fn bring(
        &mut self,
        name: &TopicName,
        mut run: Taken,
        coordinator: Coordinator,
        lane: Lane,
    ) -> Result<(), Stop> {
        let (server, count) = (self.server, run.records.len());
        let room = match server.admission.wait(count, run.bytes, run.until).await {
            Ok(room) => room,
            Err(why) => return self.refuse(run.first, count, &why).await,
        };
        let bucket = run.topic.id.bucket();
        let before = self.writers.get(&bucket).copied();
        let moved = before.is_some_and(|(before, _)| self.moves(before, coordinator.writer, count));
        if moved || self.broken.is_cancelled() {
            self.refuse(run.first, count, &error::refused_in_order()).await?;
            return Err(Err(error::order_not_kept(self.next)));
        }
        if let Some((_, before)) = before.filter(|(_, before)| *before != lane)
            && let Err(why) = self.ordered(&coordinator, &room, bucket, before, run.until).await
        {
            return self.refuse(run.first, count, &why).await;
        }
        self.writers.insert(bucket, (coordinator.writer, lane));
        server.metrics.took(run.bytes);
        let mut records = outgoing(run.topic, run.first, &run.records);
        if let (Some(upload), Some(record)) = (&run.upload, records.first_mut()) {
            record.upload = upload.number();
        }
        let address = &coordinator.link.address;
        let span = trace::append(&server.host, address, progress::name(run.level), count);
        self.note(name, &mut run, coordinator.writer.node, span.as_ref()).await?;
        let batch = Batch {
            records,
            barrier: None,
            level: run.level,
            until: run.until,
            reply: self.reply.clone(),
            room,
            writer: coordinator.writer,
            span,
        };
        if timeout_at(run.until, coordinator.link.append(batch)).await.is_err() {
            // Never given to the link: told as the link would have.
            for index in (run.first..).take(count) {
                let outcome = progress::Outcome::Refused(error::no_time_left("sending to the coordinator"));
                let _ = self.reply.send(Told { index, outcome }).await;
            }
        }
        Ok(())
    }

    /// Whether what is sent now could overtake what this stream sent to the bucket before.
    fn moves(&self, before: Writer, now: Writer, held: usize) -> bool {
        let same_log = before.node == now.node && before.boot == now.boot;
        !same_log || (before.stream != now.stream && !self.places.idle(held))
    }

    async fn note(
        &mut self,
        name: &TopicName,
        run: &mut Taken,
        node: NodeId,
        span: Option<&Span>,
    ) -> Result<(), Stop> {
        let cluster = self.server.host.map().cluster;
        // The payload of one record, which is alone then.
        let mut upload = run.upload.take();
        for ((index, record), place) in (run.first..).zip(&run.records).zip(&run.places) {
            let progress = Progress::new(cluster, run.topic.id, record.checksum, run.level);
            let (since, until, place) = (run.since, run.until, place.clone());
            let topic = (name.clone(), run.topic.id);
            let (span, upload) = (span.cloned(), upload.take());
            let begun = Note::Begun { index, topic, node, progress, since, until, place, span, upload };
            self.send(begun).await?;
        }
        Ok(())
    }

    pub(super) async fn refuse_all(&mut self, count: usize, why: &Status) -> Result<(), Stop> {
        let first = self.next;
        self.next += count as u64;
        self.refuse(first, count, why).await
    }

    pub(super) async fn refuse(&mut self, first: u64, count: usize, why: &Status) -> Result<(), Stop> {
        self.server.metrics.refused(self.level, count);
        for index in (first..).take(count) {
            self.send(Note::Refused { index, result: progress::refused(why) }).await?;
        }
        Ok(())
    }

    async fn send(&mut self, note: Note) -> Result<(), Stop> {
        // The writer ends only together with the call.
        self.notes.send(note).await.map_err(|_| Err(Status::cancelled("the stream is over")))
    }
}

fn check(index: usize, message: &Message, topic: Topic) -> Result<(), Status> {
    validate::message(index, message)?;
    validate::payload_of_topic(index, message, topic.message_bytes_max)
}
