//! Consume: a stream that pops for its client, as long as there is credit, and settles what the client says of its
//! deliveries. To the dispatcher, here or elsewhere, it is one more client; so a move of the dispatch does not end it.
//! Without a subscription it reads.
//!
//! - `source`: where messages come from; `credit`: how many may come.
//! - `settling`: what is said of deliveries; `outbox`: responses on their way.

mod credit;
mod outbox;
mod settling;
mod source;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout};
use trunkline_ports::{Receiver, Responder};
use trunkline_runtime::Backoff;
use trunkline_types::limits::CONNECT_TIMEOUT;
use trunkline_wire::status::invalid;
use trunkline_wire::{Code, Status, v1};

use crate::error;
use crate::grpc::Calls;
use credit::Credit;
use outbox::Outbox;
use settling::{Settled, Settling};
use source::{Brought, Source};

/// What may pass is tried again for so long before the stream ends with it.
const TROUBLE_MAX: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// When the server shuts down.
const FAREWELL: Duration = Duration::from_secs(1);
/// Requests whose acks, nacks and extensions are being settled at once.
const SETTLING_MAX: usize = 32;

type Popping = BoxFuture<'static, Result<Brought, Status>>;

/// Serves one stream until one side ends it.
pub(crate) async fn consume(
    calls: Arc<Calls>,
    mut requests: Receiver<v1::ConsumeRequest>,
    responses: Responder<v1::ConsumeResponse>,
) -> Result<(), Status> {
    if calls.shutdown.is_draining() {
        return Err(error::draining());
    }
    let first = timeout(CONNECT_TIMEOUT, requests.next()).await;
    let silent = || invalid("start", "must be in the first request, which has not come");
    let mut first = first.map_err(|_| silent())??.ok_or_else(silent)?;
    let start = first.start.take().ok_or_else(|| invalid("start", "must be in the first request"))?;
    let _open = calls.metrics.stream();
    let mut stream = Stream::new(calls, start)?;
    stream.take(first)?;
    let ended = stream.run(&mut requests, Outbox::new(responses)).await;
    // What is being processed stays the client's when the server is to blame.
    if matches!(&ended, Err(error) if error.code() == Code::Unavailable) {
        stream.source.stays();
    }
    ended
}

struct Stream {
    calls: Arc<Calls>,
    source: Source,
    credit: Credit,
    popping: Option<Popping>,
    /// Since when pops have failed.
    trouble: Option<Instant>,
    backoff: Backoff,
    settling: FuturesUnordered<Settling>,
}

impl Stream {
    fn new(calls: Arc<Calls>, start: v1::ConsumeStart) -> Result<Self, Status> {
        Ok(Self {
            source: Source::new(&calls, start)?,
            calls,
            credit: Credit::default(),
            popping: None,
            trouble: None,
            backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
            settling: FuturesUnordered::new(),
        })
    }

    async fn run(
        &mut self,
        requests: &mut Receiver<v1::ConsumeRequest>,
        mut outbox: Outbox,
    ) -> Result<(), Status> {
        let calls = self.calls.clone();
        let mut draining = std::pin::pin!(calls.shutdown.draining());
        loop {
            if self.popping.is_none() && outbox.has_room() {
                self.popping = self.pop(Duration::ZERO);
            }
            let has_room = self.settling.len() < SETTLING_MAX && outbox.has_room();
            tokio::select! {
                biased;
                sent = outbox.sent() => sent?,
                () = &mut draining => {
                    self.popping = None;
                    // What is on its way to the client still gets there.
                    let _ = timeout(FAREWELL, self.finish(&mut outbox)).await;
                    return Err(error::draining());
                }
                Some(settled) = self.settling.next() => outbox.push(response(settled)),
                request = requests.next(), if has_room => match request {
                    Ok(Some(request)) => self.take(request)?,
                    Ok(None) => {
                        self.popping = None;
                        return self.finish(&mut outbox).await;
                    }
                    Err(_) => return Err(Status::cancelled("the client is gone")),
                },
                popped = finished(&mut self.popping) => {
                    if let Some(response) = self.popped(popped)? {
                        outbox.push(response);
                    }
                }
            }
        }
    }

    /// Until all that was said is settled and answered.
    async fn finish(&mut self, outbox: &mut Outbox) -> Result<(), Status> {
        while !self.settling.is_empty() || !outbox.is_empty() {
            tokio::select! {
                biased;
                sent = outbox.sent() => sent?,
                Some(settled) = self.settling.next() => outbox.push(response(settled)),
            }
        }
        Ok(())
    }

    fn take(&mut self, request: v1::ConsumeRequest) -> Result<(), Status> {
        if request.start.is_some() {
            return Err(invalid("start", "must be in the first request only"));
        }
        self.credit.add(request.credit_messages, request.credit_bytes)?;
        self.settling.extend(settling::all(&self.calls, self.source.subscription(), request)?);
        Ok(())
    }

    /// After a pause, asks for as much as there is credit for.
    fn pop(&self, pause: Duration) -> Option<Popping> {
        let (messages, bytes) = self.credit.left()?;
        let brings = self.source.pop(self.calls.clone(), messages, bytes);
        Some(Box::pin(async move {
            tokio::time::sleep(pause).await;
            brings.await
        }))
    }

    /// What it brings, if anything. What may pass is tried again.
    fn popped(&mut self, popped: Result<Brought, Status>) -> Result<Option<v1::ConsumeResponse>, Status> {
        match popped {
            Ok(Brought { response: v1::PopResponse { deliveries, expired }, next }) => {
                self.source.goes_on(next);
                self.trouble = None;
                self.backoff.reset();
                self.credit.spend(&deliveries);
                let is_empty = deliveries.is_empty() && expired.is_empty();
                Ok((!is_empty).then(|| v1::ConsumeResponse { deliveries, expired, ..Default::default() }))
            }
            Err(error) => {
                let since = *self.trouble.get_or_insert_with(Instant::now);
                let may_pass = matches!(error.code(), Code::Unavailable | Code::ResourceExhausted);
                if !may_pass || since.elapsed() >= TROUBLE_MAX {
                    return Err(error);
                }
                let pause = self.backoff.next(&self.calls.host.process);
                self.popping = self.pop(pause);
                Ok(None)
            }
        }
    }
}

fn response(settled: Settled) -> v1::ConsumeResponse {
    v1::ConsumeResponse { acked: settled.acked, errors: settled.errors, ..v1::ConsumeResponse::default() }
}

/// The first result, once; never, while there is nothing to wait for. Cancel safe.
async fn finished(popping: &mut Option<Popping>) -> Result<Brought, Status> {
    let Some(future) = popping else { return std::future::pending().await };
    let result = future.await;
    *popping = None;
    result
}
