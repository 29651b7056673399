//! OrderService: decodes, calls, encodes.

use std::sync::Arc;

use tokio::time::Instant;
use trunkline_ports::{CallContext, Router};
use trunkline_types::limits::DEADLINE_MARGIN;
use trunkline_wire::internal::order_service::{
    CREATE_TOPIC, DELETE_TOPIC, FIND_TOPIC, LIST_TOPICS, RELAY, SESSION,
};
use trunkline_wire::internal::{
    OrderCreateTopicRequest, OrderDeleteTopicRequest, OrderFindTopicRequest, OrderListTopicsRequest,
};

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

pub(crate) fn router(voter: &Arc<Voter>) -> Router {
    let (sessions, relays) = (voter.clone(), voter.clone());
    Router::new()
        .streaming(SESSION, move |_, requests, responses| {
            session::serve(sessions.clone(), requests, responses)
        })
        .streaming(RELAY, move |_, requests, responses| relay::serve(relays.clone(), requests, responses))
        .unary(CREATE_TOPIC, checked!(voter, OrderCreateTopicRequest, topics::create))
        .unary(DELETE_TOPIC, checked!(voter, OrderDeleteTopicRequest, topics::delete))
        .unary(FIND_TOPIC, checked!(voter, OrderFindTopicRequest, topics::find))
        .unary(LIST_TOPICS, checked!(voter, OrderListTopicsRequest, topics::list))
}

/// When the answer must leave, to arrive before the caller's deadline.
fn answer_by(context: &CallContext) -> Instant {
    context.deadline.checked_sub(DEADLINE_MARGIN / 4).unwrap_or(context.deadline)
}
