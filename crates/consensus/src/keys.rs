//! Where what is on disk: groups side by side, numbers big-endian so that keys sort as they count.

use bytes::{BufMut as _, Bytes, BytesMut};
use trunkline_ports::Space;
use trunkline_types::GroupId;

/// Entries of all groups: (group, index) → entry.
pub(crate) const LOG: Space = Space::new("raft-log");
/// What a voter must remember beside its log: (group, what) → value.
pub(crate) const STATE: Space = Space::new("raft-state");
/// Chunks of snapshots: (group, number, chunk) → bytes.
pub(crate) const SNAPSHOTS: Space = Space::new("raft-snapshots");

/// The spaces that a node's store must have.
pub const SPACES: [Space; 3] = [LOG, STATE, SNAPSHOTS];

/// What one row of [`STATE`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Vote = 1,
    Committed = 2,
    LogShape = 3,
    Snapshot = 4,
}

/// The format of everything below; in [`STATE`], under a key that no group has.
pub(crate) const FORMAT: u32 = 1;

pub(crate) fn format() -> Bytes {
    Bytes::from_static(&[0xff; 5])
}

pub(crate) fn state(group: GroupId, what: State) -> Bytes {
    let mut key = BytesMut::with_capacity(5);
    key.put_u32(group.to_u32());
    key.put_u8(what as u8);
    key.freeze()
}

pub(crate) fn entry(group: GroupId, index: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(12);
    key.put_u32(group.to_u32());
    key.put_u64(index);
    key.freeze()
}

/// The end of a group's log, for scans: above every index that is ever reached.
pub(crate) fn entries_end(group: GroupId) -> Bytes {
    entry(group, u64::MAX)
}

/// The index in a key that [`entry`] made.
pub(crate) fn entry_index(key: &[u8]) -> Option<u64> {
    let index = key.get(4..12)?;
    Some(u64::from_be_bytes(index.try_into().ok()?))
}

pub(crate) fn chunk(group: GroupId, number: u64, chunk: u32) -> Bytes {
    let mut key = BytesMut::with_capacity(16);
    key.put_u32(group.to_u32());
    key.put_u64(number);
    key.put_u32(chunk);
    key.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_these_bytes() {
        let group = GroupId::position(3);
        assert_eq!(entry(group, 258)[..], [0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(state(group, State::LogShape)[..], [0, 2, 0, 3, 3]);
        assert_eq!(chunk(group, 1, 2)[..], [0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(entry_index(&entry(group, 258)), Some(258));
        assert_eq!(entry_index(b"short"), None);
    }
}
