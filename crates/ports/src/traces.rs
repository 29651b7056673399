//! Spans of work that shares a stream with others' work, and so has no call of its own whose span it could have.

use std::fmt;
use std::sync::Arc;

/// What stands behind [`Traces`]: the telemetry of the process.
pub trait TracesPort: Send + Sync + 'static {
    /// A span under a W3C traceparent; `None` where that one is not recorded.
    fn under(&self, traceparent: &str, name: &'static str) -> Option<Span>;
}

/// What stands behind a [`Span`].
pub trait SpanPort: fmt::Debug + Send + Sync + 'static {
    /// The span as the parent of others.
    fn traceparent(&self) -> String;
    fn attribute(&self, name: &'static str, value: String);
    fn event(&self, name: &'static str);
}

/// A span that is recorded. It ends when its last clone is dropped.
pub type Span = Arc<dyn SpanPort>;

/// A cheap handle. The default records nothing.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<dyn TracesPort>>);

impl Traces {
    pub fn new(port: impl TracesPort) -> Self {
        Self(Some(Arc::new(port)))
    }

    /// A span under its caller's; `None` while nothing is recorded here, or its caller is not.
    pub fn under(&self, traceparent: Option<&str>, name: &'static str) -> Option<Span> {
        self.0.as_ref()?.under(traceparent?, name)
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}
