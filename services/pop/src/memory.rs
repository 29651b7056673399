//! Messages in memory, of all dispatched subscriptions together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trunkline_delivery::dispatcher::{Handed, Key, Payload};
use trunkline_types::hash64;
use trunkline_wire::v1;

/// A message in memory; a clone is a reference.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    message: Arc<v1::ReceivedMessage>,
    bytes: u64,
}

impl Payload for Held {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn key(&self) -> Option<Key> {
        let key = self.message.message.as_ref().map_or("", |message| &message.key);
        (!key.is_empty()).then(|| hash64(key.as_bytes()))
    }
}

impl Held {
    pub(crate) fn received(&self) -> &v1::ReceivedMessage {
        &self.message
    }
}

impl From<v1::ReceivedMessage> for Held {
    fn from(message: v1::ReceivedMessage) -> Self {
        let bytes = message.message.as_ref().map_or(0, size);
        Self { message: Arc::new(message), bytes }
    }
}

/// Of payload, key and attributes.
pub(crate) fn size(content: &v1::Message) -> u64 {
    let attributes: usize = content.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
    (content.payload.len() + content.key.len() + attributes) as u64
}

/// As a client gets it.
pub(crate) fn delivery(handed: &Handed<Held>) -> v1::Delivery {
    v1::Delivery {
        message: Some((*handed.message.message).clone()),
        attempt: handed.attempt,
        token: handed.token.encode().into(),
        nacks: handed.nacks,
    }
}

/// What one server's messages take.
#[derive(Debug)]
pub(crate) struct Memory {
    used: AtomicU64,
    bytes_max: u64,
}

/// What one subscription's messages take of it; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    pub(crate) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), bytes_max })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.bytes_max
    }

    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { memory: self.clone(), bytes: 0 }
    }
}

impl Share {
    pub(crate) fn set(&mut self, bytes: u64) {
        if bytes != self.bytes {
            self.memory.used.fetch_add(bytes, Ordering::Relaxed);
            self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
            self.bytes = bytes;
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_given_back_with_its_owner() {
        let memory = Memory::new(10);
        let (mut one, mut other) = (memory.share(), memory.share());
        one.set(6);
        other.set(5);
        assert!(memory.is_full());
        drop(one);
        assert!(!memory.is_full());
        other.set(20);
        assert!(memory.is_full());
        other.set(0);
        assert!(!memory.is_full());
    }
}
