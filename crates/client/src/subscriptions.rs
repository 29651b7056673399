//! Subscriptions, acknowledgements and reads, call by call.

use std::time::Duration;

use trunkline_ports::Class;
use trunkline_wire::Status;
use trunkline_wire::v1::{
    AckRequest, ExtendDeadlineRequest, GetSubscriptionRequest, GetSubscriptionResponse,
    ListSubscriptionsRequest, ListSubscriptionsResponse, NackRequest, ReadRequest, ReadResponse,
    SubscribeRequest, Subscription, SubscriptionOptions, pop_service,
};

use crate::client::{Client, IDEMPOTENT, Needs};

/// A wait is cut so that the call, which may take 60 s at most, has time for retries beside it.
const WAIT_MAX: Duration = Duration::from_secs(50);

impl Client {
    /// Subscribing again with the same options answers the existing subscription.
    ///
    /// # Errors
    /// The call's status.
    pub async fn subscribe(
        &self,
        topic: &str,
        consumer: &str,
        options: SubscriptionOptions,
    ) -> Result<Subscription, Status> {
        let (topic, consumer) = (topic.to_owned(), consumer.to_owned());
        let request = SubscribeRequest { topic, consumer, options: Some(options) };
        let answer = self.simple(pop_service::SUBSCRIBE, &request).await?;
        answer.subscription.ok_or_else(|| Status::internal("the server has not said which subscription"))
    }

    /// Acknowledges deliveries of a subscription by their tokens; answers when that is committed.
    ///
    /// # Errors
    /// The call's status.
    pub async fn ack(&self, topic: &str, consumer: &str, tokens: Vec<bytes::Bytes>) -> Result<(), Status> {
        let request = AckRequest { topic: topic.to_owned(), consumer: consumer.to_owned(), tokens };
        self.simple(pop_service::ACK, &request).await.map(drop)
    }

    /// Gives deliveries back: they come again after `delay`, or when the subscription's retry says.
    ///
    /// # Errors
    /// The call's status; `DELIVERY_EXPIRED` where some are not the caller's any more.
    pub async fn nack(
        &self,
        topic: &str,
        consumer: &str,
        tokens: Vec<bytes::Bytes>,
        delay: Option<Duration>,
    ) -> Result<(), Status> {
        let (topic, consumer) = (topic.to_owned(), consumer.to_owned());
        let delay = delay.and_then(|delay| delay.try_into().ok());
        let request = NackRequest { topic, consumer, tokens, delay };
        self.simple(pop_service::NACK, &request).await.map(drop)
    }

    /// Gives deliveries so much time from now on; the subscription's ack deadline where it is not said.
    ///
    /// # Errors
    /// The call's status; `DELIVERY_EXPIRED` where some are not the caller's any more.
    pub async fn extend_deadline(
        &self,
        topic: &str,
        consumer: &str,
        tokens: Vec<bytes::Bytes>,
        by: Option<Duration>,
    ) -> Result<(), Status> {
        let (topic, consumer) = (topic.to_owned(), consumer.to_owned());
        let deadline = by.and_then(|by| by.try_into().ok());
        let request = ExtendDeadlineRequest { topic, consumer, tokens, deadline };
        self.simple(pop_service::EXTEND_DEADLINE, &request).await.map(drop)
    }

    /// # Errors
    /// The call's status.
    pub async fn subscription(&self, topic: &str, consumer: &str) -> Result<GetSubscriptionResponse, Status> {
        let request = GetSubscriptionRequest { topic: topic.to_owned(), consumer: consumer.to_owned() };
        self.simple(pop_service::GET_SUBSCRIPTION, &request).await
    }

    /// # Errors
    /// The call's status.
    pub async fn list_subscriptions(
        &self,
        request: &ListSubscriptionsRequest,
    ) -> Result<ListSubscriptionsResponse, Status> {
        self.simple(pop_service::LIST_SUBSCRIPTIONS, request).await
    }

    /// Reads messages from an ID on, without a subscription; waits for a first one at most `wait`.
    ///
    /// # Errors
    /// The call's status.
    pub async fn read(
        &self,
        topic: &str,
        from: u64,
        max_messages: u32,
        wait: Duration,
    ) -> Result<ReadResponse, Status> {
        let wait = wait.min(WAIT_MAX);
        let request =
            ReadRequest { topic: topic.to_owned(), from, max_messages, max_bytes: 0, wait: duration(wait) };
        let deadline = self.deadline(wait);
        let needs = Needs { class: Class::Records, kind: IDEMPOTENT, deadline, wait };
        self.call(pop_service::READ, &request, needs).await
    }
}

/// None for zero.
pub(crate) fn duration(wait: Duration) -> Option<prost_types::Duration> {
    if wait.is_zero() { None } else { prost_types::Duration::try_from(wait).ok() }
}

pub(crate) fn bounded(wait: Duration) -> Duration {
    wait.min(WAIT_MAX)
}
