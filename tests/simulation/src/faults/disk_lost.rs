//! A node's disk is lost: a new node takes its place, as an operator would have it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline_ports::{CallOptions, Class, Peer};
use trunkline_types::{ClusterMap, Node, NodeId, Role};
use trunkline_wire::Status;
use trunkline_wire::internal::map_service::REPLACE_NODE;
use trunkline_wire::internal::{GetMapRequest, ReplaceNodeRequest, ReplaceNodeResponse, node_service};

use super::Kind;
use super::inject::Injector;

const ANSWER_MAX: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(500);

impl Injector {
    /// One at a time: what only two disks had is lost with both, and nobody promises otherwise.
    pub(super) async fn disk_lost(&self) {
        if self.disk_is_lost.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(name) = self.any_node(|node| node.role.is_stateful()) {
            let begun = self.begins(Kind::DiskLost, [name.clone()], [], &name);
            self.take_down(&name);
            let old = self.cluster().node(&name).id;
            self.wait(1, 4_000).await;
            let new = self.cluster().lose_disk(&name);
            if let Some(place) = self.place(&new) {
                self.oracle.disks().replace(place, self.cluster().disk(&name).clone());
            }
            // Nothing else is done to it before it has caught up: until then it is its siblings that count.
            self.cluster().begin(&name);
            self.replace(old, &new).await;
            self.caught_up(&new).await;
            self.busy().remove(&name);
            self.ends(begun);
        }
        self.disk_is_lost.store(false, Ordering::Relaxed);
    }

    /// A store's place in the oracle's eyes.
    fn place(&self, node: &Node) -> Option<(usize, usize)> {
        self.oracle.with(|record| {
            let at = record.deployment.names.iter().position(|name| *name == node.datacenter.0)?;
            let number = record.deployment.stores[at].iter().position(|name| *name == node.name)?;
            Some((at, number))
        })
    }

    /// The command, repeated until it is done.
    async fn replace(&self, old: NodeId, new: &Node) {
        let mut turn = 0;
        loop {
            turn += 1;
            match self.ask(old, new, turn).await {
                Ok(answer) if answer.done => break,
                Ok(_) => {}
                Err(status) => self.world.tell(format_args!("{} is not replaced yet: {status}", new.name)),
            }
            sleep(AGAIN).await;
        }
        self.world.tell(format_args!("{} has its place", new.name));
        loop {
            turn += 1;
            if let Ok(map) = self.map_of(turn).await
                && map.node(new.id).is_some()
            {
                return self.cluster().set_map(map);
            }
            sleep(AGAIN).await;
        }
    }

    fn voter(&self, turn: usize) -> (Peer, trunkline_ports::Network, u64) {
        let cluster = self.cluster();
        let voters: Vec<&Node> = cluster.map().nodes_of(Role::MessageId).collect();
        let peer = Peer::new(voters[turn % voters.len()].address.as_str(), Class::Calls);
        (peer, self.world.network.network(cluster.clients()), cluster.map().cluster.0)
    }

    async fn ask(&self, old: NodeId, new: &Node, turn: usize) -> Result<ReplaceNodeResponse, Status> {
        let (peer, network, cluster) = self.voter(turn);
        let request = ReplaceNodeRequest {
            cluster,
            old: old.0,
            new: new.id.0,
            role: new.role.to_string(),
            datacenter: new.datacenter.to_string(),
            name: new.name.clone(),
            address: new.address.clone(),
        };
        let options = CallOptions::until(Instant::now() + ANSWER_MAX);
        network.call(&peer, REPLACE_NODE, &request, options).await
    }

    async fn map_of(&self, turn: usize) -> Result<ClusterMap, Status> {
        let (peer, network, _) = self.voter(turn);
        let options = CallOptions::until(Instant::now() + ANSWER_MAX);
        let answer = network.call(&peer, node_service::GET_MAP, &GetMapRequest::default(), options).await?;
        serde_json::from_slice(&answer.map).map_err(|error| Status::internal(error.to_string()))
    }

    /// A store copies what it lacks; a voter had all when it got its vote.
    async fn caught_up(&self, new: &Node) {
        if new.role != Role::MessageStore {
            return;
        }
        let figure = |name: &str| self.cluster().figure(&new.name, name).unwrap_or(-1.0);
        let topics = u32::try_from(self.plan.topics).unwrap_or(0).into();
        let lacks = || figure("topics") < topics || figure("logs_lacking") + figure("indexes_copying") != 0.0;
        while lacks() {
            sleep(AGAIN).await;
        }
    }
}
