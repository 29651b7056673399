//! What the voters of the ordering groups know of topics: the nearest is asked first, and the next when it does not
//! answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_placement::{voters_by_nearness, voters_in};
use trunkline_ports::{Class, Host, Peer};
use trunkline_types::{GroupId, Node, TopicName};
use trunkline_wire::internal::{
    OrderCreateTopicRequest, OrderDeleteTopicRequest, OrderFindTopicRequest, OrderListTopicsRequest,
    OrderListTopicsResponse, OrderUpdateTopicRequest, order_service,
};
use trunkline_wire::method::Unary;
use trunkline_wire::status::{is_not_stored, not_stored, reason, reason_of, unavailable};
use trunkline_wire::v1::{Topic, TopicOptions};
use trunkline_wire::{Code, Message, Status};

use crate::error::try_elsewhere;
use crate::trace;

/// What a voter may take beyond the round trips that its answer needs.
const SLACK: Duration = Duration::from_millis(1_000);

/// Why none of the voters that were asked has answered.
#[derive(Debug, Default)]
struct Failures {
    /// Of a voter that said something, which is more than that it cannot be reached.
    said: Option<Status>,
    /// One of them may have done it all the same.
    is_open: bool,
}

impl Failures {
    fn add(&mut self, error: Status) {
        self.is_open |= !is_not_stored(&error);
        let because = reason_of(&error);
        let says = error.code() == Code::Unavailable || error.code() == Code::FailedPrecondition;
        if says && because.is_some_and(|because| because != reason::UNREACHABLE) {
            self.said = Some(error);
        }
    }

    /// In words of the caller, who has named no voter.
    fn told(self, group: GroupId) -> Status {
        let (because, message) = match &self.said {
            Some(said) => (reason_of(said).unwrap_or_default(), said.message().to_owned()),
            None => (reason::UNREACHABLE.to_owned(), format!("no voter of {group} answers")),
        };
        let told = unavailable(&because, message);
        if self.is_open { told } else { not_stored(&told) }
    }
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Voters {
    host: Host,
    /// Per group, the highest index at which something was changed through this server: lists wait for it.
    changed: Arc<Mutex<BTreeMap<u32, u64>>>,
}

impl Voters {
    pub(crate) fn new(host: &Host) -> Self {
        Self { host: host.clone(), changed: Arc::default() }
    }

    fn group(&self, name: &TopicName) -> GroupId {
        let map = self.host.map();
        map.ordering_group(name.bucket(map.buckets))
    }

    /// What the voters of this datacenter have in their tables; `None` also where none of them answers.
    pub(crate) async fn find_nearby(&self, name: &TopicName, deadline: Instant) -> Option<Topic> {
        let map = self.host.map();
        let request = self.find(name, false);
        for voter in voters_in(&map, self.group(name), &self.host.identity.datacenter) {
            let peer = Peer::new(voter.address.as_str(), Class::Calls);
            let options = trace::until(deadline);
            let answer = self.host.network.call(&peer, order_service::FIND_TOPIC, &request, options).await;
            if let Ok(answer) = answer {
                return answer.topic.filter(|_| answer.found);
            }
        }
        None
    }

    /// The topic and its next message ID, as the group's leader knows them.
    pub(crate) async fn find_confirmed(
        &self,
        name: &TopicName,
        deadline: Instant,
    ) -> Result<Option<(Topic, u64)>, Status> {
        let request = self.find(name, true);
        let answer = self.call(self.group(name), order_service::FIND_TOPIC, &request, deadline).await?;
        Ok(answer.topic.filter(|_| answer.found).map(|topic| (topic, answer.next_id)))
    }

    /// The topic and its next message ID as the nearest voter has them; if it has none, as the leader does.
    pub(crate) async fn find_anywhere(
        &self,
        name: &TopicName,
        deadline: Instant,
    ) -> Result<Option<(Topic, u64)>, Status> {
        let request = self.find(name, false);
        let answer = self.call(self.group(name), order_service::FIND_TOPIC, &request, deadline).await?;
        match answer.topic.filter(|_| answer.found) {
            Some(topic) => Ok(Some((topic, answer.next_id))),
            None => self.find_confirmed(name, deadline).await,
        }
    }

    fn find(&self, name: &TopicName, confirmed: bool) -> OrderFindTopicRequest {
        let (envelope, name) = (Some(self.host.envelope()), name.as_str().to_owned());
        OrderFindTopicRequest { envelope, name, topic_id: 0, confirmed }
    }

    /// Commits a creation. With `automatic`, an existing topic is answered whatever its options are.
    pub(crate) async fn create(
        &self,
        name: &TopicName,
        options: TopicOptions,
        automatic: bool,
        deadline: Instant,
    ) -> Result<Topic, Status> {
        let (envelope, text) = (Some(self.host.envelope()), name.as_str().to_owned());
        let request = OrderCreateTopicRequest { envelope, name: text, options: Some(options), automatic };
        let answer = self.call(self.group(name), order_service::CREATE_TOPIC, &request, deadline).await?;
        self.note(answer.group, answer.index);
        answer.topic.ok_or_else(|| Status::internal("a voter created a topic and did not say which"))
    }

    /// Commits other options; the topic as it is then.
    pub(crate) async fn update(
        &self,
        name: &TopicName,
        options: TopicOptions,
        update_mask: Vec<String>,
        deadline: Instant,
    ) -> Result<Topic, Status> {
        let (envelope, text) = (Some(self.host.envelope()), name.as_str().to_owned());
        let request = OrderUpdateTopicRequest { envelope, name: text, options: Some(options), update_mask };
        let answer = self.call(self.group(name), order_service::UPDATE_TOPIC, &request, deadline).await?;
        self.note(answer.group, answer.index);
        answer.topic.ok_or_else(|| Status::internal("a voter changed a topic and did not say which"))
    }

    /// Commits a deletion; returns whether there was such a topic.
    pub(crate) async fn delete(&self, name: &TopicName, deadline: Instant) -> Result<bool, Status> {
        let request =
            OrderDeleteTopicRequest { envelope: Some(self.host.envelope()), name: name.as_str().to_owned() };
        let answer = self.call(self.group(name), order_service::DELETE_TOPIC, &request, deadline).await?;
        self.note(answer.group, answer.index);
        Ok(answer.deleted)
    }

    /// One group's topics by name, above `after`.
    pub(crate) async fn list(
        &self,
        group: GroupId,
        prefix: &str,
        after: &str,
        limit: u32,
        deadline: Instant,
    ) -> Result<OrderListTopicsResponse, Status> {
        let packed = group.to_u32();
        let at_least = self.changed.lock().unwrap_or_else(PoisonError::into_inner).get(&packed).copied();
        let request = OrderListTopicsRequest {
            envelope: Some(self.host.envelope()),
            group: packed,
            prefix: prefix.to_owned(),
            after: after.to_owned(),
            limit,
            at_least: at_least.unwrap_or(0),
        };
        self.call(group, order_service::LIST_TOPICS, &request, deadline).await
    }

    fn note(&self, group: u32, index: u64) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = changed.entry(group).or_default();
        *newest = index.max(*newest);
    }

    /// One call to the nearest voter that answers. Everything asked of voters may be asked twice.
    async fn call<Q: Message, A: Message + Default>(
        &self,
        group: GroupId,
        method: Unary<Q, A>,
        request: &Q,
        deadline: Instant,
    ) -> Result<A, Status> {
        let map = self.host.map();
        let voters = voters_by_nearness(&map, group, &self.host.identity.datacenter);
        let mut failures = Failures::default();
        for (index, voter) in voters.iter().enumerate() {
            let left = voters.len() - index;
            let Some(until) = self.share(voter, left, deadline) else { break };
            let peer = Peer::new(voter.address.as_str(), Class::Calls);
            match self.host.network.call(&peer, method, request, trace::until(until)).await {
                Err(error) if try_elsewhere(&error) => failures.add(error),
                answer => return answer,
            }
        }
        Err(failures.told(group))
    }

    /// Until when one voter may answer, so that each of those left may have its turn; the last one has twice that.
    /// `None` when nothing is left.
    fn share(&self, voter: &Node, left: usize, deadline: Instant) -> Option<Instant> {
        let now = Instant::now();
        let remaining = deadline.checked_duration_since(now).filter(|remaining| !remaining.is_zero())?;
        let map = self.host.map();
        let there = map.round_trip(&self.host.identity.datacenter, &voter.datacenter);
        // There and back, to the leader, a commit, and once more for whoever must be asked first.
        let fair = there + map.round_trip_worst() * 3 + SLACK;
        let share = if left == 1 { fair * 2 } else { fair };
        Some(now + share.min(remaining))
    }
}
