//! What a client may send. Every refusal names the field and its limit, and nothing was stored.

use trunkline_types::TopicName;
use trunkline_types::limits::{NAME_BYTES_MAX, PAGE_SIZE_MAX};
use trunkline_wire::Status;
use trunkline_wire::check;
pub(crate) use trunkline_wire::check::{batch, message, messages, size, topic_options};
use trunkline_wire::status::invalid;
use trunkline_wire::v1::{AckLevel, Message};

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
    fn every_limit_of_a_list_is_named_with_its_field() {
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
