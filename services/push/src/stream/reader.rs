//! The half that takes requests.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use trunkline_ports::{Receiver, Span};
use trunkline_types::{Bucket, NodeId, TopicName};
use trunkline_wire::Status;
use trunkline_wire::status::invalid;
use trunkline_wire::v1::{AckLevel, Message, PushStreamRequest};

use super::{Note, Place, Places};
use crate::error;
use crate::handle::{Encoded, Server, bounded};
use crate::link::{Batch, Told};
use crate::progress::{self, Progress, Writer};
use crate::push::outgoing;
use crate::topics::Topic;
use crate::trace;
use crate::validate;

/// Why the reader stops, with what the stream is to end with.
type Stop = Result<(), Status>;

pub(super) struct Reader<'a> {
    server: &'a Server,
    deadline: Instant,
    places: Places,
    notes: mpsc::Sender<Note>,
    reply: mpsc::Sender<Told>,
    broken: CancellationToken,
    /// The index of the next message.
    next: u64,
    topic: Option<TopicName>,
    level: AckLevel,
    /// Who took the messages of each bucket so far.
    writers: BTreeMap<Bucket, Writer>,
}

/// The messages of one request that go to a coordinator, each with its place.
struct Taken {
    topic: Topic,
    level: AckLevel,
    first: u64,
    since: Instant,
    until: Instant,
    records: Vec<Encoded>,
    places: Vec<Place>,
    bytes: usize,
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
        }
    }

    pub(super) async fn run(mut self, mut requests: Receiver<PushStreamRequest>) {
        let broken = self.broken.clone();
        let ended = loop {
            let request = tokio::select! {
                biased;
                () = broken.cancelled() => break Err(error::order_not_kept(self.next)),
                () = self.server.admission.draining() => break Err(error::stream_drained(self.next)),
                request = requests.next() => request,
            };
            let taken = match request {
                Ok(Some(request)) => self.take(request).await,
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            };
            if let Err(stop) = taken {
                break stop;
            }
        };
        let _ = self.notes.send(Note::Ended(ended)).await;
    }

    /// `Err` ends the stream.
    async fn take(&mut self, request: PushStreamRequest) -> Result<(), Stop> {
        let name = self.settle(&request).map_err(Err)?;
        validate::batch(&request.messages).map_err(Err)?;
        let since = Instant::now();
        let until = bounded(self.deadline).min(since + self.server.options.stream_deadline);
        let topic = match self.server.topics.find_or_create(&name, until).await {
            Ok(topic) => topic,
            Err(why) => return self.refuse_all(request.messages.len(), &why).await,
        };
        let level = if self.level == AckLevel::Unspecified { topic.default_level } else { self.level };
        let now = self.server.host.process.wall_clock_ms();
        // Runs of valid messages travel together; one that is not valid is answered in its turn.
        let new =
            |first| Taken { topic, level, first, since, until, records: vec![], places: vec![], bytes: 0 };
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
        self.give(&name, run).await
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
        let (server, count) = (self.server, run.records.len());
        let room = match server.admission.wait(count, run.bytes, run.until).await {
            Ok(room) => room,
            Err(why) => return self.refuse(run.first, count, &why).await,
        };
        let bucket = run.topic.id.bucket();
        let coordinator = match server.coordinators.of(bucket, run.until).await {
            Ok(coordinator) => coordinator,
            Err(why) => return self.refuse(run.first, count, &why).await,
        };
        let moved =
            self.writers.get(&bucket).is_some_and(|before| self.moves(*before, coordinator.writer, count));
        if moved || self.broken.is_cancelled() {
            self.refuse(run.first, count, &error::refused_in_order()).await?;
            return Err(Err(error::order_not_kept(self.next)));
        }
        self.writers.insert(bucket, coordinator.writer);
        server.metrics.took(run.bytes);
        let records = outgoing(run.topic, run.first, &run.records);
        let address = &coordinator.link.address;
        let span = trace::append(&server.host, address, progress::name(run.level), count);
        self.note(name, &run, coordinator.writer.node, span.as_ref()).await?;
        let batch = Batch {
            records,
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
        &self,
        name: &TopicName,
        run: &Taken,
        node: NodeId,
        span: Option<&Span>,
    ) -> Result<(), Stop> {
        let cluster = self.server.host.map().cluster;
        for ((index, record), place) in (run.first..).zip(&run.records).zip(&run.places) {
            let progress = Progress::new(cluster, run.topic.id, record.checksum, run.level);
            let (since, until, place) = (run.since, run.until, place.clone());
            let topic = (name.clone(), run.topic.id);
            let span = span.cloned();
            self.send(Note::Begun { index, topic, node, progress, since, until, place, span }).await?;
        }
        Ok(())
    }

    async fn refuse_all(&mut self, count: usize, why: &Status) -> Result<(), Stop> {
        let first = self.next;
        self.next += count as u64;
        self.refuse(first, count, why).await
    }

    async fn refuse(&self, first: u64, count: usize, why: &Status) -> Result<(), Stop> {
        self.server.metrics.refused(self.level, count);
        for index in (first..).take(count) {
            self.send(Note::Refused { index, result: progress::refused(why) }).await?;
        }
        Ok(())
    }

    async fn send(&self, note: Note) -> Result<(), Stop> {
        // The writer ends only together with the call.
        self.notes.send(note).await.map_err(|_| Err(Status::cancelled("the stream is over")))
    }
}

fn check(index: usize, message: &Message, topic: Topic) -> Result<(), Status> {
    validate::message(index, message)?;
    validate::payload_of_topic(index, message, topic.message_bytes_max)
}
