//! One request, from its frame to the frame of its answer.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;
use trunkline_types::GroupId;
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::raft_frame::Body;
use trunkline_wire::internal::{RaftAppended, RaftFrame, RaftRefused, RaftTransferred, RaftVoteResponse};

use crate::convert;
use crate::member::Member;
use crate::members::Members;
use crate::raft::AppendResponse;

/// The answer to a request; polled first in the order of the requests, which is the order in which they reach the
/// group.
pub(super) fn answer(members: &Members, request: RaftFrame) -> BoxFuture<'static, RaftFrame> {
    let (id, group) = (request.id, request.group);
    let member = GroupId::from_u32(group).and_then(|group| members.get(group));
    let body = async move {
        match (member, request.body) {
            (Some(member), Some(body)) => body_of_answer(&member, body).await.unwrap_or(None),
            _ => None,
        }
    };
    body.map(move |body| RaftFrame { id, group, body: Some(body.unwrap_or(Body::Refused(RaftRefused {}))) })
        .boxed()
}

/// `None` where the group has stopped, or the request is none.
async fn body_of_answer(member: &Arc<Member>, request: Body) -> Result<Option<Body>, Malformed> {
    let raft = member.raft();
    Ok(match request {
        Body::Append(request) => {
            let request = convert::to_append(request)?;
            let leader = request.vote.leader_id;
            let response = raft.append_entries(request).await.ok();
            if response.as_ref().is_some_and(|response| !matches!(response, AppendResponse::HigherVote(_))) {
                member.hears_leader();
            }
            let on_disk = member.on_disk().map(|on_disk| convert::sparing(on_disk, &leader));
            response.map(|response| {
                Body::Appended(RaftAppended { on_disk, ..convert::from_append_response(&response, &leader) })
            })
        }
        Body::Vote(request) => {
            let response = raft.vote(convert::to_vote_request(&request)?).await.ok();
            let on_disk = member.on_disk();
            response.map(|response| {
                Body::Voted(RaftVoteResponse { on_disk, ..convert::from_vote_response(&response) })
            })
        }
        Body::PreVote(request) => {
            let response = raft.pre_vote(convert::to_vote_request(&request)?).await.ok();
            response.map(|response| Body::Voted(convert::from_vote_response(&response)))
        }
        Body::Transfer(request) => {
            let response = raft.handle_transfer_leader(convert::to_transfer(&request)?).await.ok();
            response.map(|response| Body::Transferred(RaftTransferred { accepted: response.is_ok() }))
        }
        Body::Propose(request) => {
            let deadline = deadline(request.wait_ms);
            Some(Body::Proposed(member.propose_for_peer(request.entry, request.hops, deadline).await))
        }
        Body::Confirm(request) => {
            Some(Body::Confirmed(member.confirm_for_peer(request.hops, deadline(request.wait_ms)).await))
        }
        Body::Voted(_)
        | Body::Appended(_)
        | Body::Transferred(_)
        | Body::Proposed(_)
        | Body::Confirmed(_)
        | Body::Refused(_) => None,
    })
}

fn deadline(wait_ms: u32) -> Instant {
    Instant::now() + Duration::from_millis(wait_ms.into())
}
