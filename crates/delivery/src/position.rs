//! The state machine of a position group.
//!
//! Entries are proposed by subscription-position nodes and applied in the same order on every voter; each gets an
//! [`Answer`]. What makes it safe (I5): a commit counts only under the present instance, generation and fencing token,
//! so a dispatcher that lost its subscription, or has not heard of a seek, cannot move its position.
//!
//! - [`entry`]: what can be asked, as it stands in the Raft log.
//! - [`answer`]: what comes of it, for the proposer.
//! - [`subscription`]: what is remembered of one subscription.
//! - [`snapshot`]: the whole state as bytes. `administration`: seeks, other options, ends.

pub mod answer;
pub mod entry;
pub mod snapshot;
pub mod subscription;

mod administration;
mod format;
#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use trunkline_types::limits::{ACKNOWLEDGED_RANGES_MAX, SUBSCRIPTIONS_PER_GROUP_MAX};
use trunkline_types::{ConsumerName, FencingToken, IntervalSet, TopicId, TopicName};

pub use answer::Answer;
pub use entry::{Acquire, Commit, Create, Delete, Entry, Seek, Update};
pub use format::Unreadable;
pub use subscription::{AckMode, DispatcherNode, Options, Start, Subscription};

/// Names one subscription: a topic that was deleted and created again is another topic.
pub type Key = (TopicId, ConsumerName);

/// Entries examined by one [`Positions::page`].
const SCAN_MAX: usize = 10_000;

/// All subscriptions of one group.
#[derive(Debug)]
pub struct Positions {
    subscriptions: BTreeMap<Key, Subscription>,
    /// The same in the order of lists.
    by_name: BTreeSet<(TopicName, ConsumerName, TopicId)>,
    subscriptions_max: usize,
}

impl Default for Positions {
    fn default() -> Self {
        Self::new(SUBSCRIPTIONS_PER_GROUP_MAX)
    }
}

/// One page of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<'a> {
    pub subscriptions: Vec<&'a Subscription>,
    /// Where to go on, if there may be more.
    pub scanned: Option<(TopicName, ConsumerName)>,
}

impl Positions {
    /// The bound must be the same on every voter.
    pub fn new(subscriptions_max: usize) -> Self {
        Self { subscriptions: BTreeMap::new(), by_name: BTreeSet::new(), subscriptions_max }
    }

    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    pub fn find(&self, topic: TopicId, consumer: &ConsumerName) -> Option<&Subscription> {
        self.subscriptions.get(&(topic, consumer.clone()))
    }

    /// Subscriptions by topic name, then consumer, bytewise, above `after`. Bounded in what it returns and in what it
    /// looks at.
    pub fn page(
        &self,
        topic: Option<&TopicName>,
        consumer: Option<&ConsumerName>,
        after: Option<(TopicName, ConsumerName)>,
        limit: usize,
    ) -> Page<'_> {
        let start = match (after, topic) {
            (Some((topic, consumer)), _) => Bound::Excluded((topic, consumer, TopicId(u64::MAX))),
            (None, Some(topic)) => Bound::Included((topic.clone(), least_consumer(), TopicId(0))),
            (None, None) => Bound::Unbounded,
        };
        let mut subscriptions = Vec::new();
        for (examined, (name, by, id)) in self.by_name.range((start, Bound::Unbounded)).enumerate() {
            if topic.is_some_and(|wanted| name > wanted) {
                break;
            }
            if topic.is_none_or(|wanted| wanted == name) && consumer.is_none_or(|wanted| wanted == by) {
                subscriptions.extend(self.subscriptions.get(&(*id, by.clone())));
            }
            if subscriptions.len() >= limit || examined + 1 >= SCAN_MAX {
                return Page { subscriptions, scanned: Some((name.clone(), by.clone())) };
            }
        }
        Page { subscriptions, scanned: None }
    }

    /// Applies one committed entry. Deterministic: index, entry and own state are all there is.
    pub fn apply(&mut self, index: u64, entry: Entry) -> Answer {
        match entry {
            Entry::Create(create) => self.create(index, create),
            Entry::Acquire(acquire) => self.acquire(acquire),
            Entry::Commit(commit) => self.commit(commit),
            Entry::Seek(seek) => self.seek(seek),
            Entry::Update(update) => self.update(update),
            Entry::Delete(delete) => self.delete(delete),
        }
    }

    fn create(&mut self, index: u64, create: Create) -> Answer {
        let key = (create.topic_id, create.consumer.clone());
        if let Some(existing) = self.subscriptions.get(&key) {
            let existing = Box::new(existing.clone());
            return if existing.options == create.options {
                Answer::Existing(existing)
            } else {
                Answer::Differs(existing)
            };
        }
        if self.subscriptions.len() >= self.subscriptions_max {
            return Answer::Full;
        }
        let subscription = Subscription::created(index, create);
        self.insert(subscription.clone());
        Answer::Created(Box::new(subscription))
    }

    fn acquire(&mut self, acquire: Acquire) -> Answer {
        let Some(subscription) = self.subscriptions.get_mut(&(acquire.topic_id, acquire.consumer)) else {
            return Answer::NotFound;
        };
        if subscription.token != acquire.token_seen {
            return Answer::Overtaken(Box::new(subscription.clone()));
        }
        subscription.token = FencingToken(subscription.token.0 + 1);
        subscription.dispatcher = Some(acquire.dispatcher);
        Answer::Acquired(Box::new(subscription.clone()))
    }

    fn commit(&mut self, commit: Commit) -> Answer {
        let Some(subscription) = self.subscriptions.get_mut(&(commit.topic_id, commit.consumer.clone()))
        else {
            return Answer::NotFound;
        };
        if !subscription.is_current(commit.instance, commit.generation, commit.token) {
            return Answer::Refused(Box::new(subscription.clone()));
        }
        match with(&subscription.acknowledged, &commit.acknowledged, subscription.start_id) {
            Some(acknowledged) => {
                subscription.acknowledged = acknowledged;
                Answer::Committed
            }
            None => Answer::TooManyRanges,
        }
    }

    fn insert(&mut self, subscription: Subscription) {
        let (id, consumer) = (subscription.topic_id, subscription.consumer.clone());
        self.by_name.insert((subscription.topic.clone(), consumer.clone(), id));
        self.subscriptions.insert((id, consumer), subscription);
    }
}

/// No consumer's name is below it.
fn least_consumer() -> ConsumerName {
    ConsumerName::new("-").expect("the first character of the alphabet of names")
}

/// Both sets from `start` on; `None` if that takes more ranges than are allowed.
fn with(known: &IntervalSet, more: &IntervalSet, start: u64) -> Option<IntervalSet> {
    let mut all = known.clone();
    for range in more.iter() {
        all.insert(range.start.max(start)..range.end.max(start));
    }
    (all.range_count() <= ACKNOWLEDGED_RANGES_MAX).then_some(all)
}
