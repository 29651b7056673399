//! TopicService: what topics there are, and how they come and go.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use prost_types::Timestamp;
use tokio::time::Instant;
use trunkline_placement::replicas;
use trunkline_ports::{Class, Host, Peer};
use trunkline_types::limits::PAGE_BYTES_MAX;
use trunkline_types::{GroupId, TopicId, TopicName};
use trunkline_wire::internal::{OrderListTopicsResponse, ReadRequest, store_service};
use trunkline_wire::status::{invalid, not_found, reason, unavailable};
use trunkline_wire::v1::{
    CreateTopicRequest, CreateTopicResponse, DeleteTopicResponse, GetTopicResponse, ListTopicsRequest,
    ListTopicsResponse, Topic, UpdateTopicRequest, UpdateTopicResponse,
};
use trunkline_wire::{Code, Message as _, Status};

use crate::error;
use crate::handle::{Server, answer_by};
use crate::trace;
use crate::validate;

/// Groups that are asked at the same time.
const GROUPS_AT_ONCE: usize = 16;
/// A store that takes longer is passed over.
const WATERMARK_ANSWER_MAX: Duration = Duration::from_millis(500);
/// Begins every page token: a later version may write another one.
const TOKEN_VERSION: char = '1';

impl Server {
    /// By name, bytewise; each group's table is asked from the name where the page begins.
    pub(crate) async fn list_topics(
        &self,
        request: ListTopicsRequest,
        deadline: Instant,
    ) -> Result<ListTopicsResponse, Status> {
        let _inside = self.admission.enter()?;
        let size = validate::page_size(request.page_size)?;
        validate::prefix(&request.prefix)?;
        let after = after(&request.page_token)?;
        let (until, limit) = (answer_by(deadline), u32::try_from(size).unwrap_or(u32::MAX));
        let groups = (0..self.host.map().ordering_groups).map(GroupId::ordering);
        let asking = groups.map(|group| self.voters.list(group, &request.prefix, &after, limit, until));
        let mut answers = stream::iter(asking).buffer_unordered(GROUPS_AT_ONCE);
        let mut parts = Vec::new();
        while let Some(answer) = answers.next().await {
            parts.push(answer?);
        }
        Ok(merge(parts, size))
    }

    /// An existing topic with the same options is answered; with others it is `ALREADY_EXISTS`.
    pub(crate) async fn create_topic(
        &self,
        request: CreateTopicRequest,
        deadline: Instant,
    ) -> Result<CreateTopicResponse, Status> {
        let _inside = self.admission.enter()?;
        let name = validate::topic(request.topic)?;
        let options = request.options.unwrap_or_default();
        validate::topic_options(&options)?;
        let topic = self.voters.create(&name, options, false, answer_by(deadline)).await?;
        self.topics.remember(&name, &topic);
        Ok(CreateTopicResponse { topic: Some(topic) })
    }

    pub(crate) async fn get_topic(
        &self,
        name: String,
        deadline: Instant,
    ) -> Result<GetTopicResponse, Status> {
        let _inside = self.admission.enter()?;
        let (name, until) = (validate::topic(name)?, answer_by(deadline));
        let found = self.voters.find_anywhere(&name, until).await?;
        let (topic, next_id) = found.ok_or_else(|| not_found(format!("there is no topic {name}")))?;
        let (watermark, earliest) = ends(&self.host, TopicId(topic.topic_id), next_id, until).await?;
        Ok(GetTopicResponse { topic: Some(topic), watermark, earliest })
    }

    /// The options that the mask names; all of them where it names none.
    pub(crate) async fn update_topic(
        &self,
        request: UpdateTopicRequest,
        deadline: Instant,
    ) -> Result<UpdateTopicResponse, Status> {
        let _inside = self.admission.enter()?;
        let name = validate::topic(request.topic)?;
        let mask = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
        let topic =
            self.voters.update(&name, request.options.unwrap_or_default(), mask, answer_by(deadline)).await?;
        self.topics.remember(&name, &topic);
        Ok(UpdateTopicResponse { topic: Some(topic) })
    }

    /// Deleting what is not there is fine.
    pub(crate) async fn delete_topic(
        &self,
        name: String,
        deadline: Instant,
    ) -> Result<DeleteTopicResponse, Status> {
        let _inside = self.admission.enter()?;
        let (name, until) = (validate::topic(name)?, answer_by(deadline));
        let known = self.voters.find_nearby(&name, until).await;
        self.voters.delete(&name, until).await?;
        // What is deleted through this server is not pushed to from its memory; what is not, goes on (I7).
        if let Some(topic) = known {
            self.topics.forget(&name, TopicId(topic.topic_id));
        }
        Ok(DeleteTopicResponse {})
    }
}

/// The highest ID that this datacenter can read, and the first that is still there, by the nearest replica that answers.
async fn ends(host: &Host, topic: TopicId, next_id: u64, until: Instant) -> Result<(u64, u64), Status> {
    let map = host.map();
    let mut stores = replicas(&map, topic.bucket());
    stores.sort_by_key(|store| map.round_trip(&host.identity.datacenter, &store.datacenter));
    // From the next ID on there is nothing to read: only the figures come.
    let request = ReadRequest {
        envelope: Some(host.envelope()),
        topic_id: topic.0,
        from: next_id.max(1),
        max_messages: 1,
        max_bytes: 1,
    };
    for store in stores {
        let trip = map.round_trip(&host.identity.datacenter, &store.datacenter);
        let options = trace::until(until.min(Instant::now() + WATERMARK_ANSWER_MAX + trip));
        let peer = Peer::new(store.address.as_str(), Class::Calls);
        match host.network.call(&peer, store_service::READ, &request, options).await {
            Ok(answer) => return Ok((answer.watermark, answer.earliest)),
            Err(why) if error::try_elsewhere(&why) => {}
            // The replica has not heard of it: there is nothing to read.
            Err(why) if why.code() == Code::NotFound => return Ok((0, 1)),
            Err(why) => return Err(why),
        }
    }
    Err(unavailable(reason::UNREACHABLE, format!("no store of topic {topic} can be reached")))
}

/// The groups' answers as one page. What is beyond the last name of an incomplete part is not known yet.
fn merge(parts: Vec<OrderListTopicsResponse>, size: usize) -> ListTopicsResponse {
    let as_of = parts.iter().filter_map(|part| part.as_of).min_by_key(|at| (at.seconds, at.nanos));
    let known_until = parts.iter().filter(|part| part.more).filter_map(|part| part.topics.last());
    let known_until = known_until.map(|topic| topic.name.clone()).min();
    let mut topics: Vec<Topic> = parts.into_iter().flat_map(|part| part.topics).collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let before = topics.len();
    if let Some(last) = &known_until {
        topics.retain(|topic| topic.name <= *last);
    }
    let mut bytes = 0;
    let within = topics.iter().take(size).take_while(|topic| {
        bytes += topic.encoded_len();
        bytes <= PAGE_BYTES_MAX
    });
    // One topic always comes: a page that is empty would be the last.
    topics.truncate(within.count().max(1));
    let more = known_until.is_some() || topics.len() < before;
    let next_page_token = topics.last().filter(|_| more).map(|last| format!("{TOKEN_VERSION}{}", last.name));
    ListTopicsResponse {
        topics,
        next_page_token: next_page_token.unwrap_or_default(),
        as_of: as_of.or(Some(Timestamp::default())),
    }
}

/// The name after which a page begins.
fn after(token: &str) -> Result<String, Status> {
    if token.is_empty() {
        return Ok(String::new());
    }
    let name = token.strip_prefix(TOKEN_VERSION).and_then(|name| TopicName::new(name).ok());
    name.map(String::from).ok_or_else(|| invalid("page_token", "is not a token of ListTopics"))
}

#[cfg(test)]
mod tests {
    use trunkline_wire::v1::TopicOptions;

    use super::*;

    fn part(names: &[&str], more: bool, seconds: i64) -> OrderListTopicsResponse {
        let topics = names.iter().map(|&name| Topic { name: name.to_owned(), ..Topic::default() }).collect();
        OrderListTopicsResponse { topics, more, as_of: Some(Timestamp { seconds, nanos: 0 }) }
    }

    fn names(page: &ListTopicsResponse) -> Vec<&str> {
        page.topics.iter().map(|topic| topic.name.as_str()).collect()
    }

    #[test]
    fn groups_are_merged_by_name_and_as_of_is_the_oldest() {
        let page = merge(vec![part(&["b", "d"], false, 7), part(&["B", "c"], false, 5)], 10);
        assert_eq!(names(&page), ["B", "b", "c", "d"]);
        assert_eq!((page.next_page_token.as_str(), page.as_of.expect("a time").seconds), ("", 5));
    }

    #[test]
    fn a_page_ends_where_a_group_has_not_said_more() {
        let page =
            merge(vec![part(&["a", "b"], true, 1), part(&["c", "d"], true, 1), part(&[], false, 1)], 3);
        assert_eq!(names(&page), ["a", "b"], "group one may have names between b and c");
        assert_eq!(after(&page.next_page_token).expect("a token"), "b");
        let cut = merge(vec![part(&["a", "b", "c"], false, 1)], 2);
        assert_eq!((names(&cut), cut.next_page_token.as_str()), (vec!["a", "b"], "1b"));
    }

    #[test]
    fn a_page_ends_where_its_bytes_do() {
        let large = |name: &str| {
            let labels = [("l".to_owned(), "x".repeat(16 << 10))].into();
            let options = Some(TopicOptions { labels, ..TopicOptions::default() });
            Topic { name: name.to_owned(), options, ..Topic::default() }
        };
        let part = |first: char| {
            let topics = (0..50).map(|n| large(&format!("{first}{n:02}"))).collect();
            OrderListTopicsResponse { topics, more: false, as_of: None }
        };
        let page = merge(vec![part('a'), part('b')], 1_000);
        assert!(page.encoded_len() <= PAGE_BYTES_MAX + 1_000, "{}", page.encoded_len());
        assert_eq!(page.next_page_token, format!("1{}", page.topics.last().expect("some").name));
        assert!(page.topics.len() > 50);
    }

    #[test]
    fn a_foreign_token_is_refused() {
        assert!(after("2orders").is_err() && after("1").is_err() && after("1a/b").is_err());
        assert_eq!(after("").expect("none"), "");
    }
}
