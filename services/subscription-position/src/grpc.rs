//! What pop servers ask: decode, call, encode.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_delivery::position::{Acquire, Answer, Commit, Create, Entry};
use trunkline_ports::{CallContext, Host, Router};
use trunkline_types::limits::{PAGE_SIZE_MAX, POSITIONS_ASKED_MAX};
use trunkline_types::{FencingToken, Generation, GroupId, TopicId};
use trunkline_wire::Status;
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::position_service::{
    ACQUIRE, COMMIT, CREATE_SUBSCRIPTION, FIND_SUBSCRIPTION, LIST_SUBSCRIPTIONS, LOWEST_POSITIONS,
};
use trunkline_wire::internal::{
    AcquireRequest, AcquireResponse, CommitRequest, CommitResponse, CreateSubscriptionRequest,
    CreateSubscriptionResponse, FindSubscriptionRequest, FindSubscriptionResponse, LowestPosition,
    LowestPositionsRequest, LowestPositionsResponse, PositionListRequest, PositionListResponse,
};
use trunkline_wire::status::{self, reason};

use crate::convert;
use crate::error;
use crate::groups::Groups;

/// An answer leaves so long before its caller's deadline, so that it arrives with its reason.
const ANSWER_MARGIN: Duration = Duration::from_millis(20);

struct Calls {
    host: Host,
    groups: Arc<Groups>,
}

pub(crate) fn router(host: Host, groups: Arc<Groups>) -> Router {
    let calls = Arc::new(Calls { host, groups });
    Router::new()
        .unary(
            CREATE_SUBSCRIPTION,
            on(&calls, |calls, until, request| async move { calls.create(request, until).await }),
        )
        .unary(
            FIND_SUBSCRIPTION,
            on(&calls, |calls, until, request| async move { calls.find(request, until).await }),
        )
        .unary(
            LOWEST_POSITIONS,
            on(&calls, |calls, until, request| async move { calls.lowest(request, until).await }),
        )
        .unary(
            ACQUIRE,
            on(&calls, |calls, until, request| async move { calls.acquire(request, until).await }),
        )
        .unary(COMMIT, on(&calls, |calls, until, request| async move { calls.commit(request, until).await }))
        .unary(LIST_SUBSCRIPTIONS, on(&calls, |calls, _, request| async move { calls.list(request) }))
}

/// A handler that has the service and the time until which it may take.
fn on<Q, R>(
    calls: &Arc<Calls>,
    handler: fn(Arc<Calls>, Instant, Q) -> R,
) -> impl Fn(CallContext, Q) -> R + Send + Sync + 'static + use<Q, R>
where
    Q: 'static,
    R: Future + 'static,
{
    let calls = calls.clone();
    move |context, request| handler(calls.clone(), context.deadline - ANSWER_MARGIN, request)
}

impl Calls {
    async fn create(
        &self,
        request: CreateSubscriptionRequest,
        until: Instant,
    ) -> Result<CreateSubscriptionResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let consumer = convert::consumer(request.consumer)?;
        let topic_id = TopicId(request.topic_id);
        let member = self.groups.of(&self.host, topic_id, &consumer)?;
        let entry = Entry::Create(Create {
            topic_id,
            topic: convert::topic(request.topic)?,
            consumer,
            options: convert::options(request.options)?,
            start_id: request.start_id,
        });
        let (subscription, created) = match self.groups.propose(member, "create", &entry, until).await? {
            Answer::Created(subscription) => (subscription, true),
            Answer::Existing(subscription) => (subscription, false),
            Answer::Differs(existing) => return Err(self.refuse("create", differs(&existing))),
            Answer::Full => {
                let message = format!("{} has as many subscriptions as it may have", member.group.id());
                let full = status::overloaded(message, Duration::from_secs(60));
                return Err(self.refuse("create", full));
            }
            other => return Err(unexpected(&other)),
        };
        self.groups.metrics.proposed("create", if created { "created" } else { "existing" });
        Ok(CreateSubscriptionResponse { subscription: Some(convert::stored(&subscription)), created })
    }

    async fn find(
        &self,
        request: FindSubscriptionRequest,
        until: Instant,
    ) -> Result<FindSubscriptionResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let (topic, consumer) = (TopicId(request.topic_id), convert::consumer(request.consumer)?);
        let member = self.groups.of(&self.host, topic, &consumer)?;
        if request.confirmed {
            member.group.confirm(until).await.map_err(|error| error::propose(&error))?;
        }
        let subscription = member.state.read().find(topic, &consumer).map(convert::stored);
        Ok(FindSubscriptionResponse { found: subscription.is_some(), subscription })
    }

    async fn acquire(&self, request: AcquireRequest, until: Instant) -> Result<AcquireResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let (topic_id, consumer) = (TopicId(request.topic_id), convert::consumer(request.consumer)?);
        let member = self.groups.of(&self.host, topic_id, &consumer)?;
        let token_seen = FencingToken(request.fencing_token_seen);
        let dispatcher = convert::dispatcher(request.dispatcher)?;
        let entry = Entry::Acquire(Acquire { topic_id, consumer, token_seen, dispatcher });
        let (subscription, acquired) = match self.groups.propose(member, "acquire", &entry, until).await? {
            Answer::Acquired(subscription) => (subscription, true),
            Answer::Overtaken(subscription) => (subscription, false),
            Answer::NotFound => {
                return Err(self.refuse("acquire", status::not_found("there is no such subscription")));
            }
            other => return Err(unexpected(&other)),
        };
        self.groups.metrics.proposed("acquire", if acquired { "acquired" } else { "overtaken" });
        Ok(AcquireResponse { acquired, subscription: Some(convert::stored(&subscription)) })
    }

    async fn commit(&self, request: CommitRequest, until: Instant) -> Result<CommitResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let (topic_id, consumer) = (TopicId(request.topic_id), convert::consumer(request.consumer)?);
        let member = self.groups.of(&self.host, topic_id, &consumer)?;
        let entry = Entry::Commit(Commit {
            topic_id,
            consumer,
            instance: request.instance,
            generation: Generation(request.generation),
            token: FencingToken(request.fencing_token),
            acknowledged: convert::ranges(&request.acknowledged)?,
            counts: convert::counts(&request.delivery_counts)?,
            given_back: convert::ranges(&request.given_back)?,
        });
        self.groups.commit_tick().await;
        let subscription = match self.groups.propose(member, "commit", &entry, until).await? {
            Answer::Committed => None,
            Answer::Refused(subscription) => Some(convert::stored(&subscription)),
            Answer::NotFound => {
                return Err(self.refuse("commit", status::not_found("there is no such subscription")));
            }
            Answer::TooManyRanges => {
                let message = "the subscription has too many ranges of acknowledged messages".to_owned();
                return Err(self.refuse("commit", status::overloaded(message, Duration::from_secs(1))));
            }
            other => return Err(unexpected(&other)),
        };
        self.groups.metrics.proposed("commit", if subscription.is_none() { "committed" } else { "refused" });
        Ok(CommitResponse { committed: subscription.is_none(), subscription })
    }

    /// As the group's leader knows it now: a subscription that was there when this was asked is not passed over.
    async fn lowest(
        &self,
        request: LowestPositionsRequest,
        until: Instant,
    ) -> Result<LowestPositionsResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        if request.topic_ids.len() > POSITIONS_ASKED_MAX {
            let problem = format!("are {}, at most {POSITIONS_ASKED_MAX}", request.topic_ids.len());
            return Err(status::invalid("topic_ids", problem));
        }
        let member = self.groups.get(GroupId::from_u32(request.group).ok_or(Malformed("group"))?)?;
        member.group.confirm(until).await.map_err(|error| error::propose(&error))?;
        let positions = member.state.read();
        let lowest = |topic_id: u64| {
            let lowest = positions.lowest_position(TopicId(topic_id));
            LowestPosition { topic_id, none: lowest.is_none(), position: lowest.unwrap_or(0) }
        };
        Ok(LowestPositionsResponse { topics: request.topic_ids.into_iter().map(lowest).collect() })
    }

    fn list(&self, request: PositionListRequest) -> Result<PositionListResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let id = GroupId::from_u32(request.group).ok_or(Malformed("group"))?;
        let member = self.groups.get(id)?;
        let topic = if request.topic.is_empty() { None } else { Some(convert::topic(request.topic)?) };
        let consumer =
            if request.consumer.is_empty() { None } else { Some(convert::consumer(request.consumer)?) };
        let after = if request.after_topic.is_empty() {
            None
        } else {
            Some((convert::topic(request.after_topic)?, convert::consumer(request.after_consumer)?))
        };
        let limit = usize::try_from(request.limit).unwrap_or(PAGE_SIZE_MAX).clamp(1, PAGE_SIZE_MAX);
        let positions = member.state.read();
        let page = positions.page(topic.as_ref(), consumer.as_ref(), after, limit);
        let subscriptions = page.subscriptions.into_iter().map(convert::listed).collect();
        let more = page.scanned.is_some();
        let (scanned_topic, scanned_consumer) =
            page.scanned.map(|(topic, consumer)| (topic.into(), consumer.into())).unwrap_or_default();
        Ok(PositionListResponse { subscriptions, more, scanned_topic, scanned_consumer })
    }

    fn refuse(&self, call: &'static str, refusal: Status) -> Status {
        self.groups.metrics.proposed(call, "refused");
        refusal
    }
}

fn differs(existing: &trunkline_delivery::position::Subscription) -> Status {
    let options = convert::in_words(&existing.options);
    let message = format!(
        "consumer {} is subscribed to topic {} already, with other options: {options}",
        existing.consumer, existing.topic
    );
    status::failed_precondition(reason::OPTIONS_DIFFER, message)
}

fn unexpected(answer: &Answer) -> Status {
    Status::internal(format!("the group answered another question: {answer:?}"))
}
