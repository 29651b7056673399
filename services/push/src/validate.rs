//! What a client may send. Every refusal names the field and its limit, and nothing was stored.

use trunkline_types::TopicName;
use trunkline_types::limits::{
    LABELS_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX, PAGE_SIZE_MAX, PAYLOAD_BYTES_MAX,
};
use trunkline_wire::Status;
use trunkline_wire::check;
pub(crate) use trunkline_wire::check::{batch, large, message, messages, size};
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

/// One message against its topic's own limit.
pub(crate) fn payload_of_topic(index: usize, message: &Message, bytes_max: usize) -> Result<(), Status> {
    check::payload(index, message, bytes_max, "are allowed in this topic")
}

/// A payload that is announced, against its topic's own limit.
pub(crate) fn large_of_topic(bytes: u64, bytes_max: usize) -> Result<(), Status> {
    check::payload_bytes(bytes, bytes_max as u64, "are allowed in this topic")
}

/// The options of a topic that is to be created.
pub(crate) fn topic_options(options: &TopicOptions) -> Result<(), Status> {
    ack_level("options.default_ack_level", options.default_ack_level)?;
    if options.message_bytes_max > PAYLOAD_BYTES_MAX {
        let problem = format!("is {}, at most {PAYLOAD_BYTES_MAX} is allowed", options.message_bytes_max);
        return Err(invalid("options.message_bytes_max", problem));
    }
    check::pairs(|| "options.labels".to_owned(), &options.labels, LABELS_MAX, LABELS_BYTES_MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_of_a_topic_is_named_with_its_field() {
        let labels = |count| (0..count).map(|n: usize| (n.to_string(), String::new())).collect();
        let table = [
            (
                TopicOptions { default_ack_level: 9, ..TopicOptions::default() },
                "options.default_ack_level is 9, which is no ack level",
            ),
            (
                TopicOptions { message_bytes_max: 100_000_001, ..TopicOptions::default() },
                "options.message_bytes_max is 100000001, at most 100000000 is allowed",
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
