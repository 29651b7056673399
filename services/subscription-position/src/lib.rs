//! The Subscription Position service: Raft groups that remember what each subscription has acknowledged, and which
//! pop server dispatches it.
//!
//! It decides nothing itself: [`trunkline_delivery::position`] does, on every voter alike. It hands out no messages
//! and knows none. The path of a commit: `grpc` decodes it, `groups` proposes it to the group, `machine` applies it
//! on every voter, `grpc` answers with what came of it.
//!
//! - `sweep`: subscriptions of deleted topics end.
//! - `groups`: this node's members of the groups that it votes in.

mod convert;
mod error;
mod groups;
mod grpc;
mod machine;
mod metrics;
mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use trunkline_ports::{Consensus, Host, Router};
use trunkline_runtime::Service;

pub use error::StartError;

use groups::Groups;
use metrics::Metrics;

/// Starts this node's member of every position group that it votes in.
///
/// # Errors
/// [`StartError`] when a group cannot be started from what is on disk.
pub async fn start(
    host: Host,
    consensus: Arc<dyn Consensus>,
    metrics: &mut Registry,
) -> Result<Service, StartError> {
    let metrics = Metrics::new(metrics);
    let groups = Arc::new(Groups::start(&host, consensus.as_ref(), metrics).await?);
    let (status, ready) = (groups.clone(), groups.clone());
    host.process.spawn("sweep", sweep::run(host.clone(), groups.clone()));
    Ok(Service {
        internal: grpc::router(host, groups),
        public: Router::new(),
        status: Arc::new(move || status.status()),
        ready: Arc::new(move || ready.are_led()),
        drained: Box::pin(async move { consensus.hand_over().await }),
    })
}
