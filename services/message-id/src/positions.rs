//! How far all subscriptions of some topics have acknowledged: every position group is asked, at its leader. What one of
//! them does not say is not known.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::Instant;
use trunkline_placement::voters_by_nearness;
use trunkline_ports::{CallOptions, Class, Host, Peer};
use trunkline_types::{GroupId, TopicId};
use trunkline_wire::convert::number;
use trunkline_wire::internal::position_service::LOWEST_POSITIONS;
use trunkline_wire::internal::{LowestPositionsRequest, LowestPositionsResponse};

/// Groups that are asked at the same time.
const GROUPS_AT_ONCE: usize = 16;
/// One voter's answer, with its leader's word.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The IDs below are acknowledged by every subscription of each topic; empty where some group does not answer.
pub(crate) async fn acknowledged(host: Host, topics: Vec<TopicId>) -> BTreeMap<TopicId, u64> {
    let mut below: BTreeMap<TopicId, u64> = topics.iter().map(|&topic| (topic, u64::MAX)).collect();
    let groups = (0..host.map().position_groups).map(GroupId::position);
    let asking = groups.map(|group| of_group(&host, group, &topics));
    let mut answers = stream::iter(asking).buffer_unordered(GROUPS_AT_ONCE);
    while let Some(answer) = answers.next().await {
        let Some(answer) = answer else { return BTreeMap::new() };
        for (topic, lowest) in answer {
            below.entry(topic).and_modify(|known| *known = lowest.min(*known));
        }
    }
    below
}

/// What one group says of each topic that it has subscriptions of; `None` if it does not answer for all.
async fn of_group(host: &Host, group: GroupId, topics: &[TopicId]) -> Option<Vec<(TopicId, u64)>> {
    let request = LowestPositionsRequest {
        envelope: Some(host.envelope()),
        group: group.to_u32(),
        topic_ids: topics.iter().map(|topic| topic.0).collect(),
    };
    let map = host.map();
    for voter in voters_by_nearness(&map, group, &host.identity.datacenter) {
        let peer = Peer::new(voter.address.as_str(), Class::Calls);
        let until = CallOptions::until(Instant::now() + ANSWER_MAX + map.round_trip_worst() * 2);
        match host.network.call(&peer, LOWEST_POSITIONS, &request, until).await {
            Ok(answer) => return taken(&answer, topics),
            Err(status) => tracing::debug!(%group, %status, "a voter does not say what is acknowledged"),
        }
    }
    None
}

fn taken(answer: &LowestPositionsResponse, topics: &[TopicId]) -> Option<Vec<(TopicId, u64)>> {
    if !answer.topics.iter().map(|of| TopicId(of.topic_id)).eq(topics.iter().copied()) {
        return None;
    }
    let subscribed = answer.topics.iter().filter(|of| !of.none);
    subscribed.map(|of| Some((TopicId(of.topic_id), number(of.position, "position").ok()? + 1))).collect()
}

#[cfg(test)]
mod tests {
    use trunkline_wire::internal::LowestPosition;

    use super::*;

    #[test]
    fn an_answer_counts_only_if_it_is_of_all_topics_that_were_asked() {
        let of = |topic_id, none, position| LowestPosition { topic_id, none, position };
        let said = |topics| taken(&LowestPositionsResponse { topics }, &[TopicId(1), TopicId(2)]);
        assert_eq!(said(vec![of(1, true, 0), of(2, false, 7)]), Some(vec![(TopicId(2), 8)]));
        assert_eq!(said(vec![of(2, false, 7)]), None);
        assert_eq!(said(vec![]), None);
        assert_eq!(said(vec![of(1, true, 0), of(2, false, u64::MAX)]), None);
    }
}
