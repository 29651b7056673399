//! Messages in memory: read ahead of the clients, or delivered and kept in case they must come again.

use std::collections::BTreeMap;

use trunkline_types::limits::{HELD_BYTES_MAX, READ_AHEAD_BYTES_MAX, READ_AHEAD_MESSAGES_MAX};

/// A message as the dispatcher needs to know it. Cloning must be cheap.
pub trait Payload: Clone {
    /// What counts against `max_bytes` and the dispatcher's memory.
    fn bytes(&self) -> u64;
}

#[derive(Debug)]
pub(super) struct Shelf<M> {
    held: BTreeMap<u64, M>,
    bytes: u64,
    /// Bytes of those that were never handed out.
    ahead_bytes: u64,
    /// Never handed out from here on.
    next: u64,
    /// Everything in `next..ahead` that is not acknowledged is held.
    ahead: u64,
}

impl<M: Payload> Shelf<M> {
    pub(super) fn new(next: u64) -> Self {
        Self { held: BTreeMap::new(), bytes: 0, ahead_bytes: 0, next, ahead: next }
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn ahead(&self) -> u64 {
        self.ahead
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn get(&self, id: u64) -> Option<&M> {
        self.held.get(&id)
    }

    pub(super) fn has_room_ahead(&self) -> bool {
        self.ahead - self.next < READ_AHEAD_MESSAGES_MAX && self.ahead_bytes < READ_AHEAD_BYTES_MAX
    }

    pub(super) fn room_ahead(&self) -> (u64, u64) {
        let messages = READ_AHEAD_MESSAGES_MAX.saturating_sub(self.ahead - self.next);
        (messages, READ_AHEAD_BYTES_MAX.saturating_sub(self.ahead_bytes))
    }

    /// A message that was delivered before, read again.
    pub(super) fn put(&mut self, id: u64, message: M) {
        if id < self.next {
            self.bytes += message.bytes();
            if let Some(before) = self.held.insert(id, message) {
                self.bytes -= before.bytes();
            }
        }
    }

    /// The next message read ahead.
    pub(super) fn put_ahead(&mut self, id: u64, message: M) {
        self.skip_ahead(id + 1);
        self.bytes += message.bytes();
        self.ahead_bytes += message.bytes();
        self.held.insert(id, message);
        while self.bytes > HELD_BYTES_MAX {
            let Some((&delivered, _)) = self.held.range(..self.next).next_back() else { return };
            self.remove(delivered);
        }
    }

    /// Nothing below `ahead` is to be read ahead any more.
    pub(super) fn skip_ahead(&mut self, ahead: u64) {
        self.ahead = self.ahead.max(ahead);
    }

    /// Everything below `next` is handed out, acknowledged or expired.
    pub(super) fn advance(&mut self, next: u64) {
        let passed: u64 =
            self.held.range(self.next..next.max(self.next)).map(|(_, message)| message.bytes()).sum();
        self.ahead_bytes -= passed;
        self.next = self.next.max(next);
        self.skip_ahead(self.next);
    }

    /// Everything below `earliest` that was not handed out is gone for good.
    pub(super) fn expire(&mut self, earliest: u64) {
        let gone: Vec<u64> = self.held.range(self.next..earliest).map(|(&id, _)| id).collect();
        gone.into_iter().for_each(|id| self.remove(id));
        self.advance(earliest);
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Some(message) = self.held.remove(&id) {
            self.bytes -= message.bytes();
            if id >= self.next {
                self.ahead_bytes -= message.bytes();
            }
        }
    }

    /// Forgets everything that was delivered or read ahead; it is read again when it is needed.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.next);
    }
}
