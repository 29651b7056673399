//! Subscriptions as clients see them: created, described, listed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use trunkline_types::limits::READ_THROUGH_AFTER;
use trunkline_types::{ConsumerName, GroupId, TopicId, TopicName};
use trunkline_wire::internal::StoredSubscription;
use trunkline_wire::{Status, v1};

use crate::dispatch::Dispatch;
use crate::error;
use crate::positions::{Key, Positions};
use crate::stores::{Span, Stores};
use crate::topics::Topics;

/// Groups or topics asked at once.
const CONCURRENT: usize = 16;
/// A dispatcher that does not say within this is described by what is committed.
const DESCRIBE_PATIENCE: Duration = Duration::from_millis(500);

/// A list does not wait longer for what is not known to be deleted.
const DELETED_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Subscriptions {
    pub(crate) topics: Arc<Topics>,
    pub(crate) positions: Arc<Positions>,
    pub(crate) stores: Arc<Stores>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) auto_create_topics: bool,
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
        if let Some(to) = options.dead_letter.as_ref().and_then(|to| TopicName::new(to.topic.clone()).ok()) {
            self.topic(&to, deadline).await?;
        }
        let start_id =
            if is_new { self.start_of_new(&options)? } else { self.start(topic, &options, deadline).await? };
        let stored = self.positions.create(&key, name, options, start_id, deadline).await?;
        Ok(public(&stored))
    }

    pub(crate) async fn get(
        &self,
        name: &TopicName,
        consumer: &ConsumerName,
        wall_clock_ms: u64,
        deadline: Instant,
    ) -> Result<v1::GetSubscriptionResponse, Status> {
        let Some(topic) = self.topics.find(name, deadline).await? else { return Err(error::no_topic(name)) };
        let key = Key { topic, consumer: consumer.clone() };
        let Some(stored) = self.positions.find(&key, deadline).await? else {
            return Err(trunkline_wire::status::not_found(format!(
                "consumer {consumer} is not subscribed to topic {name}"
            )));
        };
        let patience = deadline.min(Instant::now() + DESCRIBE_PATIENCE);
        let situation = self.dispatch.describe(&key, &stored, patience).await;
        let committed = position(&stored);
        let position = situation.map_or(committed, |situation| situation.position.max(committed));
        let watermark = self.stores.ends(topic, deadline).await?.watermark;
        let lag_messages = watermark.saturating_sub(position);
        let lag_time = if lag_messages == 0 {
            Some(Duration::ZERO)
        } else {
            self.age(topic, position + 1, wall_clock_ms).await
        };
        let status = v1::SubscriptionStatus {
            outstanding: situation.map_or(0, |situation| situation.outstanding),
            lag_messages,
            lag_time: lag_time.and_then(|age| prost_types::Duration::try_from(age).ok()),
            oldest_unacknowledged: if lag_messages == 0 { 0 } else { position + 1 },
            dispatching_datacenter: stored
                .dispatcher
                .as_ref()
                .map(|to| to.datacenter.clone())
                .unwrap_or_default(),
        };
        let subscription = v1::Subscription { position, ..public(&stored) };
        Ok(v1::GetSubscriptionResponse { subscription: Some(subscription), status: Some(status) })
    }

    /// Up to `size` subscriptions above `after`, and where the next page begins.
    pub(crate) async fn list(
        &self,
        groups: u16,
        topic: &str,
        consumer: &str,
        size: usize,
        after: (String, String),
        deadline: Instant,
    ) -> Result<v1::ListSubscriptionsResponse, Status> {
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
        let subscriptions = all.iter().filter(|one| !deleted.contains(&one.topic_id)).map(public).collect();
        Ok(v1::ListSubscriptionsResponse { subscriptions, next_page_token })
    }

    async fn topic(&self, name: &TopicName, deadline: Instant) -> Result<(TopicId, bool), Status> {
        match self.topics.find(name, deadline).await? {
            Some(id) => Ok((id, false)),
            None if self.auto_create_topics => self.topics.create(name, deadline).await,
            None => Err(error::no_topic(name)),
        }
    }

    fn start_of_new(&self, options: &v1::SubscriptionOptions) -> Result<u64, Status> {
        match asked(options) {
            v1::start::At::MessageId(id) if id > 1 => Err(out_of_range(id, 0)),
            _ => Ok(1),
        }
    }

    /// The first ID to deliver. LATEST is a store's watermark + 1: everything whose push begins after this has a
    /// higher one.
    async fn start(
        &self,
        topic: TopicId,
        options: &v1::SubscriptionOptions,
        deadline: Instant,
    ) -> Result<u64, Status> {
        match asked(options) {
            v1::start::At::Latest(_) => Ok(self.stores.ends(topic, deadline).await?.watermark + 1),
            v1::start::At::Earliest(_) => Ok(self.stores.ends(topic, deadline).await?.earliest.max(1)),
            v1::start::At::MessageId(id) => {
                let near = self.stores.ends(topic, deadline).await?.watermark;
                if id <= near + 1 {
                    return Ok(id);
                }
                match self.stores.watermark_highest(topic, deadline).await.max(near) {
                    highest if id <= highest + 1 => Ok(id),
                    highest => Err(out_of_range(id, highest)),
                }
            }
        }
    }

    async fn age(&self, topic: TopicId, id: u64, wall_clock_ms: u64) -> Option<Duration> {
        let span = Span { topic, from: id, messages_max: 1, bytes_max: 1, wait: Duration::ZERO };
        let read = tokio::time::timeout(READ_THROUGH_AFTER * 2, self.stores.read(span));
        let pushed = read.await.ok()?.ok()?.messages.first()?.push_time?;
        let seconds = u64::try_from(pushed.seconds).ok()?;
        let pushed_ms = seconds * 1_000 + u64::try_from(pushed.nanos / 1_000_000).ok()?;
        Some(Duration::from_millis(wall_clock_ms.saturating_sub(pushed_ms)))
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

fn out_of_range(id: u64, highest: u64) -> Status {
    Status::out_of_range(format!(
        "options.start.message_id is {id}, the highest message that can be read is {highest}: at most {} is allowed",
        highest + 1
    ))
}

/// The highest ID with all IDs up to it acknowledged.
fn position(stored: &StoredSubscription) -> u64 {
    let first = stored.acknowledged.first().filter(|range| range.from <= stored.start_id);
    first.map_or(stored.start_id, |range| range.to.max(stored.start_id)) - 1
}

fn public(stored: &StoredSubscription) -> v1::Subscription {
    v1::Subscription {
        topic: stored.topic.clone(),
        consumer: stored.consumer.clone(),
        options: stored.options.clone(),
        position: position(stored),
    }
}
