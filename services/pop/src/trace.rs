//! The traceparent of the call that is being answered, for the calls that answering it takes. What a worker does is
//! nobody's call in particular and has none, except for what a Pop gives rise to at once.

use std::future::Future;

use tokio::time::Instant;
use trunkline_ports::CallOptions;

tokio::task_local! {
    static TRACEPARENT: Option<String>;
}

/// Answers a call under its traceparent.
pub(crate) async fn under<A>(traceparent: Option<String>, answering: impl Future<Output = A>) -> A {
    TRACEPARENT.scope(traceparent, answering).await
}

/// What a call gives rise to at once, at the task that takes it from a queue.
pub(crate) fn taking<A>(traceparent: Option<String>, step: impl FnOnce() -> A) -> A {
    TRACEPARENT.sync_scope(traceparent, step)
}

/// That of the present call, for a task that goes on with it.
pub(crate) fn current() -> Option<String> {
    TRACEPARENT.try_with(Clone::clone).ok().flatten()
}

/// Options of an onward call.
pub(crate) fn until(deadline: Instant) -> CallOptions {
    CallOptions { deadline: Some(deadline), trace: current() }
}
