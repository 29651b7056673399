//! Makes nodes a cluster: asks each for its id, draws the map, gives it to the message-id nodes, and waits until
//! group 0 has committed it. Safe to repeat and to interrupt at every point: a map that is there already is kept.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep_until};
use trunkline_ports::{CallOptions, Class, Network, Peer, Process};
use trunkline_runtime::Backoff;
use trunkline_types::{ClusterMap, Node, NodeId, Role};
use trunkline_wire::internal::{
    BootstrapRequest, GetMapRequest, GetStatusRequest, IdentifyRequest, IdentifyResponse, node_service,
};
use trunkline_wire::{Code, Status};

use crate::follow_map::{decode, encode};
use crate::map_file::{FirstNode, MapFile};
use crate::refusal::Refusal;

/// One question to one node; nodes that do not answer are asked again until the deadline of the whole.
const QUESTION: Duration = Duration::from_secs(3);

/// Speaks to nodes as an operator would.
#[derive(Clone, Debug)]
pub struct Founder {
    pub network: Network,
    pub process: Process,
    /// When to give up.
    pub deadline: Instant,
}

impl Founder {
    /// Returns the map in force once group 0 has committed it.
    ///
    /// # Errors
    /// One line about what does not fit or who does not answer.
    pub async fn found(&self, file: &MapFile) -> Result<ClusterMap, Refusal> {
        let map = match self.known_map(file).await? {
            Some(map) => map,
            None => self.first_map(file).await?,
        };
        let founders: Vec<&Node> = map.nodes_of(Role::MessageId).collect();
        for outcome in join_all(founders.iter().map(|node| self.bootstrap(node, &map))).await {
            outcome?;
        }
        self.committed(&founders).await?;
        Ok(map)
    }

    /// The map that any message-id node of the file has already.
    async fn known_map(&self, file: &MapFile) -> Result<Option<ClusterMap>, Refusal> {
        let founders = file.nodes.iter().filter(|node| node.role == Role::MessageId);
        let known = join_all(founders.map(|node| self.map_of(node))).await;
        let known: Result<Vec<_>, _> = known.into_iter().collect();
        let newest = known?.into_iter().flatten().max_by_key(|map| map.version);
        match newest {
            Some(map) if map.name != file.name => Err(Refusal::new(format!(
                "these nodes belong to cluster {:?}, not to {:?}",
                map.name, file.name
            ))),
            newest => Ok(newest),
        }
    }

    async fn map_of(&self, node: &FirstNode) -> Result<Option<ClusterMap>, Refusal> {
        let ask = async |options| {
            let peer = Peer::new(node.address.as_str(), Class::Calls);
            let answer =
                self.network.call(&peer, node_service::GET_MAP, &GetMapRequest::default(), options).await?;
            decode(&answer.map)
        };
        self.insist(&node.name, &node.address, ask).await
    }

    async fn first_map(&self, file: &MapFile) -> Result<ClusterMap, Refusal> {
        let identified = join_all(file.nodes.iter().map(|node| self.identify(node, &file.name))).await;
        let ids: Result<Vec<NodeId>, Refusal> = identified.into_iter().collect();
        let map = file.map(&ids?);
        map.validate()?;
        Ok(map)
    }

    async fn identify(&self, node: &FirstNode, cluster: &str) -> Result<NodeId, Refusal> {
        let ask = async |options| {
            let peer = Peer::new(node.address.as_str(), Class::Calls);
            self.network.call(&peer, node_service::IDENTIFY, &IdentifyRequest {}, options).await
        };
        let said = self.insist(&node.name, &node.address, ask).await?;
        fits(node, cluster, &said)?;
        Ok(NodeId(said.node))
    }

    async fn bootstrap(&self, node: &Node, map: &ClusterMap) -> Result<(), Refusal> {
        let request = BootstrapRequest { map: encode(map).into() };
        let ask = async |options| {
            let peer = Peer::new(node.address.as_str(), Class::Calls);
            self.network.call(&peer, node_service::BOOTSTRAP, &request, options).await
        };
        self.insist(&node.name, &node.address, ask).await.map(|_| ())
    }

    /// Waits until group 0 has committed a map, as far as any of its nodes knows.
    async fn committed(&self, founders: &[&Node]) -> Result<(), Refusal> {
        let mut backoff = self.backoff();
        loop {
            let asked = founders.iter().map(|node| async {
                let peer = Peer::new(node.address.as_str(), Class::Calls);
                let answer = self
                    .network
                    .call(&peer, node_service::GET_STATUS, &GetStatusRequest {}, self.question())
                    .await;
                answer.is_ok_and(|status| status.map_committed > 0)
            });
            if join_all(asked).await.contains(&true) {
                return Ok(());
            }
            self.pause(&mut backoff).await.map_err(|()| {
                Refusal::new(
                    "the map is given to all message-id nodes, but they do not agree on it in time: \
                              is a majority of them running? Repeat this command to go on",
                )
            })?;
        }
    }

    /// Asks until there is an answer, an error that will not pass, or the deadline.
    async fn insist<T>(
        &self,
        name: &str,
        address: &str,
        ask: impl AsyncFn(CallOptions) -> Result<T, Status>,
    ) -> Result<T, Refusal> {
        let mut backoff = self.backoff();
        loop {
            let error = match ask(self.question()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let refusal = Refusal::new(format!("{name} ({address}): {}", error.message()));
            if !matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded) {
                return Err(refusal);
            }
            self.pause(&mut backoff).await.map_err(|()| refusal)?;
        }
    }

    fn question(&self) -> CallOptions {
        CallOptions::until(self.deadline.min(Instant::now() + QUESTION))
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(Duration::from_millis(50), Duration::from_secs(1))
    }

    async fn pause(&self, backoff: &mut Backoff) -> Result<(), ()> {
        let until = Instant::now() + backoff.next(&self.process);
        if until >= self.deadline {
            return Err(());
        }
        sleep_until(until).await;
        Ok(())
    }
}

/// Whether the node at that address is the one the file means.
fn fits(node: &FirstNode, cluster: &str, said: &IdentifyResponse) -> Result<(), Refusal> {
    let told = [
        ("role", node.role.as_str(), said.role.as_str()),
        ("datacenter", node.datacenter.0.as_str(), said.datacenter.as_str()),
        ("cluster", cluster, said.cluster_name.as_str()),
    ];
    match told.into_iter().find(|(_, wanted, found)| wanted != found) {
        None => Ok(()),
        Some((what, wanted, found)) => {
            let (name, address) = (&node.name, &node.address);
            Err(Refusal::new(format!("{name} ({address}): its {what} is {found:?}, not {wanted:?}")))
        }
    }
}

#[cfg(test)]
mod tests;
