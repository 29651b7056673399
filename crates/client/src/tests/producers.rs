//! Messages that have producer ids are pushed again, whatever became of them.

use futures::future::join_all;
use trunkline_wire::Status;
use trunkline_wire::status::{is_not_stored, not_stored, producer_limit, reason, reason_of, unavailable};
use trunkline_wire::v1::{AckLevel, Message};

use super::{World, pass};
use crate::{Outcome, Pending, PushStream, StreamOptions};

fn message(text: &str) -> Message {
    Message { payload: text.as_bytes().to_vec().into(), ..Message::default() }
}

fn lost() -> Status {
    unavailable(reason::UNREACHABLE, "the coordinator was lost")
}

async fn send(stream: &PushStream, numbers: std::ops::Range<usize>) -> Vec<Pending> {
    let mut all = Vec::new();
    for n in numbers {
        all.push(stream.send(message(&n.to_string())).await.expect("the stream is open"));
    }
    all
}

async fn outcomes(pending: Vec<Pending>) -> Vec<Outcome> {
    join_all(pending.into_iter().map(Pending::outcome)).await
}

/// One whose client has measured all datacenters.
async fn measured(world: World) -> World {
    pass(500).await;
    world
}

fn reopening() -> StreamOptions {
    StreamOptions { reopen: true, ..StreamOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn a_push_of_unknown_outcome_is_made_again_elsewhere_under_the_same_name() {
    let world = measured(World::new()).await;
    world.server("nyc").fails_with([lost()]);
    let two = vec![message("a"), message("b")];
    let pushed = world.client.push("t", two, AckLevel::Local).await.expect("pushed elsewhere");
    assert!(pushed.iter().all(Result::is_ok));
    world.client.push_one("t", message("c"), AckLevel::Local).await.expect("pushed");
    assert_eq!(world.taken(), [0, 3, 0]);
    assert_eq!(world.server("mci").sequences(), (vec![1, 2, 3], 1));
    world.client.push_one("u", message("d"), AckLevel::Local).await.expect("pushed");
    world
        .client
        .only("mci")
        .expect("known")
        .push_one("t", message("e"), AckLevel::Local)
        .await
        .expect("pushed");
    assert_eq!(world.server("mci").sequences(), (vec![1, 2, 3, 1, 1], 2), "each client has its own producer");
}

#[tokio::test(start_paused = true)]
async fn who_names_messages_himself_keeps_the_names() {
    let world = measured(World::without_producers()).await;
    world.server("nyc").fails_with([lost()]);
    let named = Message { producer_id: vec![7; 16].into(), producer_sequence: 9, ..message("a") };
    world.client.push_one("t", named, AckLevel::Local).await.expect("pushed again");
    assert_eq!((world.server("mci").sequences(), world.taken()), ((vec![9], 1), [0, 1, 0]));
}

#[tokio::test(start_paused = true)]
async fn what_the_first_attempt_may_have_stored_the_last_does_not_call_certain() {
    let world = measured(World::new()).await;
    world.server("nyc").fails_with([lost()]);
    let full = not_stored(&Status::resource_exhausted("too many topics"));
    world.server("mci").fails_with([full]);
    let failure = world.client.push_one("t", message("a"), AckLevel::Local).await.expect_err("refused");
    assert!(!is_not_stored(&failure.status), "{:?}", failure.status);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_may_be_reopened_sends_again_what_was_not_answered_in_order() {
    let world = World::new();
    world.server("nyc").ends_streams(2, Some(lost()));
    let stream = world.client.push_stream("t", reopening());
    let all = outcomes(send(&stream, 0..5).await).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let later: Vec<_> = ["mci", "sea"].iter().flat_map(|name| world.server(name).payloads()).collect();
    assert_eq!(later.join(" "), "2 3 4");
    assert_eq!(world.server("nyc").sequences().0, [1, 2]);
    assert!(world.server("mci").sequences().0 == [3, 4, 5] || world.server("sea").sequences().0 == [3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn without_leave_what_was_not_answered_is_unknown() {
    let world = World::new();
    world.server("nyc").ends_streams(2, Some(lost()));
    let stream = world.client.push_stream("t", StreamOptions::default());
    let all = outcomes(send(&stream, 0..4).await).await;
    assert!(all[2..].iter().all(|one| one.as_ref().is_err_and(|why| !is_not_stored(&why.status))));
    pass(10).await;
    assert!(stream.is_over());
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_stored_stays_unknown_when_the_stream_is_given_up() {
    let world = measured(World::new()).await;
    world.server("nyc").ends_streams(1, Some(lost()));
    let full = not_stored(&Status::resource_exhausted("too many topics"));
    ["mci", "sea"].iter().for_each(|name| world.server(name).fails_with([full.clone()]));
    let stream = world.client.push_stream("t", reopening());
    let pending = send(&stream, 0..2).await;
    let all = outcomes(pending).await;
    assert!(all[0].is_ok(), "{all:?}");
    assert!(all[1].as_ref().is_err_and(|why| !is_not_stored(&why.status)), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn where_a_topic_takes_no_more_producers_messages_go_without() {
    let world = World::new();
    let refused = not_stored(&producer_limit("too many"));
    world.server("nyc").fails_with([refused.clone()]);
    for text in ["a", "b"] {
        world.client.push_one("t", message(text), AckLevel::Local).await.expect("pushed");
    }
    assert_eq!(world.server("nyc").sequences().0, [0, 0]);
    world.server("nyc").refuses([refused.clone(), refused]);
    let stream = world.client.push_stream("t", StreamOptions::default());
    let mut all = outcomes(send(&stream, 2..4).await).await;
    all.extend(outcomes(send(&stream, 4..6).await).await);
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(world.server("nyc").payloads().join(" "), "a b 2 3 4 5", "in order");
    assert_eq!(world.server("nyc").sequences().0[2..], [0, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_a_producer_that_the_caller_chose_is_the_callers() {
    let world = World::new();
    world.server("nyc").fails_with([not_stored(&producer_limit("too many"))]);
    let named = Message { producer_id: vec![7; 16].into(), producer_sequence: 9, ..message("a") };
    let failure = world.client.push_one("t", named, AckLevel::Local).await.expect_err("refused");
    assert_eq!(reason_of(&failure.status).as_deref(), Some(reason::PRODUCER_LIMIT));
}
