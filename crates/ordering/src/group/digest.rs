//! One number for what a session has said, so that a voter and a store notice when they disagree.

use trunkline_types::{LogName, hash64};

/// XXH3-64 over every (log, held) in order of log name, each number big-endian: bucket (2 bytes), node (8), boot
/// counter (4), boot random (8), lane (1), ordinal (4), held (8). `held` is exclusive.
pub fn digest(logs: impl IntoIterator<Item = (LogName, u64)>) -> u64 {
    let mut bytes = Vec::new();
    for (log, held) in logs {
        bytes.extend(log.bucket.0.to_be_bytes());
        bytes.extend(log.node.0.to_be_bytes());
        bytes.extend(log.boot.counter.to_be_bytes());
        bytes.extend(log.boot.random.to_be_bytes());
        bytes.extend(log.lane.0.to_be_bytes());
        bytes.extend(log.ordinal.0.to_be_bytes());
        bytes.extend(held.to_be_bytes());
    }
    hash64(&bytes)
}

#[cfg(test)]
mod tests {
    use trunkline_types::{Boot, Bucket, Lane, NodeId, Ordinal};

    use super::*;

    #[test]
    fn golden_digest() {
        let boot = Boot { counter: 3, random: 4 };
        let log = LogName { bucket: Bucket(1), node: NodeId(2), boot, lane: Lane(0), ordinal: Ordinal(5) };
        assert_eq!(digest([]), hash64(b""));
        assert_eq!(
            digest([(log, 7)]),
            hash64(&[
                0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 5, 0, 0, 0, 0,
                0, 0, 0, 7
            ])
        );
        assert_ne!(digest([(log, 7)]), digest([(log, 8)]));
    }
}
