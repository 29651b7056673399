//! What pop servers ask: decode, call, encode.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_delivery::position::{Acquire, Answer, Commit, Create, Delete, Entry, Seek, Update};
use trunkline_ports::{CallContext, Host, Router};
use trunkline_types::limits::PAGE_SIZE_MAX;
use trunkline_types::{FencingToken, Generation, GroupId, TopicId};
use trunkline_wire::Status;
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::position_service::{
    ACQUIRE, COMMIT, CREATE_SUBSCRIPTION, DELETE_SUBSCRIPTION, FIND_SUBSCRIPTION, LIST_SUBSCRIPTIONS,
    SEEK_SUBSCRIPTION, UPDATE_SUBSCRIPTION,
};
use trunkline_wire::internal::{
    AcquireRequest, AcquireResponse, CommitRequest, CommitResponse, CreateSubscriptionRequest,
    CreateSubscriptionResponse, DeleteSubscriptionRequest, DeleteSubscriptionResponse,
    FindSubscriptionRequest, FindSubscriptionResponse, PositionListRequest, PositionListResponse,
    SeekSubscriptionRequest, SeekSubscriptionResponse, UpdateSubscriptionRequest, UpdateSubscriptionResponse,
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
            ACQUIRE,
            on(&calls, |calls, until, request| async move { calls.acquire(request, until).await }),
        )
        .unary(COMMIT, on(&calls, |calls, until, request| async move { calls.commit(request, until).await }))
        .unary(LIST_SUBSCRIPTIONS, on(&calls, |calls, _, request| async move { calls.list(request) }))
        .unary(
            SEEK_SUBSCRIPTION,
            on(&calls, |calls, until, request| async move { calls.seek(request, until).await }),
        )
        .unary(
            UPDATE_SUBSCRIPTION,
            on(&calls, |calls, until, request| async move { calls.update(request, until).await }),
        )
        .unary(
            DELETE_SUBSCRIPTION,
            on(&calls, |calls, until, request| async move { calls.delete(request, until).await }),
        )
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
            Answer::NotFound => return Err(self.refuse("acquire", not_found())),
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
            consumer: consumer.clone(),
            instance: request.instance,
            generation: Generation(request.generation),
            token: FencingToken(request.fencing_token),
            acknowledged: convert::ranges(&request.acknowledged)?,
        });
        self.groups.commit_tick().await;
        let subscription = match self.groups.propose(member, "commit", &entry, until).await? {
            Answer::Committed => None,
            Answer::Refused(subscription) => Some(convert::stored(&subscription)),
            Answer::NotFound => return Err(self.refuse("commit", not_found())),
            Answer::TooManyRanges => {
                let message = "the subscription has too many ranges of acknowledged messages".to_owned();
                return Err(self.refuse("commit", status::overloaded(message, Duration::from_secs(1))));
            }
            other => return Err(unexpected(&other)),
        };
        self.groups.metrics.proposed("commit", if subscription.is_none() { "committed" } else { "refused" });
        // Not of this commit, but late by no more than this voter is.
        let revision = member.state.read().find(topic_id, &consumer).map_or(0, |present| present.revision);
        Ok(CommitResponse { committed: subscription.is_none(), subscription, revision })
    }

    async fn seek(
        &self,
        request: SeekSubscriptionRequest,
        until: Instant,
    ) -> Result<SeekSubscriptionResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let (topic_id, consumer) = (TopicId(request.topic_id), convert::consumer(request.consumer)?);
        if request.number == 0 {
            return Err(Malformed("number").into());
        }
        let member = self.groups.of(&self.host, topic_id, &consumer)?;
        let entry = Entry::Seek(Seek {
            topic_id,
            consumer,
            instance: request.instance,
            generation_seen: Generation(request.generation_seen),
            number: request.number,
            start_id: request.start_id,
        });
        let (sought, subscription, deposed) = match self.groups.propose(member, "seek", &entry, until).await?
        {
            Answer::Sought { subscription, deposed } => (true, subscription, deposed),
            Answer::Changed(present) => (false, present, None),
            Answer::NotFound => return Err(self.refuse("seek", not_found())),
            other => return Err(unexpected(&other)),
        };
        self.groups.metrics.proposed("seek", if sought { "sought" } else { "overtaken" });
        Ok(SeekSubscriptionResponse {
            sought,
            subscription: Some(convert::stored(&subscription)),
            deposed: deposed.as_ref().map(convert::to_dispatcher),
        })
    }

    async fn update(
        &self,
        request: UpdateSubscriptionRequest,
        until: Instant,
    ) -> Result<UpdateSubscriptionResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let (topic_id, consumer) = (TopicId(request.topic_id), convert::consumer(request.consumer)?);
        let member = self.groups.of(&self.host, topic_id, &consumer)?;
        let entry = Entry::Update(Update {
            topic_id,
            consumer,
            instance: request.instance,
            seen: convert::options(request.seen)?,
            options: convert::options(request.options)?,
        });
        let (updated, subscription) = match self.groups.propose(member, "update", &entry, until).await? {
            Answer::Updated(subscription) => (true, subscription),
            Answer::Changed(present) => (false, present),
            Answer::NotFound => return Err(self.refuse("update", not_found())),
            other => return Err(unexpected(&other)),
        };
        self.groups.metrics.proposed("update", if updated { "updated" } else { "overtaken" });
        Ok(UpdateSubscriptionResponse { updated, subscription: Some(convert::stored(&subscription)) })
    }

    async fn delete(
        &self,
        request: DeleteSubscriptionRequest,
        until: Instant,
    ) -> Result<DeleteSubscriptionResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let (topic_id, consumer) = (TopicId(request.topic_id), convert::consumer(request.consumer)?);
        let member = self.groups.of(&self.host, topic_id, &consumer)?;
        let entry = Entry::Delete(Delete { topic_id, consumer, instance: request.instance });
        let deposed = match self.groups.propose(member, "delete", &entry, until).await? {
            Answer::Deleted { deposed } => deposed,
            Answer::NotFound => return Err(self.refuse("delete", not_found())),
            other => return Err(unexpected(&other)),
        };
        self.groups.metrics.proposed("delete", "deleted");
        Ok(DeleteSubscriptionResponse { deposed: deposed.as_ref().map(convert::to_dispatcher) })
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

fn not_found() -> Status {
    status::not_found("there is no such subscription")
}

fn unexpected(answer: &Answer) -> Status {
    Status::internal(format!("the group answered another question: {answer:?}"))
}
