//! The traceparent of the call that is being answered, for the calls that answering it takes; and the span of a
//! batch's way through its coordinator, which shares a stream with all others and so has no call of its own.

use std::future::Future;

use tokio::time::Instant;
use trunkline_ports::{CallOptions, Host, Span};

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

/// From giving a batch to a store to its last answer, where the present call is recorded.
pub(crate) fn append(host: &Host, store: &str, level: &'static str, records: usize) -> Option<Span> {
    let span = host.traces.under(current().as_deref(), "append")?;
    span.attribute("store", store.to_owned());
    span.attribute("level", level.to_owned());
    span.attribute("records", records.to_string());
    Some(span)
}
