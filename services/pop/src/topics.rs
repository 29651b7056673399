//! Topics by name.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::select;
use futures::stream::FuturesUnordered;
use rustc_hash::FxHashMap;
use tokio::time::{Instant, timeout};
use trunkline_types::{TopicId, TopicName};
use trunkline_wire::Status;
use trunkline_wire::internal::order_service::{CREATE_TOPIC, FIND_TOPIC};
use trunkline_wire::internal::{
    OrderCreateTopicRequest, OrderFindTopicRequest, OrderFindTopicResponse, StoreFindTopicRequest,
    store_service,
};

use crate::nearest::{Candidate, Nearest};

const CACHED_MAX: usize = 65_536;
/// An answer from this datacenter comes within this, or not.
const LOCAL_PATIENCE: Duration = Duration::from_millis(500);
/// A voter of this datacenter that has not answered by then may hang: the replicas are asked beside it.
const VOTER_PATIENCE: Duration = Duration::from_millis(50);

pub(crate) struct Topics {
    nearest: Nearest,
    known: Mutex<FxHashMap<TopicName, (TopicId, Instant)>>,
    known_for: Duration,
}

impl Topics {
    pub(crate) fn new(nearest: Nearest, known_for: Duration) -> Arc<Self> {
        Arc::new(Self { nearest, known: Mutex::default(), known_for })
    }

    /// From memory, for a short while.
    pub(crate) fn known(&self, name: &TopicName) -> Option<TopicId> {
        let known = self.known.lock().expect("nobody panics while holding it");
        known.get(name).filter(|(_, since)| since.elapsed() < self.known_for).map(|(id, _)| *id)
    }

    pub(crate) fn forget(&self, name: &TopicName) {
        self.known.lock().expect("nobody panics while holding it").remove(name);
    }

    /// A topic's id, or that it certainly does not exist.
    pub(crate) async fn find(&self, name: &TopicName, deadline: Instant) -> Result<Option<TopicId>, Status> {
        let found = match self.find_here(name, deadline).await {
            Some(id) => Some(id),
            None => self.confirm(name, deadline).await?,
        };
        match found {
            Some(id) => self.remember(name, id),
            None => self.forget(name),
        }
        Ok(found)
    }

    /// [`Topics::known`], else [`Topics::find`].
    pub(crate) async fn resolve(
        &self,
        name: &TopicName,
        deadline: Instant,
    ) -> Result<Option<TopicId>, Status> {
        match self.known(name) {
            Some(id) => Ok(Some(id)),
            None => self.find(name, deadline).await,
        }
    }

    /// Whether the nearest voter that answers knows that it is deleted, which is final. One that is behind, or none that
    /// answers, does not.
    pub(crate) async fn is_deleted(&self, id: TopicId, deadline: Instant) -> bool {
        self.ask_by_id(id, deadline).await.is_ok_and(|answer| answer.deleted)
    }

    /// Where order time stands now, by the nearest voter that answers.
    pub(crate) async fn order_time(&self, id: TopicId, deadline: Instant) -> Option<u64> {
        let answer = self.ask_by_id(id, deadline).await.ok()?;
        (answer.order_time_ms > 0).then_some(answer.order_time_ms)
    }

    async fn ask_by_id(&self, id: TopicId, deadline: Instant) -> Result<OrderFindTopicResponse, Status> {
        let request = OrderFindTopicRequest {
            envelope: Some(self.nearest.host().envelope()),
            name: String::new(),
            topic_id: id.0,
            confirmed: false,
        };
        let voters = self.nearest.voters(self.nearest.host().map().ordering_group(id.bucket()));
        self.nearest.ask(&voters, FIND_TOPIC, &request, deadline).await
    }

    /// Creates it with the defaults, or finds it. True if it is new.
    pub(crate) async fn create(
        &self,
        name: &TopicName,
        deadline: Instant,
    ) -> Result<(TopicId, bool), Status> {
        let request = OrderCreateTopicRequest {
            envelope: Some(self.nearest.host().envelope()),
            name: name.as_str().to_owned(),
            options: None,
            automatic: true,
        };
        let voters = self.voters(name);
        let created = self.nearest.ask(&voters, CREATE_TOPIC, &request, deadline).await?;
        let topic = created.topic.ok_or_else(|| Status::internal("malformed message: topic"))?;
        self.remember(name, TopicId(topic.topic_id));
        Ok((TopicId(topic.topic_id), created.created))
    }

    /// By a voter or a replica of this datacenter: what they do not know may still exist. One that hangs does not use
    /// up the other's time.
    async fn find_here(&self, name: &TopicName, deadline: Instant) -> Option<TopicId> {
        let until = deadline.min(Instant::now() + LOCAL_PATIENCE);
        let mut voter = pin!(self.find_at_voters(name, until));
        let found = timeout(VOTER_PATIENCE, &mut voter).await;
        if let Ok(Some(id)) = found {
            return Some(id);
        }
        let replica = pin!(self.find_at_replicas(name, until));
        if found.is_ok() {
            return replica.await;
        }
        let (first, other) = select(voter, replica).await.factor_first();
        match first {
            Some(id) => Some(id),
            None => other.await,
        }
    }

    async fn find_at_voters(&self, name: &TopicName, until: Instant) -> Option<TopicId> {
        let voters = local(&self.voters(name));
        let answer = self.nearest.ask(&voters, FIND_TOPIC, &self.question(name, false), until).await.ok()?;
        answer.topic.filter(|_| answer.found).map(|topic| TopicId(topic.topic_id))
    }

    async fn find_at_replicas(&self, name: &TopicName, until: Instant) -> Option<TopicId> {
        let replicas = local(&self.nearest.stores(name.bucket(self.nearest.host().map().buckets)));
        let envelope = Some(self.nearest.host().envelope());
        let request = StoreFindTopicRequest { envelope, name: name.as_str().to_owned() };
        // All at once: one of them that hangs hides nothing that another knows.
        let ask = |replica| {
            self.nearest.ask(std::slice::from_ref(replica), store_service::FIND_TOPIC, &request, until)
        };
        let mut answers: FuturesUnordered<_> = replicas.iter().map(ask).collect();
        while let Some(answer) = answers.next().await {
            if let Some(answer) = answer.ok().filter(|answer| answer.found) {
                return Some(TopicId(answer.topic_id));
            }
        }
        None
    }

    /// By the group's leader, through the nearest voter that can ask it.
    async fn confirm(&self, name: &TopicName, deadline: Instant) -> Result<Option<TopicId>, Status> {
        let voters = self.voters(name);
        let answer = self.nearest.ask(&voters, FIND_TOPIC, &self.question(name, true), deadline).await?;
        Ok(answer.topic.filter(|_| answer.found).map(|topic| TopicId(topic.topic_id)))
    }

    fn question(&self, name: &TopicName, confirmed: bool) -> OrderFindTopicRequest {
        let envelope = Some(self.nearest.host().envelope());
        OrderFindTopicRequest { envelope, name: name.as_str().to_owned(), topic_id: 0, confirmed }
    }

    fn voters(&self, name: &TopicName) -> Arc<[Candidate]> {
        let map = self.nearest.host().map();
        self.nearest.voters(map.ordering_group(name.bucket(map.buckets)))
    }

    fn remember(&self, name: &TopicName, id: TopicId) {
        let mut known = self.known.lock().expect("nobody panics while holding it");
        if known.len() >= CACHED_MAX {
            known.clear();
        }
        known.insert(name.clone(), (id, Instant::now()));
    }
}

/// Those of this datacenter.
fn local(candidates: &[Candidate]) -> Vec<Candidate> {
    candidates.iter().filter(|candidate| candidate.is_local).cloned().collect()
}
