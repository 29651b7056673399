//! Push and GetReceipt.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use trunkline_ports::CallOptions;
use trunkline_testkit::network::Side;
use trunkline_types::limits::TOPIC_CREATIONS_MAX;
use trunkline_types::{Receipt, TopicId};
use trunkline_wire::Code;
use trunkline_wire::internal::ResolveResponse;
use trunkline_wire::status::{disk_full, is_not_stored, not_found, reason, reason_of, retry_after};
use trunkline_wire::v1::{AckLevel, GetReceiptRequest, ReceiptState, push_service};

use super::fakes::Conduct;
use super::{Cluster, code, only};

const SECOND: Duration = Duration::from_secs(1);
const TEN: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_missing_topic_is_created_once_however_many_push_to_it() {
    let cluster = Cluster::start().await;
    let pushes = (0..100).map(|_| cluster.push("orders", AckLevel::Local, TEN));
    for response in join_all(pushes).await {
        let response = response.expect("pushed");
        let (result, error) = only(&response);
        assert!(error.is_none() && Receipt::from_text(&result.receipt).is_ok());
        assert_eq!(result.reached(), AckLevel::Local);
    }
    assert_eq!(cluster.table.created.load(Ordering::Relaxed), 1);
    let [first, second] = cluster.ranked("orders");
    assert_eq!((first.taken(), second.taken()), (100, 0), "the first-ranked store coordinates");
}

#[tokio::test(start_paused = true)]
async fn each_level_is_answered_with_what_it_promises() {
    let cluster = Cluster::start().await;
    let none = cluster.push("orders", AckLevel::None, TEN).await.expect("pushed");
    assert_eq!(only(&none).0.receipt, "");
    let ordered = cluster.push("orders", AckLevel::Ordered, TEN).await.expect("pushed");
    assert_eq!((only(&ordered).0.message_id, only(&ordered).0.reached()), (2, AckLevel::Ordered));
    let everywhere = cluster.push("orders", AckLevel::Everywhere, TEN).await.expect("pushed");
    assert_eq!(only(&everywhere).0.datacenters, ["mci", "nyc", "sea"]);
    let default = cluster.push("orders", AckLevel::Unspecified, TEN).await.expect("pushed");
    assert_eq!(only(&default).0.reached(), AckLevel::Local);
}

#[tokio::test(start_paused = true)]
async fn without_a_store_it_is_certain_that_nothing_was_stored() {
    let cluster = Cluster::start().await;
    cluster.table.create("orders", cluster.map.buckets);
    for store in cluster.ranked("orders") {
        store.node.process.crash();
    }
    let error = cluster.push("orders", AckLevel::Local, TEN).await.expect_err("no store");
    assert_eq!((error.code(), reason_of(&error).as_deref()), (Code::Unavailable, Some(reason::UNREACHABLE)));
    assert!(is_not_stored(&error));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_handed_over_is_never_brought_to_the_sibling() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    first.conduct(Conduct::Silent);
    let pushing = cluster.push("orders", AckLevel::Local, TEN);
    let crashing = async {
        while first.taken() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        first.node.process.crash();
    };
    let (response, ()) = futures::join!(pushing, crashing);
    let response = response.expect("the call itself does not fail");
    let error = only(&response).1.expect("unknown");
    assert_eq!(error.code(), Code::Unavailable);
    assert!(!is_not_stored(&error), "it may have been stored");
    assert_eq!(second.taken(), 0);
    let again = cluster.push("orders", AckLevel::Local, TEN).await.expect("the sibling coordinates now");
    assert_eq!((code(&again), second.taken()), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_coordinator_is_given_up_only_when_it_answers_nothing_at_all() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    first.conduct(Conduct::Silent);
    let slow = cluster.push("orders", AckLevel::Local, Duration::from_secs(5)).await.expect("answered");
    let error = only(&slow).1.expect("late");
    assert_eq!(reason_of(&error).as_deref(), Some(reason::LEVEL_NOT_REACHED), "it lives: it is waited for");
    first.node.process.pause();
    let begun = Instant::now();
    let lost = cluster.push("orders", AckLevel::Local, TEN).await.expect("answered");
    assert_eq!(reason_of(&only(&lost).1.expect("lost")).as_deref(), Some(reason::UNREACHABLE));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let next = cluster.push("orders", AckLevel::Local, TEN).await.expect("pushed");
    assert_eq!((code(&next), second.taken()), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_level_that_is_not_reached_is_said_before_the_deadline_with_the_receipt() {
    let cluster = Cluster::start().await;
    cluster.ranked("orders")[0].conduct(Conduct::Reach(AckLevel::Local));
    let begun = Instant::now();
    let response = cluster.push("orders", AckLevel::Ordered, TEN).await.expect("answered in time");
    assert_eq!(begun.elapsed().as_millis(), 9_900);
    let (result, error) = only(&response);
    let error = error.expect("not reached");
    assert_eq!(
        (error.code(), reason_of(&error).as_deref()),
        (Code::Unavailable, Some(reason::LEVEL_NOT_REACHED))
    );
    assert!(!is_not_stored(&error));
    assert_eq!(result.reached(), AckLevel::Local);
    assert!(Receipt::from_text(&result.receipt).is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_followed_at_other_replicas_when_its_coordinator_dies() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    first.conduct(Conduct::Reach(AckLevel::Local));
    let pushing = cluster.push("orders", AckLevel::Ordered, TEN);
    let crashing = async {
        tokio::time::sleep(SECOND).await;
        first.node.process.crash();
        tokio::time::sleep(SECOND).await;
        second.resolves(ResolveResponse {
            on_disk: true,
            decided: true,
            message_id: 77,
            ..ResolveResponse::default()
        });
    };
    let (response, ()) = futures::join!(pushing, crashing);
    let response = response.expect("answered");
    let (result, error) = only(&response);
    assert!(error.is_none(), "{error:?}");
    assert_eq!((result.message_id, result.reached()), (77, AckLevel::Ordered));
}

#[tokio::test(start_paused = true)]
async fn a_datacenter_that_is_cut_off_takes_local_pushes_to_topics_that_exist() {
    let cluster = Cluster::start().await;
    let id = cluster.table.create("orders", cluster.map.buckets);
    for store in cluster.ranked("orders") {
        store.knows("orders", id);
    }
    let nyc = Side::Datacenter("nyc".into());
    for other in ["mci", "sea"] {
        cluster.network.cut(&nyc, &Side::Datacenter(other.into()));
    }
    // Its own voter is gone as well.
    cluster.voters[0].process.crash();
    let response = cluster.push("orders", AckLevel::Local, TEN).await.expect("stored");
    assert_eq!(code(&response), None);
    let missing = cluster.push("another", AckLevel::Local, TEN).await.expect_err("no quorum, no topic");
    assert_eq!(missing.code(), Code::Unavailable);
    assert!(is_not_stored(&missing), "nothing was stored: {missing:?}");
}

#[tokio::test(start_paused = true)]
async fn voters_that_do_not_answer_keep_nobody_from_a_topic_that_a_replica_knows() {
    let mut cluster = Cluster::start().await;
    let names = ["hanging", "cut"];
    for name in names {
        let id = cluster.table.create(name, cluster.map.buckets);
        cluster.ranked(name).into_iter().for_each(|store| store.knows(name, id));
    }
    let push = async |cluster: &Cluster, name: &str| {
        let begun = Instant::now();
        let response = cluster.push(name, AckLevel::Local, TEN).await.expect("stored");
        assert_eq!(code(&response), None);
        assert!(begun.elapsed() < Duration::from_millis(60), "{name}: {:?}", begun.elapsed());
    };
    cluster.voters.iter().for_each(|voter| voter.process.pause());
    push(&cluster, names[0]).await;
    let server = Side::node(cluster.server.host.identity.name.clone());
    for voter in std::mem::take(&mut cluster.voters) {
        cluster.network.cut(&server, &Side::node(voter.host.identity.name.clone()));
        voter.process.resume();
    }
    push(&cluster, names[1]).await;
}

#[tokio::test(start_paused = true)]
async fn topics_that_cannot_be_created_do_not_crowd_out_those_that_exist() {
    let cluster = Cluster::start().await;
    let id = cluster.table.create("orders", cluster.map.buckets);
    cluster.ranked("orders").into_iter().for_each(|store| store.knows("orders", id));
    cluster.voters.iter().for_each(|voter| voter.process.pause());
    let names: Vec<_> = (0..TOPIC_CREATIONS_MAX + 2_000).map(|n| format!("missing-{n}")).collect();
    let hopeless = join_all(names.iter().map(|name| cluster.push(name, AckLevel::Local, TEN)));
    let existing = async {
        tokio::time::sleep(SECOND).await;
        let response = cluster.push("orders", AckLevel::Local, TEN).await.expect("stored");
        assert_eq!(code(&response), None);
    };
    let (hopeless, ()) = futures::join!(hopeless, existing);
    assert!(hopeless.iter().all(|answer| answer.as_ref().is_err_and(is_not_stored)));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_was_deleted_elsewhere_is_looked_up_anew() {
    let cluster = Cluster::start().await;
    cluster.push("orders", AckLevel::Local, TEN).await.expect("pushed");
    let old = cluster.table.create("orders", cluster.map.buckets);
    cluster.table.delete("orders");
    let ended = Conduct::RefuseTopic(TopicId(old), not_found("the topic was deleted"));
    cluster.ranked("orders").into_iter().for_each(|store| store.conduct(ended.clone()));
    let response = cluster.push("orders", AckLevel::Local, TEN).await.expect("pushed to the new topic");
    let receipt = Receipt::from_text(&only(&response).0.receipt).expect("a receipt");
    assert_ne!(receipt.topic, TopicId(old));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_moves_the_bucket_to_the_sibling() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    first.conduct(Conduct::Refuse(disk_full("the disk is full")));
    let response = cluster.push("orders", AckLevel::Local, TEN).await.expect("pushed");
    assert_eq!((code(&response), second.taken()), (None, 1));
    second.conduct(Conduct::Refuse(disk_full("the disk is full")));
    let error = cluster.push("orders", AckLevel::Local, TEN).await.expect_err("both are full");
    assert!(is_not_stored(&error));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_said_at_once_where_no_other_store_can_take_it() {
    let cluster = Cluster::start().await;
    cluster.push("orders", AckLevel::Local, TEN).await.expect("pushed");
    let [first, second] = cluster.ranked("orders");
    second.node.process.crash();
    tokio::time::sleep(SECOND).await;
    first.conduct(Conduct::Refuse(disk_full("the disk is full")));
    let begun = Instant::now();
    let error = cluster.push("orders", AckLevel::Local, TEN).await.expect_err("full");
    assert_eq!(
        (error.code(), reason_of(&error).as_deref()),
        (Code::ResourceExhausted, Some(reason::DISK_FULL))
    );
    assert!(is_not_stored(&error) && retry_after(&error).is_some(), "{error:?}");
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn full_disks_refuse_a_new_topic_at_every_level_and_nothing_is_stored() {
    for earlier in [0, 1] {
        let cluster = Cluster::start().await;
        for _ in 0..earlier {
            cluster.push("before", AckLevel::Ordered, TEN).await.expect("pushed");
        }
        let before: usize = cluster.stores.iter().map(super::FakeStore::taken).sum();
        cluster.stores.iter().for_each(|store| store.conduct(Conduct::Refuse(disk_full("the disk is full"))));
        for level in [AckLevel::Local, AckLevel::Ordered, AckLevel::Everywhere] {
            let begun = Instant::now();
            let topic = format!("new-{}", level.as_str_name());
            let error = cluster.push(&topic, level, TEN).await.expect_err("full");
            assert_eq!(
                (error.code(), reason_of(&error).as_deref()),
                (Code::ResourceExhausted, Some(reason::DISK_FULL)),
                "{level:?} after {earlier} pushes"
            );
            assert!(is_not_stored(&error) && retry_after(&error).is_some(), "{error:?}");
            assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
        }
        assert_eq!(cluster.stores.iter().map(super::FakeStore::taken).sum::<usize>(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_choice_stays_when_a_better_ranked_store_returns() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    first.node.process.crash();
    cluster.push("orders", AckLevel::Local, TEN).await.expect("pushed");
    let node = cluster.map.node(first.node.host.identity.node).expect("of the map").clone();
    let back = super::FakeStore::start(&cluster.network, &cluster.map, &node, 2);
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.push("orders", AckLevel::Local, TEN).await.expect("pushed");
    assert_eq!((second.taken(), back.taken()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn draining_refuses_what_is_new_and_finishes_what_is_under_way() {
    let mut cluster = Cluster::start().await;
    cluster.ranked("orders")[0].conduct(Conduct::Reach(AckLevel::Local));
    let drained = std::mem::replace(&mut cluster.drained, Box::pin(async {}));
    let under_way = cluster.push("orders", AckLevel::Ordered, Duration::from_secs(3));
    let draining = async {
        tokio::time::sleep(SECOND).await;
        cluster.shutdown.drain();
        let error = cluster.push("orders", AckLevel::Local, TEN).await.expect_err("refused");
        assert_eq!(reason_of(&error).as_deref(), Some(reason::DRAINING));
        assert!(is_not_stored(&error));
        let begun = Instant::now();
        drained.await;
        assert!(begun.elapsed() > SECOND, "it waited for what was under way");
    };
    let (response, ()) = futures::join!(under_way, draining);
    assert_eq!(only(&response.expect("answered")).0.reached(), AckLevel::Local);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_is_resolved_by_whoever_knows() {
    let cluster = Cluster::start().await;
    let response = cluster.push("orders", AckLevel::Local, TEN).await.expect("pushed");
    let receipt = only(&response).0.receipt.clone();
    let get = async |text: &str| {
        let request = GetReceiptRequest { receipt: text.to_owned() };
        let options = CallOptions::until(Instant::now() + TEN);
        cluster.client.call(&cluster.peer(), push_service::GET_RECEIPT, &request, options).await
    };
    assert_eq!(get(&receipt).await.expect("answered").state(), ReceiptState::Pending);
    let all = cluster.all_of("orders");
    all[0].resolves(ResolveResponse { on_disk: true, ..Default::default() });
    let far = ResolveResponse { on_disk: true, decided: true, message_id: 9, ..ResolveResponse::default() };
    all[5].resolves(far);
    let answer = get(&receipt).await.expect("answered");
    assert_eq!((answer.state(), answer.message_id), (ReceiptState::Ordered, 9));
    assert_eq!(answer.datacenters, ["nyc", "sea"]);
    assert_eq!(get("nonsense").await.expect_err("no receipt").message(), "receipt is not a receipt");
}
