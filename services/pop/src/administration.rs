//! Seek, UpdateSubscription, DeleteSubscription: committed under what was seen, then told to whoever dispatches.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_types::hash64;
use trunkline_types::{ConsumerName, TopicId, TopicName};
use trunkline_wire::internal::{Dispatcher, StoredSubscription};
use trunkline_wire::{Status, v1};

use crate::change::Change;
use crate::dispatch::Dispatch;
use crate::error;
use crate::positions::{Attempt, Key, Positions};
use crate::starts::Starts;
use crate::subscriptions::public;
use crate::topics::Topics;
use crate::validate::Changes;

/// A dispatcher that does not answer within this hears of it at its next commit.
const TELL_PATIENCE: Duration = Duration::from_millis(500);
/// So often is what others have changed meanwhile looked at anew.
const ATTEMPTS_MAX: usize = 16;

pub(crate) struct Administration {
    pub(crate) topics: Arc<Topics>,
    pub(crate) positions: Arc<Positions>,
    pub(crate) starts: Arc<Starts>,
    pub(crate) dispatch: Arc<Dispatch>,
}

impl Administration {
    /// `number` names the seek, however often it is tried.
    pub(crate) async fn seek(
        &self,
        name: &TopicName,
        consumer: &ConsumerName,
        to: &v1::start::At,
        number: u64,
        deadline: Instant,
    ) -> Result<v1::Subscription, Status> {
        let (key, mut seen) = self.find(name, consumer, deadline).await?;
        let start_id = self.starts.resolve(key.topic, to, "to", deadline).await?;
        for _ in 0..ATTEMPTS_MAX {
            if seen.last_seek == number {
                return Ok(public(&seen));
            }
            match self.positions.seek(&key, &seen, number, start_id, deadline).await? {
                Attempt::Done((sought, deposed)) => {
                    self.tell(&key, deposed, Change::Is(Box::new(sought.clone())), deadline).await;
                    return Ok(public(&sought));
                }
                Attempt::Changed(present) => seen = *present,
                Attempt::NotFound => return Err(error::no_subscription(name, consumer)),
            }
        }
        Err(error::contended())
    }

    pub(crate) async fn update(
        &self,
        name: &TopicName,
        consumer: &ConsumerName,
        changes: &Changes,
        deadline: Instant,
    ) -> Result<v1::Subscription, Status> {
        let (key, mut seen) = self.find(name, consumer, deadline).await?;
        for _ in 0..ATTEMPTS_MAX {
            let options = changes.to(&seen.options.unwrap_or_default())?;
            match self.positions.update(&key, &seen, options, deadline).await? {
                Attempt::Done(updated) => {
                    let dispatcher = updated.dispatcher.clone();
                    self.tell(&key, dispatcher, Change::Is(Box::new(updated.clone())), deadline).await;
                    return Ok(public(&updated));
                }
                Attempt::Changed(present) => seen = *present,
                Attempt::NotFound => return Err(error::no_subscription(name, consumer)),
            }
        }
        Err(error::contended())
    }

    pub(crate) async fn delete(
        &self,
        name: &TopicName,
        consumer: &ConsumerName,
        deadline: Instant,
    ) -> Result<(), Status> {
        // With its topic it has gone already.
        let Some(topic) = self.topics.find(name, deadline).await? else { return Ok(()) };
        let key = Key { topic, consumer: consumer.clone() };
        let mut seen = self.positions.find(&key, deadline).await?;
        for _ in 0..ATTEMPTS_MAX {
            let Some(instance) = seen.map(|seen| seen.instance) else { return Ok(()) };
            if let Attempt::Done(deposed) = self.positions.delete(&key, instance, deadline).await? {
                self.tell(&key, deposed, Change::Deleted(instance), deadline).await;
                return Ok(());
            }
            // What was seen is gone; another may have been created since.
            seen = self.positions.confirmed(&key, deadline).await?;
        }
        Err(error::contended())
    }

    async fn find(
        &self,
        name: &TopicName,
        consumer: &ConsumerName,
        deadline: Instant,
    ) -> Result<(Key, StoredSubscription), Status> {
        let topic: Option<TopicId> = self.topics.find(name, deadline).await?;
        let key = Key { topic: topic.ok_or_else(|| error::no_topic(name))?, consumer: consumer.clone() };
        match self.positions.find(&key, deadline).await? {
            Some(stored) => Ok((key, stored)),
            None => Err(error::no_subscription(name, consumer)),
        }
    }

    async fn tell(&self, key: &Key, to: Option<Dispatcher>, change: Change, deadline: Instant) {
        let until = deadline.min(Instant::now() + TELL_PATIENCE);
        self.dispatch.changed(key, to.as_ref(), change, until).await;
    }
}

/// What a client calls its seek, as the position group remembers it: never 0.
pub(crate) fn number(seek_id: &str, random: impl FnOnce() -> u64) -> u64 {
    let number = if seek_id.is_empty() { random() } else { hash64(seek_id.as_bytes()) };
    number.max(1)
}
