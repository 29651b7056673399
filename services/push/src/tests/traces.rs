//! What a trace has of a push.

use std::time::Duration;

use tokio::time::Instant;
use trunkline_ports::CallOptions;
use trunkline_wire::v1::{AckLevel, Message, PushRequest, PushStreamRequest, push_service};

use super::Cluster;
use super::fakes::Conduct;

const RECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_RECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn under(trace: Option<&str>) -> CallOptions {
    let deadline = Some(Instant::now() + Duration::from_secs(10));
    CallOptions { deadline, trace: trace.map(str::to_owned) }
}

fn messages(count: usize) -> Vec<Message> {
    vec![Message { payload: "hello".into(), ..Message::default() }; count]
}

async fn push(cluster: &Cluster, trace: Option<&str>, count: usize) {
    let request =
        PushRequest { topic: "orders".to_owned(), messages: messages(count), ..PushRequest::default() };
    let answer = cluster.client.call(&cluster.peer(), push_service::PUSH, &request, under(trace)).await;
    assert!(answer.expect("pushed").results.iter().all(|result| result.error.is_none()));
}

#[tokio::test(start_paused = true)]
async fn the_last_record_of_a_push_that_is_recorded_tells_its_coordinator_so() {
    let cluster = Cluster::start().await;
    push(&cluster, Some(RECORDED), 3).await;
    let spans = cluster.traces.spans();
    let [span] = &spans[..] else { panic!("one span: {spans:?}") };
    assert_eq!((span.name, span.parent.as_str(), span.ended), ("append", RECORDED, true));
    assert_eq!(cluster.ranked("orders")[0].traceparents(), ["", "", &span.traceparent]);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_nobody_records_carries_nothing() {
    let cluster = Cluster::start().await;
    push(&cluster, None, 1).await;
    push(&cluster, Some(NOT_RECORDED), 1).await;
    assert_eq!(cluster.ranked("orders")[0].traceparents(), ["", ""]);
    assert!(cluster.traces.spans().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_batch_of_a_stream_has_a_span_until_its_last_answer() {
    let cluster = Cluster::start().await;
    let options = CallOptions { deadline: None, trace: Some(RECORDED.to_owned()) };
    let opened = cluster.client.open(&cluster.peer(), push_service::PUSH_STREAM, options).await;
    let (sender, mut receiver) = opened.expect("open");
    let request = |count| PushStreamRequest {
        topic: "orders".to_owned(),
        messages: messages(count),
        ack_level: AckLevel::Ordered.into(),
        ..PushStreamRequest::default()
    };
    sender.send(&request(2)).await.expect("sent");
    let mut answered = 0;
    while answered < 2 {
        answered += receiver.next().await.expect("no error").expect("not the end").results.len();
    }
    let store = cluster.ranked("orders")[0];
    store.conduct(Conduct::Reach(AckLevel::Local));
    sender.send(&request(1)).await.expect("sent");
    while store.taken() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let spans = cluster.traces.spans();
    let [first, second] = &spans[..] else { panic!("two spans: {spans:?}") };
    assert!(spans.iter().all(|span| (span.name, span.parent.as_str()) == ("append", RECORDED)));
    assert_eq!((first.ended, second.ended), (true, false));
    assert_eq!(store.traceparents(), ["", &first.traceparent, &second.traceparent]);
}
