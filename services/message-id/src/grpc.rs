//! OrderService: decodes, calls, encodes.

use std::sync::Arc;

use tokio::time::Instant;
use trunkline_ports::{CallContext, Group, Router};
use trunkline_types::GroupId;
use trunkline_types::limits::DEADLINE_MARGIN;
use trunkline_wire::Status;
use trunkline_wire::internal::order_service::{
    CREATE_TOPIC, DELETE_TOPIC, FIND_TOPIC, KNOWS_GROUP, LIST_TOPICS, RELAY, SESSION,
};
use trunkline_wire::internal::{
    OrderCreateTopicRequest, OrderDeleteTopicRequest, OrderFindTopicRequest, OrderKnowsGroupRequest,
    OrderKnowsGroupResponse, OrderListTopicsRequest,
};
use trunkline_wire::status;

use crate::voter::Voter;
use crate::{relay, session, topics};

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

/// `map_group`: this node's member of group 0, if it has one.
pub(crate) fn router(voter: &Arc<Voter>, map_group: Option<Arc<dyn Group>>) -> Router {
    let (sessions, relays, groups) = (voter.clone(), voter.clone(), voter.clone());
    Router::new()
        .streaming(SESSION, move |_, requests, responses| {
            session::serve(sessions.clone(), requests, responses)
        })
        .streaming(RELAY, move |_, requests, responses| relay::serve(relays.clone(), requests, responses))
        .unary(CREATE_TOPIC, checked!(voter, OrderCreateTopicRequest, topics::create))
        .unary(DELETE_TOPIC, checked!(voter, OrderDeleteTopicRequest, topics::delete))
        .unary(FIND_TOPIC, checked!(voter, OrderFindTopicRequest, topics::find))
        .unary(LIST_TOPICS, checked!(voter, OrderListTopicsRequest, topics::list))
        .unary(KNOWS_GROUP, move |_, request: OrderKnowsGroupRequest| {
            let (voter, map_group) = (groups.clone(), map_group.clone());
            async move { knows_group(&voter, map_group, &request) }
        })
}

fn knows_group(
    voter: &Voter,
    map_group: Option<Arc<dyn Group>>,
    request: &OrderKnowsGroupRequest,
) -> Result<OrderKnowsGroupResponse, Status> {
    voter.host.check(request.envelope.as_ref())?;
    let group =
        GroupId::from_u32(request.group).ok_or_else(|| status::invalid("group", "is of an unknown kind"))?;
    let group = match map_group {
        Some(map_group) if group == GroupId::MAP => map_group,
        _ => voter.member(group)?.group.clone(),
    };
    Ok(OrderKnowsGroupResponse { initialized: group.is_initialized() })
}

/// When the answer must leave, to arrive before the caller's deadline.
fn answer_by(context: &CallContext) -> Instant {
    context.deadline.checked_sub(DEADLINE_MARGIN / 4).unwrap_or(context.deadline)
}
