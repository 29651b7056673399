//! Duplicates: what a coordinator answers, and how their receipts resolve, in every datacenter.

use std::time::Duration;

use trunkline_testkit::{MapBuilder, eventually};
use trunkline_types::limits::PRODUCERS_PER_TOPIC_MAX;
use trunkline_types::{LogName, Produced, ProducerId, TopicId};
use trunkline_wire::Code;
use trunkline_wire::internal::appended::What;
use trunkline_wire::internal::{Ordered, ResolveResponse};
use trunkline_wire::status::{from_message, is_not_stored, reason, reason_of};
use trunkline_wire::v1::AckLevel;

use crate::cluster::{Cluster, LONG, Pusher, Stored, bodies};

const NYC: &str = "nyc-message-store-1";
const MCI: &str = "mci-message-store-1";
const SEA: &str = "sea-message-store-1";

fn of(producer: u8, sequence: u64) -> Produced {
    Produced { producer: ProducerId([producer; 16]), sequence }
}

impl Pusher {
    /// Pushes at ORDERED; where it is stored, and the answer after that.
    async fn ordered(&mut self, topic: TopicId, of: Produced, body: &str) -> (Stored, What) {
        self.send_produced(topic, of, body, AckLevel::Ordered).await;
        let mut answers = self.answers(2).await.into_iter().map(|(_, what)| what);
        let Some(What::Stored(stored)) = answers.next() else { panic!("not stored") };
        let log = LogName::try_from(stored.log.unwrap()).unwrap();
        (Stored { log, sequence: stored.sequence }, answers.next().unwrap())
    }
}

fn ordered(message_id: u64) -> What {
    What::Ordered(Ordered { message_id })
}

/// What a store says of a record, once it knows that it is a duplicate of something.
async fn duplicate(
    cluster: &Cluster,
    store: &str,
    topic: TopicId,
    at: &Stored,
    body: &str,
) -> ResolveResponse {
    eventually(LONG, &format!("{store} to resolve a duplicate"), async || {
        let resolved = cluster.resolve(store, topic, at, body).await;
        (resolved.duplicate && resolved.on_disk).then_some(resolved)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_gets_no_id_and_its_receipt_names_the_first_message_everywhere() {
    let mut cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let (mut nyc, mut sea) = (cluster.pusher(NYC).await, cluster.pusher(SEA).await);
    nyc.push(topic, &bodies("plain", 0..2)).await;
    assert_eq!(nyc.ordered(topic, of(1, 3), "three").await.1, ordered(3));
    let (first, answer) = nyc.ordered(topic, of(1, 1), "one").await;
    assert_eq!(answer, ordered(4), "a lower sequence is no duplicate");
    let (again, answer) = sea.ordered(topic, of(1, 1), "one again").await;
    assert!(matches!(answer, What::Duplicate(_)), "{answer:?}");
    assert_eq!(sea.ordered(topic, of(2, 1), "other").await.1, ordered(5));
    for round in 0..2 {
        for store in [NYC, MCI, SEA] {
            let resolved = duplicate(&cluster, store, topic, &again, "one again").await;
            assert_eq!((resolved.decided, resolved.message_id), (true, 4), "{store}, round {round}");
            let resolved = cluster.resolve(store, topic, &first, "one").await;
            assert_eq!((resolved.duplicate, resolved.message_id), (false, 4), "{store}, round {round}");
        }
        assert_eq!(cluster.all(SEA, topic, 5).await[2..], ["three", "one", "other"]);
        for store in [NYC, MCI, SEA] {
            cluster.crash(store);
            cluster.start(store).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_that_the_facts_show_to_be_a_duplicate_is_said_to_be_one_when_it_is_stored() {
    let mut cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    for is_duplicate in [false, true, true] {
        let mut pusher = cluster.pusher(NYC).await;
        pusher.send_produced(topic, of(1, 7), "seven", AckLevel::Local).await;
        let answer = pusher.answers(1).await.pop().unwrap().1;
        assert!(matches!(&answer, What::Stored(stored) if stored.duplicate == is_duplicate), "{answer:?}");
        cluster.all(NYC, topic, 1).await;
        // What it knows, it knows from disk too.
        cluster.crash(NYC);
        cluster.start(NYC).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_copies_the_index_knows_the_producers_and_forgets_those_that_are_forgotten() {
    let mut cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let mut nyc = cluster.pusher(NYC).await;
    nyc.ordered(topic, of(1, 1), "one").await;
    nyc.ordered(topic, of(2, 1), "two").await;
    cluster.all(SEA, topic, 2).await;
    let sequences =
        |cluster: &Cluster| cluster.disk(SEA).reopen().len(trunkline_ports::Space::new("sequences"));
    eventually(LONG, "the rows of both", async || (sequences(&cluster) == 2).then_some(())).await;
    cluster.crash(SEA);
    cluster.orderer.forget_producer(topic, of(1, 1).producer);
    let (stored, answer) = nyc.ordered(topic, of(2, 1), "two again").await;
    assert!(matches!(answer, What::Duplicate(_)));
    cluster.all(NYC, topic, 2).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // Its rows are on disk.
    cluster.orderer.forget_facts();
    cluster.start(SEA).await;
    assert_eq!(duplicate(&cluster, SEA, topic, &stored, "two again").await.message_id, 2);
    assert_eq!(sequences(&cluster), 1, "the other one is forgotten");
    let (_, answer) = nyc.ordered(topic, of(1, 1), "one, long after").await;
    assert_eq!(answer, ordered(3), "nobody remembers it");
    assert_eq!(cluster.all(SEA, topic, 3).await, ["one", "two", "one, long after"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_forgotten_producer_has_pushed_is_resolved_no_more() {
    let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let mut nyc = cluster.pusher(NYC).await;
    nyc.ordered(topic, of(1, 1), "one").await;
    let (again, _) = nyc.ordered(topic, of(1, 1), "one again").await;
    duplicate(&cluster, MCI, topic, &again, "one again").await;
    cluster.orderer.forget_producer(topic, of(1, 1).producer);
    eventually(LONG, "the first message to be forgotten", async || {
        let resolved = cluster.resolve(MCI, topic, &again, "one again").await;
        assert!(resolved.duplicate);
        (resolved.message_id == 0 && !resolved.on_disk).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_producer_too_many_is_refused_before_it_is_stored() {
    let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    cluster.orderer.stop(true);
    let topic = cluster.orderer.create_topic("t");
    let mut nyc = cluster.pusher(NYC).await;
    let many = u32::try_from(PRODUCERS_PER_TOPIC_MAX).unwrap();
    for nth in 0..=many {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&nth.to_be_bytes());
        let produced = Produced { producer: ProducerId(id), sequence: 1 };
        nyc.send_produced(topic, produced, "x", AckLevel::Local).await;
    }
    let answers = nyc.answers(PRODUCERS_PER_TOPIC_MAX + 1).await;
    let refused: Vec<_> = answers.into_iter().filter(|(_, what)| !matches!(what, What::Stored(_))).collect();
    let [(tag, What::Refused(why))] = &refused[..] else { panic!("{refused:?}") };
    let why = from_message(why);
    assert_eq!((*tag, why.code()), (u64::from(many) + 1, Code::ResourceExhausted));
    assert!(is_not_stored(&why) && reason_of(&why).as_deref() == Some(reason::PRODUCER_LIMIT), "{why:?}");
    nyc.push(topic, &bodies("without a producer", 0..1)).await;
}
