//! What the nodes of a cluster are made of: the production services, their options, and what a broken build replaces.

use std::fmt;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::watch;
use trunkline_ports::{Consensus, Host, Router, Storage};
use trunkline_runtime::{Service, Shutdown};
use trunkline_types::{ClusterMap, Role};
use trunkline_wire::internal::node_service::IDENTIFY;
use trunkline_wire::internal::{IdentifyRequest, IdentifyResponse};

/// The options of all services of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub consensus: trunkline_consensus::Options,
    pub message_id: trunkline_message_id::Options,
    pub message_store: trunkline_message_store::Options,
    pub push: trunkline_push::Options,
    pub pop: trunkline_pop::Options,
}

pub use trunkline_testkit::{AsTheyAre, Parts};

/// A service, and all that its node answers.
pub(crate) struct Started {
    pub(crate) service: Service,
    pub(crate) router: Router,
    /// Of message-id nodes: the cluster map as group 0 has committed it.
    pub(crate) map_committed: Option<watch::Receiver<Option<Arc<ClusterMap>>>>,
}

/// Starts the production service of the node's role.
pub(crate) async fn start(
    parts: &dyn Parts,
    options: Options,
    host: Host,
    storage: Arc<dyn Storage>,
) -> Result<Started, String> {
    let host = parts.host(host);
    let identity = host.identity.clone();
    let storage = parts.storage(&identity, storage);
    let mut metrics = Registry::default();
    let shutdown = Shutdown::new();
    let (mut raft, mut map_committed) = (Router::new(), None);
    let service = match identity.role {
        Role::Push => {
            trunkline_push::start(host, options.push, shutdown, &mut metrics).await.map_err(as_text)?
        }
        Role::Pop => {
            trunkline_pop::start(host, options.pop, shutdown, &mut metrics).await.map_err(as_text)?
        }
        Role::MessageStore => {
            trunkline_message_store::start(host, storage, options.message_store, shutdown, &mut metrics)
                .await
                .map_err(as_text)?
        }
        Role::SubscriptionPosition => {
            let consensus = open(parts, &host, storage, options.consensus, &mut raft).await?;
            trunkline_subscription_position::start(host, consensus, &mut metrics).await.map_err(as_text)?
        }
        Role::MessageId => {
            let consensus = open(parts, &host, storage, options.consensus, &mut raft).await?;
            let started =
                trunkline_message_id::start(host, consensus, options.message_id, shutdown, &mut metrics);
            let started = started.await.map_err(as_text)?;
            map_committed = Some(started.map);
            started.service
        }
    };
    let router = raft.merge(service.internal.clone()).merge(service.public.clone());
    // Of the services that a node adds itself, the one that the others ask while it runs.
    let router = router.unary(IDENTIFY, |_, _: IdentifyRequest| async { Ok(IdentifyResponse::default()) });
    Ok(Started { service, router: parts.router(&identity, router), map_committed })
}

async fn open(
    parts: &dyn Parts,
    host: &Host,
    storage: Arc<dyn Storage>,
    options: trunkline_consensus::Options,
    raft: &mut Router,
) -> Result<Arc<dyn Consensus>, String> {
    let opened = trunkline_consensus::open(host.clone(), storage, options, std::future::pending());
    let (node, router) = opened.await.map_err(as_text)?;
    *raft = router;
    Ok(parts.consensus(&host.identity, node))
}

#[allow(clippy::needless_pass_by_value, reason = "it stands where map_err wants a function of the error")]
fn as_text(error: impl fmt::Display) -> String {
    error.to_string()
}
