//! The oracle's eye on the stores' simulated disks: which message is on disk where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use trunkline_ports::storage::Change;
use trunkline_ports::{ScanLimit, Space, Storage as _};
use trunkline_testkit::MemoryStorage;
use trunkline_wire::Message as _;
use trunkline_wire::internal::{ChunkedPayload, Record, RecordBody};

use super::number_of;
use super::record::Message;

/// The space of a store that holds messages, as `services/message-store/src/keys.rs` has it.
const RECORDS: Space = Space::of_payloads("records");
const PAYLOADS: Space = Space::new("payloads");
const CHUNKS: Space = Space::of_chunks("chunks");

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

/// Which chunks were written to one disk, and whose payloads are complete: a record without its payload is no copy.
#[derive(Default)]
struct Payloads {
    chunks: BTreeSet<Bytes>,
    /// Places of their records.
    complete: BTreeSet<Bytes>,
}

impl Payloads {
    fn see(&mut self, change: &Change) {
        match change {
            Change::Put(CHUNKS, key, _) => {
                self.chunks.insert(key.clone());
            }
            Change::DeleteRange(CHUNKS, from, to) => {
                self.chunks.retain(|key| key < from || key >= to);
            }
            Change::Put(PAYLOADS, place, value) => {
                if chunk_keys(value).is_some_and(|mut keys| keys.all(|key| self.chunks.contains(&key))) {
                    self.complete.insert(place.clone());
                }
            }
            _ => {}
        }
    }
}

/// The keys of all chunks that a row of `payloads` names.
fn chunk_keys(row: &Bytes) -> Option<impl Iterator<Item = Bytes> + use<>> {
    let number = row.get(..8)?.to_vec();
    let what = ChunkedPayload::decode(row.slice(8..)).ok()?;
    Some((0..what.count()).map(move |chunk| [&number[..], &chunk.to_be_bytes()].concat().into()))
}

impl Disks {
    /// Watches the disks of stores at their (datacenter, number), in this order.
    pub fn watch(disks: Vec<((usize, usize), MemoryStorage)>) -> Self {
        let held: Arc<Mutex<BTreeMap<Message, u32>>> = Arc::default();
        for (at, (_, disk)) in disks.iter().enumerate() {
            let (held, payloads) = (held.clone(), Mutex::new(Payloads::default()));
            disk.watch_disk(move |change| {
                let mut payloads = payloads.lock().unwrap_or_else(PoisonError::into_inner);
                payloads.see(change);
                if let Change::Put(RECORDS, place, value) = change
                    && let Some((message, is_large)) = message_of(value.clone())
                    && (!is_large || payloads.complete.contains(place))
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
            for (key, value) in rows.expect("a disk in memory") {
                let Some((message, is_large)) = message_of(value) else { continue };
                if !is_large || has_payload(disk, &key).await {
                    *bits.entry(message).or_default() |= 1 << at;
                }
            }
        }
        bits.into_iter().map(|(message, bits)| (message, self.of(bits))).collect()
    }
}

/// Whether all chunks of the large record at a place are there.
async fn has_payload(disk: &MemoryStorage, place: &Bytes) -> bool {
    let disk = disk.reopen();
    let row = disk.get(PAYLOADS, place.clone()).await.expect("a disk in memory");
    let Some(keys) = row.as_ref().and_then(chunk_keys) else { return false };
    for key in keys {
        if disk.get(CHUNKS, key).await.expect("a disk in memory").is_none() {
            return false;
        }
    }
    true
}

/// The message of a row, and whether its payload is elsewhere.
fn message_of(row: Bytes) -> Option<(Message, bool)> {
    let record = Record::decode(row).ok()?;
    let body = RecordBody::decode(record.body).ok()?;
    match body.large {
        Some(_) => Message::of_key(&body.key).map(|message| (message, true)),
        None => number_of(&body.payload).map(|message| (message, false)),
    }
}
