//! What is on disk: one keyspace per kind, and the bytes of keys and values. Numbers in keys are big-endian, so that
//! they sort; everything here is covered by golden bytes, and `meta/format` names the version.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use trunkline_ordering::group::{OrderedRun, Predecessor};
use trunkline_ordering::store::{IndexRun, LogNo};
use trunkline_ports::Space;
use trunkline_types::{Boot, Bucket, Lane, LogName, NodeId, Ordinal, TopicId};
use trunkline_wire::Message as _;
use trunkline_wire::internal::Record;

/// The version of everything below.
pub(crate) const FORMAT: u32 = 2;

/// log no, seq → record.
pub(crate) const RECORDS: Space = Space::of_payloads("records");
/// log no → name, predecessor, end.
pub(crate) const LOGS: Space = Space::new("logs");
/// name of a log that is closed and complete here → log no, end.
pub(crate) const CLOSED: Space = Space::new("closed");
/// log no, first seq → runs of one write: what records are, without reading them.
pub(crate) const RUNS: Space = Space::new("runs");
/// topic, first id → log no, first seq, count. Rows of a topic are looked for only where there are some.
pub(crate) const INDEX: Space = Space::new("index").with_prefix(8);
/// log no, first seq → topic, first id, count.
pub(crate) const ORDERS: Space = Space::new("orders");
/// topic → name, options, deleted.
pub(crate) const TOPICS: Space = Space::new("topics");
/// topic → next id, first id that is not readable (at least; a restart finds the rest).
pub(crate) const MARKS: Space = Space::new("marks");
/// Format, facts index per group, the groups' own log numbers, ended boots, indexes that are being copied, and
/// the newest boot seen of each other store.
pub(crate) const META: Space = Space::new("meta");

/// Everything that a message store keeps. Whoever opens its storage names these.
pub const SPACES: &[Space] = &[RECORDS, LOGS, CLOSED, RUNS, INDEX, ORDERS, TOPICS, MARKS, META];

/// `meta/format`.
pub(crate) const FORMAT_KEY: &[u8] = b"format";
const FACTS: u8 = b'f';
const NUMBER: u8 = b'n';
const BOOT: u8 = b'b';
const COPYING: u8 = b'c';
const SEEN: u8 = b's';
const NOT_HELD: u32 = u32::MAX;

/// A log and a place in it: keys of records, runs and orders.
pub(crate) fn place(log: LogNo, seq: u64) -> Bytes {
    [&log.0.to_be_bytes()[..], &seq.to_be_bytes()].concat().into()
}

/// The first key behind all places of a log.
pub(crate) fn place_end(log: LogNo) -> Bytes {
    place(LogNo(log.0 + 1), 0)
}

pub(crate) fn log_key(log: LogNo) -> Bytes {
    Bytes::copy_from_slice(&log.0.to_be_bytes())
}

pub(crate) fn log_of(key: &[u8]) -> Option<LogNo> {
    Fields(key).u32().map(LogNo)
}

pub(crate) fn topic_key(topic: TopicId) -> Bytes {
    Bytes::copy_from_slice(&topic.0.to_be_bytes())
}

/// A topic and an ID in it: keys of the index.
pub(crate) fn id_key(topic: TopicId, id: u64) -> Bytes {
    [topic.0.to_be_bytes(), id.to_be_bytes()].concat().into()
}

pub(crate) fn facts_key(group: u16) -> Bytes {
    [&[FACTS][..], &group.to_be_bytes()].concat().into()
}

pub(crate) fn number_key(group: u16, number: u32) -> Bytes {
    [&[NUMBER][..], &group.to_be_bytes(), &number.to_be_bytes()].concat().into()
}

pub(crate) fn boot_key(group: u16, node: NodeId) -> Bytes {
    [&[BOOT][..], &group.to_be_bytes(), &node.0.to_be_bytes()].concat().into()
}

pub(crate) fn seen_key(node: NodeId) -> Bytes {
    [&[SEEN][..], &node.0.to_be_bytes()].concat().into()
}

pub(crate) fn seen_value(boot: Boot) -> Bytes {
    [&boot.counter.to_be_bytes()[..], &boot.random.to_be_bytes()].concat().into()
}

pub(crate) fn copying_key(group: u16) -> Bytes {
    [&[COPYING][..], &group.to_be_bytes()].concat().into()
}

pub(crate) fn name_key(log: &LogName) -> Bytes {
    let LogName { bucket, node, boot, lane, ordinal } = log;
    let (bucket, node, counter) = (bucket.0.to_be_bytes(), node.0.to_be_bytes(), boot.counter.to_be_bytes());
    let (random, ordinal) = (boot.random.to_be_bytes(), ordinal.0.to_be_bytes());
    [&bucket[..], &node, &counter, &random, &[lane.0], &ordinal].concat().into()
}

pub(crate) fn closed_value(log: LogNo, end: u64) -> Bytes {
    place(log, end)
}

pub(crate) fn closed(value: &[u8]) -> Option<(LogNo, u64)> {
    place_of(value)
}

/// A row of `meta`, by its key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meta {
    Facts { group: u16, index: u64 },
    Number { group: u16, number: u32, log: Option<LogNo> },
    Boot { group: u16, node: NodeId, counter: u32 },
    Copying { group: u16, upto: u64 },
    Seen { node: NodeId, boot: Boot },
}

pub(crate) fn meta(key: &[u8], value: &[u8]) -> Option<Meta> {
    let (&kind, key) = key.split_first()?;
    let mut key = Fields(key);
    let mut value = Fields(value);
    match kind {
        FACTS => Some(Meta::Facts { group: key.u16()?, index: value.u64()? }),
        NUMBER => {
            let (group, number, log) = (key.u16()?, key.u32()?, value.u32()?);
            Some(Meta::Number { group, number, log: (log != NOT_HELD).then_some(LogNo(log)) })
        }
        COPYING => Some(Meta::Copying { group: key.u16()?, upto: value.u64()? }),
        SEEN => {
            let boot = Boot { counter: value.u32()?, random: value.u64()? };
            Some(Meta::Seen { node: NodeId(key.u64()?), boot })
        }
        BOOT => Some(Meta::Boot { group: key.u16()?, node: NodeId(key.u64()?), counter: value.u32()? }),
        _ => None,
    }
}

pub(crate) fn number_value(log: Option<LogNo>) -> Bytes {
    Bytes::copy_from_slice(&log.map_or(NOT_HELD, |log| log.0).to_be_bytes())
}

pub(crate) fn place_of(key: &[u8]) -> Option<(LogNo, u64)> {
    let mut fields = Fields(key);
    Some((LogNo(fields.u32()?), fields.u64()?))
}

pub(crate) fn topic_of(key: &[u8]) -> Option<TopicId> {
    Fields(key).u64().map(TopicId)
}

pub(crate) fn index_value(run: &IndexRun) -> Bytes {
    [&run.log.0.to_be_bytes()[..], &run.seq.to_be_bytes(), &run.count.to_be_bytes()].concat().into()
}

pub(crate) fn index_run(key: &[u8], value: &[u8]) -> Option<IndexRun> {
    let (mut key, mut value) = (Fields(key.get(8..)?), Fields(value));
    Some(IndexRun { first: key.u64()?, log: LogNo(value.u32()?), seq: value.u64()?, count: value.u64()? })
}

pub(crate) fn order_value(run: &OrderedRun) -> Bytes {
    [run.topic.0.to_be_bytes(), run.first_id.to_be_bytes(), run.count.to_be_bytes()].concat().into()
}

pub(crate) fn order_run(value: &[u8]) -> Option<OrderedRun> {
    let mut value = Fields(value);
    Some(OrderedRun { topic: TopicId(value.u64()?), first_id: value.u64()?, count: value.u64()? })
}

pub(crate) fn pair_value(a: u64, b: u64) -> Bytes {
    [a.to_be_bytes(), b.to_be_bytes()].concat().into()
}

pub(crate) fn pair(value: &[u8]) -> Option<(u64, u64)> {
    let mut value = Fields(value);
    Some((value.u64()?, value.u64()?))
}

pub(crate) fn record_value(record: &Record) -> Bytes {
    record.encode_to_vec().into()
}

pub(crate) fn record(value: Bytes) -> Option<Record> {
    Record::decode(value).ok()
}

/// (topic, count), consecutive.
pub(crate) fn runs_value(runs: &[(u64, u64)]) -> Bytes {
    postcard::to_stdvec(runs).expect("writing to memory cannot fail").into()
}

pub(crate) fn runs(value: &[u8]) -> Option<Vec<(u64, u64)>> {
    postcard::from_bytes(value).ok()
}

/// A row of `logs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogRow {
    bucket: u16,
    node: u64,
    counter: u32,
    random: u64,
    lane: u8,
    ordinal: u32,
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) closed: Option<u64>,
    /// Closed, and on disk here to its end.
    pub(crate) complete: bool,
}

impl LogRow {
    pub(crate) fn new(
        name: LogName,
        predecessor: Option<Predecessor>,
        closed: Option<u64>,
        complete: bool,
    ) -> Self {
        let Boot { counter, random } = name.boot;
        let (bucket, node, lane, ordinal) = (name.bucket.0, name.node.0, name.lane.0, name.ordinal.0);
        Self { bucket, node, counter, random, lane, ordinal, predecessor, closed, complete }
    }

    pub(crate) fn name(&self) -> LogName {
        LogName {
            bucket: Bucket(self.bucket),
            node: NodeId(self.node),
            boot: Boot { counter: self.counter, random: self.random },
            lane: Lane(self.lane),
            ordinal: Ordinal(self.ordinal),
        }
    }
}

/// A row of `topics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicRow {
    pub(crate) name: String,
    pub(crate) options: Vec<u8>,
    pub(crate) deleted: bool,
}

pub(crate) fn encode<T: Serialize>(row: &T) -> Bytes {
    postcard::to_stdvec(row).expect("writing to memory cannot fail").into()
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Option<T> {
    postcard::from_bytes(value).ok()
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let run = IndexRun { first: 5, log: LogNo(1), seq: 7, count: 2 };
        let (key, value) = (id_key(TopicId(3), 5), index_value(&run));
        assert_eq!(key[..], [0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(value[..], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(index_run(&key, &value), Some(run));
        assert_eq!(place(LogNo(1), 2)[..], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(place_of(&place(LogNo(9), 8)), Some((LogNo(9), 8)));
        let order = OrderedRun { topic: TopicId(3), first_id: 5, count: 2 };
        assert_eq!(order_run(&order_value(&order)), Some(order));
        let boot = Boot { counter: 3, random: 4 };
        let name = LogName { bucket: Bucket(1), node: NodeId(2), boot, lane: Lane(0), ordinal: Ordinal(5) };
        let predecessor = Some(Predecessor { ordinal: 4, end: 300, overtaking: true });
        let row = LogRow::new(name, predecessor, Some(9), false);
        assert_eq!(encode(&row)[..], [1, 2, 3, 4, 0, 5, 1, 4, 0xac, 2, 1, 1, 9, 0]);
        assert_eq!(decode::<LogRow>(&encode(&row)).map(|row| row.name()), Some(name));
        assert_eq!(
            name_key(&name)[..],
            [0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 5]
        );
        assert_eq!(closed(&closed_value(LogNo(7), 9)), Some((LogNo(7), 9)));
        assert_eq!(runs_value(&[(7, 2), (300, 1)])[..], [2, 7, 2, 0xac, 2, 1]);
        let record = Record { topic_id: 1, checksum: 2, body: Bytes::from_static(b"x") };
        assert_eq!(record_value(&record)[..], [8, 1, 17, 2, 0, 0, 0, 0, 0, 0, 0, 26, 1, b'x']);
    }

    #[test]
    fn meta_rows_tell_themselves_apart() {
        let rows = [
            (facts_key(7), Bytes::copy_from_slice(&9u64.to_be_bytes()), Meta::Facts { group: 7, index: 9 }),
            (number_key(7, 8), number_value(None), Meta::Number { group: 7, number: 8, log: None }),
            (
                number_key(7, 8),
                number_value(Some(LogNo(1))),
                Meta::Number { group: 7, number: 8, log: Some(LogNo(1)) },
            ),
            (
                boot_key(7, NodeId(5)),
                Bytes::copy_from_slice(&6u32.to_be_bytes()),
                Meta::Boot { group: 7, node: NodeId(5), counter: 6 },
            ),
            (
                seen_key(NodeId(5)),
                seen_value(Boot { counter: 2, random: 9 }),
                Meta::Seen { node: NodeId(5), boot: Boot { counter: 2, random: 9 } },
            ),
            (
                copying_key(7),
                Bytes::copy_from_slice(&8u64.to_be_bytes()),
                Meta::Copying { group: 7, upto: 8 },
            ),
        ];
        for (key, value, expected) in rows {
            assert_eq!(meta(&key, &value), Some(expected));
        }
        assert_eq!(meta(b"format", b"1"), None);
    }
}
