//! TopicService.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_ports::CallOptions;
use trunkline_testkit::network::Side;
use trunkline_wire::Code;
use trunkline_wire::status::{is_not_stored, reason, reason_of};
use trunkline_wire::v1::{
    AckLevel, CreateTopicRequest, DeleteTopicRequest, GetTopicRequest, ListTopicsRequest, topic_service,
};

use super::Cluster;

fn soon() -> CallOptions {
    CallOptions::until(Instant::now() + Duration::from_secs(10))
}

#[tokio::test(start_paused = true)]
async fn topics_come_by_name_over_all_groups_page_by_page() {
    let cluster = Cluster::start().await;
    for n in 0..25 {
        let request = CreateTopicRequest { topic: format!("t{n:02}"), options: None };
        let created =
            cluster.client.call(&cluster.peer(), topic_service::CREATE_TOPIC, &request, soon()).await;
        assert_eq!(created.expect("created").topic.expect("a topic").name, format!("t{n:02}"));
    }
    let mut request = ListTopicsRequest { prefix: "t".to_owned(), page_size: 7, page_token: String::new() };
    let mut names = Vec::new();
    loop {
        let page = cluster.client.call(&cluster.peer(), topic_service::LIST_TOPICS, &request, soon()).await;
        let page = page.expect("a page");
        assert!(page.topics.len() <= 7);
        names.extend(page.topics.into_iter().map(|topic| topic.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, (0..25).map(|n| format!("t{n:02}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_topic_says_how_far_it_can_be_read_here_and_ends_when_it_is_deleted() {
    let cluster = Cluster::start().await;
    cluster.table.create("orders", cluster.map.buckets);
    let get = GetTopicRequest { topic: "orders".to_owned() };
    let answer = cluster.client.call(&cluster.peer(), topic_service::GET_TOPIC, &get, soon()).await;
    assert_eq!(answer.expect("found").watermark, 41);
    for _ in 0..2 {
        let delete = DeleteTopicRequest { topic: "orders".to_owned() };
        let deleted =
            cluster.client.call(&cluster.peer(), topic_service::DELETE_TOPIC, &delete, soon()).await;
        assert!(deleted.is_ok(), "deleting what is not there is fine");
    }
    let answer = cluster.client.call(&cluster.peer(), topic_service::GET_TOPIC, &get, soon()).await;
    assert_eq!(answer.expect_err("gone").code(), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_creation_in_a_datacenter_that_is_cut_off_says_so_in_time() {
    let cluster = Cluster::start().await;
    cluster.table.is_cut_off.store(true, Ordering::Relaxed);
    cluster.network.cut(&Side::datacenter("nyc"), &Side::Others);
    let create = async |within: Duration| {
        let request = CreateTopicRequest { topic: "new".to_owned(), options: None };
        let begun = Instant::now();
        let options = CallOptions::until(begun + within);
        let answer =
            cluster.client.call(&cluster.peer(), topic_service::CREATE_TOPIC, &request, options).await;
        assert!(begun.elapsed() < within, "{:?}", begun.elapsed());
        let error = answer.expect_err("no quorum, no topic");
        assert_eq!(error.code(), Code::Unavailable);
        (reason_of(&error).expect("a reason"), error.message().to_owned())
    };
    let said = (reason::NO_QUORUM.to_owned(), "there is no quorum".to_owned());
    for within in [Duration::from_secs(10), Duration::from_secs(1)] {
        assert_eq!(create(within).await, said, "within {within:?}");
    }
    // The one voter that could say so hangs: it is not the caller's business which voters there are.
    cluster.voters.iter().for_each(|voter| voter.process.pause());
    let (because, message) = create(Duration::from_secs(10)).await;
    assert_eq!(because, reason::UNREACHABLE);
    assert!(message.starts_with("no voter of ") && message.ends_with(" answers"), "{message}");
    let push = cluster.push("new", AckLevel::Local, Duration::from_secs(10)).await.expect_err("no topic");
    assert!(push.code() == Code::Unavailable && is_not_stored(&push), "{push:?}");
}
