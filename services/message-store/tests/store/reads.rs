//! What pop servers ask on their streams.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use trunkline_message_store::Options;
use trunkline_testkit::MapBuilder;
use trunkline_types::TopicId;
use trunkline_types::limits::{
    HEARTBEAT_INTERVAL, READ_ANSWER_BYTES_MAX, READS_AT_DISK_MAX, READS_UNDER_WAY_BYTES_MAX, SILENCE_MAX,
};
use trunkline_wire::Code;

use crate::cluster::{Cluster, bodies};
use crate::reader::asked;

const ONE: &str = "nyc-message-store-1";
const TWO: &str = "nyc-message-store-2";

#[tokio::test(start_paused = true)]
async fn reads_of_many_topics_share_a_stream_and_what_is_ready_together_comes_together() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topics: Vec<TopicId> = (0..20).map(|n| cluster.orderer.create_topic(&format!("t{n}"))).collect();
    let mut pusher = cluster.pusher(ONE).await;
    let mut reader = cluster.reader(TWO).await;
    for (tag, topic) in (1..).zip(&topics) {
        pusher.push(*topic, &bodies("a", 0..1)).await;
        cluster.all(TWO, *topic, 1).await;
        reader.ask(tag, *topic, 2, true).await;
    }
    assert!(timeout(SILENCE_MAX, reader.answer()).await.is_err(), "there is nothing to tell");
    cluster.orderer.stop(true);
    for topic in &topics {
        pusher.push(*topic, &bodies("b", 0..1)).await;
    }
    cluster.orderer.stop(false);
    let (mut tags, mut messages) = (Vec::new(), 0);
    while tags.len() < topics.len() {
        tags.extend(reader.message().await.unwrap().into_iter().map(|answer| answer.tag));
        messages += 1;
    }
    tags.sort_unstable();
    assert_eq!(tags, (1..=20).collect::<Vec<_>>());
    assert!(messages <= 8, "in {messages} messages");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_wait_is_answered_past_what_does() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    pusher.push(topic, &bodies("a", 0..3)).await;
    cluster.all(TWO, topic, 3).await;
    let mut reader = cluster.reader(TWO).await;
    reader.ask_all(vec![asked(1, topic, 4, true), asked(2, topic, 4, false), asked(3, topic, 2, true)]).await;
    let (tag, nothing) = reader.answer().await;
    assert_eq!((tag, nothing.unwrap().watermark), (2, 3));
    let (tag, there) = reader.answer().await;
    assert_eq!((tag, there.unwrap().records.len()), (3, 2));
    reader.ask(4, topic, 0, true).await;
    let (tag, refused) = reader.answer().await;
    assert_eq!((tag, refused.unwrap_err().code()), (4, Code::InvalidArgument));
    let began = Instant::now();
    reader.abandon(1).await;
    reader.ask(5, topic, 4, true).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    pusher.push(topic, &bodies("b", 0..1)).await;
    let (tag, next) = reader.answer().await;
    assert_eq!((tag, next.unwrap().records.len()), (5, 1), "the first was abandoned");
    assert!(began.elapsed() < Duration::from_secs(61), "a wait ends with a message, and not before");
    assert!(timeout(SILENCE_MAX, reader.answer()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn answers_under_way_are_bounded_by_what_the_reader_takes() {
    // From memory, and from disk.
    for recent_records_bytes in [64 << 20, 100_000] {
        let options = Options { recent_records_bytes, ..Options::default() };
        let cluster = Cluster::with(MapBuilder::of(&["nyc"]), options, Duration::ZERO).await;
        let topic = cluster.orderer.create_topic("t");
        let large: Vec<String> = (0..4).map(|n| n.to_string().repeat(400_000)).collect();
        cluster.pusher(ONE).await.push(topic, &large).await;
        cluster.all(TWO, topic, 4).await;
        let mut reader = cluster.reader(TWO).await;
        reader.ask_all((1..=40).map(|tag| asked(tag, topic, 1, false)).collect()).await;
        let (mut answered, mut waits) = (0, 0);
        while answered < 40 {
            let before = reader.counted_bytes;
            while let Ok(next) = timeout(HEARTBEAT_INTERVAL, reader.message()).await {
                for answer in next.unwrap() {
                    assert!(answer.counted_bytes <= READ_ANSWER_BYTES_MAX);
                    answered += 1;
                }
            }
            let under_way = reader.counted_bytes - before;
            // The last message may have begun just within the window.
            assert!(under_way <= READS_UNDER_WAY_BYTES_MAX + 2 * READ_ANSWER_BYTES_MAX, "{under_way}");
            waits += 1;
            reader.take().await;
        }
        assert!(waits > 3, "{waits}: the window was never full");
    }
}

#[tokio::test(start_paused = true)]
async fn replays_do_not_hold_up_what_is_fresh_on_the_same_stream() {
    let options = Options { recent_records_bytes: 100_000, ..Options::default() };
    let cluster = Cluster::with(MapBuilder::of(&["nyc"]), options, Duration::ZERO).await;
    let (old, fresh) = (cluster.orderer.create_topic("old"), cluster.orderer.create_topic("fresh"));
    let mut pusher = cluster.pusher(ONE).await;
    let large: Vec<String> = (0..4).map(|n| n.to_string().repeat(400_000)).collect();
    pusher.push(old, &large).await;
    cluster.all(TWO, old, 4).await;
    pusher.push(fresh, &bodies("a", 0..1)).await;
    cluster.all(TWO, fresh, 1).await;
    let mut reader = cluster.reader(TWO).await;
    // Many replays are asked before, and nothing is taken.
    let replays = (1..=40).map(|tag| asked(tag, old, 1, false));
    reader.ask_all(replays.chain([asked(41, fresh, 1, false)]).collect()).await;
    let mut before = 0;
    while reader.answer().await.0 != 41 {
        before += 1;
    }
    assert!(before <= READS_AT_DISK_MAX, "{before} replays were answered before");
    // And the replays have their turns, one after the other.
    let mut tags = Vec::new();
    for _ in before..40 {
        reader.take().await;
        tags.push(reader.answer().await.0);
    }
    assert!(tags.is_sorted(), "{tags:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_falls_silent_is_forgotten_with_its_waits() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    pusher.push(topic, &bodies("a", 0..1)).await;
    cluster.all(TWO, topic, 1).await;
    let mut reader = cluster.reader(TWO).await;
    reader.ask(1, topic, 2, true).await;
    reader.fall_silent();
    let began = Instant::now();
    assert_eq!(reader.message().await.unwrap_err().code(), Code::Unavailable);
    assert!(began.elapsed() <= SILENCE_MAX + HEARTBEAT_INTERVAL);
    let mut reader = cluster.reader(TWO).await;
    reader.ask(1, topic, 2, true).await;
    pusher.push(topic, &bodies("b", 0..1)).await;
    assert_eq!(reader.answer().await.1.unwrap().records.len(), 1);
}
