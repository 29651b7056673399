//! What a client may push, in the same words for whoever refuses it: a client before it sends, a server before it
//! stores. Every refusal names the field and its limit, and nothing was stored.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::Status;
use trunkline_types::limits::{
    ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, KEY_BYTES_MAX,
    LABELS_BYTES_MAX, LABELS_MAX, PAYLOAD_INLINE_BYTES_MAX, PRODUCER_ID_BYTES, PRODUCER_SEQUENCE_MAX,
    RETAIN_UNTIL_ACKNOWLEDGED_TIMES_MAX, RETENTION_AGE_DEFAULT, RETENTION_AGE_MAX, RETENTION_AGE_MIN,
    RETENTION_BYTES_MAX, RETENTION_BYTES_MIN,
};

use crate::status::invalid;
use crate::v1::{AckLevel, Message, TopicOptions};

/// How many messages, and how much, one request may carry.
///
/// # Errors
/// `INVALID_ARGUMENT`, naming field and limit.
pub fn batch(messages: &[Message]) -> Result<(), Status> {
    if messages.len() > BATCH_MESSAGES_MAX {
        let problem = format!("has {} messages, at most {BATCH_MESSAGES_MAX} are allowed", messages.len());
        return Err(invalid("messages", problem));
    }
    let bytes: usize = messages.iter().map(size).sum();
    if bytes > BATCH_BYTES_MAX {
        // One that is too large by itself is the reason, whatever the others are.
        messages.iter().enumerate().try_for_each(|(index, one)| inline(index, one))?;
        return Err(invalid("messages", format!("has {bytes} bytes, at most {BATCH_BYTES_MAX} are allowed")));
    }
    Ok(())
}

/// The messages of a unary Push: at least one, each within its limits.
///
/// # Errors
/// `INVALID_ARGUMENT`, naming field and limit.
pub fn messages(messages: &[Message]) -> Result<(), Status> {
    if messages.is_empty() {
        return Err(invalid("messages", "must not be empty"));
    }
    batch(messages)?;
    messages.iter().enumerate().try_for_each(|(index, one)| message(index, one))
}

/// One message; `index` is its place in the request.
///
/// # Errors
/// `INVALID_ARGUMENT`, naming field and limit.
pub fn message(index: usize, message: &Message) -> Result<(), Status> {
    inline(index, message)?;
    let key = message.key.len();
    if key > KEY_BYTES_MAX {
        let problem = format!("is {key} bytes long, at most {KEY_BYTES_MAX} are allowed");
        return Err(invalid(format!("messages[{index}].key"), problem));
    }
    let field = || format!("messages[{index}].attributes");
    pairs(field, &message.attributes, ATTRIBUTES_MAX, ATTRIBUTES_BYTES_MAX)?;
    producer(index, message)
}

fn producer(index: usize, message: &Message) -> Result<(), Status> {
    let (bytes, sequence) = (message.producer_id.len(), message.producer_sequence);
    let of = |field: &str| format!("messages[{index}].{field}");
    match (bytes, sequence) {
        (0, 0) | (PRODUCER_ID_BYTES, 1..=PRODUCER_SEQUENCE_MAX) => Ok(()),
        (0, _) => Err(invalid(of("producer_id"), "must not be empty where there is a producer_sequence")),
        (PRODUCER_ID_BYTES, _) => {
            let problem = format!("is {sequence}, 1 to {PRODUCER_SEQUENCE_MAX} are allowed");
            Err(invalid(of("producer_sequence"), problem))
        }
        _ => {
            let problem = format!("is {bytes} bytes long, it must be {PRODUCER_ID_BYTES} or empty");
            Err(invalid(of("producer_id"), problem))
        }
    }
}

fn inline(index: usize, message: &Message) -> Result<(), Status> {
    payload(index, message, PAYLOAD_INLINE_BYTES_MAX, "are allowed")
}

/// A payload of at most `max` bytes; `allowed` ends the sentence.
///
/// # Errors
/// `INVALID_ARGUMENT`, naming field and limit.
pub fn payload(index: usize, message: &Message, max: usize, allowed: &str) -> Result<(), Status> {
    let bytes = message.payload.len();
    if bytes > max {
        let problem = format!("is {bytes} bytes long, at most {max} {allowed}");
        return Err(invalid(format!("messages[{index}].payload"), problem));
    }
    Ok(())
}

/// Payload, key and attributes together.
pub fn size(message: &Message) -> usize {
    message.payload.len() + message.key.len() + pairs_bytes(&message.attributes)
}

/// Names with values: so many, and so many bytes together.
///
/// # Errors
/// `INVALID_ARGUMENT`, naming field and limit.
pub fn pairs(
    field: impl Fn() -> String,
    pairs: &BTreeMap<String, String>,
    count_max: usize,
    bytes_max: usize,
) -> Result<(), Status> {
    if pairs.len() > count_max {
        return Err(invalid(
            field(),
            format!("has {} entries, at most {count_max} are allowed", pairs.len()),
        ));
    }
    let bytes = pairs_bytes(pairs);
    if bytes > bytes_max {
        return Err(invalid(field(), format!("has {bytes} bytes, at most {bytes_max} are allowed")));
    }
    Ok(())
}

/// The options of a topic.
///
/// # Errors
/// `INVALID_ARGUMENT`, naming field and limit.
pub fn topic_options(options: &TopicOptions) -> Result<(), Status> {
    let level = options.default_ack_level;
    if AckLevel::try_from(level).is_err() {
        return Err(invalid("options.default_ack_level", format!("is {level}, which is no ack level")));
    }
    if options.message_bytes_max > PAYLOAD_INLINE_BYTES_MAX as u64 {
        let problem =
            format!("is {}, at most {PAYLOAD_INLINE_BYTES_MAX} is allowed", options.message_bytes_max);
        return Err(invalid("options.message_bytes_max", problem));
    }
    pairs(|| "options.labels".to_owned(), &options.labels, LABELS_MAX, LABELS_BYTES_MAX)?;
    retention(options)
}

fn retention(options: &TopicOptions) -> Result<(), Status> {
    let age = match options.retention_age {
        None => RETENTION_AGE_DEFAULT,
        Some(age) => within("options.retention_age", age, RETENTION_AGE_MIN, RETENTION_AGE_MAX)?,
    };
    let bytes = options.retention_bytes;
    if bytes != 0 && !(RETENTION_BYTES_MIN..=RETENTION_BYTES_MAX).contains(&bytes) {
        let problem =
            format!("is {bytes}, from {RETENTION_BYTES_MIN} to {RETENTION_BYTES_MAX} are allowed, or 0");
        return Err(invalid("options.retention_bytes", problem));
    }
    if let Some(until) = options.retain_until_acknowledged {
        let most = (age * RETAIN_UNTIL_ACKNOWLEDGED_TIMES_MAX).min(RETENTION_AGE_MAX);
        within("options.retain_until_acknowledged", until, age, most)?;
    }
    Ok(())
}

fn within(
    field: &str,
    duration: prost_types::Duration,
    least: Duration,
    most: Duration,
) -> Result<Duration, Status> {
    match Duration::try_from(duration) {
        Ok(duration) if (least..=most).contains(&duration) => Ok(duration),
        _ => {
            let problem =
                format!("is {duration}, from {} s to {} s are allowed", least.as_secs(), most.as_secs());
            Err(invalid(field, problem))
        }
    }
}

fn pairs_bytes(pairs: &BTreeMap<String, String>) -> usize {
    pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::is_not_stored;

    fn of(payload: usize) -> Message {
        Message { payload: vec![7; payload].into(), ..Message::default() }
    }

    fn with_attributes(count: usize, value: usize) -> Message {
        let attributes = (0..count).map(|n| (format!("{n:04}"), "v".repeat(value))).collect();
        Message { attributes, ..Message::default() }
    }

    #[test]
    fn every_limit_of_a_topic_is_named_with_its_field() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let labels = |count| (0..count).map(|n: usize| (n.to_string(), String::new())).collect();
        let none = TopicOptions::default;
        let table = [
            (
                TopicOptions { default_ack_level: 9, ..none() },
                "options.default_ack_level is 9, which is no ack level",
            ),
            (
                TopicOptions { message_bytes_max: 1 << 21, ..none() },
                "options.message_bytes_max is 2097152, at most 1048576 is allowed",
            ),
            (
                TopicOptions { labels: labels(65), ..none() },
                "options.labels has 65 entries, at most 64 are allowed",
            ),
            (
                TopicOptions { retention_age: seconds(0), ..none() },
                "options.retention_age is 0s, from 1 s to 315360000 s are allowed",
            ),
            (
                TopicOptions { retention_age: seconds(-1), ..none() },
                "options.retention_age is -1s, from 1 s to 315360000 s are allowed",
            ),
            (
                TopicOptions { retention_bytes: 1_000, ..none() },
                "options.retention_bytes is 1000, from 1048576 to 1125899906842624 are allowed, or 0",
            ),
            (
                TopicOptions { retain_until_acknowledged: seconds(3_600), ..none() },
                "options.retain_until_acknowledged is 3600s, from 8640000 s to 315360000 s are allowed",
            ),
            (
                TopicOptions {
                    retention_age: seconds(2),
                    retain_until_acknowledged: seconds(2_001),
                    ..none()
                },
                "options.retain_until_acknowledged is 2001s, from 2 s to 2000 s are allowed",
            ),
        ];
        for (options, problem) in table {
            assert_eq!(topic_options(&options).expect_err(problem).message(), problem);
        }
        let all = TopicOptions {
            retention_age: seconds(60),
            retention_bytes: 1 << 20,
            retain_until_acknowledged: seconds(600),
            ..none()
        };
        assert!(topic_options(&none()).is_ok() && topic_options(&all).is_ok());
    }

    #[test]
    fn every_limit_of_a_push_is_named_with_its_field() {
        let produced = |bytes, producer_sequence| {
            let producer_id = vec![7; bytes].into();
            vec![Message { producer_id, producer_sequence, ..Message::default() }]
        };
        let keyed = |bytes| Message { key: "k".repeat(bytes), ..Message::default() };
        let table: [(Vec<Message>, &str); 12] = [
            (vec![], "messages must not be empty"),
            (vec![of(0); 1_001], "messages has 1001 messages, at most 1000 are allowed"),
            (vec![of(1 << 20); 5], "messages has 5242880 bytes, at most 4194304 are allowed"),
            (
                vec![of(1), of(9 << 20)],
                "messages[1].payload is 9437184 bytes long, at most 1048576 are allowed",
            ),
            (
                vec![of(1), of((1 << 20) + 1)],
                "messages[1].payload is 1048577 bytes long, at most 1048576 are allowed",
            ),
            (
                vec![of(0), of(0), keyed(1_025)],
                "messages[2].key is 1025 bytes long, at most 1024 are allowed",
            ),
            (
                vec![of(0), of(0), of(0), with_attributes(65, 0)],
                "messages[3].attributes has 65 entries, at most 64 are allowed",
            ),
            (
                vec![with_attributes(64, 253)],
                "messages[0].attributes has 16448 bytes, at most 16384 are allowed",
            ),
            (produced(3, 1), "messages[0].producer_id is 3 bytes long, it must be 16 or empty"),
            (produced(0, 1), "messages[0].producer_id must not be empty where there is a producer_sequence"),
            (produced(16, 0), "messages[0].producer_sequence is 0, 1 to 9223372036854775807 are allowed"),
            (
                produced(16, 1 << 63),
                "messages[0].producer_sequence is 9223372036854775808, 1 to 9223372036854775807 are allowed",
            ),
        ];
        for (batch, problem) in table {
            let status = messages(&batch).expect_err(problem);
            assert_eq!(status.message(), problem);
            assert!(is_not_stored(&status));
        }
    }

    #[test]
    fn what_is_just_within_the_limits_is_taken() {
        let largest = Message { key: "k".repeat(1_024), ..of(1 << 20) };
        assert!(messages(&[largest]).is_ok());
        assert!(messages(&[with_attributes(64, 252)]).is_ok());
        assert!(messages(&vec![of(0); 1_000]).is_ok());
        assert!(messages(&vec![of(1 << 20); 4]).is_ok());
    }
}
