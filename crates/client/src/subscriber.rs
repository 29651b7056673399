//! One process of a consumer: pops, and echoes what it was given, so that a lost reply loses nothing.

use std::time::Duration;

use bytes::Bytes;
use trunkline_ports::Class;
use trunkline_types::limits::TOKENS_MAX;
use trunkline_wire::Status;
use trunkline_wire::status::{reason, reason_of};
use trunkline_wire::v1::{PopRequest, PopResponse, pop_service};

use crate::client::{Client, IDEMPOTENT, Needs};
use crate::subscriptions::{bounded, duration};

/// Pops one at a time. The next pop acknowledges what the one before returned; [`Subscriber::ack`] does so without
/// popping. Dropped before either, its last deliveries come again, to whoever pops next.
#[derive(Debug)]
pub struct Subscriber {
    client: Client,
    topic: String,
    consumer: String,
    client_id: String,
    /// Deliveries.
    previous: Vec<Bytes>,
    /// Expired ranges.
    heard: Vec<Bytes>,
}

impl Client {
    /// A subscriber under a name of its own, drawn at random.
    pub fn subscriber(&self, topic: &str, consumer: &str) -> Subscriber {
        let random = || self.inner.process.random();
        Subscriber {
            client: self.clone(),
            topic: topic.to_owned(),
            consumer: consumer.to_owned(),
            client_id: format!("{:016x}{:016x}", random(), random()),
            previous: Vec::new(),
            heard: Vec::new(),
        }
    }
}

impl Subscriber {
    /// The name under which it pops.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The next messages in order, waiting for a first one at most `wait`. Acknowledges what the pop before returned.
    /// When it fails, nothing is lost: the next one says the same again. If that cannot be acknowledged any more, for
    /// the topic was deleted and created again, it begins anew with the subscription that there is now.
    ///
    /// # Errors
    /// The call's status; `NOT_SUBSCRIBED` also when the topic was deleted. Subscribe, and pop on.
    pub async fn pop(&mut self, max_messages: u32, wait: Duration) -> Result<PopResponse, Status> {
        match self.pop_once(max_messages, wait).await {
            Err(error) if is_expired(&error) && !(self.previous.is_empty() && self.heard.is_empty()) => {
                self.leave();
                self.pop_once(max_messages, wait).await
            }
            answer => answer,
        }
    }

    async fn pop_once(&mut self, max_messages: u32, wait: Duration) -> Result<PopResponse, Status> {
        let wait = bounded(wait);
        let request = PopRequest {
            topic: self.topic.clone(),
            consumer: self.consumer.clone(),
            client_id: self.client_id.clone(),
            previous: self.previous.iter().chain(&self.heard).cloned().collect(),
            max_messages,
            max_bytes: 0,
            wait: duration(wait),
            share: None,
        };
        let deadline = self.client.deadline(wait);
        let needs = Needs { class: Class::Records, kind: IDEMPOTENT, deadline, wait };
        let response = self.client.call(pop_service::POP, &request, needs).await?;
        self.previous = response.deliveries.iter().map(|delivery| delivery.token.clone()).collect();
        self.heard = response.expired.iter().map(|range| range.token.clone()).collect();
        Ok(response)
    }

    /// Acknowledges what was last returned; answers when that is committed.
    ///
    /// # Errors
    /// The call's status; then the tokens are kept for the next attempt or pop. `DELIVERY_EXPIRED`: some messages are
    /// another's now, the others are acknowledged, and nothing is kept.
    pub async fn ack(&mut self) -> Result<(), Status> {
        let all = self.previous.len();
        self.ack_first(all).await
    }

    /// Acknowledges the first `count` deliveries of what was last returned, and leaves the rest to come again.
    ///
    /// # Errors
    /// As [`Subscriber::ack`].
    pub async fn ack_first(&mut self, count: usize) -> Result<(), Status> {
        let mut expired = None;
        self.previous.truncate(count);
        self.previous.append(&mut self.heard);
        for tokens in self.previous.chunks(TOKENS_MAX) {
            match self.client.ack(&self.topic, &self.consumer, tokens.to_vec()).await {
                Err(error) if is_expired(&error) => drop(expired.get_or_insert(error)),
                answer => answer?,
            }
        }
        self.previous.clear();
        expired.map_or(Ok(()), Err)
    }

    /// Forgets what was last returned: it comes again.
    pub fn leave(&mut self) {
        self.previous.clear();
        self.heard.clear();
    }
}

/// Tokens that will never acknowledge anything any more are of no use.
fn is_expired(error: &Status) -> bool {
    reason_of(error).as_deref() == Some(reason::DELIVERY_EXPIRED)
}
