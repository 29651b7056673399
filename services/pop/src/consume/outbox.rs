//! Responses on their way to a client that may be slow.

use std::collections::VecDeque;

use futures::future::BoxFuture;
use trunkline_ports::{Responder, StreamClosed};
use trunkline_wire::{Status, v1};

/// Beyond so many that wait, nothing more is asked for.
const WAITING_MAX: usize = 16;

pub(super) struct Outbox {
    responses: Responder<v1::ConsumeResponse>,
    waiting: VecDeque<v1::ConsumeResponse>,
    sending: Option<BoxFuture<'static, Result<(), StreamClosed>>>,
}

impl Outbox {
    pub(super) fn new(responses: Responder<v1::ConsumeResponse>) -> Self {
        Self { responses, waiting: VecDeque::new(), sending: None }
    }

    pub(super) fn push(&mut self, response: v1::ConsumeResponse) {
        self.waiting.push_back(response);
        self.send();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sending.is_none()
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// Resolves when one is on its way; never, while there is none. Cancel safe.
    pub(super) async fn sent(&mut self) -> Result<(), Status> {
        let Some(sending) = &mut self.sending else { return std::future::pending().await };
        let sent = sending.await;
        self.sending = None;
        self.send();
        sent.map_err(|_| Status::cancelled("the client is gone"))
    }

    fn send(&mut self) {
        if self.sending.is_none()
            && let Some(response) = self.waiting.pop_front()
        {
            let responses = self.responses.clone();
            self.sending = Some(Box::pin(async move { responses.send(&response).await }));
        }
    }
}
