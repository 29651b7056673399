//! An assignment as bytes, all numbers of variable length: most entries are assignments of one or a few messages, and
//! each byte of them is paid per message.
//!
//! ```text
//! assignment  map version << 2 | 2 if order time follows | 1 if a trim follows, [order time], [trim], part…
//! part        short number, or 0 and (name, predecessor); from; run…
//! run         topic counter << 2 | 2 if a count follows | 1 if it is the part's last, [count]; no count is 1
//!             counter 0: as the record before. Count 0: with a producer, which follows
//! producer    short number << 1 | 1 if a count follows; number 0: its id; sequence; [count]
//! ```
//! A part without runs, which only opens its log, has one run of counter 0 and count 0.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trunkline_types::LogName;

use super::{Assignment, Kind, LogPart, LogReference, PartRun, Predecessor, ProducerReference, log_name};

const WITH_ORDER_TIME: u64 = 2;
const WITH_TRIM: u64 = 1;
const WITH_COUNT: u64 = 2;
const LAST: u64 = 1;

/// What stands for a log that has no short number yet.
#[derive(Serialize, Deserialize)]
struct Named {
    #[serde(with = "log_name")]
    name: LogName,
    predecessor: Option<Predecessor>,
}

pub(super) fn serialize<S: Serializer>(assignment: &Assignment, to: S) -> Result<S::Ok, S::Error> {
    let Assignment { map_version, order_time_ms, facts_trim, logs } = assignment;
    let with = |value: u64, flag: u64| if value > 0 { flag } else { 0 };
    let flags = with(*order_time_ms, WITH_ORDER_TIME) | with(*facts_trim, WITH_TRIM);
    let mut bytes = put(Vec::new(), &(map_version << 2 | flags));
    for given in [order_time_ms, facts_trim].into_iter().filter(|given| **given > 0) {
        bytes = put(bytes, given);
    }
    to.serialize_bytes(&logs.iter().fold(bytes, put_part))
}

fn put_part(bytes: Vec<u8>, part: &LogPart) -> Vec<u8> {
    let bytes = match part.log {
        LogReference::Number(number) => put(bytes, &number),
        LogReference::Name { name, predecessor } => put(bytes, &(0_u8, Named { name, predecessor })),
    };
    let mut bytes = put(bytes, &part.from);
    let Some((last, others)) = part.runs.split_last() else {
        return put_word(bytes, 0, LAST, 0);
    };
    for run in others {
        bytes = put_run(bytes, *run, 0);
    }
    put_run(bytes, *last, LAST)
}

fn put_run(bytes: Vec<u8>, PartRun { kind, count }: PartRun, last: u64) -> Vec<u8> {
    let (topic_counter, producer, sequence) = match kind {
        Kind::AsBefore => return put_word(bytes, 0, last, count),
        Kind::Topic(counter) => return put_word(bytes, counter, last, count),
        Kind::Produced { topic_counter, producer, sequence } => (topic_counter, producer, sequence),
    };
    let mut bytes = put_word(bytes, topic_counter, last, 0);
    let with_count = u64::from(count != 1);
    bytes = match producer {
        ProducerReference::Number(number) => put(bytes, &(u64::from(number) << 1 | with_count)),
        ProducerReference::Id(id) => put(bytes, &(with_count, id)),
    };
    bytes = put(bytes, &sequence);
    if count == 1 { bytes } else { put(bytes, &count) }
}

fn put_word(bytes: Vec<u8>, topic_counter: u64, last: u64, count: u64) -> Vec<u8> {
    let word = topic_counter << 2 | last;
    if count == 1 { put(bytes, &word) } else { put(bytes, &(word | WITH_COUNT, count)) }
}

fn put(bytes: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, bytes).expect("writing to memory cannot fail")
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Assignment, D::Error> {
    let bytes = <&[u8]>::deserialize(from)?;
    read(bytes).map_err(D::Error::custom)
}

fn read(mut bytes: &[u8]) -> postcard::Result<Assignment> {
    let head: u64 = take(&mut bytes)?;
    let mut given = |flag| if head & flag > 0 { take(&mut bytes) } else { Ok(0) };
    let (order_time_ms, facts_trim) = (given(WITH_ORDER_TIME)?, given(WITH_TRIM)?);
    let mut logs = Vec::new();
    while !bytes.is_empty() {
        logs.push(take_part(&mut bytes)?);
    }
    Ok(Assignment { map_version: head >> 2, order_time_ms, facts_trim, logs })
}

fn take_part(bytes: &mut &[u8]) -> postcard::Result<LogPart> {
    let log = match take(bytes)? {
        0 => {
            let Named { name, predecessor } = take(bytes)?;
            LogReference::Name { name, predecessor }
        }
        number => LogReference::Number(number),
    };
    let from = take(bytes)?;
    let mut runs = Vec::new();
    loop {
        let word: u64 = take(bytes)?;
        let count = if word & WITH_COUNT > 0 { take(bytes)? } else { 1 };
        match (word >> 2, count) {
            (0, 0) => {}
            (0, count) => runs.push(PartRun { kind: Kind::AsBefore, count }),
            (topic_counter, 0) => runs.push(take_produced(bytes, topic_counter)?),
            (topic_counter, count) => runs.push(PartRun { kind: Kind::Topic(topic_counter), count }),
        }
        if word & LAST > 0 {
            return Ok(LogPart { log, from, runs });
        }
    }
}

fn take_produced(bytes: &mut &[u8], topic_counter: u64) -> postcard::Result<PartRun> {
    let word: u64 = take(bytes)?;
    let producer = match u32::try_from(word >> 1) {
        Ok(0) => ProducerReference::Id(take(bytes)?),
        Ok(number) => ProducerReference::Number(number),
        Err(_) => return Err(postcard::Error::DeserializeBadVarint),
    };
    let sequence = take(bytes)?;
    let count = if word & 1 > 0 { take(bytes)? } else { 1 };
    Ok(PartRun { kind: Kind::Produced { topic_counter, producer, sequence }, count })
}

fn take<'a, T: Deserialize<'a>>(bytes: &mut &'a [u8]) -> postcard::Result<T> {
    let (value, rest) = postcard::take_from_bytes(bytes)?;
    *bytes = rest;
    Ok(value)
}
