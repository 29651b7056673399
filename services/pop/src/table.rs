//! The subscriptions that this server dispatches, and those that it is about to.

use std::sync::{Arc, Mutex};

use prometheus_client::metrics::gauge::Gauge;
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
    dispatched: Gauge,
}

/// The right to acquire one subscription. Dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Claim {
    table: Arc<Table>,
    key: Key,
    /// Its end wakes those who wait for the claim's outcome.
    _over: watch::Sender<()>,
}

/// A subscription's place among those dispatched here. Dropping it, be it because its worker has panicked, gives it up.
#[derive(Debug)]
pub(crate) struct Place {
    table: Arc<Table>,
    key: Key,
}

/// Why there is no claim.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoClaim {
    /// Somebody was faster.
    Taken,
    Full,
}

impl Table {
    pub(crate) fn new(slots_max: usize, dispatched: Gauge) -> Arc<Self> {
        Arc::new(Self { slots: Mutex::default(), slots_max, count: watch::Sender::new(0), dispatched })
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
    pub(crate) fn dispatch(self, handle: Handle) -> Place {
        let mut slots = self.table.slots.lock().expect("nobody panics while holding it");
        slots.insert(self.key.clone(), Slot::Dispatched(handle));
        self.table.count.send_modify(|count| *count += 1);
        self.table.dispatched.inc();
        Place { table: self.table.clone(), key: self.key.clone() }
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

impl Drop for Place {
    fn drop(&mut self) {
        // Nobody else can have claimed it meanwhile.
        self.table.slots.lock().expect("nobody panics while holding it").remove(&self.key);
        self.table.count.send_modify(|count| *count -= 1);
        self.table.dispatched.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use trunkline_types::{ConsumerName, TopicId};

    use super::*;

    fn key() -> Key {
        Key { topic: TopicId(1), consumer: ConsumerName::new("c").unwrap() }
    }

    #[test]
    fn a_worker_that_panics_leaves_nothing_behind() {
        let table = Table::new(1, Gauge::default());
        let claim = table.claim(&key()).unwrap();
        let (handle, _inbox) = Handle::new();
        let place = claim.dispatch(handle);
        assert!(matches!(table.find(&key()), Found::Dispatched(_)));
        assert_eq!((table.claim(&key()).err(), *table.count().borrow()), (Some(NoClaim::Taken), 1));
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _place = place;
            panic!("a broken invariant");
        }));
        assert!(panicked.is_err());
        assert!(matches!(table.find(&key()), Found::Nothing));
        assert_eq!(
            (table.claim(&key()).err(), *table.count().borrow(), table.dispatched.get()),
            (None, 0, 0)
        );
    }

    #[test]
    fn a_claim_that_is_dropped_makes_room_for_the_next() {
        let table = Table::new(1, Gauge::default());
        let claim = table.claim(&key()).unwrap();
        assert!(matches!(table.find(&key()), Found::Claimed(_)));
        let other = Key { topic: TopicId(2), ..key() };
        assert_eq!(table.claim(&other).err(), Some(NoClaim::Full));
        drop(claim);
        assert!(table.claim(&other).is_ok());
    }
}
