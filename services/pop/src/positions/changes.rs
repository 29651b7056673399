//! Changes of a subscription: each names what was seen of it.

use tokio::time::Instant;
use trunkline_wire::internal::position_service::{
    DELETE_SUBSCRIPTION, SEEK_SUBSCRIPTION, UPDATE_SUBSCRIPTION,
};
use trunkline_wire::internal::{
    DeleteSubscriptionRequest, Dispatcher, SeekSubscriptionRequest, StoredSubscription,
    UpdateSubscriptionRequest,
};
use trunkline_wire::{Code, Status, v1};

use super::{Key, Positions, malformed};

/// What came of a change.
#[derive(Debug)]
pub(crate) enum Attempt<D> {
    Done(D),
    /// It is not as it was seen: this is how it is.
    Changed(Box<StoredSubscription>),
    NotFound,
}

impl Positions {
    /// Begins a new generation; also who dispatched the one before.
    pub(crate) async fn seek(
        &self,
        key: &Key,
        seen: &StoredSubscription,
        number: u64,
        start_id: u64,
        deadline: Instant,
    ) -> Result<Attempt<(StoredSubscription, Option<Dispatcher>)>, Status> {
        let request = SeekSubscriptionRequest {
            envelope: Some(self.nearest.host().envelope()),
            topic_id: key.topic.0,
            consumer: key.consumer.as_str().to_owned(),
            instance: seen.instance,
            generation_seen: seen.generation,
            number,
            start_id,
        };
        match self.nearest.ask(&self.voters(key), SEEK_SUBSCRIPTION, &request, deadline).await {
            Ok(answer) => {
                let present = answer.subscription.ok_or_else(malformed)?;
                let done = answer.sought;
                Ok(if done {
                    Attempt::Done((present, answer.deposed))
                } else {
                    Attempt::Changed(Box::new(present))
                })
            }
            Err(error) if error.code() == Code::NotFound => Ok(Attempt::NotFound),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn update(
        &self,
        key: &Key,
        seen: &StoredSubscription,
        options: v1::SubscriptionOptions,
        deadline: Instant,
    ) -> Result<Attempt<StoredSubscription>, Status> {
        let request = UpdateSubscriptionRequest {
            envelope: Some(self.nearest.host().envelope()),
            topic_id: key.topic.0,
            consumer: key.consumer.as_str().to_owned(),
            instance: seen.instance,
            seen: seen.options,
            options: Some(options),
        };
        match self.nearest.ask(&self.voters(key), UPDATE_SUBSCRIPTION, &request, deadline).await {
            Ok(answer) => {
                let present = answer.subscription.ok_or_else(malformed)?;
                Ok(if answer.updated { Attempt::Done(present) } else { Attempt::Changed(Box::new(present)) })
            }
            Err(error) if error.code() == Code::NotFound => Ok(Attempt::NotFound),
            Err(error) => Err(error),
        }
    }

    /// Ends an instance, and says who dispatched it.
    pub(crate) async fn delete(
        &self,
        key: &Key,
        instance: u64,
        deadline: Instant,
    ) -> Result<Attempt<Option<Dispatcher>>, Status> {
        let request = DeleteSubscriptionRequest {
            envelope: Some(self.nearest.host().envelope()),
            topic_id: key.topic.0,
            consumer: key.consumer.as_str().to_owned(),
            instance,
        };
        match self.nearest.ask(&self.voters(key), DELETE_SUBSCRIPTION, &request, deadline).await {
            Ok(answer) => Ok(Attempt::Done(answer.deposed)),
            Err(error) if error.code() == Code::NotFound => Ok(Attempt::NotFound),
            Err(error) => Err(error),
        }
    }
}
