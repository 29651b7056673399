//! A push server among stores and voters that do as they are told.

mod fakes;
mod large;
mod pushing;
mod streaming;
mod topic_calls;
mod traces;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::time::Instant;
use trunkline_placement::{replicas, replicas_in};
use trunkline_ports::{CallOptions, Class, Network, Peer};
use trunkline_runtime::Shutdown;
use trunkline_testkit::fixture::node;
use trunkline_testkit::{MapBuilder, Random, RecordedTraces, SimulatedNetwork, SimulatedNode};
use trunkline_types::{ClusterMap, Role, TopicName};
use trunkline_wire::v1::{AckLevel, Message, PushRequest, PushResponse, push_service};
use trunkline_wire::{Code, Status};

use crate::{Options, start};
use fakes::{FakeStore, Table, listen_voter};

/// Three datacenters; the push server and its client are in nyc.
struct Cluster {
    map: ClusterMap,
    network: SimulatedNetwork,
    stores: Vec<FakeStore>,
    table: Arc<Table>,
    voters: Vec<SimulatedNode>,
    server: SimulatedNode,
    client: Network,
    traces: RecordedTraces,
    shutdown: Shutdown,
    drained: futures::future::BoxFuture<'static, ()>,
}

impl Cluster {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let map = MapBuilder::three_datacenters().build();
        let network = SimulatedNetwork::new(&Random::new(7));
        network.follow(&map);
        let table = Arc::new(Table::default());
        let stores: Vec<_> =
            map.nodes_of(Role::MessageStore).map(|node| FakeStore::start(&network, &map, node, 1)).collect();
        let voters: Vec<_> =
            map.nodes_of(Role::MessageId).map(|node| listen_voter(&network, &map, node, &table)).collect();
        let mut server = SimulatedNode::start(&network, &map, &node(Role::Push, &"nyc".into(), 1), 1);
        let traces = RecordedTraces::default();
        server.host.traces = traces.at("push");
        let shutdown = Shutdown::new();
        let mut registry = Registry::default();
        let service = start(server.host.clone(), options, shutdown.clone(), &mut registry)
            .await
            .expect("valid options");
        server.listen(service.public);
        let process = network.process("client", &"nyc".into());
        let client = network.network(&process);
        let drained = service.drained;
        let cluster = Self { map, network, stores, table, voters, server, client, traces, shutdown, drained };
        // Until the links are up.
        while !(service.ready)() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        cluster
    }

    fn peer(&self) -> Peer {
        Peer::new(self.server.host.identity.address.as_str(), Class::Records)
    }

    async fn push(&self, topic: &str, level: AckLevel, within: Duration) -> Result<PushResponse, Status> {
        let message = Message { payload: "hello".into(), ..Message::default() };
        let request =
            PushRequest { topic: topic.to_owned(), messages: vec![message], ack_level: level.into() };
        let options = CallOptions::until(Instant::now() + within);
        self.client.call(&self.peer(), push_service::PUSH, &request, options).await
    }

    /// The stores of the topic's bucket in nyc, the first-ranked first.
    fn ranked(&self, topic: &str) -> [&FakeStore; 2] {
        let bucket = TopicName::new(topic).expect("a valid name").bucket(self.map.buckets);
        let ranked = replicas_in(&self.map, bucket, &"nyc".into());
        [0, 1].map(|rank| self.store(ranked[rank].id))
    }

    fn store(&self, id: trunkline_types::NodeId) -> &FakeStore {
        self.stores.iter().find(|store| store.node.host.identity.node == id).expect("a store of the map")
    }

    fn all_of(&self, topic: &str) -> Vec<&FakeStore> {
        let bucket = TopicName::new(topic).expect("a valid name").bucket(self.map.buckets);
        replicas(&self.map, bucket).into_iter().map(|node| self.store(node.id)).collect()
    }
}

/// The only result of a push, and its error.
fn only(response: &PushResponse) -> (&trunkline_wire::v1::PushResult, Option<Status>) {
    let [result] = &response.results[..] else { panic!("one result") };
    (result, result.error.as_ref().map(trunkline_wire::status::from_message))
}

fn code(response: &PushResponse) -> Option<Code> {
    only(response).1.map(|error| error.code())
}
