//! The opaque word a push is answered with: where the record was stored, and the checksum of its body.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

use crate::ids::{Boot, ClusterId, Lane, LogName, NodeId, Ordinal, Sequence, TopicId};

const FORMAT: u8 = 1;
const BYTES: usize = 1 + 8 + 8 + 8 + 4 + 8 + 1 + 4 + 8 + 8;

/// Names one stored record. Resolves, through any datacenter, to what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    pub cluster: ClusterId,
    pub topic: TopicId,
    /// Its bucket is the topic's.
    pub log: LogName,
    pub sequence: Sequence,
    pub checksum: u64,
}

/// The text is not a receipt of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("is not a receipt")]
pub struct InvalidReceipt;

impl Receipt {
    /// URL-safe base64 without padding, 78 characters.
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(FORMAT);
        bytes.extend(self.cluster.0.to_be_bytes());
        bytes.extend(self.topic.0.to_be_bytes());
        bytes.extend(self.log.node.0.to_be_bytes());
        bytes.extend(self.log.boot.counter.to_be_bytes());
        bytes.extend(self.log.boot.random.to_be_bytes());
        bytes.push(self.log.lane.0);
        bytes.extend(self.log.ordinal.0.to_be_bytes());
        bytes.extend(self.sequence.0.to_be_bytes());
        bytes.extend(self.checksum.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// # Errors
    /// [`InvalidReceipt`] for any text that [`Receipt::to_text`] did not make.
    pub fn from_text(text: &str) -> Result<Self, InvalidReceipt> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidReceipt)?;
        let mut fields = Fields(&bytes);
        if bytes.len() != BYTES || fields.u8()? != FORMAT {
            return Err(InvalidReceipt);
        }
        let cluster = ClusterId(fields.u64()?);
        let topic = TopicId(fields.u64()?);
        let node = NodeId(fields.u64()?);
        let boot = Boot { counter: fields.u32()?, random: fields.u64()? };
        let (lane, ordinal) = (Lane(fields.u8()?), Ordinal(fields.u32()?));
        let log = LogName { bucket: topic.bucket(), node, boot, lane, ordinal };
        Ok(Self { cluster, topic, log, sequence: Sequence(fields.u64()?), checksum: fields.u64()? })
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], InvalidReceipt> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(InvalidReceipt)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, InvalidReceipt> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, InvalidReceipt> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, InvalidReceipt> {
        self.take().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_receipt_survives_its_text(
            words in prop::array::uniform6(any::<u64>()), counter: u32, lane: u8, ordinal: u32,
        ) {
            let topic = TopicId(words[1]);
            let log = LogName {
                bucket: topic.bucket(), node: NodeId(words[2]), boot: Boot { counter, random: words[3] },
                lane: Lane(lane), ordinal: Ordinal(ordinal),
            };
            let receipt = Receipt {
                cluster: ClusterId(words[0]), topic, log, sequence: Sequence(words[4]), checksum: words[5],
            };
            prop_assert_eq!(Receipt::from_text(&receipt.to_text()), Ok(receipt));
        }

        #[test]
        fn nothing_else_is_a_receipt(text in ".{0,100}") {
            let _ = Receipt::from_text(&text);
        }
    }

    #[test]
    fn golden_text() {
        let log = LogName {
            bucket: TopicId(3 << 16 | 5).bucket(),
            node: NodeId(2),
            boot: Boot { counter: 1, random: 9 },
            lane: Lane(0),
            ordinal: Ordinal(1),
        };
        let receipt = Receipt {
            cluster: ClusterId(1),
            topic: TopicId(3 << 16 | 5),
            log,
            sequence: Sequence(4),
            checksum: 6,
        };
        assert_eq!(
            receipt.to_text(),
            "AQAAAAAAAAABAAAAAAADAAUAAAAAAAAAAgAAAAEAAAAAAAAACQAAAAABAAAAAAAAAAQAAAAAAAAABg"
        );
    }
}
