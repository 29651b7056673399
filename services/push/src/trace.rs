//! The traceparent of the call that is being answered, for the calls that answering it takes; and the span of a
//! record's way through its coordinator, which shares a stream with all others and so has no call of its own.

use std::future::Future;

use tokio::time::Instant;
use tracing::Span;
use trunkline_ports::CallOptions;

/// The target of spans that make traces; logs leave them out.
const TARGET: &str = "trunkline::trace";

tokio::task_local! {
    static TRACEPARENT: Option<String>;
}

/// Answers a call under its traceparent.
pub(crate) async fn under<A>(traceparent: Option<String>, answering: impl Future<Output = A>) -> A {
    TRACEPARENT.scope(traceparent, answering).await
}

/// That of the present call, for a task that goes on with it.
pub(crate) fn current() -> Option<String> {
    TRACEPARENT.try_with(Clone::clone).ok().flatten()
}

/// Options of an onward call.
pub(crate) fn until(deadline: Instant) -> CallOptions {
    CallOptions { deadline: Some(deadline), trace: current() }
}

/// From giving records to a store to their last answer.
pub(crate) fn append(store: &str, level: &'static str, records: usize) -> Span {
    tracing::info_span!(target: TARGET, "append", otel.kind = "client", store, level, records)
}
