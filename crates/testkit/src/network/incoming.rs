//! The callee's side: handlers run as tasks of the process that listens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use trunkline_ports::process::TaskGuard;
use trunkline_ports::{CallContext, Handler};
use trunkline_types::limits::STREAM_QUEUE_MAX;
use trunkline_wire::Status;
use trunkline_wire::status::not_stored;

use super::STREAM_FRAMES_MAX;
use super::exchange::{Frames, Message};
use super::fabric::{Fabric, State, lost};
use super::outgoing::{forward, frames_of, window};

/// What the callee has of an exchange. Dropping it aborts the handler.
pub(super) struct Served {
    _handler: TaskGuard,
    requests: Option<Frames>,
}

/// A message has arrived at the callee.
pub(super) fn arrive(fabric: &Arc<Fabric>, state: &mut State, id: u64, message: Message) {
    match message {
        Message::Call { path, body, deadline, trace } => {
            begin(fabric, state, id, path, CallContext { deadline, trace }, Some(body));
        }
        Message::Open { path, deadline, trace } => {
            begin(fabric, state, id, path, CallContext { deadline, trace }, None);
        }
        Message::Frame(frame) => {
            if let Some(Served { requests: Some(requests), .. }) = served(state, id) {
                // The window is smaller than the queue: it cannot be full, only closed.
                let _ = requests.try_send(Ok(frame));
            }
        }
        Message::LastRequest => {
            if let Some(served) = served(state, id) {
                served.requests = None;
            }
        }
        Message::Cancel => drop(state.exchanges.remove(&id)),
        Message::Accepted | Message::Answer(_) | Message::Finished(_) => {}
    }
}

fn served(state: &mut State, id: u64) -> Option<&mut Served> {
    state.exchanges.get_mut(&id)?.served.as_mut()
}

fn begin(
    fabric: &Arc<Fabric>,
    state: &mut State,
    id: u64,
    path: &str,
    context: CallContext,
    body: Option<Bytes>,
) {
    let Some((callee, handler, process)) = state.callee_of(id, path) else {
        state.send(id, false, Message::Finished(Err(not_stored(&lost("connection refused")))));
        return;
    };
    let fabric = fabric.clone();
    let (handler, requests) = match (handler, body) {
        (Some(Handler::Unary(handler)), Some(body)) => {
            let serve = async move {
                let deadline = context.deadline;
                let answer =
                    tokio::time::timeout_at(deadline, async move { handler(context, body).await }).await;
                fabric.send(id, false, Message::Answer(answer.unwrap_or_else(|_| Err(too_late()))));
            };
            (process.process().spawn("serve-call", serve), None)
        }
        (Some(Handler::Streaming(handler)), None) => {
            state.send(id, false, Message::Accepted);
            let (requests, taken) = mpsc::channel(STREAM_FRAMES_MAX + 1);
            let serve = async move {
                let requests = frames_of(taken);
                let result = serve_stream(&fabric, id, context.deadline, |responses| {
                    handler(context, requests, responses)
                });
                let result = result.await;
                fabric.send(id, false, Message::Finished(result));
            };
            (process.process().spawn("serve-stream", serve), Some(requests))
        }
        _ => {
            let status = Status::unimplemented(format!("{path} is not served here"));
            state.send(id, false, Message::Finished(Err(status)));
            return;
        }
    };
    if let Some(exchange) = state.exchanges.get_mut(&id) {
        exchange.callee = Some(callee);
        exchange.served = Some(Served { _handler: handler.abort_on_drop(), requests });
    }
}

/// Runs a handler beside the task that sends what it responds; both are done when this returns.
async fn serve_stream<F>(
    fabric: &Arc<Fabric>,
    id: u64,
    deadline: Instant,
    handler: impl FnOnce(mpsc::Sender<Bytes>) -> F,
) -> Result<(), Status>
where
    F: Future<Output = Result<(), Status>>,
{
    let (responses, queue) = mpsc::channel(STREAM_QUEUE_MAX);
    let (finish, finished) = oneshot::channel();
    let forward = forward(fabric.clone(), id, false, queue, finished, window());
    let handler = async move {
        let result = tokio::time::timeout_at(deadline, handler(responses)).await;
        let _ = finish.send(());
        result.unwrap_or_else(|_| Err(too_late()))
    };
    let (result, ()) = futures::join!(handler, forward);
    result
}

fn too_late() -> Status {
    Status::deadline_exceeded("the deadline has passed")
}

/// Until when a stream without a deadline may run.
pub(super) fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(365 * 24 * 3_600)
}
