//! What clients may send: every field checked, errors name the field and the limit.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_delivery::dispatcher::{Client, Share, Token, subscription_check};
use trunkline_ports::CallContext;
use trunkline_types::limits::{
    ACK_DEADLINE_DEFAULT, ACK_DEADLINE_MAX, ACK_DEADLINE_MIN, CLIENT_ID_BYTES_MAX, DEAD_LETTER_ATTEMPTS_MAX,
    DEADLINE_MARGIN, DEADLINE_MAX, MEMBERS_MAX, PAGE_SIZE_MAX, POP_BYTES_MAX, POP_MESSAGES_MAX,
    READ_BYTES_MAX, READ_MESSAGES_MAX, RETRY_DELAY_MAX, TOKENS_MAX,
};
use trunkline_types::{ConsumerName, TopicId, TopicName};
use trunkline_wire::status::invalid;
use trunkline_wire::{Status, v1};

use crate::error;
use crate::handle::PopCall;
use crate::positions::Key;

const DEAD_LETTER_ATTEMPTS_DEFAULT: u32 = 5;

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
    share("share", request.share)?;
    Ok(names)
}

/// Of Ack, Nack and ExtendDeadline.
pub(crate) fn names_and_tokens(
    topic_name: &str,
    consumer_name: &str,
    tokens: &[Bytes],
) -> Result<(TopicName, ConsumerName), Status> {
    let names = (topic(topic_name)?, consumer(consumer_name)?);
    if tokens.is_empty() {
        return Err(invalid("tokens", "must not be empty"));
    }
    at_most("tokens", tokens.len(), TOKENS_MAX, "tokens")?;
    Ok(names)
}

pub(crate) fn share(field: &str, said: Option<v1::Share>) -> Result<Option<Share>, Status> {
    let Some(v1::Share { member, members }) = said else { return Ok(None) };
    if !(1..=MEMBERS_MAX).contains(&members) {
        return Err(invalid(format!("{field}.members"), format!("must be 1 to {MEMBERS_MAX}")));
    }
    if member >= members {
        return Err(invalid(
            format!("{field}.member"),
            format!("is {member}, must be below members, {members}"),
        ));
    }
    Ok(Some(Share { member, members }))
}

/// A nack's delay in milliseconds.
pub(crate) fn delay_ms(field: &str, said: Option<prost_types::Duration>) -> Result<Option<u32>, Status> {
    let Some(said) = said else { return Ok(None) };
    within_ms(field, duration(field, said)?, Duration::ZERO..=RETRY_DELAY_MAX).map(Some)
}

/// A new ack deadline in milliseconds.
pub(crate) fn extension_ms(field: &str, said: Option<prost_types::Duration>) -> Result<Option<u32>, Status> {
    let Some(said) = said else { return Ok(None) };
    within_ms(field, duration(field, said)?, ACK_DEADLINE_MIN..=ACK_DEADLINE_MAX).map(Some)
}

fn within_ms(field: &str, said: Duration, allowed: RangeInclusive<Duration>) -> Result<u32, Status> {
    let (least, most) = (allowed.start().as_secs(), allowed.end().as_secs());
    let ms = u32::try_from(said.as_millis()).ok().filter(|_| allowed.contains(&said));
    ms.ok_or_else(|| invalid(field, format!("must be {least} s to {most} s")))
}

/// A checked Pop for its dispatcher. `round`: of a Consume stream, whose name is the client id, from 1; else 0.
pub(crate) fn pop_call(
    request: &v1::PopRequest,
    round: u64,
    key: &Key,
    deadline: Instant,
) -> Result<PopCall, Status> {
    let client = match (request.client_id.as_str(), request.previous.is_empty()) {
        (name, _) if round > 0 => Client::Stream(name.into()),
        ("", true) => Client::Bare,
        ("", false) => Client::Nameless,
        (name, _) => Client::Named(name.into()),
    };
    let now = Instant::now();
    let wait = wait(request.wait)?.min(DEADLINE_MAX);
    Ok(PopCall {
        client,
        previous: tokens("previous", &request.previous, key)?,
        share: share("share", request.share)?,
        round,
        messages_max: u64::from(request.max_messages.max(1)),
        bytes_max: if request.max_bytes == 0 { POP_BYTES_MAX as u64 } else { request.max_bytes },
        wait_until: (now + wait).min(deadline),
        deadline,
    })
}

pub(crate) fn tokens(field: &str, tokens: &[Bytes], key: &Key) -> Result<Vec<Token>, Status> {
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    let check = subscription_check(key.topic, &key.consumer);
    let each = tokens.iter().enumerate();
    each.map(|(index, bytes)| token(|| format!("{field}[{index}]"), bytes, check)).collect()
}

/// `check`: of the subscription that the token must be of.
pub(crate) fn token(field: impl Fn() -> String, bytes: &[u8], check: u32) -> Result<Token, Status> {
    let token = Token::decode(bytes).map_err(|problem| invalid(field(), problem.to_string()))?;
    if token.check() == check { Ok(token) } else { Err(error::of_another_subscription(&field())) }
}

/// What is not set is said aloud, so that the same options always compare equal.
pub(crate) fn options(options: Option<v1::SubscriptionOptions>) -> Result<v1::SubscriptionOptions, Status> {
    let options = options.unwrap_or_default();
    let at = options.start.and_then(|start| start.at).unwrap_or(v1::start::At::Latest(v1::Latest {}));
    if at == v1::start::At::MessageId(0) {
        return Err(invalid("options.start.message_id", "must be at least 1"));
    }
    let ack_deadline = match options.ack_deadline {
        None => ACK_DEADLINE_DEFAULT,
        Some(said) => duration("options.ack_deadline", said)?,
    };
    if !(ACK_DEADLINE_MIN..=ACK_DEADLINE_MAX).contains(&ack_deadline) {
        let (least, most) = (ACK_DEADLINE_MIN.as_secs(), ACK_DEADLINE_MAX.as_secs());
        return Err(invalid("options.ack_deadline", format!("must be {least} s to {most} s")));
    }
    let ack_mode = match v1::AckMode::try_from(options.ack_mode) {
        Ok(v1::AckMode::Unspecified) => v1::AckMode::OnNextPop,
        Ok(mode) => mode,
        Err(_) => return Err(invalid("options.ack_mode", "is none that is known here")),
    };
    if ack_mode == v1::AckMode::Immediate && options.dead_letter.is_some() {
        return Err(invalid("options.dead_letter", "has no meaning in IMMEDIATE, which delivers once"));
    }
    Ok(v1::SubscriptionOptions {
        start: Some(v1::Start { at: Some(at) }),
        ack_deadline: whole_ms(ack_deadline),
        ack_mode: ack_mode.into(),
        retry: options.retry.map(retry).transpose()?.flatten(),
        dead_letter: options.dead_letter.map(dead_letter).transpose()?,
    })
}

fn whole_ms(duration: Duration) -> Option<prost_types::Duration> {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    prost_types::Duration::try_from(Duration::from_millis(ms)).ok()
}

/// None for no delay at all.
fn retry(said: v1::Retry) -> Result<Option<v1::Retry>, Status> {
    let min = duration("options.retry.min", said.min.unwrap_or_default())?;
    let max = said.max.map_or(Ok(min), |max| duration("options.retry.max", max))?;
    if max > RETRY_DELAY_MAX {
        let most = RETRY_DELAY_MAX.as_secs();
        return Err(invalid("options.retry.max", format!("must be at most {most} s")));
    }
    if min > max {
        return Err(invalid("options.retry.min", "must be at most options.retry.max"));
    }
    let is_none = max.as_millis() == 0;
    Ok((!is_none).then(|| v1::Retry { min: whole_ms(min), max: whole_ms(max) }))
}

fn dead_letter(said: v1::DeadLetter) -> Result<v1::DeadLetter, Status> {
    let name = TopicName::new(said.topic);
    let name = name.map_err(|problem| invalid("options.dead_letter.topic", problem.to_string()))?;
    let attempts = if said.attempts == 0 { DEAD_LETTER_ATTEMPTS_DEFAULT } else { said.attempts };
    if attempts > DEAD_LETTER_ATTEMPTS_MAX {
        let problem = format!("is {attempts}, at most {DEAD_LETTER_ATTEMPTS_MAX} are allowed");
        return Err(invalid("options.dead_letter.attempts", problem));
    }
    Ok(v1::DeadLetter { topic: name.as_str().to_owned(), attempts })
}

/// A checked Read: the first ID wanted, messages, bytes, how long to wait.
pub(crate) fn read(request: &v1::ReadRequest) -> Result<(TopicName, u64, u64, u64, Duration), Status> {
    let topic = topic(&request.topic)?;
    at_most("max_messages", request.max_messages as usize, READ_MESSAGES_MAX, "messages")?;
    at_most("max_bytes", usize::try_from(request.max_bytes).unwrap_or(usize::MAX), READ_BYTES_MAX, "bytes")?;
    let messages_max =
        if request.max_messages == 0 { READ_MESSAGES_MAX as u64 } else { request.max_messages.into() };
    let bytes_max = if request.max_bytes == 0 { READ_BYTES_MAX as u64 } else { request.max_bytes };
    Ok((topic, request.from.max(1), messages_max, bytes_max, wait(request.wait)?.min(DEADLINE_MAX)))
}

/// A checked page size, and where the page begins: above (topic, consumer).
pub(crate) fn page(request: &v1::ListSubscriptionsRequest) -> Result<(usize, (String, String)), Status> {
    if !request.topic.is_empty() {
        topic(&request.topic)?;
    }
    if !request.consumer.is_empty() {
        consumer(&request.consumer)?;
    }
    at_most("page_size", request.page_size as usize, PAGE_SIZE_MAX, "subscriptions")?;
    let size = if request.page_size == 0 { PAGE_SIZE_MAX } else { request.page_size as usize };
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

pub(crate) fn at_most(field: &str, value: usize, most: usize, what: &str) -> Result<(), Status> {
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
        let token = trunkline_delivery::dispatcher::DeliveryToken {
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
            pop_call(&request, 0, &key, deadline).map(|call| call.client)
        };
        assert_eq!(client("", Vec::new()).unwrap(), Client::Bare);
        assert_eq!(client("", vec![token.encode()]).unwrap(), Client::Nameless);
        assert_eq!(client("a", Vec::new()).unwrap(), Client::Named("a".into()));
        assert_eq!(problem(&client("a", vec![vec![9]]).unwrap_err()), "previous[0] is not a delivery token");
        let foreign = trunkline_delivery::dispatcher::DeliveryToken { check: check ^ 1, ..token }.encode();
        assert!(
            problem(&client("a", vec![foreign]).unwrap_err())
                .starts_with("previous[0] is of another subscription")
        );
    }

    #[test]
    fn options_are_said_aloud_and_bounded() {
        let said = options(None).unwrap();
        assert_eq!(said.ack_deadline.map(|deadline| deadline.seconds), Some(30));
        assert_eq!(options(Some(said.clone())).unwrap(), said);
        let deadline = |seconds| v1::SubscriptionOptions {
            ack_deadline: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..v1::SubscriptionOptions::default()
        };
        let refused = options(Some(deadline(601))).unwrap_err();
        assert_eq!(problem(&refused), "options.ack_deadline must be 1 s to 600 s");
        let zero = v1::Start { at: Some(v1::start::At::MessageId(0)) };
        let start = Some(zero);
        assert!(options(Some(v1::SubscriptionOptions { start, ..Default::default() })).is_err());
        let retry = v1::Retry { min: Some(prost_types::Duration { seconds: 2, nanos: 7 }), max: None };
        let dead_letter = v1::DeadLetter { topic: "dead".to_owned(), attempts: 0 };
        let asked = v1::SubscriptionOptions {
            ack_mode: v1::AckMode::Explicit.into(),
            retry: Some(retry),
            dead_letter: Some(dead_letter),
            ..Default::default()
        };
        let said = options(Some(asked.clone())).unwrap();
        let two = Some(prost_types::Duration { seconds: 2, nanos: 0 });
        assert_eq!(said.retry, Some(v1::Retry { min: two, max: two }), "whole milliseconds");
        assert_eq!(said.dead_letter.as_ref().map(|to| to.attempts), Some(5));
        assert_eq!(options(Some(said.clone())).unwrap(), said);
        let ack_mode = v1::AckMode::Immediate.into();
        let refused = options(Some(v1::SubscriptionOptions { ack_mode, ..asked })).unwrap_err();
        assert!(problem(&refused).starts_with("options.dead_letter has no meaning in IMMEDIATE"));
        let unknown = options(Some(v1::SubscriptionOptions { ack_mode: 9, ..Default::default() }));
        assert_eq!(problem(&unknown.unwrap_err()), "options.ack_mode is none that is known here");
    }
}
