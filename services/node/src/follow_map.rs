//! Keeps a node's map up to date: asks whoever may have a newer one, and waits for the answer there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_placement::voters_by_nearness;
use trunkline_ports::{CallOptions, Class, Host, Peer};
use trunkline_runtime::Backoff;
use trunkline_types::{ClusterMap, GroupId};
use trunkline_wire::internal::{GetMapRequest, node_service};

use crate::known_map::KnownMap;

/// How long an answer may wait for a newer map; without one it comes soon, so that another is asked.
const WAIT: Duration = Duration::from_secs(20);
const WAIT_WITHOUT_MAP: Duration = Duration::from_secs(2);
const MARGIN: Duration = Duration::from_secs(2);

/// Runs until the process ends.
pub(crate) async fn follow_map(host: Host, known: Arc<KnownMap>, seeds: Vec<String>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut turn = 0;
    loop {
        let map = known.get();
        let sources = sources(&host, &map, &seeds);
        let Some(source) = sources.get(turn % sources.len().max(1)) else {
            backoff.wait(&host.process).await;
            continue;
        };
        match ask(&host, &map, source).await {
            Ok(Some(newer)) => {
                if let Err(refusal) = known.offer(newer).await {
                    tracing::warn!(%source, %refusal, "a cluster map was refused");
                    turn += 1;
                    backoff.wait(&host.process).await;
                }
                backoff.reset();
            }
            // Whoever has no map either is not asked twice in a row.
            Ok(None) if map.version == 0 => turn += 1,
            Ok(None) => backoff.reset(),
            Err(error) => {
                tracing::debug!(%source, %error, "no answer about the cluster map");
                turn += 1;
                backoff.wait(&host.process).await;
            }
        }
    }
}

/// The nodes that run group 0, nearest first, then the seeds.
fn sources(host: &Host, map: &ClusterMap, seeds: &[String]) -> Vec<String> {
    let voters = voters_by_nearness(map, GroupId::MAP, &host.identity.datacenter);
    let addresses = voters.into_iter().map(|node| node.address.clone()).chain(seeds.iter().cloned());
    addresses.filter(|address| *address != host.identity.address).collect()
}

async fn ask(host: &Host, map: &ClusterMap, source: &str) -> Result<Option<ClusterMap>, trunkline_wire::Status> {
    let wait = if map.version == 0 { WAIT_WITHOUT_MAP } else { WAIT };
    let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    let request = GetMapRequest { version_known: map.version, wait_ms };
    let options = CallOptions::until(Instant::now() + wait + MARGIN);
    let peer = Peer::new(source, Class::Calls);
    let answer = host.network.call(&peer, node_service::GET_MAP, &request, options).await?;
    let newer = decode(&answer.map)?;
    Ok(newer.filter(|newer| newer.version > map.version))
}

/// From a message; `None` where there is none yet.
pub(crate) fn decode(json: &[u8]) -> Result<Option<ClusterMap>, trunkline_wire::Status> {
    if json.is_empty() {
        return Ok(None);
    }
    let malformed = |error| trunkline_wire::Status::invalid_argument(format!("malformed message: map: {error}"));
    serde_json::from_slice(json).map(Some).map_err(malformed)
}

/// For a message; empty where there is none yet.
pub(crate) fn encode(map: &ClusterMap) -> Vec<u8> {
    if map.version == 0 {
        return Vec::new();
    }
    serde_json::to_vec(map).expect("a map has string keys only")
}
