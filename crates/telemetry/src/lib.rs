//! Logs, metrics and traces, set up once per process.
//!
//! - [`options`]: the section `[telemetry]` of a node's file.
//! - [`setup`]: [`init`] installs them; the [`Guard`] flushes what is left when it goes.
//! - [`trace`]: the W3C traceparent of the current span, and spans under one that came over the wire: [`traces`] is
//!   the port.
//! - [`metrics`]: a registry as the text that Prometheus reads.
//!
//! Everything goes to standard error, so that standard output belongs to commands. Traces are off unless an endpoint
//! is given, and then cost nothing: no span is made, no traceparent is written.

pub mod metrics;
pub mod options;
pub mod setup;
pub mod trace;

pub use metrics::encode;
pub use options::{LogFormat, Options};
pub use setup::{Guard, init};
pub use trace::{Beginning, current_traceparent, span_from, traces};
