use std::time::Duration;

use trunkline_testkit::{MapBuilder, RecordedSpan};
use trunkline_wire::v1::AckLevel;

use crate::cluster::{Cluster, bodies};

const ONE: &str = "nyc-message-store-1";
const TWO: &str = "nyc-message-store-2";
const RECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_RECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn only(spans: Vec<RecordedSpan>) -> RecordedSpan {
    let [span] = &spans[..] else { panic!("one span: {spans:?}") };
    assert_eq!((span.node.as_str(), span.name, span.parent.as_str()), (ONE, "append", RECORDED));
    span.clone()
}

#[tokio::test(start_paused = true)]
async fn a_push_that_is_recorded_has_a_span_up_to_its_level() {
    for (level, events) in [
        (AckLevel::None, &["accepted"][..]),
        (AckLevel::Local, &["stored"]),
        (AckLevel::Ordered, &["stored", "ordered"]),
        (AckLevel::Everywhere, &["stored", "ordered", "everywhere"]),
    ] {
        let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
        let topic = cluster.orderer.create_topic("t");
        let mut pusher = cluster.pusher(ONE).await;
        pusher.send_traced(topic, &bodies("a", 0..1), level, RECORDED).await;
        pusher.answers(events.len()).await;
        let span = only(cluster.traces.spans());
        assert_eq!((&span.events[..], span.ended), (events, true), "{level:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_span_lasts_until_the_answer_or_until_nobody_waits_for_it() {
    let mut cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    cluster.crash(TWO);
    let mut pusher = cluster.pusher(ONE).await;
    pusher.send_traced(topic, &bodies("a", 0..1), AckLevel::Local, RECORDED).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let span = only(cluster.traces.spans());
    assert!(span.events.is_empty() && !span.ended, "it is on one disk: {span:?}");
    drop(pusher);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let span = only(cluster.traces.spans());
    assert!(span.events.is_empty() && span.ended, "{span:?}");
}

#[tokio::test(start_paused = true)]
async fn a_push_that_nobody_records_has_no_span() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    for traceparent in ["", NOT_RECORDED] {
        pusher.send_traced(topic, &bodies("a", 0..1), AckLevel::Local, traceparent).await;
        pusher.answers(1).await;
    }
    assert!(cluster.traces.spans().is_empty());
}
