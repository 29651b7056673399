//! Three datacenters: pop servers and position groups as they are, stores and message-id nodes made up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_ports::{CallOptions, Class, Host, Network, Peer, Receiver, Responder, Router};
use trunkline_runtime::{Service, Shutdown};
use trunkline_testkit::fixture::node;
use trunkline_testkit::{MapBuilder, MemoryCluster, Random, SimulatedNetwork, SimulatedNode};
use trunkline_types::limits::{HEARTBEAT_INTERVAL, READ_THROUGH_AFTER};
use trunkline_types::{ClusterMap, GroupId, Node, NodeId, Role, TopicId, TopicName, checksum, hash64};
use trunkline_wire::internal::{
    OrderCreateTopicResponse, OrderFindTopicResponse, ReadAnswered, ReadAsked, ReadRequest, ReadResponse,
    ReadsRequest, ReadsResponse, Record, RecordBody, StoreFindTimeRequest, StoreFindTimeResponse,
    StoreFindTopicResponse, order_service, read_answered, store_service,
};
use trunkline_wire::method::Unary;
use trunkline_wire::v1::pop_service;
use trunkline_wire::{Message, Status, v1};

use crate::Options;

#[derive(Default)]
struct Data {
    ids: BTreeMap<String, TopicId>,
    records: BTreeMap<TopicId, Vec<Record>>,
    deleted: BTreeSet<TopicId>,
    /// Of each message of a topic: when it was ordered.
    times: BTreeMap<TopicId, Vec<u64>>,
    /// Now.
    order_time_ms: u64,
    /// Stores that can give nothing above this ID, though they know of it.
    behind: BTreeMap<String, u64>,
    /// (store, ID) whose record's checksum is wrong.
    corrupt: BTreeSet<(String, u64)>,
    reads: BTreeMap<String, u64>,
    /// The traceparents of reads that had one.
    traced_reads: Vec<String>,
}

/// What all stores and message-id nodes know.
#[derive(Clone)]
pub(super) struct Truth {
    data: Arc<Mutex<Data>>,
    changed: watch::Sender<u64>,
}

impl Truth {
    fn with<T>(&self, act: impl FnOnce(&mut Data) -> T) -> T {
        act(&mut self.data.lock().unwrap())
    }

    fn create(&self, map: &ClusterMap, name: &str) -> (TopicId, bool) {
        self.with(|data| {
            let counter = data.records.len() as u64 + 1;
            let bucket = TopicName::new(name).unwrap().bucket(map.buckets);
            let is_new = !data.ids.contains_key(name);
            let id = *data.ids.entry(name.to_owned()).or_insert_with(|| TopicId::new(counter, bucket));
            data.records.entry(id).or_default();
            (id, is_new)
        })
    }

    fn answer(&self, store: &str, request: &ReadRequest) -> ReadResponse {
        self.with(|data| {
            let topic = TopicId(request.topic_id);
            let Some(records) = data.records.get(&topic) else {
                return ReadResponse { unknown_topic: true, ..ReadResponse::default() };
            };
            let indexed = records.len() as u64;
            let watermark = data.behind.get(store).copied().unwrap_or(u64::MAX).min(indexed);
            let until = (watermark + 1).min(request.from + u64::from(request.max_messages));
            let record = |id: u64| {
                let mut record = records[usize::try_from(id).unwrap() - 1].clone();
                record.checksum ^= u64::from(data.corrupt.contains(&(store.to_owned(), id)));
                record
            };
            ReadResponse {
                records: (request.from..until).map(record).collect(),
                first_id: request.from,
                watermark,
                indexed,
                earliest: 1,
                unknown_topic: false,
                topic_deleted: data.deleted.contains(&topic),
            }
        })
    }

    fn find_time(&self, request: &StoreFindTimeRequest) -> StoreFindTimeResponse {
        self.with(|data| {
            let topic = TopicId(request.topic_id);
            let unknown = !data.records.contains_key(&topic);
            let times = data.times.get(&topic).map_or(&[][..], Vec::as_slice);
            StoreFindTimeResponse {
                unknown_topic: unknown,
                topic_deleted: data.deleted.contains(&topic),
                first_id: 1 + times.partition_point(|at| *at < request.at_ms) as u64,
                order_time_ms: request
                    .id
                    .checked_sub(1)
                    .map_or(0, |at| times.get(usize::try_from(at).unwrap()).copied().unwrap_or(0)),
            }
        })
    }

    fn asked(&self, store: &str) {
        self.with(|data| *data.reads.entry(store.to_owned()).or_default() += 1);
    }

    /// The stream on which pop servers read, as stores serve it.
    async fn reads(
        self,
        host: Host,
        mut requests: Receiver<ReadsRequest>,
        responses: Responder<ReadsResponse>,
    ) -> Result<(), Status> {
        let store = &host.identity.name;
        let mut request = requests.next().await?.expect("a hello");
        host.check(request.hello.as_ref())?;
        let welcome = ReadsResponse { hello: Some(host.envelope()), answers: Vec::new() };
        let _ = responses.send(&welcome).await;
        let mut changed = self.changed.subscribe();
        let mut waiting: Vec<(Instant, ReadAsked)> = Vec::new();
        let mut beat = tokio::time::interval(HEARTBEAT_INTERVAL / 5);
        loop {
            for asked in std::mem::take(&mut request.asked) {
                self.asked(store);
                let recorded = Some(asked.traceparent.clone()).filter(|trace| !trace.is_empty());
                self.with(|data| data.traced_reads.extend(recorded));
                waiting.push((Instant::now(), asked));
            }
            waiting.retain(|(_, asked)| !request.abandoned.contains(&asked.tag));
            let mut answers = Vec::new();
            waiting.retain(|(since, asked)| {
                let read = asked.read.as_ref().expect("a read");
                let found = self.answer(store, read);
                let late = found.indexed >= read.from && since.elapsed() >= READ_THROUGH_AFTER;
                let is_over = found.unknown_topic || found.topic_deleted || late;
                let is_answered = !asked.wait || !found.records.is_empty() || is_over;
                if is_answered {
                    let counted_bytes = found.records.iter().map(|record| record.body.len() as u64).sum();
                    let what = Some(read_answered::What::Read(found));
                    answers.push(ReadAnswered { tag: asked.tag, counted_bytes, what });
                }
                !is_answered
            });
            // An empty one is a heartbeat.
            if responses.send(&ReadsResponse { hello: None, answers }).await.is_err() {
                return Ok(());
            }
            tokio::select! {
                next = requests.next() => match next? {
                    Some(next) => request = next,
                    None => return Ok(()),
                },
                _ = changed.changed() => {}
                _ = beat.tick() => {}
            }
        }
    }

    fn store(&self, host: &Host) -> Router {
        let (reads, ends, finds, times) = (self.clone(), self.clone(), self.clone(), self.clone());
        let (stream, store) = (host.clone(), host.identity.name.clone());
        Router::new()
            .streaming(store_service::READS, move |_, requests, responses| {
                reads.clone().reads(stream.clone(), requests, responses)
            })
            .unary(store_service::READ, move |_, request: ReadRequest| {
                ends.asked(&store);
                let response = ends.answer(&store, &request);
                async move { Ok(response) }
            })
            .unary(store_service::FIND_TIME, move |_, request: StoreFindTimeRequest| {
                let answer = times.find_time(&request);
                async move { Ok(answer) }
            })
            .unary(store_service::FIND_TOPIC, move |_, request| {
                let found = finds.with(|data| data.ids.get(&request.name).copied());
                let topic_id = found.unwrap_or_default().0;
                async move {
                    Ok(StoreFindTopicResponse {
                        found: found.is_some(),
                        topic_id,
                        options: Default::default(),
                    })
                }
            })
    }

    fn voter(&self, map: &ClusterMap) -> Router {
        let (finds, creates, map) = (self.clone(), self.clone(), map.clone());
        Router::new()
            .unary(order_service::FIND_TOPIC, move |_, request| {
                let (found, deleted, order_time_ms) = finds.with(|data| {
                    let deleted = data.deleted.contains(&TopicId(request.topic_id));
                    (data.ids.get(&request.name).copied(), deleted, data.order_time_ms)
                });
                let topic = found.map(|id| v1::Topic { name: request.name, topic_id: id.0, options: None });
                let response = OrderFindTopicResponse {
                    found: found.is_some(),
                    topic,
                    next_id: 0,
                    deleted,
                    order_time_ms,
                };
                async move { Ok(response) }
            })
            .unary(order_service::CREATE_TOPIC, move |_, request| {
                let (id, created) = creates.create(&map, &request.name);
                let topic = Some(v1::Topic { name: request.name, topic_id: id.0, options: None });
                async move { Ok(OrderCreateTopicResponse { topic, created, group: 0, index: 0 }) }
            })
    }
}

pub(super) struct PopServer {
    pub(super) node: SimulatedNode,
    pub(super) shutdown: Shutdown,
    pub(super) service: Service,
    pub(super) metrics: Registry,
}

pub(super) struct World {
    pub(super) map: ClusterMap,
    pub(super) network: SimulatedNetwork,
    pub(super) memory: MemoryCluster,
    pub(super) truth: Truth,
    pub(super) nodes: BTreeMap<String, SimulatedNode>,
    pub(super) pops: BTreeMap<String, PopServer>,
    pub(super) caller: Network,
    starts: u64,
    _positions: Vec<Service>,
}

impl World {
    pub(super) async fn new() -> Self {
        let map = MapBuilder::three_datacenters().build();
        let network = SimulatedNetwork::new(&Random::new(7));
        network.follow(&map);
        let caller_process = network.process("caller", &"nyc".into());
        // Clients stand beside the pop server that they call: the way to it counts nothing here.
        let caller = network.network(&caller_process);
        let mut world = Self {
            truth: Truth { data: Arc::default(), changed: watch::Sender::new(0) },
            memory: MemoryCluster::new(&map),
            nodes: BTreeMap::new(),
            pops: BTreeMap::new(),
            starts: 0,
            _positions: Vec::new(),
            map,
            network,
            caller,
        };
        for node in world.map.nodes.clone() {
            world.start_node(&node).await;
        }
        for datacenter in ["nyc", "mci", "sea"] {
            world.start_pop(datacenter).await;
        }
        let ready = |world: &Self| world._positions.iter().all(|service| (service.ready)());
        while !ready(&world) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world
    }

    async fn start_node(&mut self, node: &Node) {
        let started = SimulatedNode::start(&self.network, &self.map, node, 1);
        match node.role {
            Role::MessageStore => started.listen(self.truth.store(&started.host)),
            Role::MessageId => started.listen(self.truth.voter(&self.map)),
            _ => {
                let consensus = Arc::new(self.memory.consensus(node.id));
                let mut metrics = Registry::default();
                let host = started.host.clone();
                let service =
                    trunkline_subscription_position::start(host, consensus, &mut metrics).await.unwrap();
                started.listen(service.internal.clone());
                self._positions.push(service);
            }
        }
        self.nodes.insert(node.name.clone(), started);
    }

    /// A pop server: at each start another node at the same address.
    pub(super) async fn start_pop(&mut self, datacenter: &str) {
        self.starts += 1;
        let place = node(Role::Pop, &datacenter.into(), 1);
        let id = NodeId(hash64(format!("{} {}", place.name, self.starts).as_bytes()));
        let started = SimulatedNode::start(&self.network, &self.map, &Node { id, ..place }, 0);
        let (shutdown, mut metrics) = (Shutdown::new(), Registry::default());
        let service = crate::start(started.host.clone(), Options::default(), shutdown.clone(), &mut metrics)
            .await
            .unwrap();
        started.listen(service.internal.clone().merge(service.public.clone()));
        self.pops.insert(datacenter.to_owned(), PopServer { node: started, shutdown, service, metrics });
    }

    pub(super) async fn call<Q: Message, A: Message + Default>(
        &self,
        datacenter: &str,
        method: Unary<Q, A>,
        request: &Q,
        patience: Duration,
    ) -> Result<A, Status> {
        let place = node(Role::Pop, &datacenter.into(), 1);
        let to = Peer::new(place.address.as_str(), Class::Calls);
        self.caller.call(&to, method, request, CallOptions::until(Instant::now() + patience)).await
    }

    pub(super) async fn subscribe(
        &self,
        at: &str,
        topic: &str,
        consumer: &str,
        start: v1::start::At,
    ) -> Result<v1::Subscription, Status> {
        let options =
            v1::SubscriptionOptions { start: Some(v1::Start { at: Some(start) }), ack_deadline: None };
        let request = v1::SubscribeRequest {
            topic: topic.to_owned(),
            consumer: consumer.to_owned(),
            options: Some(options),
        };
        let response = self.call(at, pop_service::SUBSCRIBE, &request, Duration::from_secs(10)).await?;
        Ok(response.subscription.unwrap())
    }

    /// With a client id; `wait_ms` may be as long as the deadline, 10 s.
    pub(super) async fn pop(
        &self,
        at: &str,
        client: &str,
        previous: Vec<bytes::Bytes>,
        most: u32,
        wait_ms: u64,
    ) -> Result<Vec<v1::Delivery>, Status> {
        self.pop_as("c", at, client, previous, most, wait_ms).await
    }

    /// The same of another consumer.
    pub(super) async fn pop_as(
        &self,
        consumer: &str,
        at: &str,
        client: &str,
        previous: Vec<bytes::Bytes>,
        most: u32,
        wait_ms: u64,
    ) -> Result<Vec<v1::Delivery>, Status> {
        let request = v1::PopRequest {
            topic: "t".to_owned(),
            consumer: consumer.to_owned(),
            client_id: client.to_owned(),
            previous,
            max_messages: most,
            max_bytes: 0,
            wait: prost_types::Duration::try_from(Duration::from_millis(wait_ms)).ok(),
        };
        let response = self.call(at, pop_service::POP, &request, Duration::from_secs(10)).await?;
        assert!(response.expired.is_empty());
        Ok(response.deliveries)
    }

    pub(super) async fn describe(
        &self,
        at: &str,
    ) -> Result<(v1::Subscription, v1::SubscriptionStatus), Status> {
        let request = v1::GetSubscriptionRequest { topic: "t".to_owned(), consumer: "c".to_owned() };
        let response =
            self.call(at, pop_service::GET_SUBSCRIPTION, &request, Duration::from_secs(10)).await?;
        Ok((response.subscription.unwrap(), response.status.unwrap()))
    }

    pub(super) async fn ack(&self, at: &str, tokens: Vec<bytes::Bytes>) -> Result<(), Status> {
        let request = v1::AckRequest { topic: "t".to_owned(), consumer: "c".to_owned(), tokens };
        self.call(at, pop_service::ACK, &request, Duration::from_secs(5)).await.map(drop)
    }

    pub(super) async fn seek(
        &self,
        at: &str,
        to: v1::start::At,
        seek_id: &str,
    ) -> Result<v1::Subscription, Status> {
        let request = v1::SeekRequest {
            topic: "t".to_owned(),
            consumer: "c".to_owned(),
            to: Some(v1::Start { at: Some(to) }),
            seek_id: seek_id.to_owned(),
        };
        let response = self.call(at, pop_service::SEEK, &request, Duration::from_secs(10)).await?;
        Ok(response.subscription.unwrap())
    }

    pub(super) async fn update(&self, at: &str, ack_deadline_s: i64) -> Result<v1::Subscription, Status> {
        let ack_deadline = Some(prost_types::Duration { seconds: ack_deadline_s, nanos: 0 });
        let request = v1::UpdateSubscriptionRequest {
            topic: "t".to_owned(),
            consumer: "c".to_owned(),
            options: Some(v1::SubscriptionOptions { ack_deadline, ..Default::default() }),
            update_mask: None,
        };
        let response =
            self.call(at, pop_service::UPDATE_SUBSCRIPTION, &request, Duration::from_secs(10)).await?;
        Ok(response.subscription.unwrap())
    }

    pub(super) async fn unsubscribe(&self, at: &str) -> Result<(), Status> {
        let request = v1::DeleteSubscriptionRequest { topic: "t".to_owned(), consumer: "c".to_owned() };
        self.call(at, pop_service::DELETE_SUBSCRIPTION, &request, Duration::from_secs(10)).await.map(drop)
    }

    /// More messages in a topic, which it creates: "1", "2", …
    pub(super) fn push(&self, topic: &str, count: u64) {
        let (id, _) = self.truth.create(&self.map, topic);
        self.truth.with(|data| {
            let records = data.records.entry(id).or_default();
            for _ in 0..count {
                let payload = (records.len() + 1).to_string().into_bytes().into();
                let body = RecordBody { payload, push_time_ms: 1_000, ..RecordBody::default() };
                let body: bytes::Bytes = body.encode_to_vec().into();
                records.push(Record { topic_id: id.0, checksum: checksum(&body), body });
            }
            data.order_time_ms = data.order_time_ms.max(1);
            let (now, count) = (data.order_time_ms, records.len());
            data.times.entry(id).or_default().resize(count, now);
        });
        self.truth.changed.send_modify(|version| *version += 1);
    }

    /// Order time goes on.
    pub(super) fn pass(&self, ms: u64) {
        self.truth.with(|data| data.order_time_ms += ms);
    }

    pub(super) fn delete(&self, topic: &str) {
        self.truth.with(|data| {
            let id = data.ids.remove(topic).unwrap();
            data.deleted.insert(id);
        });
        self.truth.changed.send_modify(|version| *version += 1);
    }

    pub(super) fn corrupt(&self, store: &str, id: u64) {
        self.truth.with(|data| data.corrupt.insert((store.to_owned(), id)));
    }

    /// The store knows what is committed and can give nothing above `watermark`.
    pub(super) fn hold_back(&self, store: &str, watermark: u64) {
        self.truth.with(|data| data.behind.insert(store.to_owned(), watermark));
    }

    pub(super) fn reads(&self) -> u64 {
        self.truth.with(|data| data.reads.values().sum())
    }

    pub(super) fn traced_reads(&self) -> Vec<String> {
        self.truth.with(|data| data.traced_reads.clone())
    }

    /// The stores of a datacenter, best rank for the topic first.
    pub(super) fn stores(&self, datacenter: &str, topic: &str) -> Vec<String> {
        let bucket = TopicName::new(topic).unwrap().bucket(self.map.buckets);
        let ranked = trunkline_placement::replicas_in(&self.map, bucket, &datacenter.into());
        ranked.into_iter().map(|node| node.name.clone()).collect()
    }

    /// All entries of all position groups.
    pub(super) fn committed(&self) -> u64 {
        (0..self.map.position_groups).map(|group| self.memory.committed(GroupId::position(group))).sum()
    }

    /// Whether the position groups have a quorum.
    pub(super) fn set_quorum(&self, is_there: bool) {
        for group in (0..self.map.position_groups).map(GroupId::position) {
            let leader = self.map.nodes_of(Role::SubscriptionPosition).next().map(|node| node.id);
            self.memory.lead(group, leader.filter(|_| is_there));
        }
    }

    /// A metric of a pop server, as text.
    pub(super) fn metric(&self, at: &str, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.pops[at].metrics).unwrap();
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }
}
