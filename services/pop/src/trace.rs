//! The traceparent of the call that is being answered, for the calls that answering it takes. What a worker does is
//! nobody's call in particular and has none.

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

/// Options of an onward call.
pub(crate) fn until(deadline: Instant) -> CallOptions {
    CallOptions { deadline: Some(deadline), trace: TRACEPARENT.try_with(Clone::clone).ok().flatten() }
}
