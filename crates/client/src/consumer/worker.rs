//! The task behind a consumer: keeps a stream open, gives messages to the program and its words to the server.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use trunkline_types::limits::ACK_DEADLINE_DEFAULT;
use trunkline_wire::status::{from_message, reason, reason_of};
use trunkline_wire::v1::{ConsumeRequest, ConsumeResponse, ConsumeStart, Delivery as Received, Message};
use trunkline_wire::{Code, Status};

use super::ConsumeOptions;
use super::delivery::Delivery;
use super::outstanding::Outstanding;
use super::stream::Stream;
use crate::client::{Client, IDEMPOTENT};
use crate::retry::{Verdict, verdict};

/// Words of the program that wait for the task: as many as it can have messages.
pub(super) const COMMANDS_MAX: usize = 200_000;
/// Notices that wait for the program, beside its messages.
pub(super) const EXPIRED_QUEUE: usize = 1_024;
/// So many renewals fit into an ack deadline.
const RENEWALS: u32 = 3;
/// After the program has gone: until what it has said is answered.
const FAREWELL: Duration = Duration::from_secs(10);
const PAUSE_MAX: u32 = 6;

/// What the program says.
#[derive(Debug)]
pub(super) enum Command {
    Ack {
        token: Bytes,
        told: oneshot::Sender<Result<(), Status>>,
    },
    Nack {
        token: Bytes,
        delay: Option<Duration>,
    },
    /// Of expired IDs.
    Heard(Bytes),
}

/// What waits for the program.
#[derive(Debug)]
pub(super) enum Queued {
    Message(Delivery),
    Expired { from: u64, to: u64, token: Bytes },
}

pub(super) struct Worker {
    client: Client,
    start: ConsumeStart,
    options: ConsumeOptions,
    events: mpsc::Sender<Result<Queued, Status>>,
    /// For the handles.
    words: mpsc::Sender<Command>,
    commands: mpsc::Receiver<Command>,
    outstanding: Outstanding,
    /// Asked for in this stream and not come.
    asked: (u64, i64),
    renew_every: Duration,
}

impl Worker {
    pub(super) fn new(
        client: Client,
        topic: &str,
        consumer: &str,
        options: ConsumeOptions,
        events: mpsc::Sender<Result<Queued, Status>>,
        words: mpsc::Sender<Command>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let random = || client.inner.process.random();
        let start = ConsumeStart {
            topic: topic.to_owned(),
            consumer: consumer.to_owned(),
            client_id: format!("{:016x}", random()),
            share: options.share,
            from: 0,
        };
        Self {
            client,
            start,
            options,
            events,
            words,
            commands,
            outstanding: Outstanding::default(),
            asked: (0, 0),
            renew_every: ACK_DEADLINE_DEFAULT / RENEWALS,
        }
    }

    /// One stream after the other, until the program is gone or an error is final.
    pub(super) async fn run(mut self) {
        self.learn_deadline().await;
        let mut tried = self.client.tried();
        let mut failures = 0;
        loop {
            let patience = self.client.deadline(Duration::ZERO);
            let endpoint = self.client.endpoint(&tried, patience).await;
            let began = Instant::now();
            let ended = self.stream(endpoint, patience).await;
            let Err(status) = ended else { return };
            if began.elapsed() > FAREWELL {
                // It worked for a while: this trouble is a new one.
                (tried, failures) = (self.client.tried(), 0);
            }
            match verdict(IDEMPOTENT, &status) {
                Verdict::Final => return self.give_up(status).await,
                Verdict::Elsewhere { suspect } => {
                    if suspect {
                        self.client.inner.failed(endpoint);
                    }
                    tried[endpoint] += 1;
                }
                Verdict::After(delay) => sleep_until(Instant::now() + delay).await,
            }
            failures = (failures + 1).min(PAUSE_MAX);
            let pause = if failures == 1 { Duration::ZERO } else { self.client.inner.pause(failures) };
            tracing::debug!(%status, ?pause, "a stream has ended, the next begins");
            sleep_until(Instant::now() + pause).await;
            if self.events.is_closed() && self.outstanding.is_settled() {
                return;
            }
        }
    }

    /// How often deadlines must be renewed; as by default where nobody says.
    async fn learn_deadline(&mut self) {
        let subscription = self.client.subscription(&self.start.topic, &self.start.consumer).await;
        let options = subscription.ok().and_then(|answer| answer.subscription?.options);
        let deadline = options.and_then(|options| Duration::try_from(options.ack_deadline?).ok());
        self.renew_every = deadline.unwrap_or(ACK_DEADLINE_DEFAULT) / RENEWALS;
    }

    async fn give_up(mut self, status: Status) {
        self.outstanding.fail_all(&status);
        // The program may be gone.
        let _ = self.events.send(Err(status)).await;
        self.commands.close();
    }

    /// Until it ends; `Ok` when the program is gone and all that it has said is answered.
    async fn stream(&mut self, endpoint: usize, patience: Instant) -> Result<(), Status> {
        self.asked = (0, 0);
        self.outstanding.begin_again();
        let mut first = self.credit().unwrap_or_default();
        first.start = Some(self.start.clone());
        let mut stream = Stream::open(&self.client, endpoint, first, patience).await?;
        let (events, mut gone_at) = (self.events.clone(), None);
        self.outstanding.renew_after(Instant::now(), self.renew_every);
        loop {
            if stream.is_free() {
                self.outstanding.say().into_iter().for_each(|request| stream.send(request));
                if gone_at.is_none() {
                    self.credit().into_iter().for_each(|request| stream.send(request));
                }
            }
            if gone_at.is_some() && self.outstanding.is_settled() && stream.is_free() {
                return Ok(());
            }
            tokio::select! {
                biased;
                response = stream.next() => self.take(response?),
                Some(command) = self.commands.recv() => self.hear(command),
                () = at(self.outstanding.renew_at()) => {
                    let now = Instant::now();
                    let renewals = self.outstanding.renew(now, self.renew_every, self.options.work_max);
                    renewals.into_iter().for_each(|request| stream.send(request));
                }
                () = events.closed(), if gone_at.is_none() => gone_at = Some(Instant::now() + FAREWELL),
                () = at(gone_at.filter(|_| self.outstanding.held().0 == 0)) => return Ok(()),
            }
        }
    }

    /// Asks for as much as the program may have beside what it has, once that is worth a request.
    fn credit(&mut self) -> Option<ConsumeRequest> {
        let (held, held_bytes) = self.outstanding.held();
        let most = u64::from(self.options.messages_max);
        let messages = most.saturating_sub(held + self.asked.0);
        let bytes = self.options.bytes_max.cast_signed() - held_bytes.cast_signed() - self.asked.1;
        let is_worth = messages * 2 >= most || (messages > 0 && self.asked.0 == 0);
        let is_worth = is_worth || (bytes > 0 && self.asked.1 <= 0);
        if !is_worth || (messages == 0 && bytes <= 0) {
            return None;
        }
        let bytes = bytes.max(0);
        self.asked = (self.asked.0 + messages, self.asked.1 + bytes);
        Some(ConsumeRequest {
            credit_messages: u32::try_from(messages).unwrap_or(u32::MAX),
            credit_bytes: bytes.unsigned_abs(),
            ..ConsumeRequest::default()
        })
    }

    fn take(&mut self, response: ConsumeResponse) {
        let now = Instant::now();
        for received in response.deliveries {
            let bytes = size(&received);
            self.asked = (self.asked.0.saturating_sub(1), self.asked.1 - bytes.cast_signed());
            self.outstanding.take(received.token.clone(), bytes, now);
            let delivery = Delivery::new(received, self.words.clone());
            // There is room for all that was asked for; a program that is gone gives it back.
            let _ = self.events.try_send(Ok(Queued::Message(delivery)));
        }
        for range in response.expired {
            let (from, to, token) = (range.from, range.to, range.token);
            // Without room it is told again.
            let _ = self.events.try_send(Ok(Queued::Expired { from, to, token }));
        }
        response.acked.iter().for_each(|token| self.outstanding.acked(token));
        for error in response.errors {
            let status = from_message(&error.status.unwrap_or_default());
            let is_final = !matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
            if reason_of(&status).as_deref() != Some(reason::DELIVERY_EXPIRED) {
                tracing::debug!(%status, "a word on a delivery did not count");
            }
            self.outstanding.failed(&error.token, status, is_final);
        }
    }

    fn hear(&mut self, command: Command) {
        match command {
            Command::Ack { token, told } => self.outstanding.ack(token, Some(told)),
            Command::Nack { token, delay } => self.outstanding.nack(token, delay),
            Command::Heard(token) => self.outstanding.ack(token, None),
        }
    }
}

/// As the server counts it.
fn size(received: &Received) -> u64 {
    let size = |message: &Message| {
        let attributes: usize = message.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        (message.payload.len() + message.key.len() + attributes) as u64
    };
    received.message.as_ref().and_then(|received| received.message.as_ref()).map_or(0, size)
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
