//! OrderService and MapService: decodes, calls, encodes.

use std::sync::Arc;

use tokio::time::Instant;
use trunkline_ports::{CallContext, Router};
use trunkline_types::NodeId;
use trunkline_types::limits::DEADLINE_MARGIN;
use trunkline_wire::Status;
use trunkline_wire::internal::map_service::{GET_FENCES, REPLACE_NODE};
use trunkline_wire::internal::order_service::{
    CREATE_TOPIC, DELETE_TOPIC, FIND_TOPIC, LIST_TOPICS, RELAY, SESSION,
};
use trunkline_wire::internal::{
    Fence, GetFencesRequest, GetFencesResponse, OrderCreateTopicRequest, OrderDeleteTopicRequest,
    OrderFindTopicRequest, OrderListTopicsRequest, ReplaceNodeRequest,
};
use trunkline_wire::status::{self, reason};

use crate::replacement::{self, MapGroup};
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

pub(crate) fn router(voter: &Arc<Voter>, map_group: Option<&MapGroup>) -> Router {
    let (sessions, relays, map_group) = (voter.clone(), voter.clone(), map_group.cloned());
    Router::new()
        .unary(REPLACE_NODE, move |context: CallContext, request: ReplaceNodeRequest| {
            let map_group = map_group.clone();
            async move {
                let group = map_group.ok_or_else(no_voter_of_the_map)?;
                replacement::replace(&group, &request, answer_by(&context)).await
            }
        })
        .unary(GET_FENCES, checked!(voter, GetFencesRequest, fences))
        .streaming(SESSION, move |_, requests, responses| {
            session::serve(sessions.clone(), requests, responses)
        })
        .streaming(RELAY, move |_, requests, responses| relay::serve(relays.clone(), requests, responses))
        .unary(CREATE_TOPIC, checked!(voter, OrderCreateTopicRequest, topics::create))
        .unary(DELETE_TOPIC, checked!(voter, OrderDeleteTopicRequest, topics::delete))
        .unary(FIND_TOPIC, checked!(voter, OrderFindTopicRequest, topics::find))
        .unary(LIST_TOPICS, checked!(voter, OrderListTopicsRequest, topics::list))
}

async fn fences(
    voter: Arc<Voter>,
    _: Instant,
    request: GetFencesRequest,
) -> Result<GetFencesResponse, Status> {
    let fences = voter.member_packed(request.group)?.read(|state| state.fences().clone());
    let fence = |(store, map_version): (NodeId, u64)| Fence { store: store.0, map_version };
    Ok(GetFencesResponse { fences: fences.into_iter().map(fence).collect() })
}

fn no_voter_of_the_map() -> Status {
    status::not_stored(&status::failed_precondition(reason::STALE, "this node is no voter of group 0"))
}

/// When the answer must leave, to arrive before the caller's deadline.
fn answer_by(context: &CallContext) -> Instant {
    context.deadline.checked_sub(DEADLINE_MARGIN / 4).unwrap_or(context.deadline)
}
