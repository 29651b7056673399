//! Pushes of messages that have a producer id and a sequence.

use std::time::Duration;

use trunkline_types::Receipt;
use trunkline_wire::internal::ResolveResponse;
use trunkline_wire::status::{from_message, is_not_stored, producer_limit, reason, reason_of};
use trunkline_wire::v1::{AckLevel, GetReceiptRequest, Message, ReceiptState, push_service};
use trunkline_wire::{Code, Status};

use super::fakes::Conduct;
use super::{Cluster, only};

const TEN: Duration = Duration::from_secs(10);

fn produced(sequences: &[u64]) -> Vec<Message> {
    let one = |&producer_sequence| Message {
        payload: "hello".into(),
        producer_id: vec![7; 16].into(),
        producer_sequence,
        ..Message::default()
    };
    sequences.iter().map(one).collect()
}

/// Crashes a store once it has taken something.
async fn crash_when_taken(cluster: &Cluster, which: usize) {
    let store = cluster.ranked("orders")[which];
    while store.taken() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store.node.process.crash();
}

#[tokio::test(start_paused = true)]
async fn a_record_of_unknown_outcome_is_brought_to_the_sibling_when_it_counts_once() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    first.conduct(Conduct::Silent);
    let pushing = cluster.push_all("orders", produced(&[3, 1, 4]), AckLevel::Local, TEN);
    let (response, ()) = futures::join!(pushing, crash_when_taken(&cluster, 0));
    let results = response.expect("pushed").results;
    assert!(results.iter().all(|result| result.error.is_none() && result.reached() == AckLevel::Local));
    assert_eq!((first.produced(), second.produced()), (vec![3, 1, 4], vec![3, 1, 4]));
    let receipt = Receipt::from_text(&results[1].receipt).expect("a receipt");
    assert_eq!(receipt.log.node, second.node.host.identity.node);
}

#[tokio::test(start_paused = true)]
async fn one_message_without_a_producer_keeps_its_request_from_being_brought_again() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    first.conduct(Conduct::Silent);
    let messages = [produced(&[1]), vec![Message::default()]].concat();
    let pushing = cluster.push_all("orders", messages, AckLevel::Local, TEN);
    let (response, ()) = futures::join!(pushing, crash_when_taken(&cluster, 0));
    for result in response.expect("answered").results {
        assert!(!is_not_stored(&from_message(&result.error.expect("lost"))));
    }
    assert_eq!(second.taken(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_coordinator_may_have_stored_the_siblings_refusal_does_not_make_certain() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    first.conduct(Conduct::Silent);
    second.conduct(Conduct::Refuse(Status::resource_exhausted("full")));
    let pushing = cluster.push_all("orders", produced(&[1]), AckLevel::Local, TEN);
    let (response, ()) = futures::join!(pushing, crash_when_taken(&cluster, 0));
    let response = response.expect("it may have been stored");
    let error = only(&response).1.expect("refused");
    assert!(!is_not_stored(&error), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_answered_with_the_first_messages_id_at_the_level_that_that_one_has_reached() {
    let cluster = Cluster::start().await;
    cluster.ranked("orders")[0].conduct(Conduct::Duplicates);
    cluster.table.create("orders", cluster.map.buckets);
    let all = cluster.all_of("orders");
    let duplicate = ResolveResponse { decided: true, duplicate: true, ..ResolveResponse::default() };
    let first = ResolveResponse { message_id: 5, on_disk: true, ..duplicate };
    // One store of another datacenter knows the first message; it is not on disk elsewhere.
    all.iter()
        .for_each(|store| store.resolves(ResolveResponse { on_disk: true, ..ResolveResponse::default() }));
    let elsewhere =
        all.iter().find(|store| store.node.host.identity.datacenter != "nyc".into()).expect("one");
    elsewhere.resolves(first);
    let push = |level| cluster.push_all("orders", produced(&[1]), level, TEN);
    let local = push(AckLevel::Local).await.expect("pushed");
    assert_eq!((only(&local).0.message_id, only(&local).0.reached()), (0, AckLevel::Local));
    let ordered = push(AckLevel::Ordered).await.expect("pushed");
    let result = only(&ordered).0;
    assert_eq!((result.duplicate, result.message_id, result.reached()), (true, 5, AckLevel::Ordered));
    let late = push(AckLevel::Everywhere).await.expect("answered");
    let (result, error) = only(&late);
    assert_eq!(reason_of(&error.expect("late")).as_deref(), Some(reason::LEVEL_NOT_REACHED));
    assert!(result.duplicate && !result.receipt.is_empty());
    all.iter().for_each(|store| store.resolves(first));
    let everywhere = push(AckLevel::Everywhere).await.expect("pushed");
    let result = only(&everywhere).0;
    assert_eq!((result.duplicate, result.message_id, result.datacenters.len()), (true, 5, 3));
    let request = GetReceiptRequest { receipt: result.receipt.clone() };
    let answer = cluster
        .client
        .call(
            &cluster.peer(),
            push_service::GET_RECEIPT,
            &request,
            trunkline_ports::CallOptions::until(tokio::time::Instant::now() + TEN),
        )
        .await
        .expect("resolved");
    assert_eq!(
        (answer.state(), answer.message_id, answer.datacenters.len()),
        (ReceiptState::Duplicate, 5, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn a_producer_too_many_and_a_name_that_is_none_are_refused_with_certainty() {
    let cluster = Cluster::start().await;
    let [first, second] = cluster.ranked("orders");
    first.conduct(Conduct::Refuse(producer_limit("too many")));
    let error = cluster.push_all("orders", produced(&[1]), AckLevel::Local, TEN).await.expect_err("refused");
    assert_eq!(
        (error.code(), reason_of(&error).as_deref()),
        (Code::ResourceExhausted, Some(reason::PRODUCER_LIMIT))
    );
    assert!(is_not_stored(&error) && second.taken() == 0);
    let nameless =
        cluster.push_all("orders", produced(&[0]), AckLevel::Local, TEN).await.expect_err("refused");
    assert_eq!(nameless.code(), Code::InvalidArgument);
    assert_eq!(
        nameless.message(),
        "messages[0].producer_sequence is 0, 1 to 9223372036854775807 are allowed"
    );
}
