//! Keys: which of a key's messages are with a client, and which wait. One key is with one client at a time, in order.

use std::collections::{BTreeMap, BTreeSet};

use super::outstanding::Client;

/// A message's key as 64 bits of its hash. Two keys that share them are one: each waits for the other, no more.
pub type Key = u64;

/// One member's share of the keys: those whose hash is `member`, modulo `members`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Below `members`.
    pub member: u32,
    pub members: u32,
}

impl Share {
    /// Messages without a key are anybody's.
    pub(super) fn has(self, key: Option<Key>) -> bool {
        key.is_none_or(|key| key % u64::from(self.members.max(1)) == u64::from(self.member))
    }
}

/// What is known of one key while any of its messages is below the highest delivered and not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// With `holder`; all lower than those that wait.
    pub(super) given: BTreeSet<u64>,
    pub(super) holder: Option<Client>,
    /// To be handed out, the lowest first.
    pub(super) waiting: BTreeSet<u64>,
    /// On the way to the dead letter topic.
    pub(super) moving: BTreeSet<u64>,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.given.is_empty() && self.waiting.is_empty() && self.moving.is_empty()
    }

    /// Whether the next of the key may go to `client`.
    fn is_open_to(&self, client: &Client) -> bool {
        self.moving.is_empty()
            && (self.given.is_empty()
                || (*client != Client::Nameless && self.holder.as_ref() == Some(client)))
    }
}

/// Whom the first that waits of a key may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Anyone(u64),
    Only(Client, u64),
    Nobody,
}

#[derive(Debug, Default)]
pub(super) struct Keys {
    lanes: BTreeMap<Key, Lane>,
}

impl Keys {
    /// Whether a message that nobody was given yet may go to `client`, and need not wait behind another of its key.
    pub(super) fn is_free(&self, key: Option<Key>, client: &Client) -> bool {
        let lane = key.and_then(|key| self.lanes.get(&key));
        lane.is_none_or(|lane| lane.waiting.is_empty() && lane.is_open_to(client))
    }

    pub(super) fn head(&self, key: Key) -> Head {
        let Some(lane) = self.lanes.get(&key) else { return Head::Nobody };
        match (lane.waiting.first(), &lane.holder) {
            (Some(&id), _) if lane.moving.is_empty() && lane.given.is_empty() => Head::Anyone(id),
            (Some(&id), Some(holder)) if lane.is_open_to(holder) => Head::Only(holder.clone(), id),
            _ => Head::Nobody,
        }
    }

    pub(super) fn change<T>(&mut self, key: Key, change: impl FnOnce(&mut Lane) -> T) -> T {
        let lane = self.lanes.entry(key).or_default();
        let result = change(lane);
        if lane.given.is_empty() {
            lane.holder = None;
        }
        if lane.is_empty() {
            self.lanes.remove(&key);
        }
        result
    }

    /// Those of a key that are with a client, above `id`.
    pub(super) fn given_above(&self, key: Key, id: u64) -> Vec<u64> {
        self.lanes.get(&key).map(|lane| lane.given.range(id + 1..).copied().collect()).unwrap_or_default()
    }
}
