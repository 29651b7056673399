//! What identifies a node, a topic, a log, a message, a group.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(inner: $inner) -> Self {
                Self(inner)
            }
        }
    };
}

number! {
    /// A bucket: `hash64(topic name) mod B`.
    Bucket(u16)
}
number! {
    /// A lane of a node's origin logs: 0 small records, 1 the records of large payloads.
    Lane(u8)
}
number! {
    /// Which of a boot's origin logs of one (bucket, lane) this is: 1, 2, 3, …
    Ordinal(u32)
}
number! {
    /// A place in an origin log: 1, 2, 3, …, dense. Ranges are half-open; "next" is the first one not included.
    Sequence(u64)
}
number! {
    /// A message's place in its topic: 1, 2, 3, …, dense, never reused.
    MessageId(u64)
}
number! {
    /// Counts a subscription's dispatchers; a commit under an old one is refused.
    FencingToken(u64)
}
number! {
    /// Counts a subscription's seeks; a delivery token of an old one is refused.
    Generation(u64)
}

macro_rules! hexadecimal {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl From<u64> for $name {
            fn from(id: u64) -> Self {
                Self(id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = std::num::ParseIntError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                u64::from_str_radix(&text, 16).map(Self)
            }
        }
    };
}

hexadecimal! {
    /// One cluster; drawn at `cluster init`. 0 means "none yet".
    ClusterId
}
hexadecimal! {
    /// One node: drawn when its data directory is created, or at each start where it has none. Never 0.
    NodeId
}

/// One start of a node. The counter, fsynced before use, says which of two is newer; the random part exposes
/// clones and directories that were rolled back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Boot {
    pub counter: u32,
    pub random: u64,
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.counter, self.random)
    }
}

/// A topic: its group's counter in the upper 48 bits, its bucket in the lower 16. Never reused. 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(pub u64);

impl TopicId {
    pub fn new(counter: u64, bucket: Bucket) -> Self {
        Self((counter << 16) | u64::from(bucket.0))
    }

    pub fn counter(self) -> u64 {
        self.0 >> 16
    }

    #[allow(clippy::cast_possible_truncation, reason = "the bucket is the lower 16 bits")]
    pub fn bucket(self) -> Bucket {
        Bucket(self.0 as u16)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Lane {
    /// Of records that have their payload with them.
    pub const SMALL: Self = Self(0);
    /// Of records whose payload is kept in chunks beside the log.
    pub const LARGE: Self = Self(1);
}

/// An origin log. Written by one process only, and never again once that process has ended or `ordinal + 1` has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogName {
    pub bucket: Bucket,
    pub node: NodeId,
    pub boot: Boot,
    pub lane: Lane,
    pub ordinal: Ordinal,
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}.{}", self.bucket, self.node, self.boot, self.lane, self.ordinal)
    }
}

/// What a Raft group decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupKind {
    /// Group 0: the cluster map. Run by the message-id nodes.
    Map,
    /// Orders the messages of `bucket mod G`. Run by the message-id nodes.
    Ordering,
    /// Positions of subscriptions. Run by the subscription-position nodes.
    Position,
}

/// One Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId {
    pub kind: GroupKind,
    pub number: u16,
}

impl GroupId {
    pub const MAP: Self = Self { kind: GroupKind::Map, number: 0 };

    pub const fn ordering(number: u16) -> Self {
        Self { kind: GroupKind::Ordering, number }
    }

    pub const fn position(number: u16) -> Self {
        Self { kind: GroupKind::Position, number }
    }

    /// Packs into 32 bits for keys and messages: kind in the upper half, number in the lower.
    pub fn to_u32(self) -> u32 {
        let kind: u32 = match self.kind {
            GroupKind::Map => 0,
            GroupKind::Ordering => 1,
            GroupKind::Position => 2,
        };
        (kind << 16) | u32::from(self.number)
    }

    /// The reverse of [`GroupId::to_u32`]; `None` for a kind of a later version.
    #[allow(clippy::cast_possible_truncation, reason = "the number is the lower 16 bits")]
    pub fn from_u32(packed: u32) -> Option<Self> {
        let kind = match packed >> 16 {
            0 => GroupKind::Map,
            1 => GroupKind::Ordering,
            2 => GroupKind::Position,
            _ => return None,
        };
        Some(Self { kind, number: packed as u16 })
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            GroupKind::Map => f.write_str("map"),
            GroupKind::Ordering => write!(f, "ordering-{}", self.number),
            GroupKind::Position => write!(f, "position-{}", self.number),
        }
    }
}

/// One process of a consumer, as it names itself; empty is the bare form of Pop.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub String);

/// A producer, 128 bits. Reserved: duplicates are not recognized yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProducerId(pub [u8; 16]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_id_tells_its_bucket_and_counter() {
        let id = TopicId::new(77, Bucket(65_535));
        assert_eq!((id.counter(), id.bucket()), (77, Bucket(65_535)));
    }

    #[test]
    fn a_group_survives_packing() {
        for group in [GroupId::MAP, GroupId::ordering(63), GroupId::position(65_535)] {
            assert_eq!(GroupId::from_u32(group.to_u32()), Some(group));
        }
        assert_eq!(GroupId::from_u32(9 << 16), None);
    }
}
