//! Messages in memory: read ahead of the clients, or delivered and kept in case they must come again.

use std::collections::BTreeMap;

use trunkline_types::limits::{HELD_BYTES_MAX, READ_AHEAD_BYTES_MAX, READ_AHEAD_MESSAGES_MAX};

use super::keys::Key;

/// What a message costs in memory beside its bytes.
const MESSAGE_BYTES: u64 = 256;

/// A message as the dispatcher needs to know it. Cloning must be cheap.
pub trait Payload: Clone {
    /// What counts against `max_bytes`, and against the dispatcher's memory beside a fixed part.
    fn bytes(&self) -> u64;

    /// Messages with the same key go to one client at a time, in order.
    fn key(&self) -> Option<Key>;
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

    /// Half of what may be read ahead: less is not worth a read.
    pub(super) fn has_room_ahead(&self) -> bool {
        self.ahead - self.next <= READ_AHEAD_MESSAGES_MAX / 2 && self.ahead_bytes <= READ_AHEAD_BYTES_MAX / 2
    }

    pub(super) fn room_ahead(&self) -> (u64, u64) {
        let messages = READ_AHEAD_MESSAGES_MAX.saturating_sub(self.ahead - self.next);
        (messages, READ_AHEAD_BYTES_MAX.saturating_sub(self.ahead_bytes))
    }

    /// A message that was delivered before, by a read again from `from` on. It makes room for itself, but not at the
    /// cost of what the same read has brought: somebody waits for that.
    pub(super) fn put(&mut self, from: u64, id: u64, message: M) {
        if id >= self.next {
            return;
        }
        self.remove(id);
        self.bytes += cost(&message);
        self.held.insert(id, message);
        while self.bytes > HELD_BYTES_MAX {
            let below = self.held.range(..from).next();
            let delivered = below.or_else(|| self.held.range(id + 1..self.next).next_back());
            let Some((&delivered, _)) = delivered else { return };
            self.remove(delivered);
        }
    }

    /// The next message read ahead.
    pub(super) fn put_ahead(&mut self, id: u64, message: M) {
        self.skip_ahead(id + 1);
        self.bytes += cost(&message);
        self.ahead_bytes += cost(&message);
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
            self.held.range(self.next..next.max(self.next)).map(|(_, message)| cost(message)).sum();
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
            self.bytes -= cost(&message);
            if id >= self.next {
                self.ahead_bytes -= cost(&message);
            }
        }
    }

    /// Forgets what was delivered; it is read again when it is needed.
    pub(super) fn forget_delivered(&mut self) {
        self.held = self.held.split_off(&self.next);
        self.bytes = self.ahead_bytes;
    }

    /// Forgets what was delivered or read ahead; it is read again when it is needed.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.next);
    }
}

fn cost(message: &impl Payload) -> u64 {
    message.bytes() + MESSAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of one mebibyte, or of nothing.
    #[derive(Clone)]
    struct Message(bool);

    impl Payload for Message {
        fn bytes(&self) -> u64 {
            if self.0 { 1 << 20 } else { 0 }
        }

        fn key(&self) -> Option<Key> {
            None
        }
    }

    #[test]
    fn what_is_read_again_makes_room_for_itself_and_is_there() {
        let mut shelf = Shelf::new(1);
        for id in 1..=100 {
            shelf.put_ahead(id, Message(true));
            shelf.advance(id + 1);
        }
        shelf.put_ahead(101, Message(true));
        for from in [1, 50, 97, 30] {
            for id in from..from + 3 {
                shelf.put(from, id, Message(true));
                assert!(shelf.bytes() <= HELD_BYTES_MAX, "{} bytes with {id}", shelf.bytes());
            }
            assert!((from..from + 3).all(|id| shelf.get(id).is_some()), "all of the last read: {from}");
            assert!(shelf.get(101).is_some(), "what was never handed out stays");
        }
    }

    #[test]
    fn messages_without_a_payload_take_room_too() {
        let mut shelf = Shelf::new(1);
        for id in 1..=100_000 {
            shelf.put_ahead(id, Message(false));
            shelf.advance(id + 1);
        }
        assert!(shelf.held.len() < 50_000 && shelf.bytes() <= HELD_BYTES_MAX);
    }
}
