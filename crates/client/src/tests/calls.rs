//! Nearness, failover and retries.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_wire::Code;
use trunkline_wire::status::{
    failed_precondition, is_not_stored, not_stored, overloaded, reason, reason_of, unavailable,
};
use trunkline_wire::v1::{AckLevel, ListTopicsRequest, Message, Start};

use super::{World, pass};

fn message() -> Message {
    Message { payload: "m".into(), ..Message::default() }
}

#[tokio::test(start_paused = true)]
async fn the_nearest_datacenter_is_asked_however_they_are_configured() {
    let world = World::new();
    world.client.push_one("t", message(), AckLevel::Local).await.expect("pushed");
    assert_eq!(world.taken(), [1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn pings_ask_not_to_be_recorded() {
    let world = World::new();
    pass(10_000).await;
    let pings = world.server("nyc").pings();
    assert!(pings.len() > 1);
    assert!(pings.iter().all(|trace| trace.as_ref().is_some_and(|text| text.ends_with("-00"))), "{pings:?}");
}

#[tokio::test(start_paused = true)]
async fn it_fails_over_to_the_next_and_returns_when_the_nearest_does() {
    let world = World::new();
    world.client.push_one("t", message(), AckLevel::Local).await.expect("pushed");
    pass(100).await;
    let address = world.server("nyc").address.clone();
    world.server("nyc").process.crash();
    world.client.push_one("t", message(), AckLevel::Local).await.expect("pushed elsewhere");
    assert_eq!(world.taken(), [1, 1, 0]);
    let back = super::Server::start(&world.network, "nyc");
    assert_eq!(back.address, address);
    pass(10_000).await;
    world.client.push_one("t", message(), AckLevel::Local).await.expect("pushed");
    assert_eq!(back.taken(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_push_of_unknown_outcome_is_not_made_again() {
    let world = World::new();
    world.server("nyc").fails_with([unavailable(reason::UNREACHABLE, "the coordinator was lost")]);
    let failure = world.client.push_one("t", message(), AckLevel::Local).await.expect_err("unknown");
    assert_eq!(failure.status.code(), Code::Unavailable);
    assert!(!is_not_stored(&failure.status));
    assert_eq!(world.taken(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_was_certainly_not_stored_is_made_again() {
    let world = World::new();
    let full = overloaded("full", Duration::from_millis(400));
    world.server("nyc").fails_with([full, not_stored(&unavailable(reason::NO_QUORUM, "cut off"))]);
    let begun = Instant::now();
    world.client.push_one("t", message(), AckLevel::Local).await.expect("pushed");
    assert!(begun.elapsed() >= Duration::from_millis(400), "it waited as it was told");
    assert_eq!(world.taken(), [0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn reads_are_made_again_wherever_they_may_go_better() {
    let world = World::new();
    for name in ["nyc", "mci"] {
        world.server(name).fails_with([unavailable(reason::NO_QUORUM, "cut off")]);
    }
    let begun = Instant::now();
    world.client.list_topics(&ListTopicsRequest::default()).await.expect("sea answers");
    assert!(begun.elapsed() < Duration::from_millis(400), "other datacenters are asked at once");
    let only = world.client.only("nyc").expect("known");
    world.server("nyc").fails_with([unavailable(reason::NO_QUORUM, "cut off")]);
    only.list_topics(&ListTopicsRequest::default()).await.expect("the same one, again");
    assert!(world.client.only("lax").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_last_attempt_that_runs_out_of_time_does_not_hide_what_a_server_said() {
    let world = World::new();
    let only = world.client.only("nyc").expect("known");
    only.list_topics(&ListTopicsRequest::default()).await.expect("measured");
    let cut_off = not_stored(&unavailable(reason::NO_QUORUM, "there is no quorum"));
    world.server("nyc").fails_with([cut_off]);
    let request = ListTopicsRequest::default();
    let asking = only.list_topics(&request);
    let (error, ()) = futures::join!(asking, async {
        pass(20).await;
        world.server("nyc").process.pause();
    });
    let error = error.expect_err("no second answer");
    assert_eq!((error.code(), reason_of(&error).as_deref()), (Code::Unavailable, Some(reason::NO_QUORUM)));
    assert_eq!(error.message(), "there is no quorum");
    assert!(!is_not_stored(&error), "the second attempt may have had its effect");
}

#[tokio::test(start_paused = true)]
async fn a_push_above_a_limit_is_refused_before_it_is_sent() {
    let world = World::new();
    let large = Message { payload: vec![7; 9 << 20].into(), ..Message::default() };
    let failure = world.client.push_one("t", large.clone(), AckLevel::Local).await.expect_err("too large");
    let words = "messages[0].payload is 9437184 bytes long, at most 1048576 are allowed";
    assert_eq!((failure.status.code(), failure.status.message()), (Code::InvalidArgument, words));
    assert!(is_not_stored(&failure.status));
    let stream = world.client.push_stream("t", crate::StreamOptions::default());
    let mut outcomes = Vec::new();
    for one in [message(), large, message()] {
        outcomes.push(stream.send(one).await.expect("open").outcome().await);
    }
    let [Ok(_), Err(refused), Ok(_)] = &outcomes[..] else { panic!("only the second: {outcomes:?}") };
    assert_eq!(refused.status.message(), words);
    assert!(is_not_stored(&refused.status));
    assert_eq!(world.taken(), [2, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_left_for_another() {
    let world = World::new();
    world.client.list_topics(&ListTopicsRequest::default()).await.expect("measured");
    world.server("nyc").process.pause();
    let begun = Instant::now();
    world.client.list_topics(&ListTopicsRequest::default()).await.expect("mci answers");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn retries_end_with_the_budget_and_the_deadline() {
    let world = World::new();
    for name in ["nyc", "mci", "sea"] {
        let down = not_stored(&unavailable(reason::NO_QUORUM, "down"));
        world.server(name).fails_with(std::iter::repeat_n(down, 1_000));
    }
    let begun = Instant::now();
    let failure = world.client.push_one("t", message(), AckLevel::Local).await.expect_err("all are down");
    assert!(is_not_stored(&failure.status));
    assert!(begun.elapsed() <= Duration::from_secs(10));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(100) {
        let again = world.client.push_one("t", message(), AckLevel::Local).await;
        assert!(again.is_err());
        pass(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_echoes_what_it_was_given_until_that_has_arrived() {
    let world = World::new();
    let mut subscriber = world.client.subscriber("t", "c");
    pass(100).await;
    subscriber.pop(1, Duration::ZERO).await.expect("popped");
    world.server("nyc").fails_with([unavailable(reason::NO_QUORUM, "lost")]);
    subscriber.pop(1, Duration::ZERO).await.expect("popped elsewhere");
    assert_eq!(world.server("nyc").previous(), [vec![], vec![bytes::Bytes::from(vec![1])]]);
    assert_eq!(world.server("mci").previous(), [[bytes::Bytes::from(vec![1])]], "said again");
    subscriber.ack().await.expect("acknowledged");
    subscriber.pop(1, Duration::ZERO).await.expect("popped");
    let acked: Vec<_> = ["nyc", "mci"].iter().flat_map(|name| world.server(name).acked()).collect();
    assert_eq!(acked.len(), 1);
    let last = world.server("nyc").previous().pop().expect("one");
    assert!(last.is_empty(), "what is acknowledged is not echoed");
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_begins_anew_when_what_it_was_given_is_of_a_topic_that_was_deleted() {
    let world = World::new();
    let mut subscriber = world.client.subscriber("t", "c");
    pass(100).await;
    subscriber.pop(1, Duration::ZERO).await.expect("popped");
    let expired = failed_precondition(reason::DELIVERY_EXPIRED, "of a topic that was deleted");
    world.server("nyc").fails_with([expired]);
    subscriber.pop(1, Duration::ZERO).await.expect("popped");
    let echoed: Vec<usize> = world.server("nyc").previous().iter().map(Vec::len).collect();
    assert_eq!(echoed, [0, 1, 0], "it echoes what is of no use any more once");
    let gone = failed_precondition(reason::NOT_SUBSCRIBED, "the subscription went with the topic");
    world.server("nyc").fails_with([gone]);
    let missing =
        subscriber.pop(1, Duration::ZERO).await.expect_err("whether to subscribe again is the caller's");
    assert_eq!(reason_of(&missing).as_deref(), Some(reason::NOT_SUBSCRIBED));
    subscriber.pop(1, Duration::ZERO).await.expect("popped");
}

#[tokio::test(start_paused = true)]
async fn a_seek_has_one_name_however_often_it_is_made() {
    let world = World::new();
    pass(100).await;
    for name in ["nyc", "mci"] {
        world.server(name).fails_with([unavailable(reason::NO_QUORUM, "cut off")]);
    }
    world.client.seek("t", "c", Start::default()).await.expect("sought");
    world.client.seek("t", "c", Start::default()).await.expect("sought");
    let seeks: Vec<String> = ["nyc", "mci", "sea"].iter().flat_map(|at| world.server(at).seeks()).collect();
    let first = seeks.iter().filter(|name| **name == seeks[0]).count();
    let names: BTreeSet<&String> = seeks.iter().collect();
    assert_eq!((seeks.len(), names.len(), seeks[0].len()), (4, 2, 32), "{seeks:?}");
    assert!([1, 3].contains(&first), "three attempts of the first, one of the second: {seeks:?}");
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_comes_too_late_is_not_repeated() {
    let world = World::new();
    let mut subscriber = world.client.subscriber("t", "c");
    pass(100).await;
    subscriber.pop(1, Duration::ZERO).await.expect("popped");
    let expired = failed_precondition(reason::DELIVERY_EXPIRED, "another client has it now");
    world.server("nyc").fails_with([expired]);
    let refused = subscriber.ack().await.expect_err("too late");
    assert_eq!(reason_of(&refused).as_deref(), Some(reason::DELIVERY_EXPIRED));
    subscriber.pop(1, Duration::ZERO).await.expect("popped");
    assert!(world.server("nyc").previous().concat().is_empty(), "its tokens are forgotten");
}
