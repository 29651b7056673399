//! What clients may send: every field checked, errors name the field and the limit. `administration`: Seek and
//! UpdateSubscription.

mod administration;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_delivery::dispatcher::{Client, DeliveryToken, subscription_check};
use trunkline_ports::CallContext;
use trunkline_types::limits::{
    ACK_DEADLINE_DEFAULT, ACK_DEADLINE_MAX, ACK_DEADLINE_MIN, CLIENT_ID_BYTES_MAX, DEADLINE_MARGIN,
    DEADLINE_MAX, PAGE_SIZE_MAX, PAGE_SIZE_WITH_STATUS_MAX, POP_BYTES_MAX, POP_MESSAGES_MAX, READ_BYTES_MAX,
    READ_MESSAGES_MAX, TOKENS_MAX,
};
use trunkline_types::{ConsumerName, TopicId, TopicName};
use trunkline_wire::convert::timestamp;
use trunkline_wire::status::invalid;
use trunkline_wire::{Status, v1};

use crate::error;
use crate::handle::{AckCall, PopCall};
use crate::positions::Key;
use crate::starts::not_a_time;

pub(crate) use administration::{Changes, seek};

pub(crate) fn topic(name: &str) -> Result<TopicName, Status> {
    TopicName::new(name).map_err(|problem| invalid("topic", problem.to_string()))
}

pub(crate) fn consumer(name: &str) -> Result<ConsumerName, Status> {
    ConsumerName::new(name).map_err(|problem| invalid("consumer", problem.to_string()))
}

/// Until when an answer must have left.
pub(crate) fn deadline(context: &CallContext) -> Instant {
    context.deadline.min(Instant::now() + DEADLINE_MAX) - DEADLINE_MARGIN
}

/// What does not depend on the topic's id: found wrong before anything is asked of anybody.
pub(crate) fn pop(request: &v1::PopRequest) -> Result<(TopicName, ConsumerName), Status> {
    let names = (topic(&request.topic)?, consumer(&request.consumer)?);
    at_most("client_id", request.client_id.len(), CLIENT_ID_BYTES_MAX, "bytes")?;
    at_most("previous", request.previous.len(), TOKENS_MAX, "tokens")?;
    at_most("max_messages", request.max_messages as usize, POP_MESSAGES_MAX, "messages")?;
    at_most("max_bytes", usize::try_from(request.max_bytes).unwrap_or(usize::MAX), POP_BYTES_MAX, "bytes")?;
    wait(request.wait)?;
    Ok(names)
}

pub(crate) fn ack(request: &v1::AckRequest) -> Result<(TopicName, ConsumerName), Status> {
    let names = (topic(&request.topic)?, consumer(&request.consumer)?);
    if request.tokens.is_empty() {
        return Err(invalid("tokens", "must not be empty"));
    }
    at_most("tokens", request.tokens.len(), TOKENS_MAX, "tokens")?;
    Ok(names)
}

/// A checked Pop for its dispatcher.
pub(crate) fn pop_call(request: &v1::PopRequest, key: &Key, deadline: Instant) -> Result<PopCall, Status> {
    let client = match (request.client_id.as_str(), request.previous.is_empty()) {
        ("", true) => Client::Bare,
        ("", false) => Client::Nameless,
        (name, _) => Client::Named(name.into()),
    };
    let now = Instant::now();
    let wait = wait(request.wait)?.min(DEADLINE_MAX);
    Ok(PopCall {
        client,
        previous: tokens("previous", &request.previous, key)?,
        messages_max: u64::from(request.max_messages.max(1)),
        bytes_max: if request.max_bytes == 0 { POP_BYTES_MAX as u64 } else { request.max_bytes },
        wait_until: (now + wait).min(deadline),
        deadline,
    })
}

pub(crate) fn ack_call(request: &v1::AckRequest, key: &Key, deadline: Instant) -> Result<AckCall, Status> {
    Ok(AckCall { tokens: tokens("tokens", &request.tokens, key)?, deadline })
}

fn tokens(field: &str, tokens: &[Bytes], key: &Key) -> Result<Vec<DeliveryToken>, Status> {
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    let check = subscription_check(key.topic, &key.consumer);
    let decode = |(index, bytes): (usize, &Bytes)| {
        let field = || format!("{field}[{index}]");
        let token = DeliveryToken::decode(bytes).map_err(|problem| invalid(field(), problem.to_string()))?;
        if token.check == check { Ok(token) } else { Err(error::of_another_subscription(&field())) }
    };
    tokens.iter().enumerate().map(decode).collect()
}

/// A checked start. A time is cut to whole milliseconds: order time has no finer ones.
fn start(field: &str, start: Option<v1::Start>) -> Result<Option<v1::start::At>, Status> {
    match start.and_then(|start| start.at) {
        Some(v1::start::At::MessageId(0)) => {
            Err(invalid(format!("{field}.message_id"), "must be at least 1"))
        }
        Some(v1::start::At::Time(time)) => {
            let ms = timestamp::to_ms(&time).ok_or_else(|| not_a_time(&format!("{field}.time")))?;
            Ok(Some(v1::start::At::Time(timestamp::from_ms(ms))))
        }
        at => Ok(at),
    }
}

/// What is not set is said aloud, so that the same options always compare equal.
pub(crate) fn options(options: Option<v1::SubscriptionOptions>) -> Result<v1::SubscriptionOptions, Status> {
    let options = options.unwrap_or_default();
    let at = start("options.start", options.start)?.unwrap_or(v1::start::At::Latest(v1::Latest {}));
    let ack_deadline = match options.ack_deadline {
        None => ACK_DEADLINE_DEFAULT,
        Some(said) => duration("options.ack_deadline", said)?,
    };
    if !(ACK_DEADLINE_MIN..=ACK_DEADLINE_MAX).contains(&ack_deadline) {
        let (least, most) = (ACK_DEADLINE_MIN.as_secs(), ACK_DEADLINE_MAX.as_secs());
        return Err(invalid("options.ack_deadline", format!("must be {least} s to {most} s")));
    }
    let whole_ms = Duration::from_millis(u64::try_from(ack_deadline.as_millis()).unwrap_or(u64::MAX));
    Ok(v1::SubscriptionOptions {
        start: Some(v1::Start { at: Some(at) }),
        ack_deadline: prost_types::Duration::try_from(whole_ms).ok(),
    })
}

/// Where a Read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    Id(u64),
    /// Milliseconds since 1970.
    Time(u64),
}

/// A checked Read: where it begins, messages, bytes, how long to wait.
pub(crate) fn read(request: &v1::ReadRequest) -> Result<(TopicName, Begin, u64, u64, Duration), Status> {
    let topic = topic(&request.topic)?;
    at_most("max_messages", request.max_messages as usize, READ_MESSAGES_MAX, "messages")?;
    at_most("max_bytes", usize::try_from(request.max_bytes).unwrap_or(usize::MAX), READ_BYTES_MAX, "bytes")?;
    let messages_max =
        if request.max_messages == 0 { READ_MESSAGES_MAX as u64 } else { request.max_messages.into() };
    let bytes_max = if request.max_bytes == 0 { READ_BYTES_MAX as u64 } else { request.max_bytes };
    let begin = match &request.from_time {
        None => Begin::Id(request.from.max(1)),
        Some(_) if request.from > 0 => {
            return Err(invalid("from_time", "cannot be set together with from"));
        }
        Some(time) => Begin::Time(timestamp::to_ms(time).ok_or_else(|| not_a_time("from_time"))?),
    };
    Ok((topic, begin, messages_max, bytes_max, wait(request.wait)?.min(DEADLINE_MAX)))
}

/// A checked page size, and where the page begins: above (topic, consumer).
pub(crate) fn page(request: &v1::ListSubscriptionsRequest) -> Result<(usize, (String, String)), Status> {
    if !request.topic.is_empty() {
        topic(&request.topic)?;
    }
    if !request.consumer.is_empty() {
        consumer(&request.consumer)?;
    }
    let most = if request.with_status { PAGE_SIZE_WITH_STATUS_MAX } else { PAGE_SIZE_MAX };
    at_most("page_size", request.page_size as usize, PAGE_SIZE_MAX, "subscriptions")?;
    let size = if request.page_size == 0 { most } else { most.min(request.page_size as usize) };
    if request.page_token.is_empty() {
        return Ok((size, Default::default()));
    }
    let problem = || invalid("page_token", "is not one of an earlier response");
    let (after_topic, after_consumer) = request.page_token.split_once('/').ok_or_else(problem)?;
    topic(after_topic).map_err(|_| problem())?;
    consumer(after_consumer).map_err(|_| problem())?;
    Ok((size, (after_topic.to_owned(), after_consumer.to_owned())))
}

pub(crate) fn key(topic: TopicId, consumer: &ConsumerName) -> Key {
    Key { topic, consumer: consumer.clone() }
}

fn at_most(field: &str, value: usize, most: usize, what: &str) -> Result<(), Status> {
    if value > most {
        Err(invalid(field, format!("is {value}, at most {most} {what} are allowed")))
    } else {
        Ok(())
    }
}

fn wait(wait: Option<prost_types::Duration>) -> Result<Duration, Status> {
    wait.map_or(Ok(Duration::ZERO), |said| duration("wait", said))
}

fn duration(field: &str, said: prost_types::Duration) -> Result<Duration, Status> {
    Duration::try_from(said).map_err(|_| invalid(field, "must not be negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(error: &Status) -> String {
        error.message().to_owned()
    }

    fn good() -> v1::PopRequest {
        v1::PopRequest { topic: "orders".to_owned(), consumer: "c".to_owned(), ..v1::PopRequest::default() }
    }

    #[test]
    fn a_pop_out_of_bounds_is_refused_naming_field_and_limit() {
        type Change = fn(&mut v1::PopRequest);
        let cases: [(Change, &str); 7] = [
            (|pop| pop.topic.clear(), "topic must not be empty"),
            (|pop| pop.consumer.push('/'), "consumer contains '/', allowed are A-Z a-z 0-9 . _ -"),
            (|pop| pop.client_id = "x".repeat(256), "client_id is 256, at most 255 bytes are allowed"),
            (
                |pop| pop.previous = vec![Default::default(); 1_001],
                "previous is 1001, at most 1000 tokens are allowed",
            ),
            (|pop| pop.max_messages = 1_001, "max_messages is 1001, at most 1000 messages are allowed"),
            (|pop| pop.max_bytes = 1 << 23, "max_bytes is 8388608, at most 4194304 bytes are allowed"),
            (
                |pop| pop.wait = Some(prost_types::Duration { seconds: -1, nanos: 0 }),
                "wait must not be negative",
            ),
        ];
        for (change, expected) in cases {
            let mut request = good();
            change(&mut request);
            assert_eq!(problem(&pop(&request).unwrap_err()), expected);
        }
        assert!(pop(&good()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_bare_form_is_without_client_id_and_tokens() {
        let key = key(TopicId(7), &consumer("c").unwrap());
        let check = subscription_check(key.topic, &key.consumer);
        let token = DeliveryToken {
            check,
            instance: 1,
            generation: trunkline_types::Generation(0),
            token: trunkline_types::FencingToken(1),
            id: 1,
            attempt: 1,
        };
        let deadline = Instant::now() + Duration::from_secs(1);
        let client = |client_id: &str, previous: Vec<Vec<u8>>| {
            let previous = previous.into_iter().map(Into::into).collect();
            let request = v1::PopRequest { client_id: client_id.to_owned(), previous, ..good() };
            pop_call(&request, &key, deadline).map(|call| call.client)
        };
        assert_eq!(client("", Vec::new()).unwrap(), Client::Bare);
        assert_eq!(client("", vec![token.encode()]).unwrap(), Client::Nameless);
        assert_eq!(client("a", Vec::new()).unwrap(), Client::Named("a".into()));
        assert_eq!(problem(&client("a", vec![vec![9]]).unwrap_err()), "previous[0] is not a delivery token");
        let foreign = DeliveryToken { check: check ^ 1, ..token }.encode();
        assert!(
            problem(&client("a", vec![foreign]).unwrap_err())
                .starts_with("previous[0] is of another subscription")
        );
    }

    #[test]
    fn options_are_said_aloud_and_bounded() {
        let said = options(None).unwrap();
        assert_eq!(said.ack_deadline.map(|deadline| deadline.seconds), Some(30));
        assert_eq!(options(Some(said)).unwrap(), said);
        let deadline = |seconds| v1::SubscriptionOptions {
            start: None,
            ack_deadline: Some(prost_types::Duration { seconds, nanos: 0 }),
        };
        let refused = options(Some(deadline(601))).unwrap_err();
        assert_eq!(problem(&refused), "options.ack_deadline must be 1 s to 600 s");
        let zero = v1::Start { at: Some(v1::start::At::MessageId(0)) };
        assert!(options(Some(v1::SubscriptionOptions { start: Some(zero), ack_deadline: None })).is_err());
    }
}
