//! What a leader lets go, and what the state makes of it.

use super::*;
use crate::group::{Fact, HeldTopic, Kind, TrimPart};

const HOUR: u64 = 3_600_000;
const START: u64 = 500_000 * HOUR;

/// IDs of the topic that were given at hours 0, 1, 2, …: ten each.
fn group_keeping(retention: Retention, hours: u64) -> (Group, TopicId) {
    let mut group = Group::new();
    group.create_keeping("kept", retention);
    for hour in 0..hours {
        give(&mut group, START + hour * HOUR);
    }
    (group, TopicId::new(2, BUCKET))
}

fn give(group: &mut Group, order_time_ms: u64) {
    let from = group.state.logs().ordered(&log(1, 1, 1)).unwrap_or(1);
    let part = LogPart {
        log: LogReference::Name { name: log(1, 1, 1), predecessor: None },
        from,
        runs: vec![PartRun { kind: Kind::Topic(2), count: 10 }],
    };
    group.apply(&Entry::Assign(Assignment {
        map_version: 1,
        order_time_ms,
        facts_trim: 0,
        logs: vec![part],
    }));
}

fn says_topic(group: &mut Group, store: u64, topic: TopicId, readable: u64, beyond: u64) {
    let topics = vec![(topic, HeldTopic { readable, beyond })];
    let held = HeldVector { topics, facts_index: group.index, ..HeldVector::default() };
    assert_eq!(group.leader.held(source(store), held), Verdict::Taken);
}

/// Commits what the leader lets go now: below which ID.
fn trimmed(group: &mut Group, now_ms: u64) -> Option<u64> {
    let proposal = group.leader.trims(&group.state, Some(now_ms))?;
    group.commit(&proposal);
    group.state.topics().get(TopicId::new(2, BUCKET)).map(|topic| topic.trimmed)
}

#[test]
fn messages_go_by_order_time_as_far_as_every_datacenter_has_them() {
    let kept = Retention { age_ms: 5 * HOUR, ..Retention::default() };
    // (what stores 1 to 4 can read below; hours since the first; gone below)
    type Said = [Option<u64>; 4];
    let all: Said = [Some(91), Some(91), Some(91), Some(91)];
    let cases: [(&str, Said, u64, Option<u64>); 8] = [
        ("nothing is old enough", all, 4, None),
        ("the first hour", all, 5, Some(11)),
        ("three hours", all, 7, Some(31)),
        ("all of it, long after", all, 99, Some(91)),
        ("one store of each datacenter will do", [Some(91), None, None, Some(91)], 7, Some(31)),
        ("a datacenter has less", [Some(91), Some(91), Some(20), Some(15)], 7, Some(20)),
        ("a datacenter is silent", [Some(91), Some(91), None, None], 99, None),
        ("nobody has said anything", [None; 4], 99, None),
    ];
    for (name, said, hours, expected) in cases {
        let (mut group, topic) = group_keeping(kept, 9);
        for (store, readable) in (1..).zip(said) {
            readable.into_iter().for_each(|readable| says_topic(&mut group, store, topic, readable, 1));
        }
        assert_eq!(trimmed(&mut group, START + hours * HOUR), expected, "{name}");
        let facts = group.state.history().iter().flat_map(|at| at.facts.iter());
        let told = facts.filter_map(|fact| match fact {
            Fact::Trimmed { below, .. } => Some(*below),
            _ => None,
        });
        assert_eq!(told.last(), expected, "{name}");
        assert_eq!(trimmed(&mut group, START + hours * HOUR), None, "{name}: once");
    }
}

#[test]
fn nothing_is_trimmed_while_order_time_is_held() {
    let (mut group, topic) = group_keeping(Retention { age_ms: HOUR, ..Retention::default() }, 9);
    STORES.iter().for_each(|&store| says_topic(&mut group, store, topic, 91, 1));
    assert_eq!(group.leader.trims(&group.state, None), None);
    assert!(trimmed(&mut group, START + 9 * HOUR).is_some());
}

#[test]
fn a_datacenter_that_is_declared_lost_is_not_waited_for() {
    let (mut group, topic) = group_keeping(Retention { age_ms: HOUR, ..Retention::default() }, 9);
    says_topic(&mut group, 1, topic, 91, 1);
    assert_eq!(trimmed(&mut group, START + 99 * HOUR), None);
    group.leader.set_replicas(group.leader.replicas.clone().without_datacenters([1].into()));
    assert_eq!(trimmed(&mut group, START + 99 * HOUR), Some(91));
}

#[test]
fn bytes_go_as_every_datacenter_counts_them() {
    let kept = Retention { bytes: 1 << 20, ..Retention::default() };
    let (mut group, topic) = group_keeping(kept, 9);
    for (store, beyond) in (1..).zip([40, 44, 1, 30]) {
        says_topic(&mut group, store, topic, 91, beyond);
    }
    assert_eq!(trimmed(&mut group, START + 9 * HOUR), Some(30));
    says_topic(&mut group, 3, topic, 35, 60);
    assert_eq!(trimmed(&mut group, START + 9 * HOUR), Some(44));
}

#[test]
fn what_is_not_acknowledged_is_kept_until_its_bound() {
    let kept = Retention { age_ms: HOUR, bytes: 0, until_acknowledged_ms: 6 * HOUR };
    let (mut group, topic) = group_keeping(kept, 9);
    STORES.iter().for_each(|&store| says_topic(&mut group, store, topic, 91, 1));
    let now = START + 8 * HOUR;
    assert_eq!(trimmed(&mut group, now), Some(31), "what has been acknowledged is not known");
    assert_eq!(group.leader.waited_for(&group.state, now), [topic]);
    group.leader.acknowledged([(topic, 45)].into());
    assert_eq!(trimmed(&mut group, now), Some(45));
    group.leader.acknowledged([(topic, u64::MAX)].into());
    assert_eq!(trimmed(&mut group, now), Some(81), "there is no subscription");
    assert_eq!(group.leader.waited_for(&group.state, now), []);
    group.leader.acknowledged([(topic, 200)].into());
    for _ in 0..20 {
        assert_eq!(group.leader.trims(&group.state, Some(now)), None);
    }
    assert_eq!(trimmed(&mut group, now + HOUR), None, "an old answer counts no more");
}

#[test]
fn a_trim_is_refused_where_the_state_does_not_bear_it_out() {
    let kept = Retention { age_ms: 5 * HOUR, ..Retention::default() };
    let (group, topic) = group_keeping(kept, 9);
    let configured = group.state.topics().get(topic).map(|topic| topic.configured).unwrap_or(0);
    let part = |below| TrimPart { topic, configured, below };
    let (then, later) = (START + 7 * HOUR, START + 99 * HOUR);
    let other = TopicId::new(3, BUCKET);
    for (name, part, order_time_ms, taken) in [
        ("as old as that", part(41), then, true),
        ("younger", part(42), then, false),
        ("younger by the order time that is known, though it comes with an earlier one", part(91), 1, false),
        ("beyond what is ordered", part(92), later, false),
        ("proposed under other options", TrimPart { configured: configured + 1, ..part(31) }, then, false),
        ("of no topic", TrimPart { topic: other, ..part(31) }, then, false),
    ] {
        let mut state = group.state.clone();
        let trim = crate::group::Trim { order_time_ms, everywhere: 0, topics: vec![part] };
        let answer = state.apply(group.index + 1, &Entry::Trim(trim));
        assert_eq!(answer, Answer::Noted(taken.into()), "{name}");
        let restored = State::restore(SHAPE, &state.snapshot());
        assert_eq!(restored, Ok(state), "{name}");
    }
}

#[test]
fn a_topic_is_configured_from_the_options_that_were_seen() {
    let (mut group, topic) = group_keeping(Retention::default(), 2);
    let seen = group.state.topics().get(topic).map(|topic| topic.configured).unwrap_or(0);
    let retention = Retention { age_ms: 7, ..Retention::default() };
    let configure = |configured, options: u8| Entry::ConfigureTopic {
        topic,
        configured,
        options: vec![options],
        retention,
    };
    let answer = |options: u8, taken| Answer::Configured { id: topic, options: vec![options], taken };
    assert_eq!(group.apply(&configure(seen, 1)), answer(1, true));
    assert_eq!(group.apply(&configure(seen, 2)), answer(1, false), "somebody was faster");
    let seen = group.index - 1;
    assert_eq!(group.apply(&configure(seen, 1)), answer(1, true), "the same again");
    assert_eq!(group.apply(&configure(seen, 3)), answer(3, true));
    group.apply(&Entry::DeleteTopic { topic });
    assert_eq!(group.apply(&configure(group.index, 4)), Answer::NoTopic);
}

#[test]
fn what_is_no_message_goes_once_every_datacenter_knows() {
    let (mut group, topic) = group_keeping(Retention::default(), 1);
    assert_eq!(group.leader.trims(&group.state, Some(START)), None, "everything is a message");
    group.apply(&Entry::DeleteTopic { topic });
    let deleted = group.index;
    let everywhere = |group: &mut Group| match group.leader.trims(&group.state, None)?.entry {
        Entry::Trim(trim) => Some(trim.everywhere),
        _ => None,
    };
    for (store, index) in [(1, deleted), (2, 0), (3, deleted - 1)] {
        group.held(store, index, &[]);
    }
    let known = group.leader.trims(&group.state, None);
    assert_eq!(known, None, "one datacenter does not know, and it is early to say how far it does");
    group.held(4, deleted + 3, &[]);
    assert_eq!(everywhere(&mut group), Some(deleted));
    assert_eq!(group.leader.trims(&group.state, None), None, "it is under way");
    group.apply(&Entry::Trim(crate::group::Trim { everywhere: deleted, ..crate::group::Trim::default() }));
    assert_eq!((group.state.gone().everywhere(), group.state.gone().waits_for()), (deleted, None));
    // A straggler of the deleted topic.
    give(&mut group, START);
    assert_eq!(group.state.gone().waits_for(), Some(group.index));
}
