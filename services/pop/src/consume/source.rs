//! Where a stream's messages come from: a subscription's dispatcher, or, from some ID on, a store.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;
use trunkline_types::limits::{CLIENT_ID_BYTES_MAX, POP_BYTES_MAX, POP_MESSAGES_MAX};
use trunkline_types::{ConsumerName, TopicName};
use trunkline_wire::status::invalid;
use trunkline_wire::{Status, v1};

use crate::errand::{AckErrand, PopErrand};
use crate::grpc::Calls;
use crate::handle::{AckCall, What};
use crate::validate;

/// One wait, and until when it must have been answered.
const WAIT: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(30);
/// To tell the dispatcher that the stream is over; its ack deadlines do the same, later.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) type Names = Arc<(TopicName, ConsumerName)>;

pub(super) enum Source {
    Subscription {
        names: Names,
        share: Option<v1::Share>,
        /// Counts answers, from 1, so that one that does not come here comes again.
        round: u64,
        leaving: Leaving,
    },
    /// The next ID of a topic; 0: the earliest there is.
    Topic { name: TopicName, from: u64 },
}

/// What one pop, or read, has brought.
pub(super) struct Brought {
    pub(super) response: v1::PopResponse,
    /// Of a read: where to go on.
    pub(super) next: Option<u64>,
}

impl Source {
    pub(super) fn new(calls: &Arc<Calls>, start: v1::ConsumeStart) -> Result<Self, Status> {
        let topic = validate::topic(&start.topic).map_err(|error| within_start(&error))?;
        validate::at_most("start.client_id", start.client_id.len(), CLIENT_ID_BYTES_MAX, "bytes")?;
        if start.consumer.is_empty() {
            if start.share.is_some() {
                return Err(invalid("start.share", "has no meaning without a consumer"));
            }
            return Ok(Self::Topic { name: topic, from: start.from });
        }
        if start.from > 0 {
            return Err(invalid("start.from", "has no meaning with a consumer, which has a position"));
        }
        let consumer = validate::consumer(&start.consumer).map_err(|error| within_start(&error))?;
        validate::share("start.share", start.share)?;
        let random = || calls.host.process.random();
        let name = format!("{}/{:016x}{:016x}", start.client_id, random(), random()).into();
        let names = Arc::new((topic, consumer));
        let leaving = Leaving { calls: calls.clone(), names: names.clone(), name, stays: false };
        Ok(Self::Subscription { names, share: start.share, round: 1, leaving })
    }

    /// Whose deliveries can be acknowledged.
    pub(super) fn subscription(&self) -> Option<&Names> {
        match self {
            Self::Subscription { names, .. } => Some(names),
            Self::Topic { .. } => None,
        }
    }

    /// The client comes back for its deliveries.
    pub(super) fn stays(&mut self) {
        if let Self::Subscription { leaving, .. } = self {
            leaving.stays = true;
        }
    }

    /// An answer has come.
    pub(super) fn goes_on(&mut self, next: Option<u64>) {
        match self {
            Self::Subscription { round, .. } => *round += 1,
            Self::Topic { from, .. } => *from = next.unwrap_or(*from),
        }
    }

    /// The next messages, waiting for a first one.
    pub(super) fn pop(
        &self,
        calls: Arc<Calls>,
        messages: u64,
        bytes: u64,
    ) -> BoxFuture<'static, Result<Brought, Status>> {
        let max_messages = u32::try_from(messages.min(POP_MESSAGES_MAX as u64)).unwrap_or(u32::MAX);
        let (max_bytes, wait) = (bytes.min(POP_BYTES_MAX as u64), prost_types::Duration::try_from(WAIT).ok());
        match self {
            Self::Subscription { names, share, round, leaving } => {
                let request = v1::PopRequest {
                    client_id: leaving.name.to_string(),
                    max_messages,
                    max_bytes,
                    wait,
                    share: *share,
                    ..v1::PopRequest::default()
                };
                let (names, round) = (names.clone(), *round);
                Box::pin(async move { pop(&calls, &names, &request, round).await })
            }
            Self::Topic { name, from } => {
                let topic = name.as_str().to_owned();
                let request = v1::ReadRequest { topic, from: *from, max_messages, max_bytes, wait };
                Box::pin(async move { read(&calls, &request).await })
            }
        }
    }
}

async fn pop(calls: &Calls, names: &Names, request: &v1::PopRequest, round: u64) -> Result<Brought, Status> {
    let deadline = Instant::now() + PATIENCE;
    let errand =
        |key: &_| Ok(PopErrand { call: validate::pop_call(request, round, key, deadline)?, request });
    let response = calls.dispatched(&names.0, &names.1, deadline, errand).await?;
    Ok(Brought { response, next: None })
}

async fn read(calls: &Calls, request: &v1::ReadRequest) -> Result<Brought, Status> {
    let read = calls.reading.read(request, Instant::now() + PATIENCE).await?;
    let delivery = |message| v1::Delivery { message: Some(message), ..v1::Delivery::default() };
    let deliveries = read.messages.into_iter().map(delivery).collect();
    let response = v1::PopResponse { deliveries, expired: read.expired };
    Ok(Brought { response, next: Some(read.next) })
}

fn within_start(error: &Status) -> Status {
    let (field, problem) = error.message().split_once(' ').unwrap_or(("", error.message()));
    invalid(format!("start.{field}"), problem)
}

/// Tells the dispatcher when the stream is over, also where the host drops it because its caller is gone.
pub(super) struct Leaving {
    calls: Arc<Calls>,
    names: Names,
    /// As the dispatcher knows it.
    name: Arc<str>,
    /// The client comes back for its deliveries.
    stays: bool,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if self.stays || self.calls.shutdown.is_draining() {
            return;
        }
        let (calls, names, name) = (self.calls.clone(), self.names.clone(), self.name.clone());
        self.calls.host.process.spawn("consume-left", async move {
            let deadline = Instant::now() + LEAVE_TIMEOUT;
            let errand = |_: &_| Ok(AckErrand { call: AckCall { what: What::Left(name.clone()), deadline } });
            if let Err(error) = calls.dispatched(&names.0, &names.1, deadline, errand).await {
                tracing::debug!(%error, "a stream's deliveries come again at their deadline");
            }
        });
    }
}
