//! Messages as they are printed.

use std::collections::BTreeMap;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use trunkline_client::api::{ExpiredRange, ReceivedMessage};

use crate::context::Context;
use crate::output;

/// One message; `payload` where it is text, else `payload_base64`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    message_id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// Instead of a payload that comes by `trunkline fetch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    large: Option<Large>,
    key: &'a str,
    attributes: &'a BTreeMap<String, String>,
    push_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Large {
    bytes: u64,
    /// XXH3-64, in hexadecimal digits.
    checksum: String,
}

#[derive(Debug, Serialize)]
struct Expired<'a> {
    topic: &'a str,
    expired_from: u64,
    expired_to: u64,
}

/// Prints a message; `attempt` where it was popped.
pub(crate) fn print(
    context: &mut Context,
    json: bool,
    topic: &str,
    received: &ReceivedMessage,
    attempt: Option<u32>,
) -> io::Result<()> {
    let empty = trunkline_client::api::Message::default();
    let message = received.message.as_ref().unwrap_or(&empty);
    let text = std::str::from_utf8(&message.payload).ok();
    let push_time = time(received.push_time.as_ref());
    if json {
        let line = Line {
            topic,
            message_id: received.message_id,
            payload: text.filter(|_| received.large.is_none()),
            payload_base64: text.is_none().then(|| STANDARD.encode(&message.payload)),
            large: received
                .large
                .as_ref()
                .map(|large| Large { bytes: large.bytes, checksum: format!("{:016x}", large.checksum) }),
            key: &message.key,
            attributes: &message.attributes,
            push_time,
            attempt,
        };
        return output::json(context, &line);
    }
    let payload = match (&received.large, text) {
        (Some(large), _) => format!("<{} bytes, by trunkline fetch>", large.bytes).into(),
        (None, Some(text)) => output::visible(text),
        (None, None) => format!("<{} bytes>", message.payload.len()).into(),
    };
    write!(context.stdout, "{:>8}  {push_time}  {payload}", received.message_id)?;
    if !message.key.is_empty() {
        write!(context.stdout, "  key={}", output::visible(&message.key))?;
    }
    for (name, value) in &message.attributes {
        write!(context.stdout, "  {}={}", output::visible(name), output::visible(value))?;
    }
    if let Some(attempt) = attempt.filter(|&attempt| attempt > 1) {
        write!(context.stdout, "  (attempt {attempt})")?;
    }
    writeln!(context.stdout)
}

/// Says that some IDs will not come.
pub(crate) fn print_expired(
    context: &mut Context,
    json: bool,
    topic: &str,
    range: &ExpiredRange,
) -> io::Result<()> {
    if json {
        let line = Expired { topic, expired_from: range.from, expired_to: range.to };
        return output::json(context, &line);
    }
    writeln!(context.stdout, "messages {} to {} have expired", range.from, range.to.saturating_sub(1))
}

/// RFC 3339, in UTC, to the millisecond.
fn time(at: Option<&prost_types::Timestamp>) -> String {
    let at = at.copied().unwrap_or_default();
    let millis = i128::from(at.seconds) * 1_000 + i128::from(at.nanos) / 1_000_000;
    let time =
        OffsetDateTime::from_unix_timestamp_nanos(millis * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use trunkline_client::api::Message;

    use super::*;
    use crate::context::testing::{buffered, text};

    fn received(payload: &'static [u8]) -> ReceivedMessage {
        let attributes = [("k".to_owned(), "v".to_owned())].into();
        let message = Message { payload: payload.into(), key: "order-1".to_owned(), attributes };
        let push_time = Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 250_000_000 });
        ReceivedMessage { message_id: 7, message: Some(message), push_time, large: None }
    }

    #[tokio::test]
    async fn json_has_exactly_the_fields_that_are_promised() {
        let (mut context, out) = buffered();
        print(&mut context, true, "orders", &received(b"hello"), None).expect("printed");
        print(&mut context, true, "orders", &received(&[0xff, 0]), Some(2)).expect("printed");
        assert_eq!(
            text(&out),
            "{\"topic\":\"orders\",\"message_id\":7,\"payload\":\"hello\",\"key\":\"order-1\",\
             \"attributes\":{\"k\":\"v\"},\"push_time\":\"2027-01-15T08:00:00.25Z\"}\n\
             {\"topic\":\"orders\",\"message_id\":7,\"payload_base64\":\"/wA=\",\"key\":\"order-1\",\
             \"attributes\":{\"k\":\"v\"},\"push_time\":\"2027-01-15T08:00:00.25Z\",\"attempt\":2}\n"
        );
    }

    #[tokio::test]
    async fn people_see_one_line_per_message() {
        let (mut context, out) = buffered();
        print(&mut context, false, "orders", &received(b"hello"), Some(1)).expect("printed");
        assert_eq!(text(&out), "       7  2027-01-15T08:00:00.25Z  hello  key=order-1  k=v\n");
    }

    #[tokio::test]
    async fn a_large_payload_is_named_and_not_printed() {
        let (mut context, out) = buffered();
        let large = Some(trunkline_client::api::LargePayload { bytes: 5_000_000, checksum: 255 });
        let received = ReceivedMessage { large, ..received(b"") };
        print(&mut context, true, "orders", &received, None).expect("printed");
        print(&mut context, false, "orders", &received, None).expect("printed");
        assert_eq!(
            text(&out),
            "{\"topic\":\"orders\",\"message_id\":7,\"large\":{\"bytes\":5000000,\"checksum\":\"00000000000000ff\"},\
             \"key\":\"order-1\",\"attributes\":{\"k\":\"v\"},\"push_time\":\"2027-01-15T08:00:00.25Z\"}\n       7  \
             2027-01-15T08:00:00.25Z  <5000000 bytes, by trunkline fetch>  key=order-1  k=v\n"
        );
    }

    #[tokio::test]
    async fn what_others_wrote_stays_on_its_line_and_json_has_it_as_it_is() {
        let (mut context, out) = buffered();
        let mut hostile = received(b"a\x1b[2Jb\n       8  2027-01-15T08:00:00Z  forged");
        let message = hostile.message.as_mut().expect("it has one");
        message.key = "k\r".to_owned();
        message.attributes = [("n\n".to_owned(), "v\x07".to_owned())].into();
        print(&mut context, false, "orders", &hostile, None).expect("printed");
        assert_eq!(
            text(&out),
            "       7  2027-01-15T08:00:00.25Z  a\\x1b[2Jb\\n       8  2027-01-15T08:00:00Z  forged  key=k\\r  \
             n\\n=v\\x07\n"
        );
        let (mut context, out) = buffered();
        print(&mut context, true, "orders", &hostile, None).expect("printed");
        let line: serde_json::Value = serde_json::from_str(&text(&out)).expect("one object");
        assert_eq!(line["payload"], "a\x1b[2Jb\n       8  2027-01-15T08:00:00Z  forged");
        assert_eq!(line["key"], "k\r");
    }
}
