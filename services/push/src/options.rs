//! What an operator can set.

use std::time::Duration;

use serde::Deserialize;
use trunkline_types::ByteSize;
use trunkline_types::limits::{
    BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, DEADLINE_DEFAULT, DEADLINE_MAX, PAYLOAD_CHUNK_BYTES,
    PAYLOAD_INLINE_BYTES_MAX,
};

/// Settings of a push server: section `push`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Whether Push and Subscribe create a topic that is missing, with the defaults.
    pub auto_create_topics: bool,
    /// Bytes of messages that are under way at once; beyond it a Push is refused, a PushStream waits.
    pub inflight_bytes_max: ByteSize,
    /// The same in messages.
    pub inflight_messages_max: usize,
    /// Messages of one PushStream that are under way at once.
    pub stream_messages_max: usize,
    /// How long a message of a PushStream may take to reach its level.
    #[serde(with = "humantime_serde")]
    pub stream_deadline: Duration,
    /// The largest payload that comes inline; only larger ones come in chunks. Equal everywhere.
    pub inline_bytes_max: ByteSize,
    /// Of every chunk of a larger one but the last. Equal everywhere.
    pub chunk_bytes: ByteSize,
    /// Topics whose id and options are remembered.
    pub topics_cached_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auto_create_topics: true,
            inflight_bytes_max: ByteSize::mib(64),
            inflight_messages_max: 65_536,
            stream_messages_max: 8_192,
            stream_deadline: DEADLINE_DEFAULT,
            inline_bytes_max: ByteSize(PAYLOAD_INLINE_BYTES_MAX as u64),
            chunk_bytes: ByteSize(PAYLOAD_CHUNK_BYTES.into()),
            topics_cached_max: 65_536,
        }
    }
}

impl Options {
    pub(crate) fn chunk_bytes(&self) -> u32 {
        u32::try_from(self.chunk_bytes.bytes()).unwrap_or(PAYLOAD_CHUNK_BYTES)
    }

    /// # Errors
    /// A sentence in the words of the file, about the first thing that is wrong.
    pub fn validate(&self) -> Result<(), String> {
        let bytes = self.inflight_bytes_max.as_usize();
        if bytes < BATCH_BYTES_MAX || u32::try_from(bytes).is_err() {
            return Err(format!(
                "inflight-bytes-max: {} is not between 4MiB and 4GiB",
                self.inflight_bytes_max
            ));
        }
        for (field, value) in [
            ("inflight-messages-max", self.inflight_messages_max),
            ("stream-messages-max", self.stream_messages_max),
            ("topics-cached-max", self.topics_cached_max),
        ] {
            if !(BATCH_MESSAGES_MAX..=1 << 24).contains(&value) {
                return Err(format!("{field}: {value} is not between {BATCH_MESSAGES_MAX} and {}", 1 << 24));
            }
        }
        for (field, value, max) in [
            ("inline-bytes-max", self.inline_bytes_max, PAYLOAD_INLINE_BYTES_MAX as u64),
            ("chunk-bytes", self.chunk_bytes, PAYLOAD_CHUNK_BYTES.into()),
        ] {
            if !(1..=max).contains(&value.bytes()) {
                return Err(format!("{field}: {value} is not between 1 and {max} bytes"));
            }
        }
        if self.stream_deadline < Duration::from_secs(1) || self.stream_deadline > DEADLINE_MAX {
            return Err("stream-deadline: must be between 1s and 60s".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_nonsense_is_refused_in_the_words_of_the_file() {
        assert_eq!(Options::default().validate(), Ok(()));
        let small = Options { inflight_bytes_max: ByteSize(1), ..Options::default() };
        assert_eq!(small.validate(), Err("inflight-bytes-max: 1 is not between 4MiB and 4GiB".to_owned()));
        let none = Options { stream_messages_max: 0, ..Options::default() };
        assert_eq!(
            none.validate(),
            Err("stream-messages-max: 0 is not between 1000 and 16777216".to_owned())
        );
    }
}
