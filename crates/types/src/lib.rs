//! The names of the field: identifiers, interval sets, the cluster map and every limit.
//!
//! Floor 0: plain values, no I/O, no clock. Everything else speaks in these words (ARCHITECTURE.md, "Words").
//!
//! - [`byte_size`]: sizes as people write them in configuration.
//! - [`ids`]: what identifies a node, a topic, a log, a message, a group.
//! - [`names`]: topic and consumer names as clients may choose them.
//! - [`interval_set`]: exact sets of integers, the only form in which "which ones" is ever remembered.
//! - [`receipt`]: the opaque word a push is answered with.
//! - [`map`]: the cluster map.
//! - [`invariants`]: what must be true whatever fails.
//! - [`limits`]: every bound of the system.

pub mod byte_size;
pub mod ids;
pub mod interval_set;
pub mod invariants;
pub mod limits;
pub mod map;
pub mod names;
pub mod receipt;

pub use byte_size::ByteSize;
pub use ids::{
    Boot, Bucket, ClientId, ClusterId, FencingToken, Generation, GroupId, GroupKind, Lane, LogName,
    MessageId, NodeId, Ordinal, ProducerId, Sequence, TopicId,
};
pub use interval_set::IntervalSet;
pub use map::{ClusterMap, Datacenter, DatacenterName, Node, Role};
pub use names::{ConsumerName, InvalidName, TopicName};
pub use receipt::Receipt;

/// The hash that the cluster agrees on: XXH3-64. Used for buckets, position groups, ranks and checksums.
pub fn hash64(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// The same of bytes that come piece by piece.
#[derive(Clone, Default)]
pub struct Checksum(xxhash_rust::xxh3::Xxh3Default);

impl std::fmt::Debug for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checksum")
    }
}

impl Checksum {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn get(&self) -> u64 {
        self.0.digest()
    }
}

/// XXH3-64 of a record's body, computed by the push server and checked by everyone up to the pop server.
pub fn checksum(body: &[u8]) -> u64 {
    hash64(body)
}
