use proptest::prelude::*;

use super::*;

const KEPT: Retention = Retention { age_ms: 300, bytes: 5, until_acknowledged_ms: 0 };
const P: ProducerId = ProducerId([7; 16]);

fn run(topic_counter: u64, count: u64) -> PartRun {
    PartRun { kind: Kind::Topic(topic_counter), count }
}

fn produced(topic_counter: u64, producer: ProducerReference, sequence: u64, count: u64) -> PartRun {
    PartRun { kind: Kind::Produced { topic_counter, producer, sequence }, count }
}

fn log(ordinal: u32) -> LogName {
    let boot = Boot { counter: 3, random: 4 };
    LogName { bucket: Bucket(1), node: NodeId(2), boot, lane: Lane(0), ordinal: Ordinal(ordinal) }
}

#[test]
fn golden_bytes() {
    let create = Entry::CreateTopic { name: "orders".to_owned(), options: vec![9], retention: KEPT };
    let named = LogPart {
        log: LogReference::Name {
            name: log(5),
            predecessor: Some(Predecessor { ordinal: 4, end: 300, overtaking: false }),
        },
        from: 1,
        runs: vec![run(7, 2)],
    };
    let numbered = LogPart { log: LogReference::Number(6), from: 300, runs: vec![run(7, 1), run(200, 3)] };
    let assign = Assignment { map_version: 1, order_time_ms: 2, facts_trim: 3, logs: vec![named, numbered] };
    let opening = LogPart { log: LogReference::Number(5), from: 9, runs: Vec::new() };
    let opening = Assignment { map_version: 1, logs: vec![opening], ..Assignment::default() };
    let runs = vec![
        PartRun { kind: Kind::AsBefore, count: 1 },
        PartRun { kind: Kind::AsBefore, count: 4 },
        produced(7, ProducerReference::Number(9), 5, 1),
        produced(7, ProducerReference::Number(9), 6, 2),
        produced(7, ProducerReference::Id(P), 300, 1),
    ];
    let with_producers = LogPart { log: LogReference::Number(5), from: 9, runs };
    let with_producers = Assignment { map_version: 1, logs: vec![with_producers], ..Assignment::default() };
    let producer_bytes: Vec<u8> =
        [&[3, 2, 36, 4, 5, 9][..], &[0, 2, 4, 30, 0, 18, 5, 30, 0, 19, 6, 2, 31, 0, 0], &[7; 16], &[0xac, 2]]
            .concat();
    let forget = Entry::ForgetProducers { topic: TopicId(7 << 16 | 1), producers: vec![(9, 300)] };
    let cases: [(Entry, &[u8]); 10] = [
        (create, &[3, 0, 6, b'o', b'r', b'd', b'e', b'r', b's', 1, 9, 0xac, 2, 5, 0]),
        (Entry::DeleteTopic { topic: TopicId(7 << 16 | 1) }, &[3, 1, 0x81, 0x80, 28]),
        (
            Entry::Assign(assign),
            &[3, 2, 25, 7, 2, 3, 0, 1, 2, 3, 4, 0, 5, 1, 4, 0xac, 2, 0, 1, 31, 2, 6, 0xac, 2, 28, 0xa3, 6, 3],
        ),
        (Entry::Assign(opening), &[3, 2, 5, 4, 5, 9, 3, 0]),
        (Entry::EndBoots { node: NodeId(2), counter: 4 }, &[3, 3, 2, 4]),
        (Entry::CloseLogs { logs: vec![(6, 301)] }, &[3, 4, 1, 6, 0xad, 2]),
        (Entry::Assign(with_producers), &producer_bytes),
        (forget, &[3, 5, 0x81, 0x80, 28, 1, 9, 0xac, 2]),
        (
            Entry::ConfigureTopic { topic: TopicId(7), configured: 8, options: vec![9], retention: KEPT },
            &[3, 6, 7, 8, 1, 9, 0xac, 2, 5, 0],
        ),
        (
            Entry::Trim(Trim {
                order_time_ms: 2,
                everywhere: 3,
                topics: vec![TrimPart { topic: TopicId(7), configured: 8, below: 300 }],
            }),
            &[3, 7, 2, 3, 1, 7, 8, 0xac, 2],
        ),
    ];
    for (entry, bytes) in cases {
        assert_eq!(entry.encode(), bytes, "{entry:?}");
        assert_eq!(Entry::decode(bytes), Ok(entry));
    }
}

#[test]
fn an_entry_of_a_later_format_is_named_as_such() {
    assert_eq!(Entry::decode(&[4, 0, 0]), Err(InvalidEntry::Format(4)));
    assert!(matches!(Entry::decode(&[]), Err(InvalidEntry::Malformed(_))));
    assert!(matches!(Entry::decode(&[3, 99]), Err(InvalidEntry::Malformed(_))));
    assert!(matches!(Entry::decode(&[3, 2, 3, 4, 5, 9]), Err(InvalidEntry::Malformed(_))));
}

/// Bytes per message at 3,000 a second, with an assignment of a group every 4 ms (it is 8 where nothing is set), each
/// counted once; the byte that consensus adds to an entry included. `logs` is how many logs share the messages of an
/// entry. Pushes without a producer, and those of the Rust client, which has one: one in each datacenter.
#[test]
fn a_message_costs_a_few_bytes_of_consensus() {
    const NOW: u64 = 1_800_000_000_000;
    struct Shape {
        name: &'static str,
        entries_per_second: usize,
        messages: usize,
        logs: usize,
        /// The last topic of the group, the last short number given, and a sequence.
        last: (u64, u32, u64),
        /// Whether a log's records follow each other without others between, of other topics.
        alone: bool,
        bytes_max: f64,
    }
    let shapes = [
        Shape {
            name: "one topic, three datacenters",
            entries_per_second: 250,
            messages: 12,
            logs: 3,
            last: (1, 600, 300_000_000),
            alone: true,
            bytes_max: 4.0,
        },
        Shape {
            name: "5,000 topics over 4 groups",
            entries_per_second: 250,
            messages: 3,
            logs: 3,
            last: (1_250, 1_000, 2_000_000),
            alone: false,
            bytes_max: 16.0,
        },
        Shape {
            name: "5,000 topics over 64 groups, after many restarts",
            entries_per_second: 47,
            messages: 1,
            logs: 1,
            last: (80, 100_000, 2_000_000),
            alone: true,
            bytes_max: 16.0,
        },
    ];
    for shape in shapes {
        let Shape { name, entries_per_second, messages, logs, last: (topic_counter, number, from), .. } =
            shape;
        let plain = Kind::Topic(topic_counter);
        let numbered = ProducerReference::Number(60);
        let produced = Kind::Produced { topic_counter, producer: numbered, sequence: 20_000 };
        for kind in [plain, if shape.alone { Kind::AsBefore } else { produced }] {
            let run = PartRun { kind, count: (messages / logs) as u64 };
            let part = LogPart { log: LogReference::Number(number), from, runs: vec![run] };
            let entry = |order_time_ms| {
                let logs = vec![part.clone(); logs];
                let assignment = Assignment { map_version: 3, order_time_ms, facts_trim: 0, logs };
                1 + Entry::Assign(assignment).encode().len()
            };
            // Ten steps of order time in each second.
            let bytes = 10 * entry(NOW) + (entries_per_second - 10) * entry(0);
            let per_message = bytes as f64 / (entries_per_second * messages) as f64;
            assert!(per_message <= shape.bytes_max, "{name}, {kind:?}: {per_message}");
        }
    }
}

proptest! {
    #[test]
    fn an_assignment_survives_its_bytes(
        times in (0u64..1 << 62, any::<u64>(), any::<u64>()),
        numbers in prop::collection::vec((1..u32::MAX, any::<u64>()), 0..5),
        runs in prop::collection::vec((1u64..1 << 48, 1..u64::MAX, 0u8..4, any::<u64>(), 1..u32::MAX), 0..9),
        ordinal: u32, end: u64, overtaking: bool,
    ) {
        let runs = runs.into_iter().map(|(topic, count, kind, sequence, number)| match kind {
            0 => PartRun { kind: Kind::AsBefore, count },
            1 => run(topic, count),
            2 => produced(topic, ProducerReference::Number(number), sequence, count),
            _ => produced(topic, ProducerReference::Id(P), sequence, count),
        });
        let runs: Vec<PartRun> = runs.collect();
        let predecessor = Some(Predecessor { ordinal, end, overtaking });
        let mut logs = vec![LogPart {
            log: LogReference::Name { name: log(ordinal), predecessor }, from: end, runs: runs.clone(),
        }];
        for (number, from) in numbers {
            logs.push(LogPart { log: LogReference::Number(number), from, runs: runs.clone() });
        }
        let entry = Entry::Assign(Assignment {
            map_version: times.0, order_time_ms: times.1, facts_trim: times.2, logs,
        });
        prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Entry::decode(&bytes);
    }
}
