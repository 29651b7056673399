//! The oracle's eye on the stores' simulated disks: which message is on disk where.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

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

/// All stores' disks. Cheap to clone.
#[derive(Clone)]
pub struct Disks {
    disks: Arc<Vec<((usize, usize), MemoryStorage)>>,
    /// By message, one bit per disk.
    held: Arc<Mutex<BTreeMap<Message, u32>>>,
}

impl fmt::Debug for Disks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disks({})", self.disks.len())
    }
}

impl Disks {
    /// Watches the disks of stores at their (datacenter, number), in this order.
    pub fn watch(disks: Vec<((usize, usize), MemoryStorage)>) -> Self {
        let held: Arc<Mutex<BTreeMap<Message, u32>>> = Arc::default();
        for (at, (_, disk)) in disks.iter().enumerate() {
            let held = held.clone();
            disk.watch_disk(move |change| {
                if let Change::Put(RECORDS, _, value) = change
                    && let Some(message) = message_of(value.clone())
                {
                    *held.lock().unwrap_or_else(PoisonError::into_inner).entry(message).or_default() |=
                        1 << at;
                }
            });
        }
        Self { disks: Arc::new(disks), held }
    }

    /// Where a message is on disk now.
    pub fn copies(&self, message: Message) -> Copies {
        self.disks.iter().for_each(|(_, disk)| disk.settle());
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.of(held.get(&message).copied().unwrap_or_default())
    }

    fn of(&self, bits: u32) -> Copies {
        let here = self.disks.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
        Copies(here.map(|(_, (place, _))| *place).collect())
    }

    /// What is on all disks, read anew.
    ///
    /// # Panics
    /// If a disk cannot be read.
    pub async fn read(&self) -> BTreeMap<Message, Copies> {
        let mut bits: BTreeMap<Message, u32> = BTreeMap::new();
        for (at, (_, disk)) in self.disks.iter().enumerate() {
            let (from, to) = (Bytes::new(), Bytes::from_static(&[u8::MAX; 16]));
            let rows = disk.reopen().scan(RECORDS, from, to, ScanLimit::rows(usize::MAX)).await;
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
