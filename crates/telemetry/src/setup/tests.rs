use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as Exporter};

use super::*;
use crate::trace::{Beginning, current_traceparent, span_from, traces};

/// Whether a span is made is remembered per place in the code, for all subscribers of the process: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Debug, Default)]
struct Recorded(Arc<Mutex<Vec<SpanData>>>);

impl Exporter for Recorded {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// What is recorded while `work` runs, with logs and traces on.
fn record(share: f64, work: impl FnOnce()) -> Vec<SpanData> {
    let _alone = alone();
    let recorded = Recorded::default();
    let provider = recorder(share, "trunkline-test").with_simple_exporter(recorded.clone()).build();
    let subscriber = tracing_subscriber::registry()
        .with(logs(LogFormat::Text, EnvFilter::new("off")))
        .with(spans(&provider, "trunkline-test"));
    tracing::subscriber::with_default(subscriber, work);
    provider.shutdown().unwrap();
    recorded.0.lock().unwrap().clone()
}

#[test]
fn a_trace_goes_on_from_service_to_service() {
    let recorded = record(1.0, || {
        let call = span_from(None, Beginning::Here, "push", "nyc-push").in_scope(current_traceparent);
        let call = span_from(call.as_deref(), Beginning::Nowhere, "append", "store");
        assert!(call.in_scope(current_traceparent).is_some());
    });
    let [push, append] = &recorded[..] else { panic!("{recorded:?}") };
    assert_eq!((push.name.as_ref(), append.name.as_ref()), ("push", "append"));
    assert_eq!(push.span_context.trace_id(), append.span_context.trace_id());
    assert_eq!(append.parent_span_id, push.span_context.span_id());
}

#[test]
fn what_nodes_ask_each_other_for_their_own_sake_begins_no_trace() {
    let recorded = record(1.0, || {
        assert!(span_from(None, Beginning::Nowhere, "knows", "nyc-message-id").is_none());
        assert!(traces("store").under(Some(""), "append").is_none());
    });
    assert!(recorded.is_empty(), "{recorded:?}");
}

#[test]
fn work_in_a_stream_has_a_span_that_lasts_as_long_as_it_is_held() {
    let recorded = record(1.0, || {
        let call = span_from(None, Beginning::Here, "push", "nyc-push").in_scope(current_traceparent);
        let held = traces("nyc-push").under(call.as_deref(), "append").unwrap();
        let there = traces("nyc-store-1").under(Some(&held.traceparent()), "append").unwrap();
        there.event("stored");
        held.attribute("records", "3".to_owned());
    });
    let [push, there, held] = &recorded[..] else { panic!("{recorded:?}") };
    assert_eq!(held.parent_span_id, push.span_context.span_id());
    assert_eq!(there.parent_span_id, held.span_context.span_id());
    assert!(there.end_time <= held.end_time && there.events.events[0].name == "stored");
    let said = |span: &SpanData, key: &str| {
        let found = span.attributes.iter().find(|pair| pair.key.as_str() == key);
        found.map(|pair| pair.value.to_string())
    };
    assert_eq!(said(there, "node").as_deref(), Some("nyc-store-1"));
    assert_eq!(said(held, "records").as_deref(), Some("3"));
}

#[test]
fn a_trace_that_was_not_recorded_at_its_beginning_is_recorded_nowhere() {
    let recorded = record(0.0, || {
        let call =
            span_from(None, Beginning::Here, "push", "nyc-push").in_scope(current_traceparent).unwrap();
        assert!(call.ends_with("-00"), "{call}");
        assert!(span_from(Some(&call), Beginning::Here, "append", "store").is_none());
        assert!(traces("store").under(Some(&call), "append").is_none());
    });
    assert!(recorded.is_empty(), "{recorded:?}");
}

#[test]
fn log_lines_and_other_spans_make_no_traces() {
    let recorded = record(1.0, || {
        tracing::info_span!("a library's own").in_scope(|| tracing::info!("a line"));
    });
    assert!(recorded.is_empty(), "{recorded:?}");
}

#[test]
fn nothing_is_traced_while_traces_are_off() {
    let _alone = alone();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let subscriber = tracing_subscriber::registry().with(logs(LogFormat::Json, EnvFilter::new("trace")));
    tracing::subscriber::with_default(subscriber, || {
        let span = span_from(Some(parent), Beginning::Here, "push", "nyc-push");
        assert!(span.is_disabled());
        assert!(traces("store").under(Some(parent), "append").is_none());
        span.in_scope(|| assert_eq!(current_traceparent(), None));
        tracing::info_span!("of the logs").in_scope(|| assert_eq!(current_traceparent(), None));
    });
}
