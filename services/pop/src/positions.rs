//! What the Subscription Position service is asked. `changes`: to seek, to change options, to end.

mod changes;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_types::{ConsumerName, GroupId, IntervalSet, TopicId, TopicName};
use trunkline_wire::internal::position_service::{
    ACQUIRE, COMMIT, CREATE_SUBSCRIPTION, FIND_SUBSCRIPTION, LIST_SUBSCRIPTIONS,
};
use trunkline_wire::internal::{
    self, AcquireRequest, CommitRequest, CreateSubscriptionRequest, Dispatcher, FindSubscriptionRequest,
    PositionListRequest, StoredSubscription,
};
use trunkline_wire::{Code, Status, v1};

use crate::nearest::{Candidate, Nearest};

pub(crate) use changes::Attempt;

/// A description does not wait longer for the group's leader.
const PRESENT_PATIENCE: Duration = Duration::from_secs(1);

/// Names one subscription: a topic that was deleted and created again is another topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) topic: TopicId,
    pub(crate) consumer: ConsumerName,
}

/// Under what a dispatcher commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tenure {
    pub(crate) instance: u64,
    pub(crate) generation: u64,
    pub(crate) token: u64,
}

/// What came of a commit.
#[derive(Debug)]
pub(crate) enum Commit {
    /// The options have been changed so often, as a voter knows it.
    Committed {
        revision: u64,
    },
    /// Somebody else dispatches the subscription, or there is none any more.
    Refused(Option<Box<StoredSubscription>>),
    Failed(Status),
}

/// What came of an acquisition.
#[derive(Debug)]
pub(crate) enum Acquire {
    Acquired(StoredSubscription),
    Overtaken(StoredSubscription),
}

#[derive(Clone)]
pub(crate) struct Positions {
    nearest: Nearest,
}

impl Positions {
    pub(crate) fn new(nearest: Nearest) -> Arc<Self> {
        Arc::new(Self { nearest })
    }

    /// A subscription as the nearest voter knows it, or that there certainly is none.
    pub(crate) async fn find(
        &self,
        key: &Key,
        deadline: Instant,
    ) -> Result<Option<StoredSubscription>, Status> {
        match self.ask(key, false, deadline).await {
            Ok(Some(known)) => Ok(Some(known)),
            Ok(None) | Err(_) => self.confirmed(key, deadline).await,
        }
    }

    /// The same as it is now.
    pub(crate) async fn confirmed(
        &self,
        key: &Key,
        deadline: Instant,
    ) -> Result<Option<StoredSubscription>, Status> {
        self.ask(key, true, deadline).await
    }

    /// The same as it is now where that can be said soon, else as the nearest voter knows it.
    pub(crate) async fn present(
        &self,
        key: &Key,
        deadline: Instant,
    ) -> Result<Option<StoredSubscription>, Status> {
        match self.confirmed(key, deadline.min(Instant::now() + PRESENT_PATIENCE)).await {
            Ok(present) => Ok(present),
            Err(_) => self.find(key, deadline).await,
        }
    }

    async fn ask(
        &self,
        key: &Key,
        confirmed: bool,
        deadline: Instant,
    ) -> Result<Option<StoredSubscription>, Status> {
        let request = FindSubscriptionRequest {
            envelope: Some(self.nearest.host().envelope()),
            topic_id: key.topic.0,
            consumer: key.consumer.as_str().to_owned(),
            confirmed,
        };
        let answer = self.nearest.ask(&self.voters(key), FIND_SUBSCRIPTION, &request, deadline).await?;
        Ok(answer.subscription.filter(|_| answer.found))
    }

    pub(crate) async fn create(
        &self,
        key: &Key,
        topic: &TopicName,
        options: v1::SubscriptionOptions,
        start_id: u64,
        deadline: Instant,
    ) -> Result<StoredSubscription, Status> {
        let request = CreateSubscriptionRequest {
            envelope: Some(self.nearest.host().envelope()),
            topic_id: key.topic.0,
            topic: topic.as_str().to_owned(),
            consumer: key.consumer.as_str().to_owned(),
            options: Some(options),
            start_id,
        };
        let answer = self.nearest.ask(&self.voters(key), CREATE_SUBSCRIPTION, &request, deadline).await?;
        answer.subscription.ok_or_else(malformed)
    }

    /// Makes this server the dispatcher, if the token is still `token_seen`.
    pub(crate) async fn acquire(
        &self,
        key: &Key,
        token_seen: u64,
        deadline: Instant,
    ) -> Result<Acquire, Status> {
        let identity = &self.nearest.host().identity;
        let request = AcquireRequest {
            envelope: Some(self.nearest.host().envelope()),
            topic_id: key.topic.0,
            consumer: key.consumer.as_str().to_owned(),
            fencing_token_seen: token_seen,
            dispatcher: Some(Dispatcher {
                node: identity.node.0,
                datacenter: identity.datacenter.0.clone(),
                address: identity.address.clone(),
            }),
        };
        let answer = self.nearest.ask(&self.voters(key), ACQUIRE, &request, deadline).await?;
        let subscription = answer.subscription.ok_or_else(malformed)?;
        Ok(if answer.acquired { Acquire::Acquired(subscription) } else { Acquire::Overtaken(subscription) })
    }

    pub(crate) async fn commit(
        &self,
        key: &Key,
        tenure: Tenure,
        acknowledged: &IntervalSet,
        deadline: Instant,
    ) -> Commit {
        let range = |range: Range<u64>| internal::Range { from: range.start, to: range.end };
        let request = CommitRequest {
            envelope: Some(self.nearest.host().envelope()),
            topic_id: key.topic.0,
            consumer: key.consumer.as_str().to_owned(),
            instance: tenure.instance,
            generation: tenure.generation,
            fencing_token: tenure.token,
            acknowledged: acknowledged.iter().map(range).collect(),
        };
        match self.nearest.ask(&self.voters(key), COMMIT, &request, deadline).await {
            Ok(answer) if answer.committed => Commit::Committed { revision: answer.revision },
            Ok(answer) => Commit::Refused(answer.subscription.map(Box::new)),
            Err(error) if error.code() == Code::NotFound => Commit::Refused(None),
            Err(error) => Commit::Failed(error),
        }
    }

    /// Subscriptions of one group above `after`, `limit` of them or all.
    pub(crate) async fn list(
        &self,
        group: GroupId,
        topic: &str,
        consumer: &str,
        after: (String, String),
        limit: usize,
        deadline: Instant,
    ) -> Result<Vec<StoredSubscription>, Status> {
        let host = self.nearest.host();
        let voters = self.nearest.voters(group);
        let (mut after_topic, mut after_consumer) = after;
        let mut found = Vec::new();
        loop {
            let request = PositionListRequest {
                envelope: Some(host.envelope()),
                group: group.to_u32(),
                topic: topic.to_owned(),
                consumer: consumer.to_owned(),
                after_topic,
                after_consumer,
                limit: u32::try_from(limit - found.len()).unwrap_or(u32::MAX),
            };
            let page = self.nearest.ask(&voters, LIST_SUBSCRIPTIONS, &request, deadline).await?;
            found.extend(page.subscriptions);
            if !page.more || found.len() >= limit {
                return Ok(found);
            }
            (after_topic, after_consumer) = (page.scanned_topic, page.scanned_consumer);
        }
    }

    fn voters(&self, key: &Key) -> Arc<[Candidate]> {
        self.nearest.voters(self.nearest.host().map().position_group(key.topic, key.consumer.as_str()))
    }
}

fn malformed() -> Status {
    Status::internal("malformed message: subscription")
}
