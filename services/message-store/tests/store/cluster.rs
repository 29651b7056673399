//! Stores on a simulated network, and what a push and a pop server would ask of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::time::Instant;
use trunkline_message_store::{Options, start};
use trunkline_ports::{CallOptions, Class, Host, Network, Peer, Receiver, Sender};
use trunkline_runtime::{Service, Shutdown};
use trunkline_testkit::network::Side;
use trunkline_testkit::{
    MapBuilder, MemoryStorage, Random, RecordedTraces, SimulatedNetwork, SimulatedNode, eventually,
};
use trunkline_types::{ClusterMap, LogName, Node, NodeId, Role, TopicId, checksum};
use trunkline_wire::Status;
use trunkline_wire::internal::store_service::{APPEND, FIND_TIME, READ, RESOLVE};
use trunkline_wire::internal::{
    AppendRecord, AppendRequest, AppendResponse, Envelope, ReadRequest, ReadResponse, Record,
    ReplicationStatus, ResolveRequest, ResolveResponse, StoreFindTimeRequest, appended,
};
use trunkline_wire::v1::AckLevel;

use crate::orderer::Orderer;
use crate::reader::Reader;

pub(crate) const LONG: Duration = Duration::from_secs(30);

struct Running {
    node: SimulatedNode,
    service: Service,
    _shutdown: Shutdown,
}

/// All stores of a map.
pub(crate) struct Cluster {
    pub(crate) map: ClusterMap,
    pub(crate) network: SimulatedNetwork,
    pub(crate) orderer: Orderer,
    pub(crate) traces: RecordedTraces,
    random: Random,
    options: Options,
    disks: BTreeMap<String, MemoryStorage>,
    starts: BTreeMap<String, u32>,
    running: BTreeMap<String, Running>,
    _voters: Vec<SimulatedNode>,
    client: SimulatedNode,
}

impl Cluster {
    pub(crate) async fn of(builder: MapBuilder) -> Self {
        Self::with(builder, Options::default(), Duration::ZERO).await
    }

    pub(crate) async fn with(builder: MapBuilder, options: Options, sync: Duration) -> Self {
        let map = builder.build();
        let random = Random::new(7);
        let network = SimulatedNetwork::new(&random);
        network.follow(&map);
        let orderer = Orderer::new(&map);
        let voter = |node: &Node| {
            let voter = SimulatedNode::start(&network, &map, node, 1);
            voter.listen(orderer.router());
            voter
        };
        let voters = map.nodes_of(Role::MessageId).map(voter).collect();
        let client = trunkline_testkit::fixture::node(Role::Push, &map.datacenters[0].name, 1);
        let client = SimulatedNode::start(&network, &map, &client, 1);
        let disk = |node: &Node| (node.name.clone(), MemoryStorage::new().with_sync_latency(sync));
        let disks = map.nodes_of(Role::MessageStore).map(disk).collect();
        let (starts, running) = (BTreeMap::new(), BTreeMap::new());
        let traces = RecordedTraces::default();
        let mut cluster = Self {
            map,
            network,
            orderer,
            traces,
            random,
            options,
            disks,
            starts,
            running,
            _voters: voters,
            client,
        };
        let names: Vec<String> = cluster.disks.keys().cloned().collect();
        for name in names {
            cluster.start(&name).await;
        }
        cluster
    }

    pub(crate) fn node(&self, name: &str) -> &Node {
        self.map.nodes.iter().find(|node| node.name == name).unwrap()
    }

    pub(crate) fn disk(&self, name: &str) -> &MemoryStorage {
        &self.disks[name]
    }

    /// Another disk for a store that is not running.
    pub(crate) fn replace_disk(&mut self, name: &str, disk: MemoryStorage) {
        self.disks.insert(name.to_owned(), disk);
    }

    /// How often a store was started, as its directory has it.
    pub(crate) fn set_starts(&mut self, name: &str, starts: u32) {
        self.starts.insert(name.to_owned(), starts);
    }

    /// Waits until a store has ended itself; why it did.
    pub(crate) async fn ended(&mut self, name: &str) -> String {
        let running = self.running.remove(name).unwrap();
        tokio::time::timeout(LONG, running.node.process.ended()).await.expect("it goes on")
    }

    pub(crate) fn stores(&self) -> Vec<String> {
        self.disks.keys().cloned().collect()
    }

    pub(crate) async fn start(&mut self, name: &str) {
        let disk = self.disks[name].reopen();
        self.disks.insert(name.to_owned(), disk.clone());
        let starts = self.starts.entry(name.to_owned()).or_insert(0);
        *starts += 1;
        let starts = *starts;
        let mut node = SimulatedNode::start(&self.network, &self.map, self.node(name), starts);
        node.host.traces = self.traces.at(name);
        disk.belongs_to(&node.process, self.random.fork(&format!("{name}-{starts}")));
        let shutdown = Shutdown::new();
        let mut registry = Registry::default();
        let options = self.options.clone();
        let service = start(node.host.clone(), Arc::new(disk), options, shutdown.clone(), &mut registry);
        let service = service.await.unwrap();
        node.listen(service.internal.clone());
        self.running.insert(name.to_owned(), Running { node, service, _shutdown: shutdown });
    }

    /// As kill -9.
    pub(crate) fn crash(&mut self, name: &str) {
        self.running.remove(name).unwrap().node.process.crash();
    }

    pub(crate) fn is_alive(&self, name: &str) -> bool {
        self.running.get(name).is_some_and(|running| running.node.process.is_alive())
    }

    /// # Panics
    /// If a store has ended itself.
    pub(crate) fn assert_nobody_gave_up(&self) {
        for (name, running) in &self.running {
            assert_eq!(running.node.process.why_ended(), None, "{name}");
        }
    }

    pub(crate) fn cut_off(&self, datacenter: &str) {
        self.network.cut(&Side::datacenter(datacenter), &Side::Others);
    }

    pub(crate) fn figure(&self, name: &str, figure: &str) -> f64 {
        (self.running[name].service.status)().figures[figure]
    }

    /// What a store says of its streams from the stores of a datacenter.
    pub(crate) fn replication(&self, name: &str, from: &str) -> Vec<ReplicationStatus> {
        let status = (self.running[name].service.status)();
        status.replication.into_iter().filter(|stream| stream.from_datacenter == from).collect()
    }

    /// Bytes of records that left each datacenter.
    pub(crate) fn wan_bytes(&self) -> f64 {
        self.stores().iter().map(|name| self.figure(name, "wan_bytes_sent")).sum()
    }

    /// Who the client is, in the datacenter of `store`: a push server beside it.
    fn host(&self, store: &str) -> (Host, String) {
        let node = self.node(store);
        let mut host = self.client.host.clone();
        if node.datacenter != host.identity.datacenter {
            let client = trunkline_testkit::fixture::node(Role::Push, &node.datacenter, 1);
            host.network = self.network.network(&self.network.process(&client.name, &node.datacenter));
        }
        (host, node.address.clone())
    }

    pub(crate) async fn pusher(&self, store: &str) -> Pusher {
        let (host, address) = self.host(store);
        let peer = Peer::new(address, Class::Records);
        let (sender, mut receiver) = host.network.open(&peer, APPEND, CallOptions::default()).await.unwrap();
        let hello = AppendRequest { hello: Some(host.envelope()), records: Vec::new() };
        sender.send(&hello).await.unwrap();
        assert!(receiver.next().await.unwrap().unwrap().hello.is_some());
        Pusher { sender, receiver, next: 1 }
    }

    /// Pushes at LOCAL; which of the bodies were stored within `patience`.
    pub(crate) async fn try_push(
        &self,
        store: &str,
        topic: TopicId,
        bodies: &[String],
        patience: Duration,
    ) -> Vec<usize> {
        let mut stored = Vec::new();
        let pushing = async {
            let mut pusher = self.pusher(store).await;
            pusher.send(topic, bodies, AckLevel::Local).await;
            while stored.len() < bodies.len() {
                for (tag, what) in pusher.answers(1).await {
                    assert!(matches!(what, appended::What::Stored(_)), "{what:?}");
                    stored.push(usize::try_from(tag).unwrap() - 1);
                }
            }
        };
        let _ = tokio::time::timeout(patience, pushing).await;
        stored
    }

    pub(crate) async fn read(&self, store: &str, topic: TopicId, from: u64, wait: Duration) -> ReadResponse {
        self.try_read(store, topic, from, wait).await.unwrap()
    }

    pub(crate) async fn try_read(
        &self,
        store: &str,
        topic: TopicId,
        from: u64,
        wait: Duration,
    ) -> Result<ReadResponse, Status> {
        if !wait.is_zero() {
            let mut reader = self.reader(store).await;
            reader.ask(1, topic, from, true).await;
            if let Ok((_, found)) = tokio::time::timeout(wait, reader.answer()).await {
                return found;
            }
        }
        let (host, address) = self.host(store);
        let request = ReadRequest {
            envelope: Some(host.envelope()),
            topic_id: topic.0,
            from,
            max_messages: 1_000,
            max_bytes: 0,
        };
        call(&host.network, &address, READ, &request).await
    }

    pub(crate) async fn reader(&self, store: &str) -> Reader {
        let (host, address) = self.host(store);
        Reader::open(&host, &address).await
    }

    /// Everything of a topic at a store, once there are `count` messages.
    pub(crate) async fn all(&self, store: &str, topic: TopicId, count: u64) -> Vec<String> {
        let what = format!("message {count} at {store}");
        eventually(LONG, &what, async || {
            let read = self.read(store, topic, count.max(1), Duration::ZERO).await;
            (read.watermark >= count).then_some(())
        })
        .await;
        let mut all = Vec::new();
        while (all.len() as u64) < count {
            let read = self.read(store, topic, all.len() as u64 + 1, Duration::ZERO).await;
            assert!(!read.records.is_empty(), "{store} is stuck at {}", all.len());
            all.extend(read.records.iter().map(|record| String::from_utf8(record.body.to_vec()).unwrap()));
        }
        all.truncate(usize::try_from(count).unwrap());
        all
    }

    /// The first ID that was ordered at `at_ms` or later, and when `id` was ordered.
    pub(crate) async fn find_time(&self, store: &str, topic: TopicId, at_ms: u64, id: u64) -> (u64, u64) {
        let (host, address) = self.host(store);
        let envelope = Some(host.envelope());
        let request = StoreFindTimeRequest { envelope, topic_id: topic.0, at_ms, id };
        let answer = call(&host.network, &address, FIND_TIME, &request).await.unwrap();
        assert!(!answer.unknown_topic && !answer.topic_deleted);
        (answer.first_id, answer.order_time_ms)
    }

    pub(crate) async fn resolve(
        &self,
        store: &str,
        topic: TopicId,
        stored: &Stored,
        body: &str,
    ) -> ResolveResponse {
        let (host, address) = self.host(store);
        let request = ResolveRequest {
            envelope: Some(host.envelope()),
            log: Some(stored.log.into()),
            sequence: stored.sequence,
            topic_id: topic.0,
            checksum: checksum(body.as_bytes()),
        };
        call(&host.network, &address, RESOLVE, &request).await.unwrap()
    }

    pub(crate) fn envelope(&self) -> Envelope {
        self.client.host.envelope()
    }

    pub(crate) fn id(&self, store: &str) -> NodeId {
        self.node(store).id
    }
}

async fn call<Q: trunkline_wire::Message, A: trunkline_wire::Message + Default>(
    network: &Network,
    address: &str,
    method: trunkline_wire::method::Unary<Q, A>,
    request: &Q,
) -> Result<A, Status> {
    let options = CallOptions::until(Instant::now() + LONG);
    network.call(&Peer::new(address, Class::Records), method, request, options).await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) log: LogName,
    pub(crate) sequence: u64,
}

/// One Append stream.
pub(crate) struct Pusher {
    sender: Sender<AppendRequest>,
    receiver: Receiver<AppendResponse>,
    next: u64,
}

impl Pusher {
    pub(crate) async fn send(&mut self, topic: TopicId, bodies: &[String], level: AckLevel) {
        self.send_traced(topic, bodies, level, "").await;
    }

    pub(crate) async fn send_traced(
        &mut self,
        topic: TopicId,
        bodies: &[String],
        level: AckLevel,
        traceparent: &str,
    ) {
        let mut records = Vec::new();
        for body in bodies {
            let record =
                Record { topic_id: topic.0, checksum: checksum(body.as_bytes()), body: body.clone().into() };
            let (tag, record) = (self.next, Some(record));
            records.push(AppendRecord {
                tag,
                record,
                level: level as i32,
                patience_ms: 60_000,
                traceparent: traceparent.to_owned(),
            });
            self.next += 1;
        }
        self.sender.send(&AppendRequest { hello: None, records }).await.unwrap();
    }

    /// The next answer.
    pub(crate) async fn answers(&mut self, count: usize) -> Vec<(u64, appended::What)> {
        let mut answers = Vec::new();
        while answers.len() < count {
            let next =
                tokio::time::timeout(LONG, self.receiver.next()).await.expect("an answer").unwrap().unwrap();
            answers.extend(next.results.into_iter().map(|result| (result.tag, result.what.unwrap())));
        }
        answers
    }

    /// Pushes at LOCAL and waits for all answers.
    pub(crate) async fn push(&mut self, topic: TopicId, bodies: &[String]) -> Vec<Stored> {
        self.send(topic, bodies, AckLevel::Local).await;
        let stored = |(_, what)| match what {
            appended::What::Stored(stored) => {
                Stored { log: LogName::try_from(stored.log.unwrap()).unwrap(), sequence: stored.sequence }
            }
            other => panic!("not stored: {other:?}"),
        };
        self.answers(bodies.len()).await.into_iter().map(stored).collect()
    }
}

pub(crate) fn bodies(name: &str, range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| format!("{name}-{n}")).collect()
}
