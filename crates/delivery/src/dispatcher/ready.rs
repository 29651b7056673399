//! What waits to be handed out and may be now, by whom it may be given to: the lowest first.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{Head, Key};
use super::outstanding::Client;

#[derive(Debug, Default)]
pub(super) struct Ready {
    /// To anyone.
    free: BTreeSet<u64>,
    /// To the client that has lower ones of the same key.
    own: BTreeMap<Client, BTreeSet<u64>>,
    /// Of each key, what of it is above.
    heads: BTreeMap<Key, Head>,
}

impl Ready {
    pub(super) fn add(&mut self, id: u64) {
        self.free.insert(id);
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.free.remove(&id);
    }

    /// The first that waits of a key is this one now, or nobody may have it.
    pub(super) fn set_head(&mut self, key: Key, head: Head) {
        let before = self.heads.remove(&key).unwrap_or(Head::Nobody);
        if before != head {
            self.forget(&before);
            match &head {
                Head::Anyone(id) => drop(self.free.insert(*id)),
                Head::Only(client, id) => drop(self.own.entry(client.clone()).or_default().insert(*id)),
                Head::Nobody => {}
            }
        }
        if head != Head::Nobody {
            self.heads.insert(key, head);
        }
    }

    fn forget(&mut self, head: &Head) {
        match head {
            Head::Anyone(id) => drop(self.free.remove(id)),
            Head::Only(client, id) => {
                if let Some(ids) = self.own.get_mut(client) {
                    ids.remove(id);
                    if ids.is_empty() {
                        self.own.remove(client);
                    }
                }
            }
            Head::Nobody => {}
        }
    }

    /// The lowest that `client` may be given, of those that `fits`.
    pub(super) fn next(&self, client: &Client, fits: impl Fn(u64) -> bool) -> Option<u64> {
        let own = self.own.get(client).and_then(|ids| ids.iter().copied().find(|&id| fits(id)));
        let free = self.free.iter().copied().find(|&id| fits(id));
        own.into_iter().chain(free).min()
    }

    /// Whether there is something for `client` that nobody else may be given.
    pub(super) fn has_own(&self, client: &Client) -> bool {
        self.own.contains_key(client)
    }
}
