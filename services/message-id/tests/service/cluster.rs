use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_message_id::{Options, start};
use trunkline_ports::{CallOptions, Class, Peer};
use trunkline_runtime::{Service, Shutdown};
use trunkline_testkit::fixture::{SimulatedNode, node};
use trunkline_testkit::network::Side;
use trunkline_testkit::{MapBuilder, MemoryCluster, Random, SimulatedNetwork};
use trunkline_types::{ClusterMap, GroupId, NodeId, Role, TopicName};
use trunkline_wire::internal::{OrderCreateTopicRequest, OrderCreateTopicResponse, order_service};
use trunkline_wire::method::Unary;
use trunkline_wire::{Message, Status};

pub const DATACENTERS: [&str; 3] = ["nyc", "mci", "sea"];

pub struct Voter {
    pub node: SimulatedNode,
    pub service: Service,
    pub shutdown: Shutdown,
    pub map: watch::Receiver<Option<Arc<ClusterMap>>>,
}

pub struct Cluster {
    pub map: ClusterMap,
    pub network: SimulatedNetwork,
    pub consensus: MemoryCluster,
    pub voters: Vec<Voter>,
    /// A caller in nyc.
    pub caller: SimulatedNode,
}

impl Cluster {
    /// One message-id node per datacenter, all of whose groups have a leader.
    pub async fn new() -> Self {
        let map = MapBuilder::three_datacenters().buckets(8).groups(2, 1).build();
        let mut cluster = Self::without_voters(map);
        for datacenter in DATACENTERS {
            cluster.start(datacenter, 1).await;
        }
        for voter in &cluster.voters {
            voter.map.clone().wait_for(Option::is_some).await.unwrap();
            until("every group has a leader", || (voter.service.ready)()).await;
            let streams = || (voter.service.status)().figures["message_id_relay_streams_up"];
            until("voters reach each other", || streams() > 1.0).await;
        }
        cluster
    }

    pub fn without_voters(map: ClusterMap) -> Self {
        let network = SimulatedNetwork::new(&Random::new(7));
        network.follow(&map);
        let caller = SimulatedNode::start(&network, &map, &node(Role::Push, &"nyc".into(), 1), 1);
        let consensus = MemoryCluster::new(&map);
        Self { map, network, consensus, voters: Vec::new(), caller }
    }

    pub async fn start(&mut self, datacenter: &str, starts: u32) {
        let node = node(Role::MessageId, &datacenter.into(), 1);
        let simulated = SimulatedNode::start(&self.network, &self.map, &node, starts);
        let consensus = Arc::new(self.consensus.consensus(node.id));
        let shutdown = Shutdown::new();
        let mut metrics = Registry::default();
        let started =
            start(simulated.host.clone(), consensus, Options::default(), shutdown.clone(), &mut metrics)
                .await
                .unwrap();
        simulated.listen(started.service.internal.clone());
        self.voters.push(Voter { node: simulated, service: started.service, shutdown, map: started.map });
    }

    /// The group that the tests are about: that of topic "orders".
    pub fn group(&self) -> GroupId {
        self.map.ordering_group(self.bucket_of("orders"))
    }

    pub fn bucket_of(&self, topic: &str) -> trunkline_types::Bucket {
        TopicName::new(topic).unwrap().bucket(self.map.buckets)
    }

    /// A topic of the same group and bucket as "orders".
    pub fn neighbor(&self, number: usize) -> String {
        let mut names = (0..).map(|n| format!("t{n}"));
        names.by_ref().filter(|name| self.bucket_of(name) == self.bucket_of("orders")).nth(number).unwrap()
    }

    pub fn voter(&self, datacenter: &str) -> &Voter {
        self.voters.iter().find(|voter| voter.node.host.identity.datacenter == datacenter.into()).unwrap()
    }

    pub fn id(&self, datacenter: &str) -> NodeId {
        node(Role::MessageId, &datacenter.into(), 1).id
    }

    pub fn address(&self, datacenter: &str) -> String {
        node(Role::MessageId, &datacenter.into(), 1).address
    }

    /// A figure of a voter's status.
    pub fn figure(&self, datacenter: &str, name: &str) -> f64 {
        (self.voter(datacenter).service.status)().figures[name]
    }

    pub fn leader(&self) -> String {
        self.leader_of(self.group())
    }

    pub fn leader_of(&self, group: GroupId) -> String {
        let status = (self.voters[0].service.status)();
        let leader = status.groups.iter().find(|status| status.group == group.to_u32()).unwrap().leader;
        DATACENTERS.iter().find(|datacenter| self.id(datacenter).0 == leader).unwrap().to_string()
    }

    /// A datacenter whose voter does not lead, and the third one.
    pub fn others(&self) -> (String, String) {
        let leader = self.leader();
        let mut others =
            DATACENTERS.iter().filter(|datacenter| **datacenter != leader).map(|name| name.to_string());
        (others.next().unwrap(), others.next().unwrap())
    }

    pub fn cut(&self, a: &str, b: &str) {
        self.network.cut(&Side::node(format!("{a}-message-id-1")), &Side::node(format!("{b}-message-id-1")));
    }

    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        datacenter: &str,
        method: Unary<Q, A>,
        request: Q,
    ) -> Result<A, Status> {
        let peer = Peer::new(self.address(datacenter), Class::Calls);
        let options = CallOptions::until(Instant::now() + Duration::from_secs(5));
        self.caller.host.network.call(&peer, method, &request, options).await
    }

    pub async fn create(&self, datacenter: &str, name: &str) -> Result<OrderCreateTopicResponse, Status> {
        let request = OrderCreateTopicRequest {
            envelope: Some(self.caller.host.envelope()),
            name: name.to_owned(),
            options: None,
            automatic: false,
        };
        self.call(datacenter, order_service::CREATE_TOPIC, request).await
    }
}

/// Looks until it holds, in simulated time.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
