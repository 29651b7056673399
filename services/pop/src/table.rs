//! The subscriptions that this server dispatches, and those that it is about to.

use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;
use tokio::sync::watch;

use crate::handle::Handle;
use crate::positions::Key;

#[derive(Debug)]
enum Slot {
    /// Somebody is acquiring it; the channel closes when that is over.
    Claimed(watch::Receiver<()>),
    Dispatched(Handle),
}

/// What there is for a subscription.
#[derive(Debug)]
pub(crate) enum Found {
    Dispatched(Handle),
    /// Look again when the channel closes.
    Claimed(watch::Receiver<()>),
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Table {
    slots: Mutex<FxHashMap<Key, Slot>>,
    slots_max: usize,
    count: watch::Sender<usize>,
}

/// The right to acquire one subscription. Dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Claim {
    table: Arc<Table>,
    key: Key,
    /// Its end wakes those who wait for the claim's outcome.
    _over: watch::Sender<()>,
}

/// Why there is no claim.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoClaim {
    /// Somebody was faster.
    Taken,
    Full,
}

impl Table {
    pub(crate) fn new(slots_max: usize) -> Arc<Self> {
        Arc::new(Self { slots: Mutex::default(), slots_max, count: watch::Sender::new(0) })
    }

    pub(crate) fn find(&self, key: &Key) -> Found {
        match self.slots.lock().expect("nobody panics while holding it").get(key) {
            Some(Slot::Dispatched(handle)) => Found::Dispatched(handle.clone()),
            Some(Slot::Claimed(over)) => Found::Claimed(over.clone()),
            None => Found::Nothing,
        }
    }

    pub(crate) fn claim(self: &Arc<Self>, key: &Key) -> Result<Claim, NoClaim> {
        let mut slots = self.slots.lock().expect("nobody panics while holding it");
        if slots.contains_key(key) {
            return Err(NoClaim::Taken);
        }
        if slots.len() >= self.slots_max {
            return Err(NoClaim::Full);
        }
        let (over, watched) = watch::channel(());
        slots.insert(key.clone(), Slot::Claimed(watched));
        Ok(Claim { table: self.clone(), key: key.clone(), _over: over })
    }

    /// The dispatcher of this token has ended.
    pub(crate) fn remove(&self, key: &Key, token: u64) {
        let mut slots = self.slots.lock().expect("nobody panics while holding it");
        if matches!(slots.get(key), Some(Slot::Dispatched(handle)) if handle.token() == token) {
            slots.remove(key);
            self.count.send_modify(|count| *count -= 1);
        }
    }

    pub(crate) fn handles(&self) -> Vec<Handle> {
        let slots = self.slots.lock().expect("nobody panics while holding it");
        let dispatched = slots.values().filter_map(|slot| match slot {
            Slot::Dispatched(handle) => Some(handle.clone()),
            Slot::Claimed(_) => None,
        });
        dispatched.collect()
    }

    /// How many subscriptions are dispatched.
    pub(crate) fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }
}

impl Claim {
    /// It is acquired.
    pub(crate) fn dispatch(self, handle: Handle) {
        let mut slots = self.table.slots.lock().expect("nobody panics while holding it");
        slots.insert(self.key.clone(), Slot::Dispatched(handle));
        self.table.count.send_modify(|count| *count += 1);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut slots = self.table.slots.lock().expect("nobody panics while holding it");
        if matches!(slots.get(&self.key), Some(Slot::Claimed(_))) {
            slots.remove(&self.key);
        }
    }
}
