//! Keeps a node's map up to date: asks whoever may have a newer one, and waits for the answer there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_placement::voters_by_nearness;
use trunkline_ports::{CallOptions, Class, Network, Peer, Process};
use trunkline_runtime::Backoff;
use trunkline_types::{ClusterMap, DatacenterName, GroupId};
use trunkline_wire::Status;
use trunkline_wire::internal::{GetMapRequest, node_service};

use crate::known_map::KnownMap;

/// How long an answer may wait for a newer map; without one it comes soon, so that another is asked.
const WAIT: Duration = Duration::from_secs(20);
const WAIT_WITHOUT_MAP: Duration = Duration::from_secs(2);
const MARGIN: Duration = Duration::from_secs(2);

/// Who follows the map.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    pub(crate) known: Arc<KnownMap>,
    pub(crate) network: Network,
    pub(crate) process: Process,
    pub(crate) datacenter: DatacenterName,
    /// Its own address, which it does not ask.
    pub(crate) own: Option<String>,
    pub(crate) seeds: Vec<String>,
}

impl Follower {
    /// Runs until the process ends.
    pub(crate) async fn follow(self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut turn = 0;
        loop {
            let map = self.known.get();
            let sources = self.sources(&map);
            let Some(source) = sources.get(turn % sources.len().max(1)) else {
                backoff.wait(&self.process).await;
                continue;
            };
            match self.ask(&map, source).await {
                Ok(Some(newer)) => match self.known.offer(newer).await {
                    Ok(()) => backoff.reset(),
                    Err(refusal) => {
                        tracing::warn!(%source, %refusal, "a cluster map was refused");
                        turn += 1;
                        backoff.wait(&self.process).await;
                    }
                },
                // Whoever has no map either is not asked twice in a row.
                Ok(None) if map.version == 0 => turn += 1,
                Ok(None) => backoff.reset(),
                Err(error) => {
                    tracing::debug!(%source, %error, "no answer about the cluster map");
                    turn += 1;
                    backoff.wait(&self.process).await;
                }
            }
        }
    }

    /// The nodes that run group 0, nearest first, then the seeds.
    fn sources(&self, map: &ClusterMap) -> Vec<String> {
        let voters = voters_by_nearness(map, GroupId::MAP, &self.datacenter);
        let addresses = voters.into_iter().map(|node| node.address.clone()).chain(self.seeds.iter().cloned());
        addresses.filter(|address| self.own.as_ref() != Some(address)).collect()
    }

    async fn ask(&self, map: &ClusterMap, source: &str) -> Result<Option<ClusterMap>, Status> {
        let wait = if map.version == 0 { WAIT_WITHOUT_MAP } else { WAIT };
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let request = GetMapRequest { version_known: map.version, wait_ms };
        let options = CallOptions::until(Instant::now() + wait + MARGIN);
        let peer = Peer::new(source, Class::Calls);
        let answer = self.network.call(&peer, node_service::GET_MAP, &request, options).await?;
        let newer = decode(&answer.map)?;
        Ok(newer.filter(|newer| newer.version > map.version))
    }
}

/// From a message; `None` where there is none yet.
pub(crate) fn decode(json: &[u8]) -> Result<Option<ClusterMap>, Status> {
    if json.is_empty() {
        return Ok(None);
    }
    let malformed = |error| Status::invalid_argument(format!("malformed message: map: {error}"));
    serde_json::from_slice(json).map(Some).map_err(malformed)
}

/// For a message; empty where there is none yet.
pub(crate) fn encode(map: &ClusterMap) -> Vec<u8> {
    if map.version == 0 {
        return Vec::new();
    }
    serde_json::to_vec(map).expect("a map has string keys only")
}
