//! What stands between a node and its ports.

use std::sync::Arc;

use trunkline_ports::{Consensus, Host, Identity, Router, Storage};

/// Takes the ports of each node that starts and gives them back. Everything is passed on as it is, unless it is
/// overridden: so a deliberately broken build ([`crate::mutants`]) replaces one port of the production services.
pub trait Parts: Send + Sync {
    /// What a node is given: identity, process, network, map.
    fn host(&self, host: Host) -> Host {
        host
    }

    fn storage(&self, _of: &Identity, storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
        storage
    }

    fn consensus(&self, _of: &Identity, consensus: Arc<dyn Consensus>) -> Arc<dyn Consensus> {
        consensus
    }

    /// What a node answers.
    fn router(&self, _of: &Identity, router: Router) -> Router {
        router
    }
}

/// The production services as they are.
#[derive(Clone, Copy, Debug)]
pub struct AsTheyAre;

impl Parts for AsTheyAre {}
