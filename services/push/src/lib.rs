//! The push service: takes messages and topic calls from clients and brings each record to its coordinator.
//!
//! It has no disk and no state that must survive it. It never crosses the WAN to store a message; topics that are
//! neither remembered nor known nearby are what it asks voters elsewhere for.
//!
//! The path of a push, file by file:
//! - [`grpc`]: the public methods.
//! - [`validate`]: what a client may send.
//! - [`admission`]: how much is under way at once; the door while draining.
//! - [`topics`]: from a name to a topic.
//! - [`coordinator`]: which store takes the bucket's records.
//! - [`push`] and [`stream`]: one request, and many in order.
//! - [`upload`]: a large payload, chunk by chunk, before its record.
//! - [`link`]: the stream of appends to one store.
//! - [`progress`]: how far a message has come (pure).
//! - [`replicas`] and [`receipt`]: what became of it, once its coordinator is gone.
//!
//! [`catalog`] is TopicService.

mod admission;
mod catalog;
mod coordinator;
mod error;
mod grpc;
mod handle;
mod link;
mod metrics;
mod options;
mod progress;
mod push;
mod receipt;
mod replicas;
mod stream;
#[cfg(test)]
mod tests;
mod topics;
mod trace;
mod upload;
mod validate;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use thiserror::Error;
use trunkline_ports::{Host, Router};
use trunkline_runtime::{Service, Shutdown};
use trunkline_wire::internal::GetStatusResponse;

pub use options::Options;

use admission::Admission;
use coordinator::Coordinators;
use handle::Server;
use metrics::Metrics;

/// Why the service did not start.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// The settings, in the words of the file.
    #[error("push: {0}")]
    Options(String),
}

/// Starts a push server on a cluster map of version 1 or above.
///
/// # Errors
/// [`StartError`] before anything runs.
#[allow(clippy::unused_async, reason = "every service starts alike")]
pub async fn start(
    host: Host,
    options: Options,
    shutdown: Shutdown,
    metrics: &mut Registry,
) -> Result<Service, StartError> {
    options.validate().map_err(StartError::Options)?;
    let admission = Admission::new(&options, shutdown);
    let coordinators = Coordinators::start(&host);
    let server = Server::new(host, admission, coordinators, Metrics::new(metrics), options);
    let (ready, figures, drained) = (server.clone(), server.metrics.clone(), server.admission.clone());
    Ok(Service {
        internal: Router::new(),
        public: grpc::router(&server),
        status: Arc::new(move || GetStatusResponse {
            figures: figures
                .figures()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), as_f64(value)))
                .collect(),
            ..GetStatusResponse::default()
        }),
        ready: Arc::new(move || !ready.admission.is_draining() && ready.coordinators.any()),
        drained: Box::pin(async move { drained.left().await }),
    })
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn as_f64(value: u64) -> f64 {
    value as f64
}
