//! Cluster maps and hosts for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use trunkline_ports::{Host, Identity, Router, Traces};
use trunkline_types::{Boot, ClusterId, ClusterMap, Datacenter, DatacenterName, Node, NodeId, Role, hash64};

use crate::network::SimulatedNetwork;
use crate::process::SimulatedProcess;

/// Makes a map: by default `nyc`, `mci` and `sea` with the measured round trips, in each one message-id node, one
/// subscription-position node and two stores; 16 buckets, two groups of each kind.
#[derive(Clone, Debug)]
pub struct MapBuilder {
    map: ClusterMap,
    nodes_per_role: BTreeMap<Role, u16>,
}

impl Default for MapBuilder {
    fn default() -> Self {
        Self::three_datacenters()
    }
}

impl MapBuilder {
    pub fn three_datacenters() -> Self {
        Self::of(&["nyc", "mci", "sea"])
            .round_trip("nyc", "mci", 33)
            .round_trip("nyc", "sea", 70)
            .round_trip("mci", "sea", 72)
    }

    /// Datacenters that are 1 ms from each other.
    pub fn of(names: &[&str]) -> Self {
        let datacenters = (0..names.len()).map(|i| Datacenter {
            name: names[i].into(),
            round_trip_ms: names[i + 1..].iter().map(|&other| (other.into(), 1)).collect(),
        });
        let map = ClusterMap {
            cluster: ClusterId(0x7e57),
            name: "test".to_owned(),
            version: 1,
            datacenters: datacenters.collect(),
            nodes: Vec::new(),
            replicas_per_datacenter: 2,
            voters_per_datacenter: 1,
            buckets: 16,
            ordering_groups: 2,
            position_groups: 2,
            replacing: None,
            replaced: Vec::new(),
        };
        let nodes_per_role =
            BTreeMap::from([(Role::MessageId, 1), (Role::SubscriptionPosition, 1), (Role::MessageStore, 2)]);
        Self { map, nodes_per_role }
    }

    #[must_use]
    pub fn round_trip(mut self, a: &str, b: &str, millis: u32) -> Self {
        for datacenter in &mut self.map.datacenters {
            if datacenter.name.0 == b {
                datacenter.round_trip_ms.remove(&DatacenterName::from(a));
            } else if datacenter.name.0 == a {
                datacenter.round_trip_ms.insert(b.into(), millis);
            }
        }
        self
    }

    /// Every pair, as the exercise's pessimistic figure has it.
    #[must_use]
    pub fn round_trips(mut self, millis: u32) -> Self {
        for trip in
            self.map.datacenters.iter_mut().flat_map(|datacenter| datacenter.round_trip_ms.values_mut())
        {
            *trip = millis;
        }
        self
    }

    /// How many nodes of a role each datacenter has.
    #[must_use]
    pub fn nodes(mut self, role: Role, per_datacenter: u16) -> Self {
        self.nodes_per_role.insert(role, per_datacenter);
        self
    }

    #[must_use]
    pub fn voters(mut self, per_datacenter: u16) -> Self {
        self.map.voters_per_datacenter = per_datacenter;
        self
    }

    #[must_use]
    pub fn buckets(mut self, buckets: u32) -> Self {
        self.map.buckets = buckets;
        self
    }

    /// Ordering groups and position groups.
    #[must_use]
    pub fn groups(mut self, ordering: u16, position: u16) -> Self {
        (self.map.ordering_groups, self.map.position_groups) = (ordering, position);
        self
    }

    pub fn build(mut self) -> ClusterMap {
        for datacenter in &self.map.datacenters {
            for (role, count) in &self.nodes_per_role {
                for number in 1..=*count {
                    self.map.nodes.push(node(*role, &datacenter.name, number));
                }
            }
        }
        self.map
    }
}

/// A node as tests name them: `nyc-message-store-1`, at `nyc-message-store-1:7000`, its id from its name. Also for
/// push and pop servers, which have no place in the map.
pub fn node(role: Role, datacenter: &DatacenterName, number: u16) -> Node {
    let name = format!("{datacenter}-{role}-{number}");
    Node {
        id: NodeId(hash64(name.as_bytes())),
        role,
        datacenter: datacenter.clone(),
        address: format!("{name}:7000"),
        name,
        place: None,
    }
}

/// One start of a node on a simulated network.
#[derive(Debug)]
pub struct SimulatedNode {
    pub host: Host,
    pub process: SimulatedProcess,
    network: SimulatedNetwork,
    map: watch::Sender<Arc<ClusterMap>>,
}

impl SimulatedNode {
    /// `starts` is the boot counter: 1 at the first start, higher at each further one. A push or pop server is someone
    /// new at each start instead.
    pub fn start(network: &SimulatedNetwork, map: &ClusterMap, node: &Node, starts: u32) -> Self {
        let process = network.process(&node.name, &node.datacenter);
        let (sender, receiver) = watch::channel(Arc::new(map.clone()));
        let handle = process.process();
        let random = handle.random();
        let (id, boot) = match node.role.is_stateful() {
            true => (node.id, Boot { counter: starts, random }),
            false => (NodeId(random.max(1)), Boot::default()),
        };
        let identity = Identity {
            node: id,
            boot,
            role: node.role,
            datacenter: node.datacenter.clone(),
            address: node.address.clone(),
            name: node.name.clone(),
        };
        let host = Host {
            identity: Arc::new(identity),
            process: handle,
            network: network.network(&process),
            traces: Traces::default(),
            map: receiver,
        };
        Self { host, process, network: network.clone(), map: sender }
    }

    /// Answers at the node's address from now on, until the node ends.
    pub fn listen(&self, router: Router) {
        self.listener().listen(router);
    }

    /// For a task of the node that is to listen once its service has started.
    pub fn listener(&self) -> Listener {
        let (process, address) = (self.process.clone(), self.host.identity.address.clone());
        Listener { network: self.network.clone(), process, address }
    }

    /// For a task of the node that learns maps.
    pub fn maps(&self) -> watch::Sender<Arc<ClusterMap>> {
        self.map.clone()
    }

    /// The node learns a map.
    pub fn learn(&self, map: &ClusterMap) {
        self.map.send_replace(Arc::new(map.clone()));
    }
}

/// Where a node answers.
#[derive(Debug)]
pub struct Listener {
    network: SimulatedNetwork,
    process: SimulatedProcess,
    address: String,
}

impl Listener {
    /// Answers from now on, until the node ends.
    pub fn listen(&self, router: Router) {
        self.network.listen(&self.process, &self.address, router);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_maps_of_tests_are_valid() {
        let map = MapBuilder::three_datacenters().build();
        assert_eq!(map.validate(), Ok(()));
        assert_eq!(map.nodes.len(), 12);
        assert_eq!(map.round_trip_worst(), Duration::from_millis(72));
        let other =
            MapBuilder::of(&["a", "b"]).nodes(Role::MessageId, 3).voters(3).round_trip("b", "a", 9).build();
        assert_eq!(other.validate(), Ok(()));
        assert_eq!(other.round_trip_worst(), Duration::from_millis(9));
        let far = MapBuilder::three_datacenters().round_trips(150).build();
        assert_eq!(far.round_trip(&"mci".into(), &"nyc".into()), Duration::from_millis(150));
    }
}
