//! Seek, UpdateSubscription, DeleteSubscription, times.

use super::*;

const EXPIRED: (Code, &str) = (Code::FailedPrecondition, reason::DELIVERY_EXPIRED);

fn at_ms(ms: u64) -> At {
    At::Time(trunkline_wire::convert::timestamp::from_ms(ms))
}

fn is(error: &Status, expected: (Code, &str)) {
    assert_eq!(reason_of(error), (expected.0, expected.1.to_owned()), "{error}");
}

/// 20 messages, of which a client in nyc has acknowledged 1 to 8 and holds 9 to 12.
async fn at_eight(world: &World) -> Vec<bytes::Bytes> {
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 20);
    let first = world.pop("nyc", "a", Vec::new(), 8, 0).await.unwrap();
    world.ack("nyc", tokens(&first)).await.unwrap();
    let held = world.pop("nyc", "a", Vec::new(), 4, 0).await.unwrap();
    assert_eq!(ids(&held), [9, 10, 11, 12]);
    tokens(&held)
}

#[tokio::test(start_paused = true)]
async fn after_a_seek_all_comes_again_from_there_and_nothing_of_before_counts() {
    let world = World::new().await;
    let held = at_eight(&world).await;
    world.subscribe("nyc", "t", "d", EARLIEST).await.unwrap();
    let other = world.pop_as("d", "nyc", "a", Vec::new(), 5, 0).await.unwrap();
    let sought = world.seek("sea", At::MessageId(3), "").await.unwrap();
    assert_eq!((sought.position, sought.generation), (2, 1));
    is(&world.ack("nyc", held.clone()).await.unwrap_err(), EXPIRED);
    assert_eq!(world.describe("nyc").await.unwrap().0.position, 2);
    let again = world.pop("nyc", "a", held, 10, 0).await.unwrap();
    assert_eq!(ids(&again), [3, 4, 5, 6, 7, 8, 9, 10, 11, 12], "the echo of old tokens counts for nothing");
    assert!(again.iter().all(|delivery| delivery.attempt == 1));
    world.ack("mci", tokens(&again)).await.unwrap();
    assert_eq!(world.describe("sea").await.unwrap().0.position, 12);
    assert_eq!(world.seek("nyc", LATEST, "").await.unwrap().position, 20, "and forward");
    let next = world.pop_as("d", "nyc", "a", tokens(&other), 5, 0).await.unwrap();
    assert_eq!(ids(&next), [6, 7, 8, 9, 10], "the other consumer has not noticed");
    assert_eq!(ids(&world.pop("nyc", "a", Vec::new(), 1, 0).await.unwrap()), []);
}

#[tokio::test(start_paused = true)]
async fn a_seek_that_is_repeated_counts_once_through_whichever_server() {
    let world = World::new().await;
    at_eight(&world).await;
    let first = world.seek("nyc", At::MessageId(3), "replay").await.unwrap();
    let got = world.pop("nyc", "a", Vec::new(), 2, 0).await.unwrap();
    world.ack("nyc", tokens(&got)).await.unwrap();
    for datacenter in ["nyc", "mci", "sea"] {
        let again = world.seek(datacenter, At::MessageId(3), "replay").await.unwrap();
        assert_eq!((first.generation, again.generation, again.position), (1, 1, 4), "{datacenter}");
    }
    assert_eq!(world.seek("sea", At::MessageId(3), "another").await.unwrap().generation, 2);
    assert_eq!(world.seek("sea", At::MessageId(3), "").await.unwrap().generation, 3);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_pop_is_answered_by_what_a_seek_brings() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 2);
    let two = world.pop("nyc", "a", Vec::new(), 2, 0).await.unwrap();
    for waits_at in ["nyc", "mci"] {
        let waiting = world.pop(waits_at, "a", tokens(&two), 1, 9_000);
        let seek = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.seek("sea", At::MessageId(2), "").await.unwrap();
            Instant::now()
        };
        let (answered, sought) = futures::join!(waiting.map(|popped| (popped, Instant::now())), seek);
        assert_eq!(ids(&answered.0.unwrap()), [2], "{waits_at}");
        assert!(answered.1 < sought + Duration::from_secs(1), "{waits_at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_cannot_be_told_of_a_seek_finds_out_and_moves_nothing() {
    let world = World::new().await;
    let held = at_eight(&world).await;
    let pop = |datacenter: &str| Side::node(format!("{datacenter}-pop-1"));
    world.network.cut(&pop("nyc"), &pop("sea"));
    let began = Instant::now();
    assert_eq!(world.seek("sea", At::MessageId(3), "").await.unwrap().position, 2);
    assert!(began.elapsed() < Duration::from_secs(1), "nobody waits long for it: {:?}", began.elapsed());
    // It knows of nothing; what it takes for acknowledged, it cannot commit.
    let popped = world.pop("nyc", "a", held, 1, 0).await.unwrap();
    assert_eq!(ids(&popped), [13]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.describe("mci").await.unwrap().0.position, 2);
    let again = world.pop("nyc", "a", tokens(&popped), 20, 0).await.unwrap();
    assert_eq!(ids(&again), (3..=20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_time_is_order_time_for_seek_subscribe_and_read() {
    let world = World::new().await;
    world.pass(1_000);
    world.push("t", 5);
    world.pass(1_000);
    world.push("t", 5);
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    // Every message was pushed at 1,000 ms by its push server's clock, whatever that shows.
    for (ms, first) in [(0, 1), (1_000, 1), (1_001, 6), (2_000, 6), (2_001, 11), (99_000, 11)] {
        assert_eq!(world.seek("sea", at_ms(ms), "").await.unwrap().position + 1, first, "{ms}");
        let request = v1::ReadRequest {
            topic: "t".to_owned(),
            from_time: Some(trunkline_wire::convert::timestamp::from_ms(ms)),
            ..Default::default()
        };
        let read = world.call("mci", pop_service::READ, &request, Duration::from_secs(5)).await.unwrap();
        assert_eq!((read.messages.len() as u64, read.next), (11 - first, 11), "{ms}");
        assert!(read.expired.is_empty());
        let consumer = format!("c{ms}");
        let subscribed = world.subscribe("sea", "t", &consumer, at_ms(ms)).await.unwrap();
        assert_eq!(subscribed.position + 1, first, "{ms}");
        let again = world.subscribe("nyc", "t", &consumer, at_ms(ms)).await.unwrap();
        assert_eq!(again, subscribed, "the same time is the same option");
    }
    let both = v1::ReadRequest {
        topic: "t".to_owned(),
        from: 3,
        from_time: Some(trunkline_wire::convert::timestamp::from_ms(1)),
        ..Default::default()
    };
    let refused = world.call("mci", pop_service::READ, &both, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(refused.message(), "from_time cannot be set together with from");
}

#[tokio::test(start_paused = true)]
async fn lag_in_time_is_since_the_oldest_unacknowledged_message_was_ordered() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    let lag = async || {
        let status = world.describe("sea").await.unwrap().1;
        let ms = |lag: prost_types::Duration| lag.seconds * 1_000 + i64::from(lag.nanos / 1_000_000);
        (status.oldest_unacknowledged, status.lag_messages, status.lag_time.map(ms))
    };
    assert_eq!(lag().await, (0, 0, Some(0)));
    world.pass(60_000);
    world.push("t", 2);
    world.pass(5_000);
    world.push("t", 1);
    world.pass(1_500);
    assert_eq!(lag().await, (1, 3, Some(6_500)));
    let two = world.pop("nyc", "a", Vec::new(), 2, 0).await.unwrap();
    assert_eq!(lag().await, (1, 3, Some(6_500)), "handed out is not acknowledged");
    world.ack("nyc", tokens(&two)).await.unwrap();
    assert_eq!(lag().await, (3, 1, Some(1_500)));
    world.pass(86_400_000);
    assert_eq!(lag().await, (3, 1, Some(86_401_500)), "also where nothing is ordered any more");
}

#[tokio::test(start_paused = true)]
async fn where_there_is_nothing_to_seek_it_says_so() {
    let world = World::new().await;
    assert_eq!(world.seek("nyc", LATEST, "").await.unwrap_err().code(), Code::NotFound);
    world.push("t", 4);
    assert_eq!(world.seek("nyc", LATEST, "").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.update("nyc", 5).await.unwrap_err().code(), Code::NotFound);
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    let beyond = world.seek("nyc", At::MessageId(6), "").await.unwrap_err();
    assert_eq!(beyond.code(), Code::OutOfRange);
    assert!(beyond.message().starts_with("to.message_id is 6"), "{beyond}");
    assert_eq!(world.seek("nyc", At::MessageId(5), "").await.unwrap().position, 4);
    world.set_quorum(false);
    is(&world.seek("nyc", EARLIEST, "").await.unwrap_err(), (Code::Unavailable, reason::NO_QUORUM));
}

#[tokio::test(start_paused = true)]
async fn options_change_under_way_and_what_is_handed_out_stays_handed_out() {
    let world = World::new().await;
    let held = at_eight(&world).await;
    let updated = world.update("sea", 5).await.unwrap();
    assert_eq!(updated.options.unwrap().ack_deadline.unwrap().seconds, 5);
    let committed = world.committed();
    assert_eq!(world.update("mci", 5).await.unwrap().generation, 0);
    let more = world.pop("nyc", "b", Vec::new(), 2, 0).await.unwrap();
    assert_eq!(ids(&more), [13, 14], "what another client holds stays with it");
    assert_eq!(world.committed(), committed + 1, "nobody has taken it over");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let again = world.pop("nyc", "x", Vec::new(), 9, 0).await.unwrap();
    assert_eq!(ids(&again)[..2], [13, 14], "by the new ack deadline");
    world.ack("nyc", held).await.unwrap();
    assert_eq!(world.describe("nyc").await.unwrap().0.position, 12);
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_has_missed_a_change_of_options_notices_at_its_next_commit() {
    let world = World::new().await;
    let held = at_eight(&world).await;
    let pop = |datacenter: &str| Side::node(format!("{datacenter}-pop-1"));
    world.network.cut(&pop("nyc"), &pop("sea"));
    world.update("sea", 5).await.unwrap();
    world.ack("nyc", held).await.unwrap();
    let next = world.pop("nyc", "a", Vec::new(), 2, 2_000).await.unwrap();
    assert_eq!(ids(&next), [13, 14]);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(ids(&world.pop("nyc", "b", Vec::new(), 2, 0).await.unwrap()), [13, 14]);
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_is_not_popped_and_created_again_it_begins_anew() {
    let world = World::new().await;
    let held = at_eight(&world).await;
    let waiting = world.pop("mci", "b", Vec::new(), 1, 9_000);
    // Nothing is left for a second client to wait with: it gets 13, and waits with what comes after.
    let first = waiting.await.unwrap();
    assert_eq!(ids(&first), [13]);
    world.seek("nyc", LATEST, "").await.unwrap();
    let waiting = world.pop("mci", "b", Vec::new(), 1, 9_000);
    let delete = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.unsubscribe("sea").await.unwrap();
    };
    let (ended, ()) = futures::join!(waiting, delete);
    let not_subscribed = (Code::FailedPrecondition, reason::NOT_SUBSCRIBED);
    is(&ended.unwrap_err(), not_subscribed);
    for datacenter in ["nyc", "mci", "sea"] {
        world.unsubscribe(datacenter).await.unwrap();
        is(&world.pop(datacenter, "a", Vec::new(), 1, 0).await.unwrap_err(), not_subscribed);
        is(&world.ack(datacenter, held.clone()).await.unwrap_err(), not_subscribed);
        assert_eq!(world.describe(datacenter).await.unwrap_err().code(), Code::NotFound);
    }
    let created = world.subscribe("sea", "t", "c", At::MessageId(2)).await.unwrap();
    assert_eq!((created.position, created.generation), (1, 0));
    is(&world.ack("nyc", held.clone()).await.unwrap_err(), EXPIRED);
    let again = world.pop("nyc", "a", held, 20, 0).await.unwrap();
    assert_eq!(ids(&again), (2..=20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_was_not_told_of_a_deletion_moves_nothing_of_what_was_created_since() {
    let world = World::new().await;
    let held = at_eight(&world).await;
    let pop = |datacenter: &str| Side::node(format!("{datacenter}-pop-1"));
    world.network.cut(&pop("nyc"), &Side::Others);
    world.unsubscribe("sea").await.unwrap();
    world.subscribe("sea", "t", "c", EARLIEST).await.unwrap();
    world.network.heal_all();
    is(&world.ack("nyc", held).await.unwrap_err(), EXPIRED);
    assert_eq!(world.describe("mci").await.unwrap().0.position, 0);
    assert_eq!(ids(&world.pop("nyc", "a", Vec::new(), 3, 0).await.unwrap()), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_list_says_how_far_each_is_behind_where_that_is_asked() {
    let world = World::new().await;
    at_eight(&world).await;
    world.subscribe("nyc", "u", "c", EARLIEST).await.unwrap();
    let list = async |with_status| {
        let request = v1::ListSubscriptionsRequest { with_status, ..Default::default() };
        world.call("sea", pop_service::LIST_SUBSCRIPTIONS, &request, Duration::from_secs(10)).await.unwrap()
    };
    assert!(list(false).await.statuses.is_empty());
    let listed = list(true).await;
    assert_eq!((listed.subscriptions.len(), listed.statuses.len()), (2, 2));
    let (one, status) = (&listed.subscriptions[0], &listed.statuses[0]);
    assert_eq!((one.topic.as_str(), one.position, status.outstanding, status.lag_messages), ("t", 8, 4, 12));
    assert_eq!((status.oldest_unacknowledged, status.dispatching_datacenter.as_str()), (9, "nyc"));
    for datacenter in ["nyc", "mci", "sea"] {
        world.stores(datacenter, "u").iter().for_each(|store| world.nodes[store].process.crash());
    }
    let listed = list(true).await;
    let told = listed.statuses.iter().map(|status| status.error.is_some()).collect::<Vec<_>>();
    assert!(told[1], "nobody can say it: {told:?}");
}
