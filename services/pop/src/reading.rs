//! Read: from an ID or a time on, without a subscription.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use trunkline_types::TopicId;
use trunkline_wire::{Status, v1};

use crate::error;
use crate::starts::Starts;
use crate::stores::{Batch, ReadError, Span, Stores};
use crate::topics::Topics;
use crate::validate::{self, Begin};

pub(crate) struct Reading {
    pub(crate) topics: Arc<Topics>,
    pub(crate) stores: Arc<Stores>,
    pub(crate) starts: Arc<Starts>,
}

impl Reading {
    pub(crate) async fn read(
        &self,
        request: &v1::ReadRequest,
        deadline: Instant,
    ) -> Result<v1::ReadResponse, Status> {
        let (name, mut begin, messages_max, bytes_max, wait) = validate::read(request)?;
        let until = (Instant::now() + wait).min(deadline);
        loop {
            let Some(topic) = self.topics.resolve(&name, deadline).await? else {
                return Err(error::no_topic(&name));
            };
            let from = match begin {
                Begin::Id(id) => id,
                Begin::Time(at_ms) => self.starts.at_time(topic, at_ms, deadline).await?,
            };
            // What comes while it waits belongs to it.
            begin = Begin::Id(from);
            let wait = until.saturating_duration_since(Instant::now());
            let read = self.stores.read(Span { topic, from, messages_max, bytes_max, wait });
            let batch = match timeout_at(deadline, read).await {
                Ok(Err(ReadError::Deleted)) => {
                    self.topics.forget(&name);
                    return Err(error::no_topic(&name));
                }
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(batch)) => batch,
                Err(_) => return Err(error::out_of_time("no store could be read")),
            };
            // What is committed and on its way ends a store's wait early.
            let is_empty = batch.messages.is_empty() && batch.earliest <= from;
            if !is_empty || Instant::now() >= until {
                // Whoever asks for the earliest there is misses nothing.
                let asked = if request.from == 0 { from.max(batch.earliest) } else { from };
                return Ok(response(topic, batch, asked));
            }
        }
    }
}

fn response(topic: TopicId, batch: Batch, from: u64) -> v1::ReadResponse {
    let first = if batch.messages.is_empty() { from } else { batch.first_id };
    let next = first + batch.messages.len() as u64;
    let next = if batch.messages.is_empty() { next.max(batch.earliest) } else { next };
    let gap_to = if batch.messages.is_empty() { next } else { batch.first_id };
    let expired = if from < gap_to { vec![v1::ExpiredRange { from, to: gap_to }] } else { Vec::new() };
    v1::ReadResponse {
        messages: batch.messages,
        next,
        watermark: batch.watermark,
        expired,
        topic_id: topic.0,
    }
}
