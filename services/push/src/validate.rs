//! What a client may send. Every refusal names the field and its limit, and nothing was stored.

use std::collections::BTreeMap;

use trunkline_types::TopicName;
use trunkline_types::limits::{
    ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, KEY_BYTES_MAX,
    LABELS_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX, PAGE_SIZE_MAX, PAYLOAD_INLINE_BYTES_MAX,
};
use trunkline_wire::Status;
use trunkline_wire::status::invalid;
use trunkline_wire::v1::{AckLevel, Message, TopicOptions};

/// A topic's name, from the field `topic`.
pub(crate) fn topic(name: String) -> Result<TopicName, Status> {
    TopicName::new(name).map_err(|error| invalid("topic", error.to_string()))
}

/// An ack level that this version knows; `UNSPECIFIED` leaves it to the topic.
pub(crate) fn ack_level(field: &str, level: i32) -> Result<AckLevel, Status> {
    AckLevel::try_from(level).map_err(|_| invalid(field, format!("is {level}, which is no ack level")))
}

/// How many messages, and how much, one request may carry.
pub(crate) fn batch(messages: &[Message]) -> Result<(), Status> {
    if messages.len() > BATCH_MESSAGES_MAX {
        let problem = format!("has {} messages, at most {BATCH_MESSAGES_MAX} are allowed", messages.len());
        return Err(invalid("messages", problem));
    }
    let bytes: usize = messages.iter().map(size).sum();
    if bytes > BATCH_BYTES_MAX {
        return Err(invalid("messages", format!("has {bytes} bytes, at most {BATCH_BYTES_MAX} are allowed")));
    }
    Ok(())
}

/// The messages of a unary Push: at least one, each within its limits.
pub(crate) fn messages(messages: &[Message]) -> Result<(), Status> {
    if messages.is_empty() {
        return Err(invalid("messages", "must not be empty"));
    }
    batch(messages)?;
    messages.iter().enumerate().try_for_each(|(index, one)| message(index, one))
}

/// One message; `index` is its place in the request.
pub(crate) fn message(index: usize, message: &Message) -> Result<(), Status> {
    payload(index, message, PAYLOAD_INLINE_BYTES_MAX, "are allowed")?;
    let key = message.key.len();
    if key > KEY_BYTES_MAX {
        let problem = format!("is {key} bytes long, at most {KEY_BYTES_MAX} are allowed");
        return Err(invalid(format!("messages[{index}].key"), problem));
    }
    let field = || format!("messages[{index}].attributes");
    pairs(field, &message.attributes, ATTRIBUTES_MAX, ATTRIBUTES_BYTES_MAX)
}

/// One message against its topic's own limit.
pub(crate) fn payload_of_topic(index: usize, message: &Message, bytes_max: usize) -> Result<(), Status> {
    payload(index, message, bytes_max, "are allowed in this topic")
}

fn payload(index: usize, message: &Message, max: usize, allowed: &str) -> Result<(), Status> {
    let bytes = message.payload.len();
    if bytes > max {
        let problem = format!("is {bytes} bytes long, at most {max} {allowed}");
        return Err(invalid(format!("messages[{index}].payload"), problem));
    }
    Ok(())
}

/// Payload, key and attributes together.
pub(crate) fn size(message: &Message) -> usize {
    message.payload.len() + message.key.len() + pairs_bytes(&message.attributes)
}

/// The options of a topic that is to be created.
pub(crate) fn topic_options(options: &TopicOptions) -> Result<(), Status> {
    ack_level("options.default_ack_level", options.default_ack_level)?;
    if options.message_bytes_max > PAYLOAD_INLINE_BYTES_MAX as u64 {
        let problem =
            format!("is {}, at most {PAYLOAD_INLINE_BYTES_MAX} is allowed", options.message_bytes_max);
        return Err(invalid("options.message_bytes_max", problem));
    }
    pairs(|| "options.labels".to_owned(), &options.labels, LABELS_MAX, LABELS_BYTES_MAX)
}

/// The size of a page: 0 is the largest.
pub(crate) fn page_size(size: u32) -> Result<usize, Status> {
    match usize::try_from(size).unwrap_or(usize::MAX) {
        0 => Ok(PAGE_SIZE_MAX),
        size if size <= PAGE_SIZE_MAX => Ok(size),
        size => Err(invalid("page_size", format!("is {size}, at most {PAGE_SIZE_MAX} is allowed"))),
    }
}

/// A prefix of names; one that no name begins with finds none.
pub(crate) fn prefix(prefix: &str) -> Result<(), Status> {
    if prefix.len() > NAME_BYTES_MAX {
        let problem = format!("is {} bytes long, at most {NAME_BYTES_MAX} are allowed", prefix.len());
        return Err(invalid("prefix", problem));
    }
    Ok(())
}

fn pairs(
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

fn pairs_bytes(pairs: &BTreeMap<String, String>) -> usize {
    pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use trunkline_wire::status::is_not_stored;

    use super::*;

    fn of(payload: usize) -> Message {
        Message { payload: vec![7; payload].into(), ..Message::default() }
    }

    fn with_attributes(count: usize, value: usize) -> Message {
        let attributes = (0..count).map(|n| (format!("{n:04}"), "v".repeat(value))).collect();
        Message { attributes, ..Message::default() }
    }

    #[test]
    fn every_limit_of_a_push_is_named_with_its_field() {
        let keyed = |bytes| Message { key: "k".repeat(bytes), ..Message::default() };
        let table: [(Vec<Message>, &str); 7] = [
            (vec![], "messages must not be empty"),
            (vec![of(0); 1_001], "messages has 1001 messages, at most 1000 are allowed"),
            (vec![of(1 << 20); 5], "messages has 5242880 bytes, at most 4194304 are allowed"),
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

    #[test]
    fn every_limit_of_a_topic_is_named_with_its_field() {
        let labels = |count| (0..count).map(|n: usize| (n.to_string(), String::new())).collect();
        let table = [
            (
                TopicOptions { default_ack_level: 9, ..TopicOptions::default() },
                "options.default_ack_level is 9, which is no ack level",
            ),
            (
                TopicOptions { message_bytes_max: 1 << 21, ..TopicOptions::default() },
                "options.message_bytes_max is 2097152, at most 1048576 is allowed",
            ),
            (
                TopicOptions { labels: labels(65), ..TopicOptions::default() },
                "options.labels has 65 entries, at most 64 are allowed",
            ),
        ];
        for (options, problem) in table {
            assert_eq!(topic_options(&options).expect_err(problem).message(), problem);
        }
        assert_eq!(
            topic("a b".to_owned()).expect_err("a space").message(),
            "topic contains ' ', allowed are A-Z a-z 0-9 . _ -"
        );
        assert_eq!(page_size(0).expect("the default"), 1_000);
        assert_eq!(
            page_size(1_001).expect_err("too large").message(),
            "page_size is 1001, at most 1000 is allowed"
        );
    }
}
