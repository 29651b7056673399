//! Streams of pushes.

use std::time::Duration;

use futures::future::join_all;
use trunkline_wire::status::{is_not_stored, not_stored, reason, unavailable, with_metadata};
use trunkline_wire::v1::Message;
use trunkline_wire::{Code, Status};

use super::{World, pass};
use crate::{Outcome, Pending, PushStream, StreamOptions};

fn message(text: &str) -> Message {
    Message { payload: text.as_bytes().to_vec().into(), ..Message::default() }
}

async fn send(stream: &PushStream, texts: std::ops::Range<usize>) -> Vec<Pending> {
    let mut all = Vec::new();
    for n in texts {
        all.push(stream.send(message(&n.to_string())).await.expect("the stream is open"));
    }
    all
}

async fn outcomes(pending: Vec<Pending>) -> Vec<Outcome> {
    join_all(pending.into_iter().map(Pending::outcome)).await
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn order_not_kept(taken: u64) -> Status {
    with_metadata(&unavailable(reason::ORDER_NOT_KEPT, "moved"), "taken", taken.to_string())
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_in_order_and_in_batches() {
    let world = World::new();
    let stream = world.client.push_stream("t", StreamOptions::default());
    let all = outcomes(send(&stream, 0..5_000).await).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(world.server("nyc").payloads(), numbers(0..5_000));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_carried_nothing_is_opened_elsewhere() {
    let world = World::new();
    world.client.push_one("t", message("x"), crate::api::AckLevel::Local).await.expect("measured");
    world.server("nyc").process.crash();
    world.server("mci").fails_with([not_stored(&unavailable(reason::DRAINING, "ending"))]);
    let stream = world.client.push_stream("t", StreamOptions::default());
    let all = outcomes(send(&stream, 0..3).await).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(world.server("sea").payloads(), numbers(0..3));
}

#[tokio::test(start_paused = true)]
async fn without_leave_a_stream_is_not_continued_elsewhere() {
    let world = World::new();
    world.server("nyc").ends_streams(2, Some(order_not_kept(2)));
    let stream = world.client.push_stream("t", StreamOptions::default());
    let all = outcomes(send(&stream, 0..4).await).await;
    let errors: Vec<_> =
        all.iter().map(|one| one.as_ref().err().map(|why| is_not_stored(&why.status))).collect();
    assert_eq!(errors, [None, None, Some(true), Some(true)], "the server said how many it had taken");
    pass(10).await;
    assert!(stream.is_over());
    let over = stream.send(message("late")).await.expect_err("over");
    assert!(is_not_stored(&over) && over.code() == Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn with_leave_what_was_certainly_not_stored_goes_over_the_next_stream() {
    let world = World::new();
    world.server("nyc").ends_streams(2, Some(order_not_kept(2)));
    let stream = world.client.push_stream("t", StreamOptions { reopen: true, ..StreamOptions::default() });
    let all = outcomes(send(&stream, 0..4).await).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let mut everywhere: Vec<_> =
        ["nyc", "mci", "sea"].iter().flat_map(|name| world.server(name).payloads()).collect();
    everywhere.sort();
    assert_eq!(everywhere, numbers(0..4), "each exactly once");
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_stored_is_never_sent_again_without_a_producer() {
    let world = World::without_producers();
    world.server("nyc").ends_streams(2, Some(unavailable(reason::UNREACHABLE, "reset")));
    let stream = world.client.push_stream("t", StreamOptions { reopen: true, ..StreamOptions::default() });
    let all = outcomes(send(&stream, 0..4).await).await;
    assert!(all[2..].iter().all(|one| one.as_ref().is_err_and(|why| !is_not_stored(&why.status))));
    world.server("nyc").ends_streams(0, None);
    let more = outcomes(send(&stream, 4..6).await).await;
    assert!(more.iter().all(Result::is_ok), "the stream goes on with what follows: {more:?}");
    assert_eq!(world.taken().iter().sum::<usize>(), 4);
}

#[tokio::test(start_paused = true)]
async fn with_leave_a_message_that_was_refused_is_sent_again() {
    let world = World::new();
    let refused = not_stored(&unavailable(reason::UNREACHABLE, "not handed over"));
    world.server("nyc").refuses([refused.clone(), refused.clone()]);
    let stream = world.client.push_stream("t", StreamOptions { reopen: true, ..StreamOptions::default() });
    assert!(outcomes(send(&stream, 0..4).await).await.iter().all(Result::is_ok));
    let mut payloads = world.server("nyc").payloads();
    payloads.sort();
    assert_eq!(payloads, numbers(0..4));
    world.server("nyc").refuses(std::iter::repeat_n(refused, 100));
    let hopeless = outcomes(send(&stream, 4..5).await).await;
    assert!(hopeless[0].as_ref().is_err_and(|why| is_not_stored(&why.status)));
}

/// In a thread of its own: a task that never rests keeps simulated time from passing, and the test from ending.
#[test]
fn a_message_that_was_refused_is_sent_again_although_the_handle_is_gone() {
    let scenario = async {
        let world = World::new();
        let nyc = world.server("nyc");
        nyc.takes_its_time(Duration::from_millis(100));
        let refused = not_stored(&unavailable(reason::UNREACHABLE, "not handed over"));
        nyc.refuses([refused.clone(), refused]);
        let options = StreamOptions { reopen: true, ..StreamOptions::default() };
        let stream = world.client.push_stream("t", options);
        let pending = send(&stream, 0..4).await;
        drop(stream);
        let all = outcomes(pending).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        assert_eq!(world.taken(), [4, 0, 0], "over the same stream");
    };
    let (done, ended) = std::sync::mpsc::channel();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime can be built").block_on(scenario);
        done.send(()).expect("the test waits");
    };
    std::thread::Builder::new().spawn(work).expect("a thread can be started");
    ended.recv_timeout(Duration::from_secs(20)).expect("all is answered, and the task rests in between");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_lets_what_was_sent_finish() {
    let world = World::new();
    let stream = world.client.push_stream("t", StreamOptions::default());
    let pending = send(&stream, 0..10).await;
    drop(stream);
    assert!(outcomes(pending).await.iter().all(Result::is_ok));
}
