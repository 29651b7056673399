//! What is there no more: for readers at once, on disk page by page, and only if it was committed.

use super::*;

/// A store of one log with the records of two topics in turn: 1 to 10 of each, on disk, and ordered.
fn two_topics() -> (Store, LogNo) {
    let mut store = Store::new();
    let created = |counter: u64| Fact::TopicCreated {
        topic: topic(counter),
        name: format!("t{counter}"),
        options: Vec::new(),
    };
    store.facts(vec![created(1), created(2)]).unwrap();
    let topics: Vec<TopicId> = (0..20).map(|n| topic(n % 2 + 1)).collect();
    let no = store.accept(name(1, 1), &topics);
    store.written(no, 21);
    let opened = Fact::LogOpened { number: 1, log: name(1, 1), predecessor: None };
    let runs = (0..10).flat_map(|n| [run(1, n + 1, 1), run(2, n + 1, 1)]).collect();
    store.facts(vec![opened, Fact::Ordered { number: 1, from: 1, runs }]).unwrap();
    store.settle();
    (store, no)
}

/// Stages facts, settles them; what they want done.
fn told(store: &mut Store, facts: Vec<Fact>) -> Vec<Effect> {
    store.facts(facts).unwrap();
    let mut effects = Vec::new();
    let settled = std::mem::take(&mut store.unsettled);
    store.catalog.settle(&settled, &mut effects);
    effects
}

/// The ordered runs of the log as they are on disk.
fn orders() -> Vec<(u64, OrderedRun)> {
    (0..20).map(|n| (n + 1, run(n % 2 + 1, n / 2 + 1, 1))).collect()
}

fn rows(of: u64) -> Vec<IndexRun> {
    (0..10).map(|n| IndexRun { first: n + 1, log: LogNo(0), seq: n * 2 + of, count: 1 }).collect()
}

#[test]
fn readers_hear_of_a_trim_at_once_and_the_disk_follows_in_pages() {
    let (mut store, no) = two_topics();
    let one = topic(1);
    let wanted = told(&mut store, vec![Fact::Trimmed { topic: one, below: 6 }]);
    assert_eq!(wanted, [Effect::Purge(one)]);
    assert_eq!(store.catalog.topic(one).map(Topic::earliest), Some(6));
    let page = store.catalog.purge(one, &rows(1)[..3], false).unwrap();
    assert_eq!(page.records, [(no, 1..2), (no, 3..4), (no, 5..6)]);
    assert_eq!((page.index_below, page.more, page.whole), (4, true, false));
    let page = store.catalog.purge(one, &rows(1)[3..], true).unwrap();
    assert_eq!(page.records, [(no, 7..8), (no, 9..10)]);
    assert_eq!((page.index_below, page.more), (6, false));
    assert_eq!(store.catalog.purge(one, &rows(1), true), None, "there is no more to do");
    assert_eq!(told(&mut store, vec![Fact::Trimmed { topic: one, below: 3 }]), [], "a trim never goes back");
}

#[test]
fn a_row_of_the_index_that_reaches_beyond_a_trim_stays() {
    let mut store = Store::new();
    store
        .facts(vec![Fact::TopicCreated { topic: topic(1), name: "t".to_owned(), options: Vec::new() }])
        .unwrap();
    let no = store.accept(name(1, 1), &[topic(1); 9]);
    store.written(no, 10);
    let opened = Fact::LogOpened { number: 1, log: name(1, 1), predecessor: None };
    store.facts(vec![opened, Fact::Ordered { number: 1, from: 1, runs: vec![run(1, 1, 9)] }]).unwrap();
    told(&mut store, vec![Fact::Trimmed { topic: topic(1), below: 4 }]);
    let whole = IndexRun { first: 1, log: no, seq: 1, count: 9 };
    let page = store.catalog.purge(topic(1), &[whole], true).unwrap();
    assert_eq!((page.records, page.index_below), (vec![(no, 1..4)], 1));
    told(&mut store, vec![Fact::Trimmed { topic: topic(1), below: 10 }]);
    let page = store.catalog.purge(topic(1), &[whole], true).unwrap();
    assert_eq!((page.records, page.index_below), (vec![(no, 4..10)], 10));
}

#[test]
fn a_deleted_topic_leaves_nothing_once_every_datacenter_knows_and_its_stragglers_are_no_unknown() {
    let (mut store, no) = two_topics();
    assert_eq!(told(&mut store, vec![Fact::TopicDeleted { topic: topic(1) }]), []);
    let deleted = store.facts;
    assert_eq!(store.catalog.purge(topic(1), &rows(1), true), None, "not every datacenter knows");
    assert_eq!(told(&mut store, vec![Fact::Everywhere { index: deleted - 1 }]), [Effect::PurgeVoids(GROUP)]);
    assert_eq!(store.catalog.gone_until(1, &orders(), &BTreeMap::new()), 1);
    let wanted = told(&mut store, vec![Fact::Everywhere { index: deleted }]);
    assert_eq!(wanted, [Effect::Purge(topic(1)), Effect::PurgeVoids(GROUP)]);
    let page = store.catalog.purge(topic(1), &rows(1), true).unwrap();
    assert!(page.whole && page.records.len() == 10, "{page:?}");
    assert!(store.catalog.topic(topic(1)).is_none() && store.catalog.is_deleted(topic(1)));
    assert_eq!(store.catalog.gone_until(1, &orders(), &BTreeMap::new()), 2);
    let again = Fact::TopicCreated { topic: topic(1), name: "t1".to_owned(), options: Vec::new() };
    store.facts(vec![again]).unwrap();
    assert!(store.catalog.topic(topic(1)).is_none(), "it does not come back by a fact that is told again");
    store.accept(name(1, 1), &[topic(1)]);
    store.written(no, 22);
    let long = Duration::from_secs(3_600);
    let mut unknown = UnknownTopics::default();
    assert_eq!(unknown.look(&store.catalog, long), (0, Vec::new()), "it waits for no creation");
}

#[test]
fn records_are_gone_only_by_what_was_committed() {
    let (mut store, _) = two_topics();
    let none = BTreeMap::new();
    let gone = |store: &Store, from, voids| store.catalog.gone_until(from, &orders(), voids);
    assert_eq!(gone(&store, 1, &none), 1);
    told(&mut store, vec![Fact::Trimmed { topic: topic(1), below: 4 }]);
    assert_eq!((gone(&store, 1, &none), gone(&store, 2, &none)), (2, 2));
    told(&mut store, vec![Fact::Trimmed { topic: topic(2), below: 3 }]);
    assert_eq!(gone(&store, 1, &none), 6, "1 to 3 of the one, 1 and 2 of the other");
    // The same where a merged row stands for what is gone, and where a run is gone in part.
    let merged = [(1, OrderedRun { topic: GONE, first_id: 0, count: 4, produced: None }), (5, run(1, 3, 7))];
    assert_eq!(store.catalog.gone_until(1, &merged, &none), 6);
    assert_eq!(store.catalog.gone_until(3, &merged, &none), 6);
    assert_eq!(store.catalog.gone_until(3, &merged[1..], &none), 3, "nothing is said of what is missing");
    // Records that are no message go once every datacenter knows.
    let orders = [(1, run(9, 0, 3)), (4, run(1, 1, 1))];
    let voids = BTreeMap::from([(1, Void { count: 3, group: GROUP, index: 2 })]);
    assert_eq!(store.catalog.gone_until(1, &orders, &voids), 1);
    told(&mut store, vec![Fact::Everywhere { index: 2 }]);
    assert_eq!(store.catalog.gone_until(1, &orders, &voids), 5);
    assert_eq!(store.catalog.gone_until(1, &orders, &none), 5, "and where they have gone already");
}

#[test]
fn a_follower_passes_over_what_is_gone_and_not_over_what_is_not_ordered_here() {
    let (mut store, _) = two_topics();
    let later = name(1, 2);
    let no = store.catalog.open_log(later, None, &mut Vec::new());
    let opened = Fact::LogOpened { number: 2, log: later, predecessor: None };
    store.facts(vec![opened, Fact::Ordered { number: 2, from: 1, runs: vec![run(1, 11, 5)] }]).unwrap();
    store.settle();
    assert_eq!(store.catalog.skip(no, 4), Some(1..4));
    assert_eq!(store.catalog.skip(no, 4), None);
    assert_eq!(store.catalog.skip(no, 99), Some(4..6), "not beyond what is ordered");
    store.written(no, 6);
    assert_eq!(store.catalog.log(no).durable(), 6);
    assert_eq!(store.catalog.topic(topic(1)).map(Topic::watermark), Some(15));
}

#[test]
fn the_watermark_does_not_wait_for_what_is_trimmed() {
    let (mut store, _) = two_topics();
    let missing = name(2, 1);
    let opened = Fact::LogOpened { number: 2, log: missing, predecessor: None };
    store.facts(vec![opened, Fact::Ordered { number: 2, from: 1, runs: vec![run(1, 11, 5)] }]).unwrap();
    store.settle();
    assert_eq!(store.catalog.topic(topic(1)).map(Topic::watermark), Some(10));
    let wanted = told(&mut store, vec![Fact::Trimmed { topic: topic(1), below: 14 }]);
    assert!(wanted.contains(&Effect::Readable(topic(1))), "{wanted:?}");
    assert_eq!(store.catalog.topic(topic(1)).map(Topic::watermark), Some(13));
}

#[test]
fn topics_are_told_when_they_change_and_again_in_turn() {
    let (store, _) = two_topics();
    let mut told = ToldTopics::new(GROUP);
    let held = |readable, beyond| crate::group::HeldTopic { readable, beyond };
    let beyond = |id: TopicId| id.counter();
    told.restart(&store.catalog);
    let both = [(topic(1), held(11, 1)), (topic(2), held(11, 2))];
    assert_eq!(told.next(&store.catalog, beyond), both);
    assert_eq!(told.next(&store.catalog, beyond), both, "should a word have been lost");
    let mut other = ToldTopics::new(GROUP + 1);
    other.restart(&store.catalog);
    assert_eq!(other.next(&store.catalog, beyond), []);
}
