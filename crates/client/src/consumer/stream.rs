//! One stream of a consumer.

use std::collections::VecDeque;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use trunkline_ports::{CallOptions, Class, Receiver, Sender, StreamClosed};
use trunkline_wire::Status;
use trunkline_wire::v1::{ConsumeRequest, ConsumeResponse, pop_service};

use crate::client::Client;

/// Renewals that wait behind a server that does not read; beyond it they are of no use.
const WAITING_MAX: usize = 256;

pub(super) struct Stream {
    sender: Sender<ConsumeRequest>,
    receiver: Receiver<ConsumeResponse>,
    sending: Option<BoxFuture<'static, Result<(), StreamClosed>>>,
    waiting: VecDeque<ConsumeRequest>,
}

impl Stream {
    pub(super) async fn open(
        client: &Client,
        endpoint: usize,
        first: ConsumeRequest,
        deadline: Instant,
    ) -> Result<Self, Status> {
        let peer = client.inner.peer(endpoint, Class::Records);
        let opening = client.inner.network.open(&peer, pop_service::CONSUME, CallOptions::default());
        let opened = timeout_at(deadline, opening).await;
        let (sender, receiver) = opened.unwrap_or_else(|_| Err(Status::unavailable("no answer in time")))?;
        let mut stream = Self { sender, receiver, sending: None, waiting: VecDeque::new() };
        stream.send(first);
        Ok(stream)
    }

    /// Whether what is said now leaves at once.
    pub(super) fn is_free(&self) -> bool {
        self.sending.is_none()
    }

    pub(super) fn send(&mut self, request: ConsumeRequest) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(request);
        }
        self.send_next();
    }

    fn send_next(&mut self) {
        if self.sending.is_none()
            && let Some(request) = self.waiting.pop_front()
        {
            let sender = self.sender.clone();
            self.sending = Some(Box::pin(async move { sender.send(&request).await }));
        }
    }

    /// The next response. Sends what waits meanwhile. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<ConsumeResponse, Status> {
        loop {
            tokio::select! {
                biased;
                response = self.receiver.next() => {
                    return response?.ok_or_else(|| Status::unavailable("the server has ended the stream"));
                }
                sent = sent(&mut self.sending) => {
                    self.sending = None;
                    if sent.is_err() {
                        return self.last_word().await;
                    }
                    self.send_next();
                    if self.is_free() {
                        // There may be more to say.
                        return Ok(ConsumeResponse::default());
                    }
                }
            }
        }
    }

    /// Why the server reads no more is in what it says last.
    async fn last_word(&mut self) -> Result<ConsumeResponse, Status> {
        let until = Instant::now() + Duration::from_secs(5);
        let ended = || Status::unavailable("the server has ended the stream");
        timeout_at(until, self.receiver.next()).await.map_err(|_| ended())??.ok_or_else(ended)
    }
}

/// When what is being sent is on its way; never, while nothing is.
async fn sent(
    sending: &mut Option<BoxFuture<'static, Result<(), StreamClosed>>>,
) -> Result<(), StreamClosed> {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}
