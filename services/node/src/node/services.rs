//! Which service a role is, and what it is given: only here are storage and consensus plugged into the ports.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::watch;
use trunkline_consensus::Node as Voter;
use trunkline_ports::{Host, Router};
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
                let voter = consensus.clone();
                let started = trunkline_subscription_position::start(host, voter, self.registry);
                with(consensus, raft, started.await?)
            }
            Role::MessageId => return self.start_message_id().await,
        };
        Ok(Started { service, map_committed: None })
    }

    async fn start_message_id(self) -> Result<Started, Refusal> {
        let (host, shutdown) = (self.host.clone(), self.shutdown.clone());
        let ((consensus, raft), options) = (self.consensus().await?, self.options.message_id.clone());
        let voter = consensus.clone();
        let started = trunkline_message_id::start(host, voter, options, shutdown, self.registry).await?;
        Ok(Started { service: with(consensus, raft, started.service), map_committed: Some(started.map) })
    }

    fn storage(&self) -> Result<Arc<RocksStorage>, Refusal> {
        self.storage.clone().ok_or_else(|| Refusal::new("this role needs a data directory"))
    }

    /// The node's Raft groups, and what other voters call.
    async fn consensus(&self) -> Result<(Arc<Voter>, Router), Refusal> {
        let shutdown = self.shutdown.clone();
        let stopped = async move { shutdown.stopped().await };
        let options = self.options.consensus.clone();
        let (node, raft) =
            trunkline_consensus::open(self.host.clone(), self.storage()?, options, stopped).await?;
        Ok((node, raft))
    }
}

/// Answers other voters, and says how much Raft it led.
fn with(voter: Arc<Voter>, raft: Router, service: Service) -> Service {
    let own = service.status;
    let status = move || {
        let mut status = own();
        let bytes: u64 = voter.figures().values().map(|group| group.raft_bytes).sum();
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        status.figures.insert("raft_bytes".to_owned(), bytes as f64);
        status
    };
    Service { internal: service.internal.merge(raft), status: Arc::new(status), ..service }
}
