//! A store that is no more.

use super::*;

fn under(map_version: u64, logs: Vec<LogPart>) -> Entry {
    Entry::Assign(Assignment { map_version, order_time_ms: 70, facts_trim: 0, logs })
}

fn fence(store: u64, map_version: u64) -> Entry {
    Entry::Fence { store: NodeId(store), map_version }
}

#[test]
fn what_was_proposed_under_a_map_before_the_fence_is_refused_when_it_is_applied() {
    let mut group = Group::new();
    group.assign(named(log(1, 1, 1), 1, &[(1, 2)]));
    assert_eq!(group.apply(&fence(1, 5)), Answer::Noted(1));
    assert_eq!((group.state.fence(), group.state.fences().get(&NodeId(1))), (5, Some(&5)));
    let before = group.state.clone();
    for (name, part) in [
        ("more of a log", numbered(1, 3, &[(1, 1)])),
        ("another store's log", named(log(2, 1, 1), 1, &[(1, 1)])),
        ("a trim only", part(LogReference::Number(1), 3, &[])),
    ] {
        assert_eq!(group.apply(&under(4, vec![part])), Answer::Assigned { records: 0 }, "{name}");
        let applied = group.state.applied();
        assert_eq!(State { applied, ..before.clone() }, group.state, "{name}: nothing of it is left");
    }
    let trim = Assignment { map_version: 4, order_time_ms: 0, facts_trim: group.index, logs: Vec::new() };
    group.apply(&Entry::Assign(trim));
    assert_eq!(group.state.history(), before.history(), "the store may have been one that had them");
    let part = || vec![numbered(1, 3, &[(1, 1)])];
    assert_eq!(group.apply(&under(5, part())), Answer::Assigned { records: 1 }, "others may hold it");
    assert_eq!(group.ordered(), [(1, 3, 1)]);
}

#[test]
fn a_fence_ends_all_boots_of_its_store_and_is_told_once() {
    let mut group = Group::new();
    group.assign(named(log(1, 3, 1), 1, &[(1, 2)]));
    group.apply(&Entry::EndBoots { node: NodeId(1), counter: 3 });
    assert_eq!(group.state.logs().closable_from(&log(1, 3, 1)), None, "this boot was the newest");
    group.apply(&fence(1, 5));
    assert_eq!(group.last_facts(), [Fact::BootsEnded { node: NodeId(1), counter: u32::MAX }]);
    assert_eq!(group.state.logs().closable_from(&log(1, 3, 1)), Some(group.index));
    assert_eq!(group.apply(&Entry::CloseLogs { logs: vec![(1, 3)] }), Answer::Noted(1));
    assert_eq!(group.apply(&fence(1, 5)), Answer::Noted(0), "again");
    assert_eq!(group.last_facts(), []);
    assert_eq!(group.apply(&fence(1, 4)), Answer::Noted(0), "a late one");
    assert_eq!(group.state.fence(), 5);
    group.apply(&fence(2, 3));
    assert_eq!((group.state.fence(), group.state.fences().len()), (5, 2), "it never goes back");
    assert_eq!(State::restore(SHAPE, &group.state.snapshot()), Ok(group.state));
}
