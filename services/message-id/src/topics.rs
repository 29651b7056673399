//! Creates, deletes, finds and lists topics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_ordering::group::{Answer, Entry, Topic, lower_median};
use trunkline_types::limits::{
    LABELS_BYTES_MAX, LABELS_MAX, PAGE_BYTES_MAX, PAGE_SIZE_MAX, PAYLOAD_INLINE_BYTES_MAX, SILENCE_MAX,
};
use trunkline_types::{TopicId, TopicName};
use trunkline_wire::internal::{
    OrderCreateTopicRequest, OrderCreateTopicResponse, OrderDeleteTopicRequest, OrderDeleteTopicResponse,
    OrderFindTopicRequest, OrderFindTopicResponse, OrderListTopicsRequest, OrderListTopicsResponse,
};
use trunkline_wire::status::{self, reason};
use trunkline_wire::{Message as _, Status, v1};

use crate::convert::{options_bytes, topic, topic_message};
use crate::member::Member;
use crate::voter::Voter;

/// A deletion that meets a topic created since under the same name looks again so many times.
const DELETE_ATTEMPTS: usize = 3;

/// # Errors
/// `ALREADY_EXISTS` where it has other options and was not asked for automatically; `RESOURCE_EXHAUSTED` at the
/// maximum number of topics; `UNAVAILABLE` without a quorum, then nothing was created or it may have been.
pub(crate) async fn create(
    voter: Arc<Voter>,
    deadline: Instant,
    request: OrderCreateTopicRequest,
) -> Result<OrderCreateTopicResponse, Status> {
    let member = by_name(&voter, &request.name)?;
    let options = request.options.unwrap_or_default();
    check_options(&options)?;
    let options = options_bytes(&options);
    let known = member.read(|state| {
        let found = state.topics().named(&request.name).map(|topic| (topic.id, topic.options.to_vec()));
        (found, state.applied(), state.topics().len())
    });
    let (index, answer) = match known {
        // What is there already costs no quorum; if it has been deleted just now, it was there when asked.
        (Some((id, there)), applied, _) if request.automatic || there == options => {
            (applied, Answer::Topic { id, options: there, created: false })
        }
        (None, _, topics) if topics >= voter.options.topics_per_group_max => return Err(too_many()),
        _ => {
            let entry = Entry::CreateTopic { name: request.name.clone(), options: options.clone() };
            member.commit(&entry, deadline).await?
        }
    };
    match answer {
        Answer::Topic { options: there, created: false, .. } if !request.automatic && there != options => {
            Err(status::already_exists(format!("topic {:?} exists with other options", request.name)))
        }
        Answer::Topic { id, options, created } => Ok(OrderCreateTopicResponse {
            topic: Some(topic_message(id, &request.name, &options)),
            created,
            group: member.id().to_u32(),
            index,
        }),
        Answer::TooManyTopics => Err(too_many()),
        other => Err(Status::internal(format!("a creation was answered {other:?}"))),
    }
}

/// # Errors
/// `UNAVAILABLE` without a quorum; the topic may be deleted yet.
pub(crate) async fn delete(
    voter: Arc<Voter>,
    deadline: Instant,
    request: OrderDeleteTopicRequest,
) -> Result<OrderDeleteTopicResponse, Status> {
    let member = by_name(&voter, &request.name)?;
    let group = member.id().to_u32();
    let find = || member.read(|state| state.topics().named(&request.name).map(|topic| topic.id));
    for _ in 0..DELETE_ATTEMPTS {
        let mut found = find();
        if found.is_none() {
            let index = member.confirm(deadline).await?;
            found = find();
            if found.is_none() {
                return Ok(OrderDeleteTopicResponse { deleted: false, group, index });
            }
        }
        let Some(topic) = found else { continue };
        let (index, answer) = member.commit(&Entry::DeleteTopic { topic }, deadline).await?;
        if answer == Answer::Deleted(true) {
            return Ok(OrderDeleteTopicResponse { deleted: true, group, index });
        }
        // Someone else has deleted it, and this voter has yet to learn what is there now.
        member.wait_applied(index, deadline).await?;
    }
    let message = format!("topic {:?} is being created and deleted by others", request.name);
    Err(status::unavailable(reason::STALE, message))
}

/// # Errors
/// `UNAVAILABLE` where a confirmed answer is wanted and the leader cannot be reached.
pub(crate) async fn find(
    voter: Arc<Voter>,
    deadline: Instant,
    request: OrderFindTopicRequest,
) -> Result<OrderFindTopicResponse, Status> {
    let id = TopicId(request.topic_id);
    let member = if request.name.is_empty() {
        voter.member(voter.host.map().ordering_group(id.bucket()))?.clone()
    } else {
        by_name(&voter, &request.name)?
    };
    if request.confirmed {
        member.confirm(deadline).await?;
    }
    let found = |there: Option<&Topic>| OrderFindTopicResponse {
        found: there.is_some(),
        topic: there.map(topic),
        next_id: there.map_or(0, |there| there.next_id),
        deleted: false,
        order_time_ms: 0,
    };
    let clocks = voter.clocks.now(voter.host.process.wall_clock_ms());
    Ok(member.read(|state| {
        let order_time_ms = state.order_time_ms().max(lower_median(clocks).unwrap_or(0));
        let answer = match request.name.as_str() {
            "" => {
                let deleted = state.topics().was_deleted(id);
                OrderFindTopicResponse { deleted, ..found(state.topics().get(id)) }
            }
            name => found(state.topics().named(name)),
        };
        OrderFindTopicResponse { order_time_ms, ..answer }
    }))
}

/// # Errors
/// `UNAVAILABLE` where this voter has not reached `at_least` within the deadline.
pub(crate) async fn list(
    voter: Arc<Voter>,
    deadline: Instant,
    request: OrderListTopicsRequest,
) -> Result<OrderListTopicsResponse, Status> {
    let member = voter.member_packed(request.group)?.clone();
    member.wait_applied(request.at_least, deadline).await?;
    let limit = match usize::try_from(request.limit) {
        Ok(0) | Err(_) => PAGE_SIZE_MAX,
        Ok(limit) => limit.min(PAGE_SIZE_MAX),
    };
    let as_of = as_of_ms(&voter, &member);
    let (topics, more) = member.read(|state| {
        let (mut topics, mut bytes) = (Vec::new(), 0);
        for topic in state.topics().list(&request.prefix, &request.after).map(topic) {
            bytes += topic.encoded_len();
            if topics.len() == limit || (bytes > PAGE_BYTES_MAX && !topics.is_empty()) {
                return (topics, true);
            }
            topics.push(topic);
        }
        (topics, false)
    });
    Ok(OrderListTopicsResponse { topics, more, as_of: Some(timestamp(as_of)) })
}

/// What is applied here is at least as new as this. A voter that hears of its leader is behind it by no more than the
/// silence after which it would not; one that does not knows only when it last heard something.
fn as_of_ms(voter: &Voter, member: &Member) -> u64 {
    let applied_at = member.view.applied_at_ms.load(Ordering::Relaxed);
    let now = voter.host.process.wall_clock_ms();
    let leadership = member.leadership();
    if leadership.is_here {
        now
    } else if leadership.leader.is_some() {
        applied_at.max(now.saturating_sub(u64::try_from(SILENCE_MAX.as_millis()).unwrap_or(u64::MAX)))
    } else {
        applied_at
    }
}

fn timestamp(ms: u64) -> prost_types::Timestamp {
    let nanos = Duration::from_millis(ms % 1_000).subsec_nanos();
    prost_types::Timestamp {
        seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos).unwrap_or(0),
    }
}

/// The group of a topic's name.
fn by_name(voter: &Voter, name: &str) -> Result<Arc<Member>, Status> {
    let name = TopicName::new(name).map_err(|invalid| status::invalid("topic", invalid.to_string()))?;
    let map = voter.host.map();
    voter.member(map.ordering_group(name.bucket(map.buckets))).cloned()
}

fn check_options(options: &v1::TopicOptions) -> Result<(), Status> {
    if v1::AckLevel::try_from(options.default_ack_level).is_err() {
        return Err(status::invalid("options.default_ack_level", "is unknown"));
    }
    if options.message_bytes_max > PAYLOAD_INLINE_BYTES_MAX as u64 {
        let problem = format!("is at most {PAYLOAD_INLINE_BYTES_MAX}");
        return Err(status::invalid("options.message_bytes_max", problem));
    }
    let bytes: usize = options.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    if options.labels.len() > LABELS_MAX || bytes > LABELS_BYTES_MAX {
        let problem = format!("are at most {LABELS_MAX}, together at most {LABELS_BYTES_MAX} bytes");
        return Err(status::invalid("options.labels", problem));
    }
    Ok(())
}

fn too_many() -> Status {
    let again_in = Duration::from_secs(60);
    status::overloaded("the maximum number of topics is reached", again_in)
}
