//! Appends to one follower, many under way at once, answered in order.

use std::future::Future;
use std::task::{Context, Poll};

use futures::stream::{BoxStream, FuturesOrdered};
use futures::{Stream, StreamExt as _};
use prost::Message as _;
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::raft_frame::Body;

use super::commits::Commits;
use super::{Client, Error, malformed};
use crate::convert;
use crate::raft::{AppendRequest, AppendResponse, LogId, RPCTypes, StreamAppendError, StreamAppendResult};

/// Appends under way; with a batch every few milliseconds this covers the longest round trip.
const IN_FLIGHT_MAX: usize = 256;
/// Bytes of appends under way: what a follower that catches up costs in memory.
const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;

type Item = Result<StreamAppendResult, Error>;

/// Sends what `input` gives, in its order, and yields the answers in the same order; ends with the first that is not a
/// complete success.
pub(super) fn stream<'s, S>(client: &'s Client, input: S) -> BoxStream<'s, Item>
where
    S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
{
    let mut pipeline = Pipeline {
        input: Some(input),
        commits: Commits::default(),
        send: move |request| send(client, request),
        in_flight: FuturesOrdered::new(),
        bytes: 0,
        ended: false,
    };
    Box::pin(futures::stream::poll_fn(move |context| pipeline.poll(context)))
}

struct Pipeline<S, F, A: Future> {
    input: Option<S>,
    commits: Commits,
    send: F,
    in_flight: FuturesOrdered<A>,
    bytes: usize,
    ended: bool,
}

impl<S, F, A> Pipeline<S, F, A>
where
    S: Stream<Item = AppendRequest> + Unpin,
    F: FnMut(AppendRequest) -> (usize, A),
    A: Future<Output = (Item, usize, bool)>,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.fill(context);
        match self.in_flight.poll_next_unpin(context) {
            Poll::Ready(Some((item, bytes, goes_on))) => {
                self.bytes -= bytes;
                self.ended = !goes_on;
                Poll::Ready(Some(item))
            }
            Poll::Ready(None) if self.input.is_none() => Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Sends what there is to send, as far as the window allows.
    fn fill(&mut self, context: &mut Context<'_>) {
        while self.in_flight.len() < IN_FLIGHT_MAX && self.bytes < IN_FLIGHT_BYTES_MAX {
            let Some(input) = &mut self.input else { return };
            let due = match input.poll_next_unpin(context) {
                Poll::Ready(Some(request)) => self.commits.take(request),
                Poll::Ready(None) => {
                    self.input = None;
                    self.commits.rest()
                }
                Poll::Pending => match self.commits.poll_due(context) {
                    Poll::Ready(request) => Some(request),
                    Poll::Pending => return,
                },
            };
            if let Some(request) = due {
                let (bytes, answer) = (self.send)(request);
                self.bytes += bytes;
                self.in_flight.push_back(answer);
            }
        }
    }
}

fn send(
    client: &Client,
    request: AppendRequest,
) -> (usize, impl Future<Output = (Item, usize, bool)> + Send + use<>) {
    let (followers, peer, leader) =
        (client.network.followers.clone(), client.link.peer(), request.vote.leader_id);
    let previous = request.prev_log_id;
    let last = request.entries.last().map(|entry| entry.log_id).or(previous);
    let is_known = followers.is_known(peer, &request, &client.network.log);
    let message = convert::from_append(&request);
    let bytes = message.encoded_len();
    let answer = (!is_known).then(|| client.submit(Body::Append(message)));
    let answer =
        answer.map(|answer| client.answer(answer, RPCTypes::AppendEntries, client.network.timing.append));
    let answer = async move {
        let item = match answer {
            None => Ok(Ok(previous)),
            Some(answer) => match answer.await {
                Ok(Body::Appended(response)) => {
                    let outcome = convert::to_append_response(&response);
                    let outcome = outcome.and_then(|response| outcome_of(response, previous, last));
                    if !matches!(outcome, Ok(Err(StreamAppendError::HigherVote(_)))) {
                        followers.said(peer, leader, response.on_disk.as_ref());
                    }
                    outcome.map_err(malformed)
                }
                Ok(_) => Err(malformed(Malformed("answer"))),
                Err(error) => Err(error),
            },
        };
        let goes_on = matches!(&item, Ok(Ok(upto)) if *upto == last);
        (item, bytes, goes_on)
    };
    (bytes, answer)
}

fn outcome_of(
    response: AppendResponse,
    previous: Option<LogId>,
    last: Option<LogId>,
) -> Result<StreamAppendResult, Malformed> {
    match response {
        AppendResponse::Success => Ok(Ok(last)),
        AppendResponse::PartialSuccess(upto) => Ok(Ok(upto)),
        AppendResponse::Conflict => match previous {
            Some(previous) => Ok(Err(StreamAppendError::Conflict(previous))),
            // Nothing comes before a log's first entry that could be in conflict.
            None => Err(Malformed("appended.conflict")),
        },
        AppendResponse::HigherVote(vote) => Ok(Err(StreamAppendError::HigherVote(vote))),
    }
}
