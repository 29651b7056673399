//! The newest cluster map that a node knows: on its disk, and in the hands of its service.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, watch};
use trunkline_storage::Directory;
use trunkline_types::{ClusterId, ClusterMap, DatacenterName};

use crate::refusal::Refusal;

const DOCUMENT: &str = "cluster-map";

/// Round trips that replace those of the map: in `dev` they are this run's `--wan`, not the first run's.
pub(crate) type RoundTrips = BTreeMap<DatacenterName, BTreeMap<DatacenterName, u32>>;

/// Grows by [`KnownMap::offer`] only, never back, and never to another cluster.
#[derive(Debug)]
pub(crate) struct KnownMap {
    known: watch::Sender<Arc<ClusterMap>>,
    /// For people.
    owner: String,
    directory: Option<Directory>,
    cluster_name: String,
    round_trips: Option<RoundTrips>,
    saving: Mutex<()>,
}

impl KnownMap {
    /// Reads what is on disk; a node without a data directory begins without a map.
    pub(crate) fn open(
        owner: &str,
        directory: Option<Directory>,
        cluster_name: &str,
        round_trips: Option<RoundTrips>,
    ) -> Result<Self, Refusal> {
        let map = match &directory {
            Some(directory) => load(directory)?,
            None => None,
        };
        let known = Self {
            known: watch::Sender::new(Arc::default()),
            owner: owner.to_owned(),
            directory,
            cluster_name: cluster_name.to_owned(),
            round_trips,
            saving: Mutex::default(),
        };
        if let Some(map) = map {
            known.check(&map)?;
            known.known.send_replace(Arc::new(known.with_round_trips(map)));
        }
        Ok(known)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<ClusterMap>> {
        self.known.subscribe()
    }

    pub(crate) fn get(&self) -> Arc<ClusterMap> {
        self.known.borrow().clone()
    }

    /// Takes a map that is newer, once it is on disk. An older one, or the same again, changes nothing.
    ///
    /// # Errors
    /// A map of another cluster, one that cannot work, or one that cannot be saved.
    pub(crate) async fn offer(&self, map: ClusterMap) -> Result<(), Refusal> {
        let _one_at_a_time = self.saving.lock().await;
        self.check(&map)?;
        if map.version <= self.get().version {
            return Ok(());
        }
        let map = self.with_round_trips(map);
        if let Some(directory) = &self.directory {
            let bytes = serde_json::to_vec_pretty(&map).map_err(Refusal::new)?;
            directory.save_in_background(DOCUMENT, bytes).await?;
        }
        tracing::info!(node = self.owner, version = map.version, cluster = %map.cluster, "cluster map");
        self.known.send_replace(Arc::new(map));
        Ok(())
    }

    fn check(&self, map: &ClusterMap) -> Result<(), Refusal> {
        map.validate()?;
        let known = self.known.borrow().cluster;
        if map.cluster == ClusterId(0) || map.version == 0 {
            return Err(Refusal::new("a cluster map without a cluster"));
        }
        if known != ClusterId(0) && known != map.cluster {
            return Err(Refusal::new(format!(
                "this node belongs to cluster {known}, not to {}",
                map.cluster
            )));
        }
        if map.name != self.cluster_name {
            let wanted = &self.cluster_name;
            return Err(Refusal::new(format!("this node is to join cluster {wanted:?}, not {:?}", map.name)));
        }
        Ok(())
    }

    fn with_round_trips(&self, mut map: ClusterMap) -> ClusterMap {
        if let Some(round_trips) = &self.round_trips {
            for datacenter in &mut map.datacenters {
                datacenter.round_trip_ms = round_trips.get(&datacenter.name).cloned().unwrap_or_default();
            }
        }
        map
    }
}

fn load(directory: &Directory) -> Result<Option<ClusterMap>, Refusal> {
    let Some(bytes) = directory.load(DOCUMENT)? else { return Ok(None) };
    let unreadable =
        |error| Refusal::new(format!("the cluster map in {}: {error}", directory.path().display()));
    serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
}
