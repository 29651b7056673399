//! Stores and voters that do as they are told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_ports::{Receiver, Responder, Router};
use trunkline_testkit::{SimulatedNetwork, SimulatedNode};
use trunkline_types::limits::DEADLINE_MARGIN;
use trunkline_types::{Bucket, ClusterMap, Lane, LogName, Node, Ordinal, TopicId, TopicName};
use trunkline_wire::internal::{
    Accepted, AppendRecord, AppendRequest, AppendResponse, Appended, Everywhere, OrderCreateTopicResponse,
    OrderDeleteTopicResponse, OrderFindTopicResponse, OrderListTopicsResponse, Ordered, ReadResponse,
    ResolveResponse, StoreFindTopicResponse, Stored, UploadRequest, UploadResponse, appended, order_service,
    store_service,
};
use trunkline_wire::status::reason;
use trunkline_wire::v1::{AckLevel, Topic, TopicOptions};
use trunkline_wire::{Status, status};

/// What a store does with what it is given.
#[derive(Clone, Debug)]
pub(super) enum Conduct {
    /// Stores, and orders up to this level.
    Reach(AckLevel),
    /// Takes it and says nothing.
    Silent,
    /// Refuses records of this topic; stores others.
    RefuseTopic(TopicId, Status),
    Refuse(Status),
}

#[derive(Debug)]
struct State {
    conduct: Conduct,
    taken: Vec<AppendRecord>,
    resolved: ResolveResponse,
    knows: BTreeMap<String, u64>,
    /// Bytes by number, and how many of their streams are open.
    uploads: BTreeMap<u64, Vec<u8>>,
    uploads_open: usize,
    refuses_uploads: Option<Status>,
}

pub(super) struct FakeStore {
    pub(super) node: SimulatedNode,
    state: Arc<Mutex<State>>,
}

impl FakeStore {
    pub(super) fn start(network: &SimulatedNetwork, map: &ClusterMap, node: &Node, starts: u32) -> Self {
        let state = State {
            conduct: Conduct::Reach(AckLevel::Everywhere),
            taken: Vec::new(),
            resolved: ResolveResponse::default(),
            knows: BTreeMap::new(),
            uploads: BTreeMap::new(),
            uploads_open: 0,
            refuses_uploads: None,
        };
        let store = Self {
            node: SimulatedNode::start(network, map, node, starts),
            state: Arc::new(Mutex::new(state)),
        };
        store.node.listen(store.router());
        store
    }

    pub(super) fn conduct(&self, conduct: Conduct) {
        self.state.lock().expect("not poisoned").conduct = conduct;
    }

    pub(super) fn resolves(&self, resolved: ResolveResponse) {
        self.state.lock().expect("not poisoned").resolved = resolved;
    }

    pub(super) fn knows(&self, topic: &str, id: u64) {
        self.state.lock().expect("not poisoned").knows.insert(topic.to_owned(), id);
    }

    pub(super) fn taken(&self) -> usize {
        self.state.lock().expect("not poisoned").taken.len()
    }

    /// All that was taken, in order.
    pub(super) fn appends(&self) -> Vec<AppendRecord> {
        self.state.lock().expect("not poisoned").taken.clone()
    }

    pub(super) fn uploaded(&self, number: u64) -> Vec<u8> {
        self.state.lock().expect("not poisoned").uploads[&number].clone()
    }

    pub(super) fn uploads_open(&self) -> usize {
        self.state.lock().expect("not poisoned").uploads_open
    }

    pub(super) fn refuses_uploads(&self, why: Option<Status>) {
        self.state.lock().expect("not poisoned").refuses_uploads = why;
    }

    /// Of all records, in the order in which they were taken.
    pub(super) fn traceparents(&self) -> Vec<String> {
        let state = self.state.lock().expect("not poisoned");
        state.taken.iter().map(|record| record.traceparent.clone()).collect()
    }

    fn router(&self) -> Router {
        let (host, append, resolve, find) =
            (self.node.host.clone(), self.state.clone(), self.state.clone(), self.state.clone());
        let upload = self.state.clone();
        Router::new()
            .streaming(store_service::UPLOAD, move |_, requests, responses| {
                uploads(upload.clone(), requests, responses)
            })
            .streaming(store_service::APPEND, move |_, requests, responses| {
                appends(host.clone(), append.clone(), requests, responses)
            })
            .unary(store_service::RESOLVE, move |_, _| {
                let resolved = resolve.lock().expect("not poisoned").resolved;
                async move { Ok(resolved) }
            })
            .unary(store_service::READ, move |_, _| async move {
                Ok(ReadResponse { watermark: 41, ..ReadResponse::default() })
            })
            .unary(store_service::FIND_TOPIC, move |_, request| {
                let id = find.lock().expect("not poisoned").knows.get(&request.name).copied();
                let options = prost::Message::encode_to_vec(&TopicOptions::default()).into();
                async move {
                    Ok(StoreFindTopicResponse { found: id.is_some(), topic_id: id.unwrap_or(0), options })
                }
            })
    }
}

/// Counts an open stream until it is dropped.
struct Open(Arc<Mutex<State>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().expect("not poisoned").uploads_open -= 1;
    }
}

async fn uploads(
    state: Arc<Mutex<State>>,
    mut requests: Receiver<UploadRequest>,
    responses: Responder<UploadResponse>,
) -> Result<(), Status> {
    let first = requests.next().await?.expect("an announcement");
    let (upload, chunks) = {
        let mut state = state.lock().expect("not poisoned");
        if let Some(why) = &state.refuses_uploads {
            return Err(status::not_stored(why));
        }
        state.uploads_open += 1;
        let number = state.uploads.len() as u64 + 1;
        state.uploads.insert(number, Vec::new());
        (number, first.bytes.div_ceil(first.chunk_bytes.into()))
    };
    let _open = Open(state.clone());
    let _ = responses.send(&UploadResponse { upload, written: 0 }).await;
    for written in 1.. {
        let Some(request) = requests.next().await? else { return Ok(()) };
        assert!(written <= chunks, "more than was announced");
        state.lock().expect("not poisoned").uploads.entry(upload).or_default().extend(&request.chunk);
        let written = u32::try_from(written).expect("few");
        let _ = responses.send(&UploadResponse { upload: 0, written }).await;
    }
    Ok(())
}

async fn appends(
    host: trunkline_ports::Host,
    state: Arc<Mutex<State>>,
    mut requests: Receiver<AppendRequest>,
    responses: Responder<AppendResponse>,
) -> Result<(), Status> {
    let hello = requests.next().await?.expect("a hello");
    host.check(hello.hello.as_ref())?;
    let welcome = AppendResponse { hello: Some(host.envelope()), results: Vec::new() };
    responses.send(&welcome).await.expect("still there");
    let boot = host.identity.boot;
    while let Some(request) = requests.next().await? {
        let results = {
            let mut state = state.lock().expect("not poisoned");
            let mut results = Vec::new();
            for record in request.records {
                let sequence = state.taken.len() as u64 + 1;
                // A barrier has none.
                let topic = TopicId(record.record.as_ref().map_or(1, |record| record.topic_id));
                let log = LogName {
                    bucket: topic.bucket(),
                    node: host.identity.node,
                    boot,
                    lane: Lane(0),
                    ordinal: Ordinal(1),
                };
                results.extend(answers(&state.conduct, &record, topic, log, sequence));
                if !matches!(state.conduct, Conduct::Refuse(_)) {
                    state.taken.push(record);
                }
            }
            results
        };
        tokio::time::sleep(Duration::from_millis(1)).await;
        if responses.send(&AppendResponse { hello: None, results }).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn answers(
    conduct: &Conduct,
    record: &AppendRecord,
    topic: TopicId,
    log: LogName,
    sequence: u64,
) -> Vec<Appended> {
    let (tag, level) = (record.tag, record.level());
    let one = |what| Appended { tag, what: Some(what) };
    let refuse =
        |why: &Status| vec![one(appended::What::Refused(status::to_message(&status::not_stored(why))))];
    let reach = match conduct {
        Conduct::Silent => return Vec::new(),
        Conduct::Refuse(why) => return refuse(why),
        Conduct::RefuseTopic(refused, why) if *refused == topic => return refuse(why),
        Conduct::RefuseTopic(..) => AckLevel::Everywhere,
        Conduct::Reach(reach) => *reach,
    };
    if level == AckLevel::None {
        return vec![one(appended::What::Accepted(Accepted {}))];
    }
    let datacenters = ["mci", "nyc", "sea"].map(str::to_owned).to_vec();
    [
        (AckLevel::Local, appended::What::Stored(Stored { log: Some(log.into()), sequence })),
        (AckLevel::Ordered, appended::What::Ordered(Ordered { message_id: sequence })),
        (AckLevel::Everywhere, appended::What::Everywhere(Everywhere { datacenters })),
    ]
    .into_iter()
    .filter(|(step, _)| *step <= level && *step <= reach)
    .map(|(_, what)| one(what))
    .collect()
}

/// The topics that all voters know.
#[derive(Debug, Default)]
pub(super) struct Table {
    topics: Mutex<BTreeMap<String, u64>>,
    counter: Mutex<u64>,
    options: Mutex<Option<TopicOptions>>,
    pub(super) created: std::sync::atomic::AtomicU64,
    /// Its voters reach no quorum, and say so when their caller's time is over.
    pub(super) is_cut_off: std::sync::atomic::AtomicBool,
}

impl Table {
    pub(super) fn create(&self, name: &str, buckets: u32) -> u64 {
        let bucket: Bucket = TopicName::new(name).expect("a valid name").bucket(buckets);
        *self.topics.lock().expect("not poisoned").entry(name.to_owned()).or_insert_with(|| {
            let mut counter = self.counter.lock().expect("not poisoned");
            *counter += 1;
            self.created.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            TopicId::new(*counter, bucket).0
        })
    }

    /// What every topic is created with.
    pub(super) fn has_options(&self, options: Option<TopicOptions>) {
        *self.options.lock().expect("not poisoned") = options;
    }

    fn topic(&self, name: &str, topic_id: u64) -> Topic {
        let options = self.options.lock().expect("not poisoned").clone();
        Topic { options: Some(options.unwrap_or_default()), ..topic(name, topic_id) }
    }

    pub(super) fn delete(&self, name: &str) -> bool {
        self.topics.lock().expect("not poisoned").remove(name).is_some()
    }

    async fn quorum(&self, until: Instant) -> Result<(), Status> {
        if self.is_cut_off.load(std::sync::atomic::Ordering::Relaxed) {
            tokio::time::sleep_until(until - DEADLINE_MARGIN / 4).await;
            return Err(status::not_stored(&status::unavailable(reason::NO_QUORUM, "there is no quorum")));
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<u64> {
        self.topics.lock().expect("not poisoned").get(name).copied()
    }

    fn all(&self) -> Vec<(String, u64)> {
        self.topics.lock().expect("not poisoned").clone().into_iter().collect()
    }
}

fn topic(name: &str, topic_id: u64) -> Topic {
    Topic { name: name.to_owned(), topic_id, options: Some(TopicOptions::default()) }
}

pub(super) fn listen_voter(
    network: &SimulatedNetwork,
    map: &ClusterMap,
    node: &Node,
    table: &Arc<Table>,
) -> SimulatedNode {
    let voter = SimulatedNode::start(network, map, node, 1);
    let (find, create, delete, list) = (table.clone(), table.clone(), table.clone(), table.clone());
    let (buckets, whole) = (map.buckets, map.clone());
    let router = Router::new()
        .unary(order_service::FIND_TOPIC, move |_, request| {
            let found = find.get(&request.name);
            let topic = found.map(|id| find.topic(&request.name, id));
            async move {
                Ok(OrderFindTopicResponse {
                    found: found.is_some(),
                    topic,
                    next_id: 42,
                    ..Default::default()
                })
            }
        })
        .unary(order_service::CREATE_TOPIC, move |context, request| {
            let create = create.clone();
            async move {
                create.quorum(context.deadline).await?;
                let topic = create.topic(&request.name, create.create(&request.name, buckets));
                tokio::time::sleep(Duration::from_millis(40)).await;
                Ok(OrderCreateTopicResponse { topic: Some(topic), created: true, ..Default::default() })
            }
        })
        .unary(order_service::DELETE_TOPIC, move |_, request| {
            let deleted = delete.delete(&request.name);
            async move { Ok(OrderDeleteTopicResponse { deleted, ..Default::default() }) }
        })
        .unary(order_service::LIST_TOPICS, move |_, request| {
            let of_group = |name: &str| {
                let bucket = TopicName::new(name).expect("a valid name").bucket(whole.buckets);
                whole.ordering_group(bucket).to_u32() == request.group
            };
            let all = list.all().into_iter().filter(|(name, _)| of_group(name));
            let mut topics: Vec<_> = all
                .filter(|(name, _)| name.starts_with(&request.prefix) && *name > request.after)
                .map(|(name, id)| topic(&name, id))
                .collect();
            let more = topics.len() > request.limit as usize;
            topics.truncate(request.limit as usize);
            async move { Ok(OrderListTopicsResponse { topics, more, as_of: None }) }
        });
    voter.listen(router);
    voter
}
