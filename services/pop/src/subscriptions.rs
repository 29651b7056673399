//! Subscriptions as clients see them: created, described, listed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use trunkline_types::{ConsumerName, GroupId, TopicId, TopicName};
use trunkline_wire::internal::StoredSubscription;
use trunkline_wire::{Status, status, v1};

use crate::dispatch::Dispatch;
use crate::error;
use crate::positions::{Key, Positions};
use crate::starts::Starts;
use crate::stores::Stores;
use crate::topics::Topics;

/// Groups or topics asked at once.
const CONCURRENT: usize = 16;
/// A dispatcher that does not say within this is described by what is committed.
const DESCRIBE_PATIENCE: Duration = Duration::from_millis(500);

/// A list does not wait longer for how far one is behind.
const STATUS_PATIENCE: Duration = Duration::from_secs(4);

/// A list does not wait longer for what is not known to be deleted.
const DELETED_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Subscriptions {
    pub(crate) topics: Arc<Topics>,
    pub(crate) positions: Arc<Positions>,
    pub(crate) stores: Arc<Stores>,
    pub(crate) starts: Arc<Starts>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) auto_create_topics: bool,
}

/// What is to be listed.
pub(crate) struct List<'a> {
    /// Of this topic only, unless empty.
    pub(crate) topic: &'a str,
    /// Of this consumer only, unless empty.
    pub(crate) consumer: &'a str,
    pub(crate) size: usize,
    /// Above this (topic, consumer).
    pub(crate) after: (String, String),
    pub(crate) with_status: bool,
}

impl Subscriptions {
    pub(crate) async fn subscribe(
        &self,
        name: &TopicName,
        consumer: &ConsumerName,
        options: v1::SubscriptionOptions,
        deadline: Instant,
    ) -> Result<v1::Subscription, Status> {
        let (topic, is_new) = self.topic(name, deadline).await?;
        let key = Key { topic, consumer: consumer.clone() };
        if !is_new {
            match self.positions.find(&key, deadline).await {
                Ok(Some(existing)) if existing.options.as_ref() == Some(&options) => {
                    return Ok(public(&existing));
                }
                // What kept it until now is the reason, not what has no time left after it.
                Err(error) if Instant::now() >= deadline => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        let at = asked(&options);
        let start_id = if is_new {
            Starts::of_new(&at, "options.start")?
        } else {
            self.starts.resolve(topic, &at, "options.start", deadline).await?
        };
        let stored = self.positions.create(&key, name, options, start_id, deadline).await?;
        Ok(public(&stored))
    }

    pub(crate) async fn get(
        &self,
        name: &TopicName,
        consumer: &ConsumerName,
        deadline: Instant,
    ) -> Result<v1::GetSubscriptionResponse, Status> {
        let Some(topic) = self.topics.find(name, deadline).await? else { return Err(error::no_topic(name)) };
        let key = Key { topic, consumer: consumer.clone() };
        let Some(stored) = self.positions.present(&key, deadline).await? else {
            return Err(error::no_subscription(name, consumer));
        };
        let (subscription, status) = self.status(&key, &stored, deadline).await?;
        Ok(v1::GetSubscriptionResponse { subscription: Some(subscription), status: Some(status) })
    }

    /// How far it is, as its dispatcher says, or else as it is committed; and how far behind.
    async fn status(
        &self,
        key: &Key,
        stored: &StoredSubscription,
        deadline: Instant,
    ) -> Result<(v1::Subscription, v1::SubscriptionStatus), Status> {
        let patience = deadline.min(Instant::now() + DESCRIBE_PATIENCE);
        let (situation, ends) = futures::join!(
            self.dispatch.describe(key, stored, patience),
            self.stores.ends(key.topic, deadline)
        );
        let (mut subscription, watermark) = (public(stored), ends?.watermark);
        // One of a generation before has nothing to say; one of a later generation says more than this voter.
        let present = (stored.instance, stored.generation);
        let situation = situation.filter(|said| (said.instance, said.generation) >= present);
        if let Some(said) = situation {
            let same = (said.instance, said.generation) == present;
            let committed = if same { subscription.position } else { 0 };
            subscription.position = said.position.max(committed);
            subscription.generation = said.generation;
        }
        let position = subscription.position;
        let lag_messages = watermark.saturating_sub(position);
        let lag_time = if lag_messages == 0 {
            Some(Duration::ZERO)
        } else {
            self.age(key.topic, position + 1, deadline).await
        };
        let dispatcher = stored.dispatcher.as_ref();
        let status = v1::SubscriptionStatus {
            outstanding: situation.map_or(0, |situation| situation.outstanding),
            lag_messages,
            lag_time: lag_time.and_then(|age| prost_types::Duration::try_from(age).ok()),
            oldest_unacknowledged: if lag_messages == 0 { 0 } else { position + 1 },
            dispatching_datacenter: dispatcher.map(|to| to.datacenter.clone()).unwrap_or_default(),
            error: None,
        };
        Ok((subscription, status))
    }

    /// One page, and where the next one begins.
    pub(crate) async fn list(
        &self,
        groups: u16,
        list: List<'_>,
        deadline: Instant,
    ) -> Result<v1::ListSubscriptionsResponse, Status> {
        let List { topic, consumer, size, after, with_status } = list;
        let pages = (0..groups).map(|group| {
            // One more tells whether there is another page.
            self.positions.list(GroupId::position(group), topic, consumer, after.clone(), size + 1, deadline)
        });
        let pages: Vec<Vec<StoredSubscription>> =
            futures::stream::iter(pages).buffered(CONCURRENT).try_collect().await?;
        let mut all: Vec<StoredSubscription> = pages.into_iter().flatten().collect();
        all.sort_by(|a, b| (&a.topic, &a.consumer, a.topic_id).cmp(&(&b.topic, &b.consumer, b.topic_id)));
        let mut next_page_token = String::new();
        if all.len() > size {
            let last = &all[size - 1];
            next_page_token = format!("{}/{}", last.topic, last.consumer);
            // Of a topic that was created again, the same name may come once more: it belongs to this page.
            let end = all
                .iter()
                .take_while(|one| (&one.topic, &one.consumer) <= (&last.topic, &last.consumer))
                .count();
            if end == all.len() {
                next_page_token.clear();
            }
            all.truncate(end);
        }
        let deleted = self.deleted(&all, deadline).await;
        all.retain(|one| !deleted.contains(&one.topic_id));
        let mut subscriptions: Vec<v1::Subscription> = all.iter().map(public).collect();
        let mut statuses = Vec::new();
        if with_status {
            let until = deadline.min(Instant::now() + STATUS_PATIENCE);
            let each = all.into_iter().map(|stored| async move {
                let consumer = ConsumerName::new(stored.consumer.clone()).map_err(|_| malformed())?;
                let key = Key { topic: TopicId(stored.topic_id), consumer };
                self.status(&key, &stored, until).await
            });
            let each: Vec<_> = futures::stream::iter(each).buffered(CONCURRENT).collect().await;
            for (subscription, told) in subscriptions.iter_mut().zip(each) {
                // One that cannot be told leaves the others.
                statuses.push(told.map_or_else(cannot_be_told, |(present, status)| {
                    *subscription = present;
                    status
                }));
            }
        }
        Ok(v1::ListSubscriptionsResponse { subscriptions, next_page_token, statuses })
    }

    async fn topic(&self, name: &TopicName, deadline: Instant) -> Result<(TopicId, bool), Status> {
        match self.topics.find(name, deadline).await? {
            Some(id) => Ok((id, false)),
            None if self.auto_create_topics => self.topics.create(name, deadline).await,
            None => Err(error::no_topic(name)),
        }
    }

    /// How long ago a message was ordered, by order time; `None` where nobody who knows answers.
    async fn age(&self, topic: TopicId, id: u64, deadline: Instant) -> Option<Duration> {
        let until = deadline.min(Instant::now() + DESCRIBE_PATIENCE);
        let (then, now) =
            futures::join!(self.stores.order_time(topic, id, until), self.topics.order_time(topic, until));
        Some(Duration::from_millis(now?.saturating_sub(then?)))
    }

    /// Those topics that are certainly deleted: their subscriptions are of no use to anybody.
    async fn deleted(&self, of: &[StoredSubscription], deadline: Instant) -> BTreeSet<u64> {
        let until = deadline.min(Instant::now() + DELETED_PATIENCE);
        let topics: BTreeSet<u64> = of.iter().map(|one| one.topic_id).collect();
        let asked = topics
            .into_iter()
            .map(|topic| async move { self.topics.is_deleted(TopicId(topic), until).await.then_some(topic) });
        futures::stream::iter(asked).buffered(CONCURRENT).filter_map(std::future::ready).collect().await
    }
}

fn asked(options: &v1::SubscriptionOptions) -> v1::start::At {
    let at = options.start.as_ref().and_then(|start| start.at);
    at.unwrap_or(v1::start::At::Latest(v1::Latest {}))
}

/// The highest ID with all IDs up to it acknowledged.
fn position(stored: &StoredSubscription) -> u64 {
    let first = stored.acknowledged.first().filter(|range| range.from <= stored.start_id);
    first.map_or(stored.start_id, |range| range.to.max(stored.start_id)) - 1
}

pub(crate) fn public(stored: &StoredSubscription) -> v1::Subscription {
    v1::Subscription {
        topic: stored.topic.clone(),
        consumer: stored.consumer.clone(),
        options: stored.options,
        position: position(stored),
        generation: stored.generation,
    }
}

fn cannot_be_told(error: Status) -> v1::SubscriptionStatus {
    let error = Some(status::to_message(&error));
    v1::SubscriptionStatus { error, ..v1::SubscriptionStatus::default() }
}

fn malformed() -> Status {
    Status::internal("malformed message: subscription")
}
