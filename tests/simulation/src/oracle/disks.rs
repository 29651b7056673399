//! The oracle's eye on the stores' simulated disks: which message is on disk where.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use trunkline_ports::storage::Change;
use trunkline_ports::{ScanLimit, Space, Storage as _};
use trunkline_testkit::MemoryStorage;
use trunkline_wire::Message as _;
use trunkline_wire::internal::{Record, RecordBody};

use super::number_of;
use super::record::Message;

/// The space of a store that holds messages, as `services/message-store/src/keys.rs` has it.
const RECORDS: Space = Space::of_payloads("records");

/// A set of stores, each at its (datacenter, number).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copies(pub Vec<(usize, usize)>);

impl Copies {
    pub fn stores(&self) -> usize {
        self.0.len()
    }

    pub fn datacenters(&self) -> usize {
        let mut all: Vec<usize> = self.0.iter().map(|(datacenter, _)| *datacenter).collect();
        all.dedup();
        all.len()
    }
}

type Place = (usize, usize);

/// All stores' disks. Cheap to clone.
#[derive(Clone)]
pub struct Disks {
    disks: Arc<Mutex<Vec<(Place, MemoryStorage)>>>,
    /// By message, one bit per place. What a disk had that was lost counts as having been there.
    held: Arc<Mutex<BTreeMap<Message, u32>>>,
}

impl fmt::Debug for Disks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disks({})", self.disks().len())
    }
}

impl Disks {
    /// Watches the disks of stores at their (datacenter, number), in this order.
    pub fn watch(disks: Vec<(Place, MemoryStorage)>) -> Self {
        let watched = Self { disks: Arc::new(Mutex::new(disks)), held: Arc::default() };
        for (at, (_, disk)) in watched.disks().iter().enumerate() {
            watched.watch_one(at, disk);
        }
        watched
    }

    fn disks(&self) -> MutexGuard<'_, Vec<(Place, MemoryStorage)>> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch_one(&self, at: usize, disk: &MemoryStorage) {
        let held = self.held.clone();
        disk.watch_disk(move |change| {
            if let Change::Put(RECORDS, _, value) = change
                && let Some(message) = message_of(value.clone())
            {
                *held.lock().unwrap_or_else(PoisonError::into_inner).entry(message).or_default() |= 1 << at;
            }
        });
    }

    /// The disk at a place was lost, and there is another.
    pub fn replace(&self, place: Place, disk: MemoryStorage) {
        let mut disks = self.disks();
        if let Some(at) = disks.iter().position(|(known, _)| *known == place) {
            self.watch_one(at, &disk);
            disks[at].1 = disk;
        }
    }

    /// Where a message is on disk now, or was on one that is lost.
    pub fn copies(&self, message: Message) -> Copies {
        self.disks().iter().for_each(|(_, disk)| disk.settle());
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.of(held.get(&message).copied().unwrap_or_default())
    }

    fn of(&self, bits: u32) -> Copies {
        let disks = self.disks();
        let here = disks.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
        Copies(here.map(|(_, (place, _))| *place).collect())
    }

    /// What is on all disks, read anew.
    ///
    /// # Panics
    /// If a disk cannot be read.
    pub async fn read(&self) -> BTreeMap<Message, Copies> {
        let mut bits: BTreeMap<Message, u32> = BTreeMap::new();
        let disks: Vec<MemoryStorage> = self.disks().iter().map(|(_, disk)| disk.reopen()).collect();
        for (at, disk) in disks.iter().enumerate() {
            let (from, to) = (Bytes::new(), Bytes::from_static(&[u8::MAX; 16]));
            let rows = disk.scan(RECORDS, from, to, ScanLimit::rows(usize::MAX)).await;
            for (_, value) in rows.expect("a disk in memory") {
                message_of(value)
                    .into_iter()
                    .for_each(|message| *bits.entry(message).or_default() |= 1 << at);
            }
        }
        bits.into_iter().map(|(message, bits)| (message, self.of(bits))).collect()
    }
}

fn message_of(row: Bytes) -> Option<Message> {
    let record = Record::decode(row).ok()?;
    let body = RecordBody::decode(record.body).ok()?;
    number_of(&body.payload)
}
