//! The W3C traceparent of the current span, and spans under one that came over the wire.
//!
//! A trace follows a push or a pop through the services: each puts [`current_traceparent`] into its calls
//! (`CallOptions::trace`), and each handler works in [`span_from`] what came with the call (`CallContext::trace`).
//! What travels in a stream with others' work has its span from [`traces`].

use std::fmt::Write as _;
use std::sync::Arc;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use trunkline_ports::Traces;
use trunkline_ports::traces::{SpanPort, TracesPort};

/// The target of spans that make traces. Logs leave them out.
pub const TARGET: &str = "trunkline::trace";

/// The current span as `traceparent` (<https://www.w3.org/TR/trace-context/>); `None` where nothing is traced.
pub fn current_traceparent() -> Option<String> {
    traceparent_of(&Span::current())
}

fn traceparent_of(span: &Span) -> Option<String> {
    if span.is_none() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| written(&context))
}

/// What to do for a call that brought no traceparent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// It begins a trace: a client's call.
    Here,
    /// It is part of none: what nodes ask each other for their own sake.
    Nowhere,
}

/// A span of a node for work that a call asked for: under the caller's, none where that is not recorded. Costs nothing
/// while traces are off.
pub fn span_from(traceparent: Option<&str>, beginning: Beginning, name: &'static str, node: &str) -> Span {
    let parent = traceparent.and_then(read);
    let is_recorded = parent.as_ref().map_or(beginning == Beginning::Here, SpanContext::is_sampled);
    if !is_recorded {
        return Span::none();
    }
    let span = tracing::info_span!(target: TARGET, "call", otel.name = name, otel.kind = "server", node);
    if let Some(parent) = parent {
        // Fails only where no layer records spans, and then there is nothing to record.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    span
}

/// The port through which the services of a node make spans.
pub fn traces(node: &str) -> Traces {
    Traces::new(Node { name: node.to_owned() })
}

struct Node {
    name: String,
}

impl TracesPort for Node {
    fn under(&self, traceparent: &str, name: &'static str) -> Option<trunkline_ports::Span> {
        let parent = read(traceparent).filter(SpanContext::is_sampled)?;
        let span = tracing::info_span!(target: TARGET, "work", otel.name = name, node = self.name);
        // Fails where no layer records spans.
        span.set_parent(Context::new().with_remote_span_context(parent)).ok()?;
        Some(Arc::new(Work(span)))
    }
}

#[derive(Debug)]
struct Work(Span);

impl SpanPort for Work {
    fn traceparent(&self) -> String {
        traceparent_of(&self.0).unwrap_or_default()
    }

    fn attribute(&self, name: &'static str, value: String) {
        self.0.set_attribute(name, value);
    }

    fn event(&self, name: &'static str) {
        self.0.add_event(name, Vec::new());
    }
}

fn written(context: &SpanContext) -> String {
    let mut text = String::with_capacity(55);
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    let _ = write!(text, "00-{}-{}-{:02x}", context.trace_id(), context.span_id(), flags.to_u8());
    text
}

/// `None` for what is not a traceparent: a caller's mistake there does not fail the call.
fn read(text: &str) -> Option<SpanContext> {
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = [version.len(), trace.len(), span.len(), flags.len()];
    if lengths != [2, 32, 16, 2] || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let lower = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if ![version, trace, span, flags].into_iter().all(lower) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_written_as_it_was_read() {
        assert_eq!(written(&read(PARENT).unwrap()), PARENT);
        let unsampled = PARENT.replace("-01", "-00");
        assert_eq!(written(&read(&unsampled).unwrap()), unsampled);
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what the future brings";
        assert_eq!(written(&read(later).unwrap()), PARENT);
    }

    #[test]
    fn what_is_not_a_traceparent_begins_a_new_trace() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
            "00-0af7651916cd43dd8448eb211c8031-9c-b7ad6b7169203331-01",
        ] {
            assert!(read(text).is_none(), "{text:?}");
        }
    }
}
