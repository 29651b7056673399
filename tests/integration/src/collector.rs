//! A collector of traces: who is sent spans by OTLP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as WireSpan;
use trunkline_ports::Router;
use trunkline_runtime::OsProcess;
use trunkline_transport::{Bound, Door, Listener, Routes};
use trunkline_wire::method::Unary;

const EXPORT: Unary<ExportTraceServiceRequest, ExportTraceServiceResponse> =
    Unary::new("/opentelemetry.proto.collector.trace.v1.TraceService/Export");

/// A span, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    /// Empty where the trace begins.
    pub parent: Vec<u8>,
    pub name: String,
    /// The node that made it: `nyc-push`.
    pub node: String,
    pub events: Vec<String>,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    _listener: Listener,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// # Panics
    /// If there is no port.
    pub async fn start() -> Self {
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let taken = spans.clone();
        let router = Router::new().unary(EXPORT, move |_, request| {
            taken.lock().unwrap_or_else(PoisonError::into_inner).extend(all(request));
            async { Ok(ExportTraceServiceResponse::default()) }
        });
        let routes = Routes::default();
        routes.replace(router);
        let bound = Bound::to("127.0.0.1:0").await.expect("a port");
        let address = bound.address().expect("it is bound");
        let process = OsProcess::new(|why| panic!("the collector ends: {why}")).process();
        let listener = Listener::serve(bound, Door::Internal, routes, Arc::new(|| true), &process);
        Self { address, _listener: listener, spans }
    }

    /// For `--otlp-endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that came so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn all(request: ExportTraceServiceRequest) -> impl Iterator<Item = Span> {
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(span)
}

fn span(span: WireSpan) -> Span {
    let node = span.attributes.iter().find(|attribute| attribute.key == "node");
    let node = node.and_then(|attribute| attribute.value.as_ref()?.value.clone());
    Span {
        trace: span.trace_id,
        id: span.span_id,
        parent: span.parent_span_id,
        name: span.name,
        node: if let Some(Value::StringValue(node)) = node { node } else { String::new() },
        events: span.events.into_iter().map(|event| event.name).collect(),
    }
}
