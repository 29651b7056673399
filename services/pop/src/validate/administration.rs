//! What Seek and UpdateSubscription may say.

use trunkline_types::limits::SEEK_ID_BYTES_MAX;
use trunkline_types::{ConsumerName, TopicName};
use trunkline_wire::status::invalid;
use trunkline_wire::{Status, v1};

use super::{at_most, consumer, options, start, topic};

/// A checked Seek: where to, and what it is called.
pub(crate) fn seek(request: &v1::SeekRequest) -> Result<(TopicName, ConsumerName, v1::start::At), Status> {
    let (topic, consumer) = (topic(&request.topic)?, consumer(&request.consumer)?);
    at_most("seek_id", request.seek_id.len(), SEEK_ID_BYTES_MAX, "bytes")?;
    match start("to", request.to)? {
        Some(at) => Ok((topic, consumer, at)),
        None => Err(invalid("to", "must say where: latest, earliest, a message ID or a time")),
    }
}

/// Options that are to change, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    options: v1::SubscriptionOptions,
    ack_deadline: bool,
}

impl Changes {
    /// Those that the mask names, or, without one, those that are set.
    pub(crate) fn of(request: &v1::UpdateSubscriptionRequest) -> Result<Self, Status> {
        let mut changes = Self { options: request.options.unwrap_or_default(), ack_deadline: false };
        let named = request.update_mask.as_ref().map_or(&[][..], |mask| &mask.paths);
        for path in named {
            match path.as_str() {
                "ack_deadline" => changes.ack_deadline = true,
                "start" => return Err(invalid("update_mask", "names start, which cannot change: seek")),
                other => return Err(invalid("update_mask", format!("names {other:?}, which is no option"))),
            }
        }
        if named.is_empty() {
            if changes.options.start.is_some() {
                return Err(invalid("options.start", "cannot change: seek"));
            }
            changes.ack_deadline = changes.options.ack_deadline.is_some();
        }
        // What is wrong with them is said before anything is asked of anybody.
        options(Some(v1::SubscriptionOptions { start: None, ..changes.options })).map(|_| changes)
    }

    /// All options as they are then.
    pub(crate) fn to(&self, present: &v1::SubscriptionOptions) -> Result<v1::SubscriptionOptions, Status> {
        let mut all = *present;
        if self.ack_deadline {
            all.ack_deadline = self.options.ack_deadline;
        }
        options(Some(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    fn latest() -> v1::Start {
        v1::Start { at: Some(v1::start::At::Latest(v1::Latest {})) }
    }

    fn update(paths: &[&str], ack_deadline: Option<prost_types::Duration>) -> v1::UpdateSubscriptionRequest {
        let options = v1::SubscriptionOptions { ack_deadline, ..Default::default() };
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        let update_mask = Some(prost_types::FieldMask { paths });
        v1::UpdateSubscriptionRequest { options: Some(options), update_mask, ..Default::default() }
    }

    #[test]
    fn what_the_mask_names_changes_and_without_one_what_is_set() {
        let present = v1::SubscriptionOptions { start: Some(latest()), ack_deadline: seconds(7) };
        let cases = [
            (&["ack_deadline"][..], seconds(9), 9),
            (&["ack_deadline"], None, 30),
            (&[], seconds(9), 9),
            (&[], None, 7),
        ];
        for (paths, ack_deadline, expected) in cases {
            let changed = Changes::of(&update(paths, ack_deadline)).unwrap().to(&present).unwrap();
            assert_eq!(changed.ack_deadline, seconds(expected), "{paths:?} {ack_deadline:?}");
            assert_eq!(changed.start, present.start);
        }
    }

    #[test]
    fn what_cannot_change_is_refused_by_name() {
        let mut start = update(&[], None);
        start.options = Some(v1::SubscriptionOptions { start: Some(latest()), ..Default::default() });
        for (request, expected) in [
            (start, "options.start cannot change: seek"),
            (update(&["start"], None), "update_mask names start, which cannot change: seek"),
            (update(&["hue"], None), "update_mask names \"hue\", which is no option"),
            (update(&[], seconds(601)), "options.ack_deadline must be 1 s to 600 s"),
        ] {
            assert_eq!(Changes::of(&request).unwrap_err().message(), expected);
        }
    }

    #[test]
    fn a_seek_says_where() {
        let request = |to, seek_id: &str| v1::SeekRequest {
            topic: "t".to_owned(),
            consumer: "c".to_owned(),
            to,
            seek_id: seek_id.to_owned(),
        };
        let to = |at| Some(v1::Start { at: Some(at) });
        let time = |seconds| v1::start::At::Time(prost_types::Timestamp { seconds, nanos: 1_999_999 });
        assert_eq!(
            seek(&request(to(time(5)), "x")).unwrap().2,
            v1::start::At::Time(prost_types::Timestamp { seconds: 5, nanos: 1_000_000 })
        );
        for (request, expected) in [
            (request(None, ""), "to must say where: latest, earliest, a message ID or a time"),
            (request(to(v1::start::At::MessageId(0)), ""), "to.message_id must be at least 1"),
            (request(to(time(-5)), ""), "to.time is before 1970, or no time"),
            (request(Some(latest()), &"x".repeat(65)), "seek_id is 65, at most 64 bytes are allowed"),
        ] {
            assert_eq!(seek(&request).unwrap_err().message(), expected);
        }
    }
}
