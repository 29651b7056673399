//! How a client behaves.

use std::time::Duration;

use trunkline_types::limits::{DEADLINE_DEFAULT, PAYLOAD_CHUNK_BYTES, PAYLOAD_INLINE_BYTES_MAX};
use trunkline_wire::v1::AckLevel;

/// For all calls of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long one call may take with all its retries; at most 60 s. A long poll has its wait on top.
    pub deadline: Duration,
    /// How often each endpoint is pinged.
    pub ping_every: Duration,
    /// Payloads above it go in chunks. Equal to the servers' own.
    pub inline_bytes_max: u64,
    /// Of every chunk but the last. Equal to the servers' own.
    pub chunk_bytes: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deadline: DEADLINE_DEFAULT,
            ping_every: Duration::from_secs(3),
            inline_bytes_max: PAYLOAD_INLINE_BYTES_MAX as u64,
            chunk_bytes: PAYLOAD_CHUNK_BYTES,
        }
    }
}

/// For one stream of pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    pub level: AckLevel,
    /// How long a message waits for others to travel with. Zero sends what is readily there.
    pub linger: Duration,
    /// A batch goes out when it has so many bytes; at most 4 MiB less the largest message.
    pub batch_bytes: usize,
    /// Messages that are sent and not answered; beyond it sending waits.
    pub window: usize,
    /// When the stream ends early, go on over a new one with what was certainly not stored. What was sent before and
    /// what is sent after may then be ordered the other way round. Without it the caller decides.
    pub reopen: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            level: AckLevel::Unspecified,
            linger: Duration::from_millis(1),
            batch_bytes: 256 << 10,
            window: 4_096,
            reopen: false,
        }
    }
}
