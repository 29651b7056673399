//! Subscriptions end with their topic. Whoever pops one hears so from the stores at once; here what is remembered of it goes,
//! once a voter of the topic's group says that the topic is deleted, which is final.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline_delivery::position::Entry;
use trunkline_placement::voters_by_nearness;
use trunkline_ports::{CallOptions, Class, Host, Peer};
use trunkline_types::{GroupId, TopicId};
use trunkline_wire::internal::OrderFindTopicRequest;
use trunkline_wire::internal::order_service::FIND_TOPIC;

use crate::groups::{Groups, Member};

/// How often a leader asks after some of its group's topics.
const INTERVAL: Duration = Duration::from_secs(30);
/// Topics of a group that are asked after at a time, in turn.
const TOPICS_AT_ONCE: usize = 16;
const ANSWER_MAX: Duration = Duration::from_secs(2);
const PROPOSAL_MAX: Duration = Duration::from_secs(5);

pub(crate) async fn run(host: Host, groups: Arc<Groups>) {
    let mut after: BTreeMap<GroupId, TopicId> = BTreeMap::new();
    loop {
        sleep(INTERVAL).await;
        for member in groups.iter().filter(|member| member.group.leadership().borrow().is_here) {
            let last = after.entry(member.group.id()).or_default();
            let topics: Vec<TopicId> = member.state.read().topics(*last).take(TOPICS_AT_ONCE).collect();
            *last = topics.last().copied().filter(|_| topics.len() == TOPICS_AT_ONCE).unwrap_or_default();
            for topic in topics {
                if is_deleted(&host, topic).await {
                    end(&groups, member, topic).await;
                }
            }
        }
    }
}

/// Whether a voter of its group says so. No answer says nothing.
async fn is_deleted(host: &Host, topic: TopicId) -> bool {
    let map = host.map();
    let group = map.ordering_group(topic.bucket());
    let request = OrderFindTopicRequest {
        envelope: Some(host.envelope()),
        topic_id: topic.0,
        ..OrderFindTopicRequest::default()
    };
    for voter in voters_by_nearness(&map, group, &host.identity.datacenter) {
        let peer = Peer::new(voter.address.as_str(), Class::Calls);
        let until = CallOptions::until(Instant::now() + ANSWER_MAX);
        if let Ok(answer) = host.network.call(&peer, FIND_TOPIC, &request, until).await {
            return answer.deleted;
        }
    }
    false
}

async fn end(groups: &Groups, member: &Member, topic: TopicId) {
    let until = Instant::now() + PROPOSAL_MAX;
    // If it fails, the topic is asked after again.
    if groups.propose(member, "end", &Entry::TopicDeleted(topic), until).await.is_ok() {
        tracing::debug!(%topic, "subscriptions have ended with their topic");
    }
}
