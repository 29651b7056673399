use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::time::Instant;
use trunkline_placement::voters;
use trunkline_ports::{CallOptions, Class, Network, Peer};
use trunkline_runtime::Service;
use trunkline_testkit::{MapBuilder, MemoryCluster, Random, SimulatedNetwork, SimulatedNode};
use trunkline_types::{ClusterMap, GroupId, Node, Role, TopicId};
use trunkline_wire::internal::position_service::{
    ACQUIRE, COMMIT, CREATE_SUBSCRIPTION, DELETE_SUBSCRIPTION, FIND_SUBSCRIPTION, LIST_SUBSCRIPTIONS,
    SEEK_SUBSCRIPTION, UPDATE_SUBSCRIPTION,
};
use trunkline_wire::internal::{
    AcquireRequest, CommitRequest, CreateSubscriptionRequest, DeleteSubscriptionRequest, Dispatcher,
    Envelope, FindSubscriptionRequest, PositionListRequest, Range, SeekSubscriptionRequest,
    UpdateSubscriptionRequest,
};
use trunkline_wire::method::Unary;
use trunkline_wire::status::{self, reason};
use trunkline_wire::{Code, Message, Status, v1};

const TOPIC: u64 = 3 << 16;

struct Voter {
    node: SimulatedNode,
    service: Service,
}

/// Three datacenters with one subscription-position node each, and somebody who calls them.
struct Cluster {
    map: ClusterMap,
    memory: MemoryCluster,
    network: SimulatedNetwork,
    voters: Vec<Voter>,
    caller: Network,
}

impl Cluster {
    fn new() -> Self {
        let map = MapBuilder::three_datacenters().build();
        let network = SimulatedNetwork::new(&Random::new(1));
        network.follow(&map);
        let process = network.process("caller", &"nyc".into());
        let caller = network.network(&process);
        let memory = MemoryCluster::new(&map);
        Self { map, memory, network, voters: Vec::new(), caller }
    }

    async fn all() -> Self {
        let mut cluster = Self::new();
        for node in cluster.nodes() {
            cluster.start(&node).await;
        }
        cluster.wait(|cluster| cluster.voters.iter().all(|voter| (voter.service.ready)())).await;
        cluster
    }

    fn nodes(&self) -> Vec<Node> {
        self.map.nodes_of(Role::SubscriptionPosition).cloned().collect()
    }

    async fn start(&mut self, node: &Node) {
        let started = SimulatedNode::start(&self.network, &self.map, node, 1);
        let consensus = std::sync::Arc::new(self.memory.consensus(node.id));
        let mut metrics = Registry::default();
        let service = super::start(started.host.clone(), consensus, &mut metrics).await.unwrap();
        started.listen(service.internal.clone());
        self.voters.push(Voter { node: started, service });
    }

    async fn wait(&self, holds: impl Fn(&Self) -> bool) {
        for _ in 0..10_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never holds");
    }

    async fn call<Q: Message, A: Message + Default>(
        &self,
        voter: usize,
        method: Unary<Q, A>,
        request: &Q,
    ) -> Result<A, Status> {
        let to = Peer::new(self.nodes()[voter].address.as_str(), Class::Calls);
        self.caller
            .call(&to, method, request, CallOptions::until(Instant::now() + Duration::from_secs(5)))
            .await
    }

    fn envelope(&self) -> Option<Envelope> {
        let voter = &self.voters[0].node.host;
        Some(voter.envelope())
    }

    fn create(&self, consumer: &str, at: v1::start::At, start_id: u64) -> CreateSubscriptionRequest {
        let options = v1::SubscriptionOptions { start: Some(v1::Start { at: Some(at) }), ack_deadline: None };
        CreateSubscriptionRequest {
            envelope: self.envelope(),
            topic_id: TOPIC,
            topic: "orders".to_owned(),
            consumer: consumer.to_owned(),
            options: Some(options),
            start_id,
        }
    }

    fn acquire(&self, seen: u64, node: u64) -> AcquireRequest {
        AcquireRequest {
            envelope: self.envelope(),
            topic_id: TOPIC,
            consumer: "c".to_owned(),
            fencing_token_seen: seen,
            dispatcher: Some(Dispatcher { node, datacenter: "nyc".to_owned(), address: "pop:1".to_owned() }),
        }
    }

    fn commit(&self, instance: u64, token: u64, from: u64, to: u64) -> CommitRequest {
        CommitRequest {
            envelope: self.envelope(),
            topic_id: TOPIC,
            consumer: "c".to_owned(),
            instance,
            generation: 0,
            fencing_token: token,
            acknowledged: vec![Range { from, to }],
        }
    }

    fn seek(
        &self,
        instance: u64,
        generation_seen: u64,
        number: u64,
        start_id: u64,
    ) -> SeekSubscriptionRequest {
        SeekSubscriptionRequest {
            envelope: self.envelope(),
            topic_id: TOPIC,
            consumer: "c".to_owned(),
            instance,
            generation_seen,
            number,
            start_id,
        }
    }

    fn update(&self, instance: u64, seen: i64, seconds: i64) -> UpdateSubscriptionRequest {
        let options = |seconds| {
            let ack_deadline = Some(prost_types::Duration { seconds, nanos: 0 });
            Some(v1::SubscriptionOptions { ack_deadline, ..v1::SubscriptionOptions::default() })
        };
        UpdateSubscriptionRequest {
            envelope: self.envelope(),
            topic_id: TOPIC,
            consumer: "c".to_owned(),
            instance,
            seen: options(seen),
            options: options(seconds),
        }
    }

    fn find(&self, confirmed: bool) -> FindSubscriptionRequest {
        let consumer = "c".to_owned();
        FindSubscriptionRequest { envelope: self.envelope(), topic_id: TOPIC, consumer, confirmed }
    }

    fn group(&self) -> GroupId {
        self.map.position_group(TopicId(TOPIC), "c")
    }
}

fn latest() -> v1::start::At {
    v1::start::At::Latest(v1::Latest {})
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_created_acquired_and_committed_through_any_voter() {
    let cluster = Cluster::all().await;
    let created = cluster.call(0, CREATE_SUBSCRIPTION, &cluster.create("c", latest(), 5)).await.unwrap();
    assert!(created.created);
    let again = cluster.call(1, CREATE_SUBSCRIPTION, &cluster.create("c", latest(), 77)).await.unwrap();
    assert_eq!((again.created, &again.subscription), (false, &created.subscription));
    let other = cluster.create("c", v1::start::At::MessageId(5), 5);
    let differs = cluster.call(2, CREATE_SUBSCRIPTION, &other).await.unwrap_err();
    assert_eq!(
        (differs.code(), status::reason_of(&differs).as_deref()),
        (Code::FailedPrecondition, Some(reason::OPTIONS_DIFFER))
    );
    let words = "already, with other options: start latest, ack mode ON_NEXT_POP, ack deadline 30 s";
    assert!(differs.message().ends_with(words), "{}", differs.message());

    let acquired = cluster.call(1, ACQUIRE, &cluster.acquire(0, 11)).await.unwrap();
    let subscription = acquired.subscription.unwrap();
    assert_eq!((acquired.acquired, subscription.fencing_token), (true, 1));
    let late = cluster.call(2, ACQUIRE, &cluster.acquire(0, 12)).await.unwrap();
    assert_eq!((late.acquired, late.subscription.unwrap().dispatcher.unwrap().node), (false, 11));

    let instance = subscription.instance;
    assert!(cluster.call(0, COMMIT, &cluster.commit(instance, 1, 5, 9)).await.unwrap().committed);
    let refused = cluster.call(0, COMMIT, &cluster.commit(instance, 0, 9, 10)).await.unwrap();
    assert_eq!((refused.committed, refused.subscription.unwrap().fencing_token), (false, 1));
    for confirmed in [false, true] {
        let found = cluster.call(2, FIND_SUBSCRIPTION, &cluster.find(confirmed)).await.unwrap();
        assert_eq!(found.subscription.unwrap().acknowledged, [Range { from: 5, to: 9 }]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_sought_updated_and_deleted_through_any_voter() {
    let cluster = Cluster::all().await;
    cluster.call(0, CREATE_SUBSCRIPTION, &cluster.create("c", latest(), 5)).await.unwrap();
    let acquired = cluster.call(1, ACQUIRE, &cluster.acquire(0, 11)).await.unwrap().subscription.unwrap();
    let instance = acquired.instance;
    cluster.call(0, COMMIT, &cluster.commit(instance, 1, 5, 9)).await.unwrap();

    let sought = cluster.call(2, SEEK_SUBSCRIPTION, &cluster.seek(instance, 0, 7, 2)).await.unwrap();
    let present = sought.subscription.unwrap();
    assert_eq!((sought.sought, sought.deposed.unwrap().node), (true, 11));
    assert_eq!((present.generation, present.start_id, present.acknowledged), (1, 2, Vec::new()));
    assert_eq!((present.dispatcher, present.fencing_token, present.last_seek), (None, 2, 7));
    let again = cluster.call(0, SEEK_SUBSCRIPTION, &cluster.seek(instance, 0, 7, 2)).await.unwrap();
    assert_eq!((again.sought, again.deposed), (true, None));
    let late = cluster.call(0, SEEK_SUBSCRIPTION, &cluster.seek(instance, 0, 8, 9)).await.unwrap();
    assert_eq!((late.sought, late.subscription.unwrap().generation), (false, 1));
    let refused = cluster.call(0, COMMIT, &cluster.commit(instance, 1, 9, 10)).await.unwrap();
    assert_eq!((refused.committed, refused.subscription.unwrap().generation), (false, 1));

    let updated = cluster.call(1, UPDATE_SUBSCRIPTION, &cluster.update(instance, 30, 5)).await.unwrap();
    let options = updated.subscription.as_ref().unwrap().options.unwrap();
    assert_eq!((updated.updated, options.ack_deadline.unwrap().seconds), (true, 5));
    assert_eq!(options.start.unwrap().at, Some(latest()), "where it was asked to begin stays");
    assert_eq!(updated.subscription.unwrap().revision, 1);
    let late = cluster.call(1, UPDATE_SUBSCRIPTION, &cluster.update(instance, 30, 9)).await.unwrap();
    assert!(!late.updated);

    let delete = DeleteSubscriptionRequest {
        envelope: cluster.envelope(),
        topic_id: TOPIC,
        consumer: "c".to_owned(),
        instance,
    };
    let deleted = cluster.call(2, DELETE_SUBSCRIPTION, &delete).await.unwrap();
    assert_eq!(deleted.deposed, None, "nobody has dispatched it since the seek");
    let gone = cluster.call(2, DELETE_SUBSCRIPTION, &delete).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert!(!cluster.call(0, FIND_SUBSCRIPTION, &cluster.find(true)).await.unwrap().found);
    let unnamed = cluster.call(0, SEEK_SUBSCRIPTION, &cluster.seek(instance, 0, 0, 2)).await.unwrap_err();
    assert_eq!(unnamed.code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn without_a_quorum_nothing_is_stored_and_the_local_state_still_answers() {
    let cluster = Cluster::all().await;
    cluster.call(0, CREATE_SUBSCRIPTION, &cluster.create("c", latest(), 5)).await.unwrap();
    cluster.memory.lead(cluster.group(), None);
    let refused = cluster.call(0, ACQUIRE, &cluster.acquire(0, 11)).await.unwrap_err();
    assert_eq!(
        (refused.code(), status::reason_of(&refused).as_deref()),
        (Code::Unavailable, Some(reason::NO_QUORUM))
    );
    assert!(status::is_not_stored(&refused));
    assert!(cluster.call(0, FIND_SUBSCRIPTION, &cluster.find(false)).await.unwrap().found);
    let unconfirmed = cluster.call(0, FIND_SUBSCRIPTION, &cluster.find(true)).await.unwrap_err();
    assert_eq!(
        unconfirmed.code(),
        Code::Unavailable,
        "a negative answer needs a confirmation that cannot be had"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_malformed_or_of_another_cluster_is_refused() {
    let cluster = Cluster::all().await;
    let mut stranger = cluster.find(false);
    stranger.envelope = stranger.envelope.map(|envelope| Envelope { cluster: 1, ..envelope });
    let refused = cluster.call(0, FIND_SUBSCRIPTION, &stranger).await.unwrap_err();
    assert_eq!(status::reason_of(&refused).as_deref(), Some(reason::STALE));
    let backwards = cluster.commit(1, 1, 9, 5);
    assert_eq!(cluster.call(0, COMMIT, &backwards).await.unwrap_err().code(), Code::InvalidArgument);
    let nobody = AcquireRequest { dispatcher: None, ..cluster.acquire(0, 1) };
    assert_eq!(cluster.call(0, ACQUIRE, &nobody).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn lists_go_page_by_page_and_say_positions_only() {
    let cluster = Cluster::all().await;
    for consumer in ["a", "b", "c", "d", "e"] {
        cluster.call(0, CREATE_SUBSCRIPTION, &cluster.create(consumer, latest(), 5)).await.unwrap();
    }
    cluster.call(0, ACQUIRE, &cluster.acquire(0, 11)).await.unwrap();
    let instance =
        cluster.call(0, FIND_SUBSCRIPTION, &cluster.find(true)).await.unwrap().subscription.unwrap().instance;
    cluster.call(0, COMMIT, &cluster.commit(instance, 1, 5, 7)).await.unwrap();
    cluster.call(0, COMMIT, &cluster.commit(instance, 1, 9, 11)).await.unwrap();
    let mut names = Vec::new();
    for group in (0..cluster.map.position_groups).map(GroupId::position) {
        let mut request = PositionListRequest {
            envelope: cluster.envelope(),
            group: group.to_u32(),
            topic: "orders".to_owned(),
            limit: 1,
            ..PositionListRequest::default()
        };
        loop {
            let page = cluster.call(1, LIST_SUBSCRIPTIONS, &request).await.unwrap();
            for listed in page.subscriptions {
                let expected =
                    if listed.consumer == "c" { vec![Range { from: 5, to: 7 }] } else { Vec::new() };
                assert_eq!(listed.acknowledged, expected);
                names.push(listed.consumer);
            }
            if !page.more {
                break;
            }
            (request.after_topic, request.after_consumer) = (page.scanned_topic, page.scanned_consumer);
        }
    }
    names.sort();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}

#[tokio::test(start_paused = true)]
async fn a_voter_is_ready_once_its_groups_have_leaders_and_leads_no_more_when_it_has_drained() {
    let mut cluster = Cluster::new();
    let group = GroupId::position(0);
    let ranked: Vec<_> = voters(&cluster.map, group).iter().map(|voter| voter.id).collect();
    let (first, others): (Vec<_>, Vec<_>) =
        cluster.nodes().into_iter().partition(|node| node.id == ranked[0]);
    for node in &others {
        cluster.start(node).await;
    }
    assert!(!(cluster.voters[0].service.ready)());
    cluster.start(&first[0]).await;
    cluster.wait(|cluster| cluster.voters.iter().all(|voter| (voter.service.ready)())).await;
    let leader = |cluster: &Cluster| {
        let status = (cluster.voters[0].service.status)();
        status.groups.iter().find(|status| status.group == group.to_u32()).map(|status| status.leader)
    };
    assert_eq!(leader(&cluster), Some(ranked[0].0));
    cluster.voters.remove(2).service.drained.await;
    assert_eq!(leader(&cluster), Some(ranked[1].0));
}
