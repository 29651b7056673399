use std::collections::BTreeMap;

use trunkline_types::limits::PAGE_BYTES_MAX;
use trunkline_types::{Bucket, TopicId};
use trunkline_wire::internal::{
    OrderCreateTopicRequest, OrderDeleteTopicRequest, OrderDeleteTopicResponse, OrderFindTopicRequest,
    OrderFindTopicResponse, OrderListTopicsRequest, order_service,
};
use trunkline_wire::status::{is_not_stored, reason, reason_of};
use trunkline_wire::{Code, Message as _, Status, v1};

use crate::cluster::{Cluster, DATACENTERS};

fn labeled(label: &str) -> v1::TopicOptions {
    v1::TopicOptions { labels: BTreeMap::from([("team".to_owned(), label.to_owned())]), ..Default::default() }
}

async fn create(
    cluster: &Cluster,
    options: Option<v1::TopicOptions>,
    automatic: bool,
) -> Result<(u64, bool, v1::TopicOptions), Status> {
    let envelope = Some(cluster.caller.host.envelope());
    let request = OrderCreateTopicRequest { envelope, name: "orders".to_owned(), options, automatic };
    let response = cluster.call("sea", order_service::CREATE_TOPIC, request).await?;
    let topic = response.topic.unwrap();
    Ok((topic.topic_id, response.created, topic.options.unwrap()))
}

async fn find(
    cluster: &Cluster,
    datacenter: &str,
    name: &str,
    id: u64,
) -> Result<OrderFindTopicResponse, Status> {
    let envelope = Some(cluster.caller.host.envelope());
    let request = OrderFindTopicRequest { envelope, name: name.to_owned(), topic_id: id, confirmed: true };
    cluster.call(datacenter, order_service::FIND_TOPIC, request).await
}

async fn delete(cluster: &Cluster, datacenter: &str, name: &str) -> Result<OrderDeleteTopicResponse, Status> {
    let request =
        OrderDeleteTopicRequest { envelope: Some(cluster.caller.host.envelope()), name: name.to_owned() };
    cluster.call(datacenter, order_service::DELETE_TOPIC, request).await
}

#[tokio::test(start_paused = true)]
async fn creating_again_answers_the_topic_unless_the_options_differ() {
    let cluster = Cluster::new().await;
    let (id, created, options) = create(&cluster, Some(labeled("a")), false).await.unwrap();
    assert!(created);
    assert_eq!(options.default_ack_level(), v1::AckLevel::Local, "what is not said is the default");
    assert_eq!(TopicId(id).bucket(), cluster.bucket_of("orders"));
    assert_eq!(create(&cluster, Some(labeled("a")), false).await.unwrap(), (id, false, options.clone()));
    assert_eq!(create(&cluster, None, true).await.unwrap(), (id, false, options), "automatically: as it is");
    let differs = create(&cluster, Some(labeled("b")), false).await.unwrap_err();
    assert_eq!(differs.code(), Code::AlreadyExists);
    assert_eq!(reason_of(&differs).as_deref(), Some(reason::OPTIONS_DIFFER));
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_found_by_name_and_id_everywhere_until_it_is_deleted() {
    let cluster = Cluster::new().await;
    let topic = cluster.create("nyc", "orders").await.unwrap().topic.unwrap();
    for datacenter in DATACENTERS {
        let found = find(&cluster, datacenter, "orders", 0).await.unwrap();
        assert_eq!((found.found, found.next_id, found.topic.as_ref()), (true, 1, Some(&topic)));
        assert_eq!(find(&cluster, datacenter, "", topic.topic_id).await.unwrap().topic, Some(topic.clone()));
    }
    assert!(delete(&cluster, "mci", "orders").await.unwrap().deleted);
    assert!(!delete(&cluster, "mci", "orders").await.unwrap().deleted, "deleting what is not there is fine");
    assert!(!find(&cluster, "sea", "orders", 0).await.unwrap().found);
    let again = cluster.create("nyc", "orders").await.unwrap();
    assert!(again.created);
    assert_ne!(again.topic.as_ref().unwrap().topic_id, topic.topic_id);
    let gone = find(&cluster, "sea", "", topic.topic_id).await.unwrap();
    assert_eq!((gone.found, gone.deleted), (false, true));
    let live = TopicId(again.topic.unwrap().topic_id);
    let forged =
        find(&cluster, "sea", "", TopicId::new(live.counter(), Bucket(live.bucket().0 ^ 4)).0).await.unwrap();
    assert_eq!((forged.found, forged.deleted), (false, false), "that counter is another bucket's");
    let beyond = TopicId::new(TopicId(topic.topic_id).counter() + 2, TopicId(topic.topic_id).bucket());
    let yet_to_come = find(&cluster, "sea", "", beyond.0).await.unwrap();
    assert_eq!((yet_to_come.found, yet_to_come.deleted), (false, false), "absent is not deleted");
}

#[tokio::test(start_paused = true)]
async fn topics_are_listed_by_page_and_prefix_as_new_as_the_caller_knows() {
    let cluster = Cluster::new().await;
    let mut names: Vec<String> = (0..5).map(|number| cluster.neighbor(number)).collect();
    let mut at_least = 0;
    for name in &names {
        at_least = cluster.create("nyc", name).await.unwrap().index;
    }
    names.sort();
    let list = |prefix: &str, after: &str, limit, at_least| {
        let request = OrderListTopicsRequest {
            envelope: Some(cluster.caller.host.envelope()),
            group: cluster.group().to_u32(),
            prefix: prefix.to_owned(),
            after: after.to_owned(),
            limit,
            at_least,
        };
        cluster.call("sea", order_service::LIST_TOPICS, request)
    };
    let listed = |topics: Vec<v1::Topic>| topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>();
    let first = list("", "", 2, at_least).await.unwrap();
    assert!(first.more && first.as_of.is_some());
    assert_eq!(listed(first.topics), names[..2]);
    let rest = list("", &names[1], 0, 0).await.unwrap();
    assert!(!rest.more);
    assert_eq!(listed(rest.topics), names[2..]);
    assert_eq!(listed(list(&names[3], "", 0, 0).await.unwrap().topics)[0], names[3]);
    let behind = list("", "", 0, at_least + 100).await.unwrap_err();
    assert!(matches!(behind.code(), Code::Unavailable | Code::DeadlineExceeded), "{behind:?}");
}

#[tokio::test(start_paused = true)]
async fn a_page_of_topics_with_many_labels_fits_a_message() {
    let cluster = Cluster::new().await;
    let names: Vec<String> = (0..100).map(|number| cluster.neighbor(number)).collect();
    let mut at_least = 0;
    for name in &names {
        let request = OrderCreateTopicRequest {
            envelope: Some(cluster.caller.host.envelope()),
            name: name.clone(),
            options: Some(labeled(&"x".repeat(16_000))),
            automatic: false,
        };
        at_least = cluster.call("sea", order_service::CREATE_TOPIC, request).await.unwrap().index;
    }
    let mut listed: Vec<String> = Vec::new();
    let mut more = true;
    while more {
        let request = OrderListTopicsRequest {
            envelope: Some(cluster.caller.host.envelope()),
            group: cluster.group().to_u32(),
            prefix: String::new(),
            after: listed.last().cloned().unwrap_or_default(),
            limit: 0,
            at_least,
        };
        let page = cluster.call("sea", order_service::LIST_TOPICS, request).await.unwrap();
        assert!(page.encoded_len() < PAGE_BYTES_MAX + 1_000 && !page.topics.is_empty());
        listed.extend(page.topics.into_iter().map(|topic| topic.name));
        more = page.more;
    }
    let mut names = names;
    names.sort();
    assert_eq!(listed, names);
}

#[tokio::test(start_paused = true)]
async fn without_a_quorum_nothing_is_created_and_that_is_certain() {
    let cluster = Cluster::new().await;
    cluster.create("nyc", "orders").await.unwrap();
    cluster.consensus.lead(cluster.group(), None);
    let refused = cluster.create("nyc", &cluster.neighbor(1)).await.unwrap_err();
    assert_eq!((refused.code(), is_not_stored(&refused)), (Code::Unavailable, true));
    assert!(!cluster.create("nyc", "orders").await.unwrap().created, "what is there costs no quorum");
    assert_eq!(find(&cluster, "nyc", "orders", 0).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(delete(&cluster, "nyc", "orders").await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_a_topic_is_refused_in_words() {
    let cluster = Cluster::new().await;
    let refused = cluster.create("nyc", "a/b").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let large = v1::TopicOptions { message_bytes_max: 100_000_001, ..Default::default() };
    let refused = create(&cluster, Some(large), false).await.unwrap_err();
    assert_eq!(refused.message(), "options.message_bytes_max is at most 100000000");
    let mut envelope = cluster.caller.host.envelope();
    envelope.cluster += 1;
    let request = OrderDeleteTopicRequest { envelope: Some(envelope), name: "orders".to_owned() };
    let refused = cluster.call("nyc", order_service::DELETE_TOPIC, request).await.unwrap_err();
    assert_eq!(reason_of(&refused).as_deref(), Some(reason::STALE));
}
