//! OrderService: decodes, calls, encodes.

use std::sync::Arc;

use tokio::sync::watch;

use tokio::time::Instant;
use trunkline_ports::{CallContext, Group, Router};
use trunkline_types::limits::DEADLINE_MARGIN;
use trunkline_wire::Status;
use trunkline_wire::internal::order_service::{
    CONFIRM_ORDER_TIME, CREATE_TOPIC, DECLARE_DATACENTER, DELETE_TOPIC, FIND_TOPIC, LIST_TOPICS, RELAY,
    SESSION, UPDATE_TOPIC,
};
use trunkline_wire::internal::{
    ConfirmOrderTimeRequest, ConfirmOrderTimeResponse, OrderCreateTopicRequest,
    OrderDeclareDatacenterRequest, OrderDeleteTopicRequest, OrderFindTopicRequest, OrderListTopicsRequest,
    OrderUpdateTopicRequest,
};

use crate::voter::Voter;
use crate::{map_group, relay, session, topics};

/// A handler that refuses what comes from another cluster or under an older map.
macro_rules! checked {
    ($voter:expr, $request:ty, $handle:path) => {{
        let voter = $voter.clone();
        move |context: CallContext, request: $request| {
            let voter = voter.clone();
            async move {
                voter.host.check(request.envelope.as_ref())?;
                $handle(voter, answer_by(&context), request).await
            }
        }
    }};
}

pub(crate) fn router(
    voter: &Arc<Voter>,
    map_group: Option<(Arc<dyn Group>, watch::Receiver<map_group::Known>)>,
) -> Router {
    let (sessions, relays) = (voter.clone(), voter.clone());
    Router::new()
        .streaming(SESSION, move |_, requests, responses| {
            session::serve(sessions.clone(), requests, responses)
        })
        .streaming(RELAY, move |_, requests, responses| relay::serve(relays.clone(), requests, responses))
        .unary(CREATE_TOPIC, checked!(voter, OrderCreateTopicRequest, topics::create))
        .unary(UPDATE_TOPIC, checked!(voter, OrderUpdateTopicRequest, topics::update))
        .unary(DELETE_TOPIC, checked!(voter, OrderDeleteTopicRequest, topics::delete))
        .unary(FIND_TOPIC, checked!(voter, OrderFindTopicRequest, topics::find))
        .unary(LIST_TOPICS, checked!(voter, OrderListTopicsRequest, topics::list))
        .unary(CONFIRM_ORDER_TIME, checked!(voter, ConfirmOrderTimeRequest, confirm_order_time))
        .unary(DECLARE_DATACENTER, {
            let voter = voter.clone();
            move |context: CallContext, request: OrderDeclareDatacenterRequest| {
                let (voter, map_group) = (voter.clone(), map_group.clone());
                async move {
                    voter.host.check(request.envelope.as_ref())?;
                    map_group::declare(map_group, answer_by(&context), request).await
                }
            }
        })
}

async fn confirm_order_time(
    voter: Arc<Voter>,
    _: Instant,
    _: ConfirmOrderTimeRequest,
) -> Result<ConfirmOrderTimeResponse, Status> {
    let groups = u32::try_from(voter.figures.order_time_held.get()).unwrap_or(0);
    voter.confirmations.send_modify(|times| *times += 1);
    Ok(ConfirmOrderTimeResponse { groups })
}

/// When the answer must leave, to arrive before the caller's deadline.
fn answer_by(context: &CallContext) -> Instant {
    context.deadline.checked_sub(DEADLINE_MARGIN / 4).unwrap_or(context.deadline)
}
