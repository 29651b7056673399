//! What clients and other pop servers ask: decode, call, encode.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_ports::{CallContext, Host, Router};
use trunkline_runtime::Shutdown;
use trunkline_types::limits::DEADLINE_MAX;
use trunkline_types::{ConsumerName, TopicId, TopicName};
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::{
    DescribeDispatchRequest, DescribeDispatchResponse, DispatchStatus, DispatchTarget, ForwardAckRequest,
    ForwardAckResponse, ForwardPopRequest, ForwardPopResponse, PingRequest, PingResponse,
    SubscriptionChangedRequest, SubscriptionChangedResponse, describe_dispatch_response,
    forward_ack_response, forward_pop_response, pop_peer_service,
};
use trunkline_wire::status::{self, reason};
use trunkline_wire::v1::pop_service;
use trunkline_wire::{Status, v1};

use crate::administration::{Administration, number};
use crate::change::Change;
use crate::dispatch::Dispatch;
use crate::errand::{AckErrand, Errand, PopErrand};
use crate::error;
use crate::handle::Situation;
use crate::metrics::Metrics;
use crate::positions::Key;
use crate::reading::Reading;
use crate::subscriptions::{List, Subscriptions};
use crate::topics::Topics;
use crate::trace;
use crate::validate;

/// Everything behind the calls.
pub(crate) struct Calls {
    pub(crate) host: Host,
    pub(crate) shutdown: Shutdown,
    pub(crate) topics: Arc<Topics>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) administration: Administration,
    pub(crate) reading: Reading,
    pub(crate) metrics: Metrics,
}

macro_rules! on {
    ($calls:expr, $method:ident) => {{
        let calls = $calls.clone();
        move |context: CallContext, request| {
            let calls = calls.clone();
            trace::under(context.trace.clone(), async move { calls.$method(context, request).await })
        }
    }};
}

/// For clients.
pub(crate) fn public(calls: &Arc<Calls>) -> Router {
    Router::new()
        .unary(pop_service::SUBSCRIBE, on!(calls, subscribe))
        .unary(pop_service::POP, on!(calls, pop))
        .unary(pop_service::ACK, on!(calls, ack))
        .unary(pop_service::GET_SUBSCRIPTION, on!(calls, get_subscription))
        .unary(pop_service::LIST_SUBSCRIPTIONS, on!(calls, list_subscriptions))
        .unary(pop_service::SEEK, on!(calls, seek))
        .unary(pop_service::UPDATE_SUBSCRIPTION, on!(calls, update_subscription))
        .unary(pop_service::DELETE_SUBSCRIPTION, on!(calls, delete_subscription))
        .unary(pop_service::READ, on!(calls, read))
}

/// For other pop servers.
pub(crate) fn internal(calls: &Arc<Calls>) -> Router {
    Router::new()
        .unary(pop_peer_service::FORWARD_POP, on!(calls, forward_pop))
        .unary(pop_peer_service::FORWARD_ACK, on!(calls, forward_ack))
        .unary(pop_peer_service::DESCRIBE_DISPATCH, on!(calls, describe_dispatch))
        .unary(pop_peer_service::SUBSCRIPTION_CHANGED, on!(calls, subscription_changed))
        .unary(pop_peer_service::PING, on!(calls, ping))
}

impl Calls {
    async fn subscribe(
        &self,
        context: CallContext,
        request: v1::SubscribeRequest,
    ) -> Result<v1::SubscribeResponse, Status> {
        let (topic, consumer) = (validate::topic(&request.topic)?, validate::consumer(&request.consumer)?);
        let options = validate::options(request.options)?;
        let deadline = validate::deadline(&context);
        let subscription = self.subscriptions.subscribe(&topic, &consumer, options, deadline).await?;
        Ok(v1::SubscribeResponse { subscription: Some(subscription) })
    }

    async fn pop(&self, context: CallContext, request: v1::PopRequest) -> Result<v1::PopResponse, Status> {
        let (topic, consumer) = validate::pop(&request)?;
        let deadline = validate::deadline(&context);
        if request.client_id.is_empty() && request.previous.is_empty() {
            self.metrics.bare_pops.inc();
        }
        self.dispatched(&topic, &consumer, deadline, |key| {
            Ok(PopErrand { call: validate::pop_call(&request, key, deadline)?, request: &request })
        })
        .await
    }

    async fn ack(&self, context: CallContext, request: v1::AckRequest) -> Result<v1::AckResponse, Status> {
        let (topic, consumer) = validate::ack(&request)?;
        let deadline = validate::deadline(&context);
        self.dispatched(&topic, &consumer, deadline, |key| {
            Ok(AckErrand { call: validate::ack_call(&request, key, deadline)?, request: &request })
        })
        .await
    }

    async fn get_subscription(
        &self,
        context: CallContext,
        request: v1::GetSubscriptionRequest,
    ) -> Result<v1::GetSubscriptionResponse, Status> {
        let (topic, consumer) = (validate::topic(&request.topic)?, validate::consumer(&request.consumer)?);
        self.subscriptions.get(&topic, &consumer, validate::deadline(&context)).await
    }

    async fn list_subscriptions(
        &self,
        context: CallContext,
        request: v1::ListSubscriptionsRequest,
    ) -> Result<v1::ListSubscriptionsResponse, Status> {
        let (size, after) = validate::page(&request)?;
        let (groups, deadline) = (self.host.map().position_groups, validate::deadline(&context));
        let list = List {
            topic: &request.topic,
            consumer: &request.consumer,
            size,
            after,
            with_status: request.with_status,
        };
        self.subscriptions.list(groups, list, deadline).await
    }

    async fn seek(&self, context: CallContext, request: v1::SeekRequest) -> Result<v1::SeekResponse, Status> {
        let (topic, consumer, to) = validate::seek(&request)?;
        let number = number(&request.seek_id, || self.host.process.random());
        let deadline = validate::deadline(&context);
        let subscription = self.administration.seek(&topic, &consumer, &to, number, deadline).await?;
        Ok(v1::SeekResponse { subscription: Some(subscription) })
    }

    async fn update_subscription(
        &self,
        context: CallContext,
        request: v1::UpdateSubscriptionRequest,
    ) -> Result<v1::UpdateSubscriptionResponse, Status> {
        let (topic, consumer) = (validate::topic(&request.topic)?, validate::consumer(&request.consumer)?);
        let (changes, deadline) = (validate::Changes::of(&request)?, validate::deadline(&context));
        let subscription = self.administration.update(&topic, &consumer, &changes, deadline).await?;
        Ok(v1::UpdateSubscriptionResponse { subscription: Some(subscription) })
    }

    async fn delete_subscription(
        &self,
        context: CallContext,
        request: v1::DeleteSubscriptionRequest,
    ) -> Result<v1::DeleteSubscriptionResponse, Status> {
        let (topic, consumer) = (validate::topic(&request.topic)?, validate::consumer(&request.consumer)?);
        self.administration.delete(&topic, &consumer, validate::deadline(&context)).await?;
        Ok(v1::DeleteSubscriptionResponse {})
    }

    async fn read(&self, context: CallContext, request: v1::ReadRequest) -> Result<v1::ReadResponse, Status> {
        self.reading.read(&request, validate::deadline(&context)).await
    }

    /// Does what belongs to the dispatcher. A topic's id from memory may be one that was deleted meanwhile: "not
    /// subscribed" is said only of the present one.
    async fn dispatched<E: Errand>(
        &self,
        topic: &TopicName,
        consumer: &ConsumerName,
        deadline: Instant,
        errand: impl Fn(&Key) -> Result<E, Status>,
    ) -> Result<E::Answer, Status> {
        if self.shutdown.is_draining() {
            return Err(error::draining());
        }
        let known = self.topics.known(topic);
        let mut said = None;
        if let Some(id) = known {
            let key = validate::key(id, consumer);
            let answer = match errand(&key) {
                Ok(errand) => self.dispatch.run(&key, topic, &errand).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if may_be_of_the_topic(&error) => said = Some(error),
                answer => return answer,
            }
        }
        let Some(id) = self.topics.find(topic, deadline).await? else {
            return Err(error::not_subscribed(topic, consumer));
        };
        if let Some(error) = said.filter(|_| known == Some(id)) {
            return Err(error);
        }
        let key = validate::key(id, consumer);
        self.dispatch.run(&key, topic, &errand(&key)?).await
    }

    async fn forward_pop(
        &self,
        context: CallContext,
        request: ForwardPopRequest,
    ) -> Result<ForwardPopResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let deadline = within(&context, request.patience_ms);
        let target = request.target.ok_or(Malformed("target"))?;
        let (key, pop) = (key(&target)?, request.pop.ok_or(Malformed("pop"))?);
        let from_here = request.datacenter == self.host.identity.datacenter.0;
        let outcome = match self.dispatch.dispatched_here(&target, &key, deadline).await {
            Err(newer) => forward_pop_response::Outcome::NotDispatcher(newer),
            Ok(handle) => handle.pop(validate::pop_call(&pop, &key, deadline)?, from_here).await.into(),
        };
        Ok(ForwardPopResponse { outcome: Some(outcome) })
    }

    async fn forward_ack(
        &self,
        context: CallContext,
        request: ForwardAckRequest,
    ) -> Result<ForwardAckResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let deadline = within(&context, request.patience_ms);
        let target = request.target.ok_or(Malformed("target"))?;
        let (key, ack) = (key(&target)?, request.ack.ok_or(Malformed("ack"))?);
        let outcome = match self.dispatch.dispatched_here(&target, &key, deadline).await {
            Err(newer) => forward_ack_response::Outcome::NotDispatcher(newer),
            Ok(handle) => handle.ack(validate::ack_call(&ack, &key, deadline)?).await.into(),
        };
        Ok(ForwardAckResponse { outcome: Some(outcome) })
    }

    async fn describe_dispatch(
        &self,
        context: CallContext,
        request: DescribeDispatchRequest,
    ) -> Result<DescribeDispatchResponse, Status> {
        use describe_dispatch_response::Outcome;
        self.host.check(request.envelope.as_ref())?;
        let target = request.target.ok_or(Malformed("target"))?;
        let handle = self.dispatch.dispatched_here(&target, &key(&target)?, context.deadline).await;
        let situation = match &handle {
            Ok(handle) => handle.describe().await,
            Err(_) => None,
        };
        let outcome = match (situation, handle) {
            (Some(Situation { position, outstanding, instance, generation }), _) => {
                Outcome::Status(DispatchStatus { position, outstanding, instance, generation })
            }
            (None, handle) => Outcome::NotDispatcher(handle.err().unwrap_or_default()),
        };
        Ok(DescribeDispatchResponse { outcome: Some(outcome) })
    }

    async fn subscription_changed(
        &self,
        context: CallContext,
        mut request: SubscriptionChangedRequest,
    ) -> Result<SubscriptionChangedResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        let target = request.target.take().ok_or(Malformed("target"))?;
        if let Ok(handle) = self.dispatch.dispatched_here(&target, &key(&target)?, context.deadline).await {
            handle.changed(Change::from_message(request)).await;
        }
        Ok(SubscriptionChangedResponse {})
    }

    async fn ping(&self, _context: CallContext, request: PingRequest) -> Result<PingResponse, Status> {
        self.host.check(request.envelope.as_ref())?;
        Ok(PingResponse { node: self.host.identity.node.0 })
    }
}

/// Errors that another id of the topic might not give.
fn may_be_of_the_topic(error: &Status) -> bool {
    let reason = status::reason_of(error);
    [reason::NOT_SUBSCRIBED, reason::DELIVERY_EXPIRED].map(Some).contains(&reason.as_deref())
}

fn within(context: &CallContext, patience_ms: u32) -> Instant {
    context.deadline.min(Instant::now() + Duration::from_millis(patience_ms.into()).min(DEADLINE_MAX))
}

fn key(target: &DispatchTarget) -> Result<Key, Status> {
    let consumer = ConsumerName::new(target.consumer.clone()).map_err(|_| Malformed("target.consumer"))?;
    Ok(Key { topic: TopicId(target.topic_id), consumer })
}
