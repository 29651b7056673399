//! Subscriptions, acknowledgements and reads, call by call.

use std::time::Duration;

use trunkline_ports::Class;
use trunkline_wire::Status;
use trunkline_wire::v1::{
    AckRequest, DeleteSubscriptionRequest, GetSubscriptionRequest, GetSubscriptionResponse,
    ListSubscriptionsRequest, ListSubscriptionsResponse, ReadRequest, ReadResponse, SeekRequest, Start,
    SubscribeRequest, Subscription, SubscriptionOptions, UpdateSubscriptionRequest, pop_service,
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
        answer.subscription.ok_or_else(unnamed)
    }

    /// Takes a subscription to another place, back or forward. However often it has to be asked for, it counts once.
    ///
    /// # Errors
    /// The call's status.
    pub async fn seek(&self, topic: &str, consumer: &str, to: Start) -> Result<Subscription, Status> {
        let random = || self.inner.process.random();
        let request = SeekRequest {
            topic: topic.to_owned(),
            consumer: consumer.to_owned(),
            to: Some(to),
            seek_id: format!("{:016x}{:016x}", random(), random()),
        };
        self.simple(pop_service::SEEK, &request).await?.subscription.ok_or_else(unnamed)
    }

    /// Changes the options of a subscription that are set here, or that `request` names.
    ///
    /// # Errors
    /// The call's status.
    pub async fn update_subscription(
        &self,
        request: &UpdateSubscriptionRequest,
    ) -> Result<Subscription, Status> {
        let answer = self.simple(pop_service::UPDATE_SUBSCRIPTION, request).await?;
        answer.subscription.ok_or_else(unnamed)
    }

    /// Ends a subscription; one that is not there has ended.
    ///
    /// # Errors
    /// The call's status.
    pub async fn delete_subscription(&self, topic: &str, consumer: &str) -> Result<(), Status> {
        let request = DeleteSubscriptionRequest { topic: topic.to_owned(), consumer: consumer.to_owned() };
        self.simple(pop_service::DELETE_SUBSCRIPTION, &request).await.map(drop)
    }

    /// Acknowledges deliveries of a subscription by their tokens; answers when that is committed.
    ///
    /// # Errors
    /// The call's status.
    pub async fn ack(&self, topic: &str, consumer: &str, tokens: Vec<bytes::Bytes>) -> Result<(), Status> {
        let request = AckRequest { topic: topic.to_owned(), consumer: consumer.to_owned(), tokens };
        self.simple(pop_service::ACK, &request).await.map(drop)
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
        let request = ReadRequest { topic: topic.to_owned(), from, max_messages, ..ReadRequest::default() };
        self.read_as(request, wait).await
    }

    /// The same from the first message on that was ordered at a time or later.
    ///
    /// # Errors
    /// The call's status.
    pub async fn read_from_time(
        &self,
        topic: &str,
        time: prost_types::Timestamp,
        max_messages: u32,
        wait: Duration,
    ) -> Result<ReadResponse, Status> {
        let (topic, from_time) = (topic.to_owned(), Some(time));
        self.read_as(ReadRequest { topic, from_time, max_messages, ..ReadRequest::default() }, wait).await
    }

    async fn read_as(&self, request: ReadRequest, wait: Duration) -> Result<ReadResponse, Status> {
        let wait = wait.min(WAIT_MAX);
        let request = ReadRequest { wait: duration(wait), ..request };
        let deadline = self.deadline(wait);
        let needs = Needs { class: Class::Records, kind: IDEMPOTENT, deadline, wait };
        self.call(pop_service::READ, &request, needs).await
    }
}

fn unnamed() -> Status {
    Status::internal("the server has not said which subscription")
}

/// None for zero.
pub(crate) fn duration(wait: Duration) -> Option<prost_types::Duration> {
    if wait.is_zero() { None } else { prost_types::Duration::try_from(wait).ok() }
}

pub(crate) fn bounded(wait: Duration) -> Duration {
    wait.min(WAIT_MAX)
}
