//! Rows in memory: batches applied and taken back, ranges read.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use trunkline_ports::storage::{Change, Row};
use trunkline_ports::{Batch, ScanLimit, Space};

/// What a change has replaced.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    Row(Option<Bytes>),
    Range(Vec<Row>),
}

pub(super) type Rows = FxHashMap<Space, BTreeMap<Bytes, Bytes>>;

/// Takes a batch back that was applied last; without `undo` it was not applied.
pub(super) fn take_back(rows: &mut Rows, batch: &Batch, undo: Vec<Undo>) {
    for (change, before) in batch.changes.iter().zip(undo).rev() {
        let (Change::Put(space, key, _) | Change::Delete(space, key) | Change::DeleteRange(space, key, _)) =
            change;
        let rows = rows.entry(*space).or_default();
        match before {
            Undo::Row(Some(value)) => drop(rows.insert(key.clone(), value)),
            Undo::Row(None) => drop(rows.remove(key)),
            Undo::Range(deleted) => rows.extend(deleted),
        }
    }
}

/// Applies a batch; what takes it back.
pub(super) fn apply(rows: &mut Rows, batch: &Batch) -> Vec<Undo> {
    let apply = |change: &Change| match change {
        Change::Put(space, key, value) => {
            Undo::Row(rows.entry(*space).or_default().insert(key.clone(), value.clone()))
        }
        Change::Delete(space, key) => Undo::Row(rows.entry(*space).or_default().remove(key)),
        Change::DeleteRange(space, from, to) => {
            let rows = rows.entry(*space).or_default();
            let keys: Vec<Bytes> = between(rows, from, to).map(|(key, _)| key.clone()).collect();
            Undo::Range(keys.iter().filter_map(|key| rows.remove_entry(key)).collect())
        }
    };
    batch.changes.iter().map(apply).collect()
}

pub(super) fn between<'a>(
    rows: &'a BTreeMap<Bytes, Bytes>,
    from: &Bytes,
    to: &Bytes,
) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> + use<'a> {
    let to = to.max(from).clone();
    rows.range((Bound::Included(from.clone()), Bound::Excluded(to)))
}

pub(super) fn take<'a>(rows: impl Iterator<Item = (&'a Bytes, &'a Bytes)>, limit: ScanLimit) -> Vec<Row> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    for (key, value) in rows {
        let size = key.len() + value.len();
        if taken.len() >= limit.rows.max(1) || (!taken.is_empty() && bytes + size > limit.bytes) {
            break;
        }
        bytes += size;
        taken.push((key.clone(), value.clone()));
    }
    taken
}

/// The last bit is another.
pub(super) fn flipped(value: &Bytes) -> Bytes {
    let mut value = value.to_vec();
    value.iter_mut().next_back().into_iter().for_each(|last| *last ^= 1);
    value.into()
}
