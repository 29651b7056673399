use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use trunkline_ports::{Receiver, Responder, Router, Space, Storage as _};
use trunkline_testkit::network::Side;
use trunkline_testkit::{MapBuilder, SimulatedNode};
use trunkline_types::{Bucket, Role, TopicId};
use trunkline_wire::Status;
use trunkline_wire::internal::appended::What;
use trunkline_wire::internal::follow_service::COPY_INDEX;
use trunkline_wire::internal::{
    CopiedLog, CopiedTopic, CopyIndexRequest, CopyIndexResponse, OrderedRun, RecordsOrdered,
};
use trunkline_wire::v1::{AckLevel, Topic};

use crate::cluster::{Cluster, LONG, bodies};

const NYC: &str = "nyc-message-store-1";
const MCI: &str = "mci-message-store-1";
const SEA: &str = "sea-message-store-1";

/// The stores that hold a topic.
fn holders(cluster: &Cluster, topic: TopicId) -> Vec<String> {
    let nodes = trunkline_placement::replicas(&cluster.map, topic.bucket());
    nodes.into_iter().map(|node| node.name.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn where_no_store_holds_all_buckets_the_index_is_copied_from_several() {
    let builder = MapBuilder::three_datacenters().nodes(Role::MessageStore, 4).buckets(64).groups(2, 1);
    let mut cluster = Cluster::of(builder).await;
    let topics: Vec<TopicId> = (0..40).map(|n| cluster.orderer.create_topic(&format!("t{n}"))).collect();
    let mine: Vec<TopicId> =
        topics.into_iter().filter(|topic| holders(&cluster, *topic).iter().any(|name| name == SEA)).collect();
    let others: Vec<String> = cluster.stores().into_iter().filter(|name| name != SEA).collect();
    let holds_all = |name: &String| mine.iter().all(|topic| holders(&cluster, *topic).contains(name));
    assert!(mine.len() > 10 && !others.iter().any(holds_all), "one source would be enough");
    cluster.crash(SEA);
    for &topic in &mine {
        let mut pusher = cluster.pusher(&holders(&cluster, topic)[0]).await;
        pusher.send(topic, &bodies("a", 0..20), AckLevel::Ordered).await;
        pusher.answers(40).await;
    }
    for name in &others {
        for &topic in mine.iter().filter(|topic| holders(&cluster, **topic).contains(name)) {
            cluster.all(name, topic, 20).await;
        }
    }
    cluster.orderer.forget_facts();
    cluster.start(SEA).await;
    for &topic in &mine {
        assert_eq!(cluster.all(SEA, topic, 20).await, bodies("a", 0..20), "topic {topic}");
    }
    for &topic in &mine {
        let mut pusher = cluster.pusher(&holders(&cluster, topic)[0]).await;
        pusher.push(topic, &bodies("b", 0..5)).await;
        assert_eq!(cluster.all(SEA, topic, 25).await[20..], bodies("b", 0..5), "topic {topic}");
    }
}

/// Rows of the index on disk.
fn indexed(cluster: &Cluster, store: &str) -> usize {
    cluster.disk(store).reopen().len(Space::new("orders"))
}

/// Whether the disk says that the index of group 0 is being copied.
async fn is_copying(cluster: &Cluster, store: &str) -> bool {
    let row = cluster.disk(store).reopen().get(Space::new("meta"), b"c\0\0"[..].into()).await;
    row.unwrap().is_some()
}

/// Two topics in two logs, one record after the other, so that the index takes several messages.
async fn interleave(cluster: &Cluster, topics: [TopicId; 2], count: u64) {
    let mut pushers = [cluster.pusher(NYC).await, cluster.pusher(MCI).await];
    for n in 0..count {
        for pusher in &mut pushers {
            for topic in topics {
                pusher.send(topic, &bodies("x", n..n + 1), AckLevel::Local).await;
            }
        }
    }
    for pusher in &mut pushers {
        pusher.answers(2 * usize::try_from(count).unwrap()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_copy_and_a_crash_leave_nothing_that_is_trusted() {
    let mut halves = 0;
    for pause in (2..).step_by(5) {
        // Another count each time, so that chance falls otherwise.
        let count = 2_200 + pause;
        let builder = MapBuilder::three_datacenters().buckets(1).groups(1, 1);
        let mut cluster = Cluster::with(builder, Default::default(), Duration::from_millis(3)).await;
        let topics = ["one", "two"].map(|name| cluster.orderer.create_topic(name));
        cluster.all(SEA, topics[0], 0).await;
        cluster.crash(SEA);
        interleave(&cluster, topics, count).await;
        for topic in topics {
            cluster.all(NYC, topic, 2 * count).await;
        }
        cluster.orderer.forget_facts();
        cluster.network.set_jitter(Duration::from_millis(800));
        cluster.start(SEA).await;
        let begun = async {
            while indexed(&cluster, SEA) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONG, begun).await.expect("the copy begins");
        tokio::time::sleep(Duration::from_millis(pause)).await;
        cluster.crash(SEA);
        let half = indexed(&cluster, SEA);
        halves += u32::from(half > 0 && half < 4 * usize::try_from(count).unwrap());
        assert!(halves > 0 || pause < 200, "no copy was broken in the middle");
        // Another voter still has the facts, so nothing but that row says that half of a copy is there.
        cluster.orderer.remember_facts();
        cluster.network.set_jitter(Duration::ZERO);
        cluster.start(SEA).await;
        interleave(&cluster, topics, 10).await;
        for topic in topics {
            let all = cluster.all(NYC, topic, 2 * (count + 10)).await;
            assert_eq!(cluster.all(SEA, topic, 2 * (count + 10)).await, all, "a pause of {pause} ms");
        }
        assert!(!is_copying(&cluster, SEA).await, "the copy is complete");
        if halves > 1 {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pushes_that_wait_are_answered_by_a_copy_too() {
    let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(NYC).await;
    pusher.push(topic, &bodies("a", 0..3)).await;
    cluster.all(NYC, topic, 3).await;
    for datacenter in ["nyc", "mci", "sea"] {
        cluster.network.cut(&Side::node(NYC), &Side::node(format!("{datacenter}-message-id-1")));
    }
    pusher.send(topic, &bodies("b", 0..1), AckLevel::Ordered).await;
    pusher.send(topic, &bodies("c", 0..1), AckLevel::Everywhere).await;
    cluster.all("nyc-message-store-2", topic, 5).await;
    cluster.all(SEA, topic, 5).await;
    tokio::time::sleep(Duration::from_secs(5)).await; // Its session has ended.
    cluster.orderer.forget_facts();
    cluster.network.heal_all();
    let mut answers = tokio::time::timeout(LONG, pusher.answers(5)).await.expect("all are answered");
    answers.sort_by_key(|(tag, _)| *tag);
    let ids: Vec<u64> = answers
        .iter()
        .filter_map(
            |(_, what)| if let What::Ordered(ordered) = what { Some(ordered.message_id) } else { None },
        )
        .collect();
    assert_eq!(ids, [4, 5]);
    assert!(matches!(answers.last(), Some((5, What::Everywhere(_)))), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn pushes_are_answered_by_a_copy_only_once_it_is_whole() {
    let mut cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(NYC).await;
    let log = Some(pusher.push(topic, &bodies("a", 0..3)).await[0].log.into());
    cluster.all(NYC, topic, 3).await;
    for datacenter in ["nyc", "mci", "sea"] {
        cluster.network.cut(&Side::node(NYC), &Side::node(format!("{datacenter}-message-id-1")));
    }
    pusher.send(topic, &bodies("b", 0..2), AckLevel::Ordered).await;
    cluster.all(SEA, topic, 5).await;
    tokio::time::sleep(Duration::from_secs(5)).await; // Its session has ended.
    cluster.orderer.forget_facts();
    // The nearest store to copy from says something else, and breaks off.
    cluster.crash("nyc-message-store-2");
    let group = cluster.map.ordering_group(topic.bucket()).to_u32();
    let held = cluster.orderer.held(cluster.id(SEA)).into_iter().find(|held| held.group == group);
    let named = Topic { name: "t".to_owned(), topic_id: topic.0, options: None };
    let run = OrderedRun { topic_id: topic.0, first_id: 5, count: 1, ..OrderedRun::default() };
    let (from_1, from_4) = (OrderedRun { first_id: 1, count: 3, ..run.clone() }, run);
    let half = CopyIndexResponse {
        facts_index: held.unwrap().facts_index,
        topics: vec![CopiedTopic { topic: Some(named), next_id: 6, ..CopiedTopic::default() }],
        logs: vec![CopiedLog { number: 1, log, ordered: 6, group_number: 1, ..CopiedLog::default() }],
        ordered: vec![RecordsOrdered { number: 1, from: 1, runs: vec![from_1, from_4] }],
        ..CopyIndexResponse::default()
    };
    let wrong = SimulatedNode::start(&cluster.network, &cluster.map, cluster.node("nyc-message-store-2"), 2);
    let asked = Arc::new(AtomicUsize::new(0));
    let times = asked.clone();
    wrong.listen(Router::new().streaming(
        COPY_INDEX,
        move |_, mut requests: Receiver<_>, responses: Responder<_>| {
            let (half, times) = (half.clone(), times.clone());
            async move {
                let _: Option<CopyIndexRequest> = requests.next().await?;
                times.fetch_add(1, Ordering::SeqCst);
                let _ = responses.send(&half).await;
                tokio::time::sleep(Duration::from_secs(1)).await; // It arrives before the end does.
                Err::<(), Status>(Status::unavailable("no more"))
            }
        },
    ));
    cluster.network.heal_all();
    let mut answers = tokio::time::timeout(LONG, pusher.answers(4)).await.expect("all are answered");
    answers.sort_by_key(|(tag, _)| *tag);
    let id = |(_, what)| if let What::Ordered(ordered) = what { Some(ordered.message_id) } else { None };
    assert_eq!(answers.into_iter().filter_map(id).collect::<Vec<_>>(), [4, 5]);
    assert!(asked.load(Ordering::SeqCst) > 0, "the copy was begun there");
    assert_eq!(cluster.all(NYC, topic, 5).await[3..], bodies("b", 0..2));
}

#[tokio::test(start_paused = true)]
async fn logs_that_were_closed_meanwhile_are_copied_too() {
    let mut cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(NYC).await;
    pusher.push(topic, &bodies("a", 0..10)).await;
    cluster.all(SEA, topic, 10).await;
    cluster.orderer.stop(true);
    pusher.send(topic, &bodies("b", 0..10), AckLevel::Everywhere).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.crash(SEA);
    cluster.orderer.stop(false);
    let answers = pusher.answers(30).await;
    let Some((_, What::Stored(stored))) = answers.into_iter().find(|(tag, _)| *tag == 11) else {
        panic!("not stored")
    };
    cluster.orderer.close_all();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for store in [NYC, MCI] {
        assert!(cluster.figure(store, "logs_open") < 1.0, "a closed log has left the memory of {store}");
    }
    cluster.orderer.forget_facts();
    cluster.start(SEA).await;
    assert_eq!(cluster.all(SEA, topic, 20).await[10..], bodies("b", 0..10));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(cluster.figure(SEA, "logs_open") < 1.0, "it is closed here, too");
    for round in 0..2 {
        for store in [NYC, SEA] {
            let at = crate::cluster::Stored {
                log: stored.log.unwrap().try_into().unwrap(),
                sequence: stored.sequence,
            };
            let resolved = cluster.resolve(store, topic, &at, "b-0").await;
            assert_eq!((resolved.on_disk, resolved.message_id), (true, 11), "{store}, round {round}");
            let beyond = crate::cluster::Stored { sequence: 21, ..at };
            assert!(cluster.resolve(store, topic, &beyond, "c-0").await.beyond_end);
        }
        cluster.crash(SEA);
        cluster.start(SEA).await;
        assert_eq!(cluster.all(SEA, topic, 20).await[10..], bodies("b", 0..10));
    }
}

#[tokio::test(start_paused = true)]
async fn records_of_a_topic_that_was_never_created_show_in_the_figures() {
    let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    cluster.orderer.stop(true);
    let never = TopicId::new(99, Bucket(3));
    let mut pusher = cluster.pusher(NYC).await;
    pusher.push(never, &bodies("a", 0..7)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for store in [NYC, SEA] {
        let shown = cluster.figure(store, "records_of_unknown_topics");
        assert!((shown - 7.0).abs() < 0.5, "{store} shows {shown}");
    }
}
