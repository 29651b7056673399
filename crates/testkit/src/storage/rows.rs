//! Rows in memory: batches applied and taken back, ranges read.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use trunkline_ports::storage::{Change, Row};
use trunkline_ports::{Batch, ScanLimit, Space};

/// A row as it was.
pub(super) type Undo = (Space, Bytes, Option<Bytes>);

pub(super) type Rows = BTreeMap<Space, BTreeMap<Bytes, Bytes>>;

pub(super) fn take_back(rows: &mut Rows, undo: Vec<Undo>) {
    for (space, key, before) in undo.into_iter().rev() {
        let rows = rows.entry(space).or_default();
        match before {
            Some(value) => drop(rows.insert(key, value)),
            None => drop(rows.remove(&key)),
        }
    }
}

/// Applies a batch; `undo` is told what was there before.
pub(super) fn apply(rows: &mut Rows, batch: Batch, mut undo: Option<&mut Vec<Undo>>) {
    let mut was = |space: Space, key: &Bytes, before: Option<Bytes>| {
        if let Some(undo) = &mut undo {
            undo.push((space, key.clone(), before));
        }
    };
    for change in batch.changes {
        match change {
            Change::Put(space, key, value) => {
                let before = rows.entry(space).or_default().insert(key.clone(), value);
                was(space, &key, before);
            }
            Change::Delete(space, key) => {
                let before = rows.entry(space).or_default().remove(&key);
                was(space, &key, before);
            }
            Change::DeleteRange(space, from, to) => {
                let rows = rows.entry(space).or_default();
                let keys: Vec<Bytes> = between(rows, &from, &to).map(|(key, _)| key.clone()).collect();
                for key in keys {
                    let before = rows.remove(&key);
                    was(space, &key, before);
                }
            }
        }
    }
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
