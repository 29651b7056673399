//! Finds topics by name: remembered, else by a voter's table, else by a local replica, else created.
//!
//! A name is looked up once at a time, however many pushes wait for it.

mod cache;
mod voters;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use trunkline_placement::replicas_in;
use trunkline_ports::{Class, Host, Peer};
use trunkline_types::limits::{DEADLINE_DEFAULT, PAYLOAD_BYTES_MAX, TOPIC_CREATIONS_MAX, TOPIC_LOOKUPS_MAX};
use trunkline_types::{TopicId, TopicName};
use trunkline_wire::internal::{StoreFindTopicRequest, store_service};
use trunkline_wire::v1::{self, AckLevel, TopicOptions};
use trunkline_wire::{Message as _, Status};

use crate::error;
use crate::options::Options;
use crate::trace;
use cache::Cache;
pub(crate) use voters::Voters;

/// A replica or voter of this datacenter that takes longer is passed over.
const LOCAL_ANSWER_MAX: Duration = Duration::from_millis(300);
/// A voter of this datacenter that has not answered by then may be cut off: replicas are asked beside it.
const VOTER_ALONE_MAX: Duration = Duration::from_millis(50);
/// Ended topics that are remembered, for the moment in which not everyone knows it.
const ENDED_MAX: usize = 1_024;

/// What a push needs to know of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    /// Never `UNSPECIFIED`.
    pub(crate) default_level: AckLevel,
    pub(crate) message_bytes_max: usize,
}

impl Topic {
    pub(crate) fn new(id: TopicId, options: &TopicOptions) -> Self {
        let default_level = match options.default_ack_level() {
            AckLevel::Unspecified => AckLevel::Local,
            level => level,
        };
        let message_bytes_max = match usize::try_from(options.message_bytes_max) {
            Ok(0) | Err(_) => PAYLOAD_BYTES_MAX as usize,
            Ok(bytes) => bytes.min(PAYLOAD_BYTES_MAX as usize),
        };
        Self { id, default_level, message_bytes_max }
    }

    fn of(topic: &v1::Topic) -> Self {
        Self::new(TopicId(topic.topic_id), topic.options.as_ref().unwrap_or(&TopicOptions::default()))
    }
}

type Found = Result<Topic, Status>;
type Lookup = watch::Receiver<Option<Found>>;

#[derive(Debug)]
struct State {
    cache: Cache,
    lookups: BTreeMap<TopicName, Lookup>,
    /// Topics that a coordinator said have ended, the latest last: a voter or replica that has not heard of it yet
    /// is not believed.
    ended: VecDeque<TopicId>,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    host: Host,
    voters: Voters,
    state: Arc<Mutex<State>>,
    /// Room for lookups nearby, and for those that ask further: the latter may hang, and must not keep out the former.
    nearby: Arc<Semaphore>,
    afar: Arc<Semaphore>,
    auto_create: bool,
}

impl Topics {
    pub(crate) fn new(host: &Host, voters: Voters, options: &Options) -> Self {
        let cache = Cache::new(options.topics_cached_max);
        let state = State { cache, lookups: BTreeMap::new(), ended: VecDeque::new() };
        Self {
            host: host.clone(),
            voters,
            state: Arc::new(Mutex::new(state)),
            nearby: Arc::new(Semaphore::new(TOPIC_LOOKUPS_MAX)),
            afar: Arc::new(Semaphore::new(TOPIC_CREATIONS_MAX)),
            auto_create: options.auto_create_topics,
        }
    }

    /// The topic of this name, created if need be. Every error is certain: nothing was stored.
    pub(crate) async fn find_or_create(&self, name: &TopicName, deadline: Instant) -> Found {
        let mut lookup = match self.begin(name) {
            Begun::Known(topic) => return Ok(topic),
            Begun::Full => return Err(error::too_much_under_way("topic lookups")),
            Begun::Lookup(lookup) => lookup,
        };
        let found = timeout_at(deadline, lookup.wait_for(Option::is_some)).await;
        let found = found.map_err(|_| error::topic_not_found_in_time(name))?;
        let found = found.ok().and_then(|found| found.clone());
        found.unwrap_or_else(|| Err(error::topic_not_found_in_time(name)))
    }

    /// A coordinator said that this topic has ended: the name is looked up anew.
    pub(crate) fn forget(&self, name: &TopicName, id: TopicId) {
        let mut state = self.state();
        state.cache.remove(name, id);
        if !state.ended.contains(&id) {
            if state.ended.len() >= ENDED_MAX {
                state.ended.pop_front();
            }
            state.ended.push_back(id);
        }
    }

    fn has_ended(&self, id: TopicId) -> bool {
        self.state().ended.contains(&id)
    }

    /// Keeps what another call has learned.
    pub(crate) fn remember(&self, name: &TopicName, topic: &v1::Topic) {
        self.state().cache.insert(name.clone(), Topic::of(topic));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, name: &TopicName) -> Begun {
        let mut state = self.state();
        if let Some(topic) = state.cache.get(name) {
            return Begun::Known(topic);
        }
        if let Some(lookup) = state.lookups.get(name) {
            return Begun::Lookup(lookup.clone());
        }
        let Ok(turn) = self.nearby.clone().try_acquire_owned() else { return Begun::Full };
        let (told, lookup) = watch::channel(None);
        state.lookups.insert(name.clone(), lookup.clone());
        let (topics, name, traced) = (self.clone(), name.clone(), trace::current());
        self.host.process.spawn("find-topic", async move {
            let looking = topics.look_up(&name, turn, Instant::now() + DEADLINE_DEFAULT);
            let found = trace::under(traced, looking).await;
            let mut state = topics.state();
            state.lookups.remove(&name);
            if let Ok(topic) = found {
                state.cache.insert(name, topic);
            }
            drop(state);
            told.send_replace(Some(found));
        });
        Begun::Lookup(lookup)
    }

    async fn look_up(&self, name: &TopicName, turn: OwnedSemaphorePermit, deadline: Instant) -> Found {
        let nearby = self.find_nearby(name).await;
        let ended = nearby.is_some_and(|topic| self.has_ended(topic.id));
        if let Some(topic) = nearby.filter(|_| !ended) {
            return Ok(topic);
        }
        let afar = self.afar.try_acquire();
        let _afar = afar.map_err(|_| error::too_much_under_way("topics that are not known nearby"))?;
        drop(turn);
        if self.auto_create && !ended {
            return self.create(name, deadline).await;
        }
        match self.voters.find_confirmed(name, deadline).await {
            Ok(Some((topic, _))) => Ok(Topic::of(&topic)),
            Ok(None) if self.auto_create => self.create(name, deadline).await,
            Ok(None) => Err(error::no_such_topic(name)),
            Err(error) => Err(error::before_storing(&error)),
        }
    }

    async fn create(&self, name: &TopicName, deadline: Instant) -> Found {
        let created = self.voters.create(name, TopicOptions::default(), true, deadline).await;
        created.map(|topic| Topic::of(&topic)).map_err(|error| error::before_storing(&error))
    }

    /// A voter's word goes first, for it is the newest. A replica knows its topics from the facts, also in a datacenter
    /// that is cut off without a voter.
    async fn find_nearby(&self, name: &TopicName) -> Option<Topic> {
        let asking = self.voters.find_nearby(name, Instant::now() + LOCAL_ANSWER_MAX);
        let mut asking = std::pin::pin!(asking);
        let at_voter = timeout(VOTER_ALONE_MAX, &mut asking).await;
        if let Ok(Some(topic)) = &at_voter {
            return Some(Topic::of(topic));
        }
        match self.find_at_replica(name).await {
            None if at_voter.is_err() => asking.await.map(|topic| Topic::of(&topic)),
            found => found,
        }
    }

    async fn find_at_replica(&self, name: &TopicName) -> Option<Topic> {
        let map = self.host.map();
        for store in replicas_in(&map, name.bucket(map.buckets), &self.host.identity.datacenter) {
            let peer = Peer::new(store.address.as_str(), Class::Calls);
            let request = StoreFindTopicRequest {
                envelope: Some(self.host.envelope()),
                name: name.as_str().to_owned(),
            };
            let options = trace::until(Instant::now() + LOCAL_ANSWER_MAX);
            // "Not known here" and no answer are the same: the next one is asked.
            let answer = self.host.network.call(&peer, store_service::FIND_TOPIC, &request, options).await;
            if let Some(answer) = answer.ok().filter(|answer| answer.found) {
                let options = TopicOptions::decode(answer.options).unwrap_or_default();
                return Some(Topic::new(TopicId(answer.topic_id), &options));
            }
        }
        None
    }
}

enum Begun {
    Known(Topic),
    Lookup(Lookup),
    Full,
}
