//! Which service a role is, and what it is given: only here are storage and consensus plugged into the ports.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::watch;
use trunkline_ports::{Consensus, Host, Router};
use trunkline_runtime::{Service, Shutdown};
use trunkline_storage::RocksStorage;
use trunkline_types::{ClusterMap, Role};

use crate::options::Options;
use crate::refusal::Refusal;

/// The map that group 0 has committed, once it has.
pub(super) type MapCommitted = watch::Receiver<Option<Arc<ClusterMap>>>;

pub(super) struct Started {
    pub(super) service: Service,
    /// Of message-id nodes.
    pub(super) map_committed: Option<MapCommitted>,
}

/// What every service is given.
pub(super) struct Given<'a> {
    pub(super) host: &'a Host,
    pub(super) storage: Option<Arc<RocksStorage>>,
    pub(super) options: &'a Options,
    pub(super) shutdown: &'a Shutdown,
    pub(super) registry: &'a mut Registry,
}

impl Given<'_> {
    /// Starts the service that the node's role names.
    pub(super) async fn start(self) -> Result<Started, Refusal> {
        let (host, shutdown) = (self.host.clone(), self.shutdown.clone());
        let service = match self.host.identity.role {
            Role::Push => {
                trunkline_push::start(host, self.options.push.clone(), shutdown, self.registry).await?
            }
            Role::Pop => {
                trunkline_pop::start(host, self.options.pop.clone(), shutdown, self.registry).await?
            }
            Role::MessageStore => {
                let (storage, options) = (self.storage()?, self.options.message_store.clone());
                trunkline_message_store::start(host, storage, options, shutdown, self.registry).await?
            }
            Role::SubscriptionPosition => {
                let (consensus, raft) = self.consensus().await?;
                let started = trunkline_subscription_position::start(host, consensus, self.registry);
                with(raft, started.await?)
            }
            Role::MessageId => return self.start_message_id().await,
        };
        Ok(Started { service, map_committed: None })
    }

    async fn start_message_id(self) -> Result<Started, Refusal> {
        let (host, shutdown) = (self.host.clone(), self.shutdown.clone());
        let ((consensus, raft), options) = (self.consensus().await?, self.options.message_id.clone());
        let started = trunkline_message_id::start(host, consensus, options, shutdown, self.registry).await?;
        Ok(Started { service: with(raft, started.service), map_committed: Some(started.map) })
    }

    fn storage(&self) -> Result<Arc<RocksStorage>, Refusal> {
        self.storage.clone().ok_or_else(|| Refusal::new("this role needs a data directory"))
    }

    /// The node's Raft groups, and what other voters call.
    async fn consensus(&self) -> Result<(Arc<dyn Consensus>, Router), Refusal> {
        let shutdown = self.shutdown.clone();
        let stopped = async move { shutdown.stopped().await };
        let options = self.options.consensus.clone();
        let (node, raft) =
            trunkline_consensus::open(self.host.clone(), self.storage()?, options, stopped).await?;
        Ok((node, raft))
    }
}

fn with(raft: Router, service: Service) -> Service {
    Service { internal: service.internal.merge(raft), ..service }
}
