//! The shape in which a service hands itself to its process.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use trunkline_ports::Router;
use trunkline_wire::internal::GetStatusResponse;

/// A started service: what it answers, what it says of itself, how it is drained.
pub struct Service {
    /// Methods for the internal listener.
    pub internal: Router,
    /// Methods for clients; empty where clients have no business.
    pub public: Router,
    /// Groups, replication and figures; identity and map version are filled in by the process.
    pub status: Arc<dyn Fn() -> GetStatusResponse + Send + Sync>,
    /// Whether it can do its work now: what its health says.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Resolves when what was under way when draining began is done. Called once, after `Shutdown::drain`.
    pub drained: BoxFuture<'static, ()>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("internal", &self.internal)
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}
