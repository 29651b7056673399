//! Each call in a span of its own, under its caller's: a push and a pop can be followed across services.

use std::sync::Arc;

use tracing::{Instrument as _, Span};
use trunkline_ports::{CallContext, Handler, Router};
use trunkline_telemetry::{Beginning, current_traceparent, span_from};

/// Handlers see the span's traceparent as their caller's, and pass it on with their own calls.
pub(crate) fn traced(router: Router, beginning: Beginning, node: &str) -> Router {
    let node: Arc<str> = node.into();
    router.map(|path, handler| {
        let node = node.clone();
        let enter = move |context| enter(context, beginning, path, &node);
        match handler {
            Handler::Unary(handler) => Handler::Unary(Arc::new(move |context, request| {
                let (span, context) = enter(context);
                Box::pin(span.in_scope(|| handler(context, request)).instrument(span))
            })),
            Handler::Streaming(handler) => {
                Handler::Streaming(Arc::new(move |context, requests, responder| {
                    let (span, context) = enter(context);
                    Box::pin(span.in_scope(|| handler(context, requests, responder)).instrument(span))
                }))
            }
        }
    })
}

fn enter(context: CallContext, beginning: Beginning, path: &'static str, node: &str) -> (Span, CallContext) {
    let span = span_from(context.trace.as_deref(), beginning, path, node);
    if span.is_none() {
        return (span, context);
    }
    let trace = span.in_scope(current_traceparent).or(context.trace);
    (span, CallContext { trace, ..context })
}
