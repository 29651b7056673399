//! What a client may push, in the same words for whoever refuses it: a client before it sends, a server before it
//! stores. Every refusal names the field and its limit, and nothing was stored.

use std::collections::BTreeMap;

use tonic::Status;
use trunkline_types::limits::{
    ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, KEY_BYTES_MAX,
    PAYLOAD_BYTES_MAX, PAYLOAD_INLINE_BYTES_MAX,
};

use crate::status::invalid;
use crate::v1::{LargeMessage, Message};

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
    fields(message, format_args!("messages[{index}]"))
}

/// All but the payload.
fn fields(message: &Message, of: impl std::fmt::Display) -> Result<(), Status> {
    let key = message.key.len();
    if key > KEY_BYTES_MAX {
        let problem = format!("is {key} bytes long, at most {KEY_BYTES_MAX} are allowed");
        return Err(invalid(format!("{of}.key"), problem));
    }
    pairs(|| format!("{of}.attributes"), &message.attributes, ATTRIBUTES_MAX, ATTRIBUTES_BYTES_MAX)
}

/// A message whose payload follows in chunks, because it has more than `inline` bytes.
///
/// # Errors
/// `INVALID_ARGUMENT`, naming field and limit.
pub fn large(large: &LargeMessage, inline: u64) -> Result<(), Status> {
    payload_bytes(large.payload_bytes, PAYLOAD_BYTES_MAX, "are allowed")?;
    if large.payload_bytes <= inline {
        let problem = format!("is {}, up to {inline} bytes come with the message", large.payload_bytes);
        return Err(invalid("large.payload_bytes", problem));
    }
    let message = large.message.as_ref().ok_or_else(|| invalid("large.message", "must not be empty"))?;
    if !message.payload.is_empty() {
        return Err(invalid("large.message.payload", "must be empty: it follows in chunks"));
    }
    fields(message, "large.message")
}

/// The length of a payload that is announced; `allowed` ends the sentence.
///
/// # Errors
/// `INVALID_ARGUMENT`, naming field and limit.
pub fn payload_bytes(bytes: u64, max: u64, allowed: &str) -> Result<(), Status> {
    if bytes > max {
        return Err(invalid("large.payload_bytes", format!("is {bytes}, at most {max} {allowed}")));
    }
    Ok(())
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
    fn every_limit_of_a_push_is_named_with_its_field() {
        let keyed = |bytes| Message { key: "k".repeat(bytes), ..Message::default() };
        let table: [(Vec<Message>, &str); 8] = [
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
        ];
        for (batch, problem) in table {
            let status = messages(&batch).expect_err(problem);
            assert_eq!(status.message(), problem);
            assert!(is_not_stored(&status));
        }
    }

    #[test]
    fn a_large_message_is_refused_by_what_it_announces() {
        let message = || Some(Message::default());
        let table = [
            (100_000_001, message(), "large.payload_bytes is 100000001, at most 100000000 are allowed"),
            (1 << 20, message(), "large.payload_bytes is 1048576, up to 1048576 bytes come with the message"),
            (1 << 21, None, "large.message must not be empty"),
            (1 << 21, Some(of(1)), "large.message.payload must be empty: it follows in chunks"),
            (
                1 << 21,
                Some(Message { key: "k".repeat(1_025), ..Message::default() }),
                "large.message.key is 1025 bytes long, at most 1024 are allowed",
            ),
        ];
        for (payload_bytes, message, problem) in table {
            let status = large(&LargeMessage { message, payload_bytes }, 1 << 20).expect_err(problem);
            assert_eq!(status.message(), problem);
            assert!(is_not_stored(&status));
        }
        let largest = LargeMessage { message: message(), payload_bytes: 100_000_000 };
        assert!(large(&largest, 1 << 20).is_ok());
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
