mod positions;
mod reads;
mod traces;
mod world;

use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;
use trunkline_testkit::network::Side;
use trunkline_types::Role;
use trunkline_types::limits::WAITING_POPS_MAX;
use trunkline_wire::status::{self, reason};
use trunkline_wire::v1::pop_service;
use trunkline_wire::v1::start::At;
use trunkline_wire::{Code, Status, v1};

use world::World;

const EARLIEST: At = At::Earliest(v1::Earliest {});
const LATEST: At = At::Latest(v1::Latest {});

fn ids(deliveries: &[v1::Delivery]) -> Vec<u64> {
    let id = |delivery: &v1::Delivery| {
        let received = delivery.message.as_ref().unwrap();
        let payload = String::from_utf8(received.message.as_ref().unwrap().payload.to_vec()).unwrap();
        assert_eq!(payload, received.message_id.to_string(), "I3: the right message");
        received.message_id
    };
    deliveries.iter().map(id).collect()
}

fn tokens(deliveries: &[v1::Delivery]) -> Vec<bytes::Bytes> {
    deliveries.iter().map(|delivery| delivery.token.clone()).collect()
}

fn reason_of(error: &Status) -> (Code, String) {
    (error.code(), status::reason_of(error).unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_subscribed_gets_every_message_in_order_and_once() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 25);
    let first = world.pop("nyc", "a", Vec::new(), 10, 1_000).await.unwrap();
    let (mut got, mut echo) = (ids(&first), tokens(&first));
    let reads = world.reads();
    while got.len() < 25 {
        let deliveries = world.pop("nyc", "a", echo, 10, 1_000).await.unwrap();
        got.extend(ids(&deliveries));
        echo = tokens(&deliveries);
    }
    assert_eq!(got, (1..=25).collect::<Vec<_>>());
    assert_eq!(world.reads(), reads, "no call to a store on the path of a Pop");
    let began = Instant::now();
    assert_eq!(ids(&world.pop("nyc", "a", echo, 10, 0).await.unwrap()), []);
    assert_eq!(world.reads(), reads + 1, "a store is asked before it is said that there is nothing");
    assert!(began.elapsed() < Duration::from_millis(5), "{:?}", began.elapsed());
    let (subscription, status) = world.describe("sea").await.unwrap();
    assert_eq!((subscription.position, status.lag_messages, status.outstanding), (25, 0, 0));
    assert_eq!(status.dispatching_datacenter, "nyc");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_pop_is_answered_when_a_message_comes() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", LATEST).await.unwrap();
    let pop = world.pop("nyc", "a", Vec::new(), 1, 8_000);
    let push = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.push("t", 1);
        Instant::now()
    };
    let (deliveries, pushed) = futures::join!(pop.map(|popped| (popped, Instant::now())), push);
    assert_eq!(ids(&deliveries.0.unwrap()), [1]);
    assert!(deliveries.1 - pushed < Duration::from_millis(20));
}

#[tokio::test(start_paused = true)]
async fn pops_elsewhere_are_forwarded_until_eight_in_a_row_move_the_dispatch() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 100);
    let first = world.pop("nyc", "n", Vec::new(), 1, 0).await.unwrap();
    let mut echo = Vec::new();
    let mut got = ids(&first);
    for pop in 1..=8 {
        assert_eq!(world.describe("mci").await.unwrap().1.dispatching_datacenter, "nyc", "before pop {pop}");
        let deliveries = world.pop("sea", "s", echo, 1, 0).await.unwrap();
        got.extend(ids(&deliveries));
        echo = tokens(&deliveries);
    }
    assert_eq!(world.describe("mci").await.unwrap().1.dispatching_datacenter, "sea");
    // The move is a take-over: what nyc's client has and has not acknowledged comes again.
    assert_eq!(got, [1, 2, 3, 4, 5, 6, 7, 8, 1]);
    let count = |name| world.metric("sea", name);
    assert_eq!((count("pop_forwards_total{outcome=\"answered\"}"), count("pop_acquires")), (7, 1));
    let ack = v1::AckRequest { topic: "t".to_owned(), consumer: "c".to_owned(), tokens: tokens(&first) };
    let refused = world.call("nyc", pop_service::ACK, &ack, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(reason_of(&refused), (Code::FailedPrecondition, reason::DELIVERY_EXPIRED.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_forwarded_long_poll_is_not_taken_for_a_dead_dispatcher() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.pop("nyc", "n", Vec::new(), 1, 0).await.unwrap();
    let committed = world.committed();
    let waiting = world.pop("sea", "s", Vec::new(), 1, 9_500);
    let push = async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(world.committed(), committed, "nobody has taken it over");
        world.push("t", 1);
    };
    let (deliveries, ()) = futures::join!(waiting, push);
    assert_eq!(ids(&deliveries.unwrap()), [1]);
    assert_eq!(world.describe("sea").await.unwrap().1.dispatching_datacenter, "nyc");
}

#[tokio::test(start_paused = true)]
async fn an_empty_wait_through_a_forward_is_answered_in_time() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.pop("nyc", "n", Vec::new(), 1, 0).await.unwrap();
    let began = Instant::now();
    assert_eq!(ids(&world.pop("sea", "s", Vec::new(), 1, 60_000).await.unwrap()), []);
    let took = began.elapsed();
    assert!((Duration::from_millis(9_700)..Duration::from_secs(10)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_dispatcher_is_replaced_after_two_seconds_and_what_was_not_acknowledged_comes_again() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 9);
    let lost = world.pop("nyc", "n", Vec::new(), 3, 0).await.unwrap();
    let ack = v1::AckRequest {
        topic: "t".to_owned(),
        consumer: "c".to_owned(),
        tokens: tokens(&lost)[..1].to_vec(),
    };
    world.call("nyc", pop_service::ACK, &ack, Duration::from_secs(5)).await.unwrap();
    world.pops["nyc"].node.process.crash();
    let began = Instant::now();
    let deliveries = world.pop("sea", "s", Vec::new(), 3, 0).await.unwrap();
    assert_eq!(ids(&deliveries), [2, 3, 4], "handed out is not delivered");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let other = world.pop("mci", "m", Vec::new(), 1, 0).await.unwrap();
    assert_eq!(ids(&other), [5]);
}

#[tokio::test(start_paused = true)]
async fn a_pop_server_that_was_started_again_takes_back_what_it_dispatched() {
    let mut world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 3);
    world.pop("nyc", "n", Vec::new(), 1, 0).await.unwrap();
    world.pops["nyc"].node.process.crash();
    world.start_pop("nyc").await;
    let began = Instant::now();
    assert_eq!(ids(&world.pop("nyc", "n", Vec::new(), 3, 0).await.unwrap()), [1, 2, 3]);
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "another node answers at its address: {:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_is_cut_off_goes_on_up_to_the_limit_and_loses_to_who_took_over() {
    let world = World::new().await;
    world.subscribe("sea", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 3_000);
    world.pop("sea", "s", Vec::new(), 1, 0).await.unwrap();
    world.set_quorum(false);
    let mut got = 0;
    let mut echo = Vec::new();
    let refused = loop {
        match world.pop("sea", "s", echo.clone(), 100, 0).await {
            Ok(deliveries) => {
                got += deliveries.len();
                echo = tokens(&deliveries);
            }
            Err(error) => break error,
        }
    };
    assert_eq!(reason_of(&refused), (Code::Unavailable, reason::NO_QUORUM.to_owned()));
    assert!((900..=1_000).contains(&got), "{got}");
    world.set_quorum(true);
    let after = world.pop("sea", "s", echo, 10, 5_000).await.unwrap();
    assert_eq!(after.len(), 10, "and goes on when a commit succeeds");
}

#[tokio::test(start_paused = true)]
async fn a_deposed_dispatcher_sends_its_callers_to_the_new_one() {
    let world = World::new().await;
    world.subscribe("sea", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 10);
    let first = world.pop("sea", "s", Vec::new(), 2, 0).await.unwrap();
    let pop = |datacenter: &str| Side::node(format!("{datacenter}-pop-1"));
    world.network.cut(&pop("nyc"), &pop("sea"));
    let taken = world.pop("nyc", "n", Vec::new(), 4, 0).await.unwrap();
    assert_eq!(ids(&taken), [1, 2, 3, 4]);
    world.network.heal_all();
    // Its echo makes it commit, which is refused, so that it hears of the other.
    let (mut echo, mut got) = (tokens(&first), Vec::new());
    for _ in 0..10 {
        let deliveries = world.pop("sea", "s", echo, 1, 0).await.unwrap();
        got.extend(ids(&deliveries));
        echo = tokens(&deliveries);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(
        world.describe("mci").await.unwrap().1.dispatching_datacenter,
        "sea",
        "moved back by eight pops"
    );
    assert!(got.contains(&5) && got.contains(&10), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn a_draining_server_commits_and_hands_over_at_once() {
    let mut world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 4);
    let first = world.pop("nyc", "n", Vec::new(), 2, 0).await.unwrap();
    let rest = world.pop("nyc", "n", tokens(&first), 1, 0).await.unwrap();
    let pop = world.pops.remove("nyc").unwrap();
    pop.shutdown.drain();
    let began = Instant::now();
    pop.service.drained.await;
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    let refused = world.pop("nyc", "n", tokens(&rest), 1, 0).await.unwrap_err();
    assert_eq!(reason_of(&refused), (Code::Unavailable, reason::DRAINING.to_owned()));
    let began = Instant::now();
    let next = world.pop("sea", "n", tokens(&rest), 9, 0).await.unwrap();
    assert_eq!(ids(&next), [4], "what was echoed there and here does not come again");
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_a_subscription_a_pop_says_how_to_subscribe_and_without_a_quorum_that_it_cannot_know() {
    let world = World::new().await;
    let missing = world.pop("nyc", "a", Vec::new(), 1, 0).await.unwrap_err();
    assert_eq!(reason_of(&missing), (Code::FailedPrecondition, reason::NOT_SUBSCRIBED.to_owned()));
    assert!(missing.message().contains("call Subscribe"), "{missing}");
    world.push("t", 1);
    let missing = world.pop("nyc", "a", Vec::new(), 1, 0).await.unwrap_err();
    assert_eq!(reason_of(&missing).1, reason::NOT_SUBSCRIBED);
    world.set_quorum(false);
    let unknown = world.pop("nyc", "a", Vec::new(), 1, 0).await.unwrap_err();
    assert_eq!(reason_of(&unknown), (Code::Unavailable, reason::NO_QUORUM.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn in_a_datacenter_that_is_cut_off_every_call_says_in_time_why_it_cannot_be_done() {
    let world = World::new().await;
    world.subscribe("sea", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 10);
    world.pop("sea", "s", Vec::new(), 1, 0).await.unwrap();
    world.network.cut(&Side::datacenter("nyc"), &Side::Others);
    world.set_quorum(false);
    let in_time = |call: &str, because: &str, error: Status, began: Instant| {
        assert_eq!(reason_of(&error), (Code::Unavailable, because.to_owned()), "{call}: {error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{call}: {:?}", began.elapsed());
        assert!(
            !error.message().contains(":7") && !error.message().contains("nyc"),
            "no address that the caller has not named: {error}"
        );
    };
    let began = Instant::now();
    let popped = world.pop("nyc", "n", Vec::new(), 1, 0).await.unwrap_err();
    in_time("pop", reason::NO_QUORUM, popped, began);
    let began = Instant::now();
    let subscribed = world.subscribe("nyc", "t", "d", EARLIEST).await.unwrap_err();
    in_time("subscribe", reason::NO_QUORUM, subscribed, began);
    // Without a voter of this datacenter nobody can say more than that nobody answers.
    for (role, topic) in [(Role::SubscriptionPosition, "t"), (Role::MessageId, "new")] {
        let voters = world.map.nodes_of(role).filter(|node| node.datacenter == "nyc".into());
        voters.for_each(|voter| world.nodes[&voter.name].process.pause());
        let began = Instant::now();
        let subscribed = world.subscribe("nyc", topic, "d", EARLIEST).await.unwrap_err();
        assert!(!status::is_not_stored(&subscribed), "a voter that hangs may do it yet");
        in_time(topic, reason::UNREACHABLE, subscribed, began);
    }
}

#[tokio::test(start_paused = true)]
async fn subscribing_again_answers_the_same_and_other_options_differ() {
    let world = World::new().await;
    world.push("t", 7);
    let latest = world.subscribe("nyc", "t", "c", LATEST).await.unwrap();
    assert_eq!(latest.position, 7, "after what this datacenter can read");
    world.push("t", 5);
    assert_eq!(world.subscribe("sea", "t", "c", LATEST).await.unwrap().position, 7);
    let differs = world.subscribe("sea", "t", "c", At::MessageId(8)).await.unwrap_err();
    assert_eq!(reason_of(&differs), (Code::FailedPrecondition, reason::OPTIONS_DIFFER.to_owned()));
    let beyond = world.subscribe("nyc", "t", "d", At::MessageId(14)).await.unwrap_err();
    assert_eq!(beyond.code(), Code::OutOfRange);
    assert_eq!(world.subscribe("nyc", "t", "d", At::MessageId(13)).await.unwrap().position, 12);
    assert_eq!(world.subscribe("nyc", "new", "d", LATEST).await.unwrap().position, 0, "the topic is created");
    let start = world.pop("nyc", "a", Vec::new(), 1, 0).await.unwrap();
    assert_eq!(ids(&start), [8]);
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_record_comes_from_another_replica_and_only_if_all_are_bad_is_it_data_loss() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 3);
    world.corrupt(&world.stores("nyc", "t")[0], 2);
    let deliveries = world.pop("nyc", "a", Vec::new(), 3, 1_000).await.unwrap();
    assert_eq!(ids(&deliveries), [1], "the prefix that is good");
    let more = world.pop("nyc", "a", tokens(&deliveries), 3, 1_000).await.unwrap();
    assert_eq!(ids(&more), [2, 3]);
    world.push("t", 1);
    for datacenter in ["nyc", "mci", "sea"] {
        world.stores(datacenter, "t").iter().for_each(|store| world.corrupt(store, 5));
    }
    world.push("t", 1);
    let fourth = world.pop("nyc", "a", tokens(&more), 9, 1_000).await.unwrap();
    assert_eq!(ids(&fourth), [4]);
    let lost = world.pop("nyc", "a", tokens(&fourth), 9, 5_000).await.unwrap_err();
    assert_eq!(lost.code(), Code::DataLoss);
    assert!(lost.message().contains("message 5"), "{lost}");
}

#[tokio::test(start_paused = true)]
async fn without_local_stores_messages_come_from_another_datacenter() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    for store in world.stores("nyc", "t") {
        world.nodes[&store].process.crash();
    }
    world.push("t", 2);
    assert_eq!(ids(&world.pop("nyc", "a", Vec::new(), 9, 5_000).await.unwrap()), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_and_not_readable_here_is_read_through() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    for store in world.stores("nyc", "t") {
        world.hold_back(&store, 1);
    }
    world.push("t", 3);
    let first = world.pop("nyc", "a", Vec::new(), 1, 0).await.unwrap();
    assert_eq!(ids(&first), [1]);
    let began = Instant::now();
    assert_eq!(ids(&world.pop("nyc", "a", tokens(&first), 9, 9_000).await.unwrap()), [2, 3]);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_deleted_ends_its_subscriptions() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 1);
    world.pop("nyc", "a", Vec::new(), 1, 0).await.unwrap();
    let waiting = world.pop("nyc", "b", Vec::new(), 1, 9_000);
    let delete = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.delete("t");
    };
    let (ended, ()) = futures::join!(waiting, delete);
    assert_eq!(reason_of(&ended.unwrap_err()).1, reason::NOT_SUBSCRIBED);
    assert_eq!(
        reason_of(&world.pop("nyc", "b", Vec::new(), 1, 0).await.unwrap_err()).1,
        reason::NOT_SUBSCRIBED
    );
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 2);
    assert_eq!(
        ids(&world.pop("nyc", "b", Vec::new(), 9, 1_000).await.unwrap()),
        [1, 2],
        "another topic of that name"
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_of_a_topic_that_was_deleted_and_created_again_are_refused_with_a_reason() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 1);
    let old = tokens(&world.pop("nyc", "a", Vec::new(), 1, 0).await.unwrap());
    world.delete("t");
    world.push("t", 2);
    let missing = world.pop("nyc", "b", Vec::new(), 1, 0).await.unwrap_err();
    assert_eq!(reason_of(&missing).1, reason::NOT_SUBSCRIBED);
    world.subscribe("sea", "t", "c", EARLIEST).await.unwrap();
    let expired = (Code::FailedPrecondition, reason::DELIVERY_EXPIRED.to_owned());
    for datacenter in ["nyc", "sea"] {
        let refused = world.pop(datacenter, "a", old.clone(), 1, 0).await.unwrap_err();
        assert_eq!(reason_of(&refused), expired, "{datacenter}");
        let ack = v1::AckRequest { topic: "t".to_owned(), consumer: "c".to_owned(), tokens: old.clone() };
        let refused =
            world.call(datacenter, pop_service::ACK, &ack, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(reason_of(&refused), expired, "{datacenter}");
    }
    let new = world.pop("nyc", "a", Vec::new(), 1, 0).await.unwrap();
    assert_eq!(ids(&new), [1]);
    let next = world.pop("sea", "a", tokens(&new), 1, 0).await.unwrap();
    assert_eq!(ids(&next), [2], "those of the new one count");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_remembers_the_deleted_topic_learns_of_the_new_one_from_its_tokens() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 1);
    world.pop("nyc", "a", Vec::new(), 1, 0).await.unwrap();
    world.delete("t");
    world.push("t", 2);
    world.subscribe("sea", "t", "c", EARLIEST).await.unwrap();
    let new = world.pop("sea", "a", Vec::new(), 1, 0).await.unwrap();
    let next = world.pop("nyc", "a", tokens(&new), 1, 0).await.unwrap();
    assert_eq!(ids(&next), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_needs_no_subscription() {
    let world = World::new().await;
    let read = |from, wait_ms| v1::ReadRequest {
        topic: "t".to_owned(),
        from,
        max_messages: 2,
        max_bytes: 0,
        wait: prost_types::Duration::try_from(Duration::from_millis(wait_ms)).ok(),
        from_time: None,
    };
    let call = |request| {
        let world = &world;
        async move { world.call("mci", pop_service::READ, &request, Duration::from_secs(10)).await }
    };
    assert_eq!(call(read(0, 0)).await.unwrap_err().code(), Code::NotFound);
    world.push("t", 3);
    let first = call(read(0, 0)).await.unwrap();
    assert_eq!((first.messages.len(), first.next, first.watermark), (2, 3, 3));
    let second = call(read(first.next, 0)).await.unwrap();
    assert_eq!((second.messages[0].message_id, second.next), (3, 4));
    let push = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        world.push("t", 1);
    };
    let (third, ()) = futures::join!(call(read(second.next, 9_000)), push);
    assert_eq!(third.unwrap().messages[0].message_id, 4);
    let nothing = call(read(9, 200)).await.unwrap();
    assert_eq!((nothing.messages.len(), nothing.next, nothing.watermark), (0, 9, 4));
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_hangs_does_not_hide_what_local_replicas_know() {
    let world = World::new().await;
    world.push("t", 1);
    world.nodes["nyc-message-id-1"].process.pause();
    world.network.cut(&Side::datacenter("nyc"), &Side::Others);
    let request = v1::ReadRequest { topic: "t".to_owned(), ..v1::ReadRequest::default() };
    let began = Instant::now();
    let read = world.call("nyc", pop_service::READ, &request, Duration::from_secs(5)).await.unwrap();
    assert_eq!(read.messages.len(), 1);
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_hangs_beside_the_voter_does_not_hide_what_its_sibling_knows() {
    let world = World::new().await;
    world.push("t", 1);
    let first = world.stores("nyc", "t").remove(0);
    for hangs in ["nyc-message-id-1", &first] {
        world.nodes[hangs].process.pause();
    }
    world.network.cut(&Side::datacenter("nyc"), &Side::Others);
    let request = v1::ReadRequest { topic: "t".to_owned(), ..v1::ReadRequest::default() };
    let read = world.call("nyc", pop_service::READ, &request, Duration::from_secs(5)).await.unwrap();
    assert_eq!(read.messages.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_listed_by_topic_then_consumer_in_pages() {
    let world = World::new().await;
    for (topic, consumer) in [("b", "y"), ("a", "y"), ("b", "x"), ("c", "x"), ("a", "x")] {
        world.subscribe("nyc", topic, consumer, LATEST).await.unwrap();
    }
    let list = async |topic: &str, page_size| {
        let mut request =
            v1::ListSubscriptionsRequest { topic: topic.to_owned(), page_size, ..Default::default() };
        let mut names = Vec::new();
        loop {
            let page = world
                .call("sea", pop_service::LIST_SUBSCRIPTIONS, &request, Duration::from_secs(10))
                .await
                .unwrap();
            names.extend(page.subscriptions.iter().map(|one| format!("{}/{}", one.topic, one.consumer)));
            if page.next_page_token.is_empty() {
                return names.join(" ");
            }
            request.page_token = page.next_page_token;
        }
    };
    assert_eq!(list("", 0).await, "a/x a/y b/x b/y c/x");
    assert_eq!(list("", 2).await, "a/x a/y b/x b/y c/x");
    assert_eq!(list("b", 1).await, "b/x b/y");
    world.delete("b");
    assert_eq!(list("", 0).await, "a/x a/y c/x", "they went with their topic");
    world.subscribe("nyc", "b", "x", LATEST).await.unwrap();
    assert_eq!(list("", 0).await, "a/x a/y b/x c/x", "of another topic of that name");
    world
        .nodes
        .values()
        .filter(|node| node.host.identity.role == Role::MessageId)
        .for_each(|node| node.process.crash());
    assert_eq!(list("b", 0).await, "b/x b/x b/y", "nobody says that they are deleted");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_nobody_pops_is_given_up_and_taken_again() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 2);
    let first = world.pop("nyc", "a", Vec::new(), 1, 0).await.unwrap();
    world.pop("nyc", "a", tokens(&first), 1, 0).await.unwrap();
    assert_eq!(world.metric("nyc", "pop_dispatched"), 1);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.metric("nyc", "pop_dispatched"), 0);
    let reads = world.reads();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.reads(), reads, "nothing is read for nobody");
    assert_eq!(ids(&world.pop("nyc", "a", Vec::new(), 9, 0).await.unwrap()), [2]);
}

#[tokio::test(start_paused = true)]
async fn callers_who_are_gone_hold_no_place_at_a_subscription() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    let clients: Vec<String> = (0..WAITING_POPS_MAX).map(|client| format!("gone-{client}")).collect();
    let gone = clients.iter().map(|client| world.pop("nyc", client, Vec::new(), 1, 9_000));
    let gone = tokio::time::timeout(Duration::from_millis(500), futures::future::join_all(gone)).await;
    assert!(gone.is_err(), "they gave up while they waited");
    let waiting = world.pop("nyc", "a", Vec::new(), 9, 5_000);
    let push = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.push("t", 2);
    };
    let (deliveries, ()) = futures::join!(waiting, push);
    assert_eq!(ids(&deliveries.unwrap()), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_bare_pop_whose_forwarded_reply_is_lost_loses_nothing_inside_the_cluster() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 3);
    world.pop("nyc", "n", Vec::new(), 1, 0).await.unwrap();
    let pop = |datacenter: &str| Side::node(format!("{datacenter}-pop-1"));
    world.network.cut_one_way(&pop("nyc"), &pop("sea"));
    let deliveries = world.pop("sea", "", Vec::new(), 2, 0).await.unwrap();
    assert_eq!(ids(&deliveries), [1, 2], "by a new dispatcher, which knows nothing of the lost reply");
    assert_eq!(world.metric("sea", "pop_bare_pops"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_ack_goes_to_the_dispatcher_wherever_it_is_and_is_idempotent() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 3);
    let given = world.pop("nyc", "n", Vec::new(), 2, 0).await.unwrap();
    let ack = v1::AckRequest { topic: "t".to_owned(), consumer: "c".to_owned(), tokens: tokens(&given) };
    for datacenter in ["mci", "nyc", "mci"] {
        world.call(datacenter, pop_service::ACK, &ack, Duration::from_secs(5)).await.unwrap();
        let (subscription, status) = world.describe(datacenter).await.unwrap();
        assert_eq!((subscription.position, status.outstanding, status.lag_messages), (2, 0, 1));
        assert_eq!(status.oldest_unacknowledged, 3);
    }
    world.pops["nyc"].node.process.crash();
    world.call("mci", pop_service::ACK, &ack, Duration::from_secs(5)).await.unwrap();
    assert_eq!(ids(&world.pop("mci", "m", Vec::new(), 9, 0).await.unwrap()), [3]);
    let malformed = v1::AckRequest { tokens: vec!["x".into()], ..ack };
    let refused = world.call("mci", pop_service::ACK, &malformed, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "tokens[0] is not a delivery token")
    );
}
