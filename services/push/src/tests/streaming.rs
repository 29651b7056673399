//! PushStream.

use std::time::Duration;

use trunkline_ports::{CallOptions, Receiver, Sender};
use trunkline_wire::status::{disk_full, from_message, is_not_stored, metadata_of, reason, reason_of};
use trunkline_wire::v1::{
    AckLevel, Message, PushStreamRequest, PushStreamResponse, PushStreamResult, push_service,
};
use trunkline_wire::{Code, Status};

use super::Cluster;
use super::fakes::Conduct;

type Stream = (Sender<PushStreamRequest>, Receiver<PushStreamResponse>);

async fn open(cluster: &Cluster) -> Stream {
    let options = CallOptions::default();
    cluster.client.open(&cluster.peer(), push_service::PUSH_STREAM, options).await.expect("open")
}

fn request(topic: &str, level: AckLevel, payloads: &[usize]) -> PushStreamRequest {
    let message = |&bytes: &usize| Message { payload: vec![1; bytes].into(), ..Message::default() };
    let messages = payloads.iter().map(message).collect();
    PushStreamRequest {
        topic: topic.to_owned(),
        messages,
        ack_level: level.into(),
        ..PushStreamRequest::default()
    }
}

/// So many results, in the order in which they came.
async fn results(stream: &mut Stream, count: usize) -> Vec<PushStreamResult> {
    let mut all = Vec::new();
    while all.len() < count {
        let response = stream.1.next().await.expect("no error").expect("not the end");
        all.extend(response.results);
    }
    all
}

fn error(result: &PushStreamResult) -> Option<Status> {
    result.result.as_ref().expect("a result").error.as_ref().map(from_message)
}

/// The status that the stream ends with, after what results are left.
async fn end(stream: &mut Stream) -> (Vec<PushStreamResult>, Result<(), Status>) {
    let mut left = Vec::new();
    loop {
        match stream.1.next().await {
            Ok(Some(response)) => left.extend(response.results),
            Ok(None) => return (left, Ok(())),
            Err(status) => return (left, Err(status)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_stored_as_sent_and_every_one_is_answered() {
    let cluster = Cluster::start().await;
    let mut stream = open(&cluster).await;
    for turn in 0..50 {
        let topic = if turn == 0 { "orders" } else { "" };
        let level = if turn == 0 { AckLevel::Ordered } else { AckLevel::Unspecified };
        stream.0.send(&request(topic, level, &[turn, turn + 1])).await.expect("sent");
    }
    let all = results(&mut stream, 100).await;
    let ids: Vec<_> =
        all.iter().map(|one| (one.index, one.result.as_ref().expect("a result").message_id)).collect();
    assert_eq!(ids, (0..100).map(|index| (index, index + 1)).collect::<Vec<_>>());
    let (sender, receiver) = stream;
    drop(sender);
    let mut rest = (open(&cluster).await.0, receiver);
    assert!(
        matches!(end(&mut rest).await, (left, Ok(())) if left.is_empty()),
        "it ends when its sender does"
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_valid_is_answered_in_its_place_and_the_others_go_on() {
    let cluster = Cluster::start().await;
    let mut stream = open(&cluster).await;
    stream.0.send(&request("orders", AckLevel::Local, &[1, (1 << 20) + 1, 1])).await.expect("sent");
    let mut all = results(&mut stream, 3).await;
    all.sort_by_key(|one| one.index);
    let why = error(&all[1]).expect("too large");
    assert_eq!(why.message(), "messages[1].payload is 1048577 bytes long, at most 1048576 are allowed");
    assert!(is_not_stored(&why) && error(&all[0]).is_none() && error(&all[2]).is_none());
    stream.0.send(&request("a b", AckLevel::Local, &[1])).await.expect("sent");
    assert_eq!(end(&mut stream).await.1.expect_err("no topic").code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_dies_ends_the_stream_and_says_what_is_certain() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    let mut stream = open(&cluster).await;
    stream.0.send(&request("orders", AckLevel::Local, &[1])).await.expect("sent");
    results(&mut stream, 1).await;
    first.conduct(Conduct::Silent);
    stream.0.send(&request("", AckLevel::Unspecified, &[1, 1])).await.expect("sent");
    while first.taken() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.node.process.crash();
    let (left, ended) = end(&mut stream).await;
    assert_eq!(left.len(), 2, "both were handed over, and both are answered");
    assert!(left.iter().all(|one| error(one).is_some_and(|why| !is_not_stored(&why))));
    let ended = ended.expect_err("order is lost");
    assert_eq!(
        (ended.code(), reason_of(&ended).as_deref()),
        (Code::Unavailable, Some(reason::ORDER_NOT_KEPT))
    );
    assert_eq!(metadata_of(&ended, "taken").as_deref(), Some("3"));
    assert_eq!(second.taken(), 0, "nothing is moved silently");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_not_moved_even_when_all_it_sent_is_answered() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    let mut stream = open(&cluster).await;
    stream.0.send(&request("orders", AckLevel::Local, &[1])).await.expect("sent");
    results(&mut stream, 1).await;
    first.node.process.crash();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.0.send(&request("", AckLevel::Unspecified, &[1])).await.expect("sent");
    let (left, ended) = end(&mut stream).await;
    assert!(
        left.iter().all(|one| error(one).is_some_and(|why| is_not_stored(&why))),
        "it was not sent anywhere"
    );
    assert_eq!(reason_of(&ended.expect_err("ended")).as_deref(), Some(reason::ORDER_NOT_KEPT));
    assert_eq!(second.taken(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_refuses_ends_the_stream_and_the_next_one_goes_to_its_sibling() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    let mut stream = open(&cluster).await;
    stream.0.send(&request("orders", AckLevel::Local, &[1])).await.expect("sent");
    results(&mut stream, 1).await;
    first.conduct(Conduct::Refuse(disk_full("the disk is full")));
    stream.0.send(&request("", AckLevel::Unspecified, &[1, 1])).await.expect("sent");
    let (left, ended) = end(&mut stream).await;
    let reasons: Vec<_> = left.iter().map(|one| error(one).as_ref().and_then(reason_of)).collect();
    assert_eq!(reasons, [Some(reason::DISK_FULL.to_owned()), Some(reason::DISK_FULL.to_owned())]);
    assert!(left.iter().all(|one| error(one).is_some_and(|why| is_not_stored(&why))));
    let ended = ended.expect_err("what follows would go to another log");
    assert_eq!(reason_of(&ended).as_deref(), Some(reason::ORDER_NOT_KEPT));
    assert_eq!((metadata_of(&ended, "taken").as_deref(), second.taken()), (Some("3"), 0));
    let mut next = open(&cluster).await;
    next.0.send(&request("orders", AckLevel::Local, &[1])).await.expect("sent");
    assert!(error(&results(&mut next, 1).await[0]).is_none());
    assert_eq!((first.taken(), second.taken()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stream_stays_with_a_coordinator_that_refuses_while_there_is_no_other() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    second.node.process.crash();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut stream = open(&cluster).await;
    first.conduct(Conduct::Refuse(disk_full("the disk is full")));
    stream.0.send(&request("orders", AckLevel::Local, &[1])).await.expect("sent");
    let refused = error(&results(&mut stream, 1).await[0]).expect("refused");
    assert_eq!(reason_of(&refused).as_deref(), Some(reason::DISK_FULL));
    first.conduct(Conduct::Reach(AckLevel::Local));
    stream.0.send(&request("", AckLevel::Unspecified, &[1])).await.expect("sent");
    assert!(error(&results(&mut stream, 1).await[0]).is_none(), "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_window_that_is_full_makes_the_stream_wait_and_not_fail() {
    let options = crate::Options { stream_messages_max: 1_000, ..crate::Options::default() };
    let cluster = Cluster::with(options).await;
    let mut stream = open(&cluster).await;
    stream.0.send(&request("orders", AckLevel::Local, &[1_000; 900])).await.expect("sent");
    for _ in 0..4 {
        stream.0.send(&request("", AckLevel::Unspecified, &[1_000; 900])).await.expect("sent");
    }
    let all = results(&mut stream, 4_500).await;
    assert!(all.iter().all(|one| error(one).is_none()));
    assert!(all.iter().enumerate().all(|(place, one)| one.index == place as u64));
}

#[tokio::test(start_paused = true)]
async fn draining_ends_a_stream_after_what_is_under_way() {
    let cluster = Cluster::start().await;
    let mut stream = open(&cluster).await;
    stream.0.send(&request("orders", AckLevel::Local, &[1, 1])).await.expect("sent");
    results(&mut stream, 2).await;
    cluster.shutdown.drain();
    let (left, ended) = end(&mut stream).await;
    let ended = ended.expect_err("ended");
    assert_eq!((left.len(), reason_of(&ended).as_deref()), (0, Some(reason::DRAINING)));
    assert_eq!(metadata_of(&ended, "taken").as_deref(), Some("2"));
}
