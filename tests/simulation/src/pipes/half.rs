//! One direction of one connection: what its writer has sent and its reader has not read.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{SEND_BUFFER_BYTES, Way};

/// What is written at once; nothing in it is the end.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) written: Instant,
    pub(super) due: Instant,
    pub(super) bytes: Bytes,
}

#[derive(Debug, Default)]
pub(super) struct Half {
    pub(super) chunks: VecDeque<Chunk>,
    /// What was read, and when its writer may know.
    freed: VecDeque<(Instant, usize)>,
    used: usize,
    sent_until: Option<Instant>,
    last_due: Option<Instant>,
    /// After a stall: when what was lost has been sent again.
    pub(super) open_at: Option<Instant>,
    pub(super) ended: bool,
    pub(super) reader_is_gone: bool,
    /// From when on the writer's end is no connection any more.
    pub(super) reset_at: Option<Instant>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Half {
    pub(super) fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// The reader's host answers bytes with a reset: what is under way, once it is sent again; else the next.
    pub(super) fn is_unknown_there(&mut self, sent_again: Instant) {
        self.reader_is_gone = true;
        if self.used > 0 {
            self.reset_at.get_or_insert(sent_again);
        }
    }

    pub(super) fn room(&self) -> usize {
        SEND_BUFFER_BYTES - self.used
    }

    /// When there is more room.
    pub(super) fn next_freed(&self) -> Option<Instant> {
        self.freed.front().map(|(at, _)| *at)
    }

    pub(super) fn settle(&mut self, now: Instant) {
        while let Some((at, bytes)) = self.freed.front().copied()
            && at <= now
        {
            self.freed.pop_front();
            self.used -= bytes;
        }
    }

    pub(super) fn send(&mut self, bytes: Bytes, way: Way, jitter: Duration, now: Instant) {
        self.used += bytes.len();
        let sent = self.sent_until.map_or(now, |until| until.max(now)) + took(bytes.len(), way);
        self.sent_until = Some(sent);
        let due = self.last_due.map_or(Instant::now(), |last| last).max(sent + way.delay + jitter);
        self.last_due = Some(due);
        self.ended = bytes.is_empty();
        self.chunks.push_back(Chunk { written: now, due, bytes });
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Up to `most` bytes of the first chunk; the writer gets room back at `known`.
    pub(super) fn take(&mut self, most: usize, known: Instant) -> Bytes {
        let Some(chunk) = self.chunks.front_mut() else { return Bytes::new() };
        let taken = chunk.bytes.split_to(most.min(chunk.bytes.len()));
        if chunk.bytes.is_empty() {
            self.chunks.pop_front();
        }
        self.freed.push_back((known, taken.len()));
        self.writer.take().into_iter().for_each(Waker::wake);
        taken
    }
}

fn took(bytes: usize, way: Way) -> Duration {
    way.bytes_per_second.map_or(Duration::ZERO, |rate| {
        Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / rate.max(1))
    })
}
