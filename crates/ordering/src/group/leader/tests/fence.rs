//! A store whose disk is gone: its report lives on in the leader's memory, and in what was proposed by it.

use super::*;

/// The replicas of [`Group::new`], store 3 no more since version 2 of the map.
fn without_three() -> Replicas {
    let replica = |store| Replica { store: NodeId(store), datacenter: usize::from(store > 2) };
    let replicas = Replicas::new(2, BTreeMap::from([(BUCKET, STORES.map(replica).to_vec())]));
    replicas.without([(NodeId(3), 2)])
}

/// The same with store 5 in its place.
fn with_five() -> Replicas {
    let replica = |store| Replica { store: NodeId(store), datacenter: usize::from(store > 2) };
    let replicas = Replicas::new(2, BTreeMap::from([(BUCKET, [1, 2, 5, 4].map(replica).to_vec())]));
    replicas.without([(NodeId(3), 2)])
}

/// Store 1 has three records, and store 3 of the other datacenter has said that it has them, too.
fn reported() -> Group {
    let mut group = Group::new();
    for store in [1, 3] {
        group.first(store, 1, vec![says(log(1, 1, 1), 1, 4, &[(1, 3)])]);
    }
    group
}

#[test]
fn a_report_of_a_store_that_is_no_more_orders_nothing() {
    let mut group = reported();
    group.leader.set_replicas(without_three());
    assert_eq!(group.assign(), None);
    let again = Report { session: 2, first: true, logs: vec![says(log(1, 1, 1), 1, 4, &[(1, 3)])] };
    assert_eq!(group.leader.report(&group.state, source(3), again), Verdict::Ignored);
    assert_eq!(group.leader.digest(&group.state, source(3), 2, 0), Verdict::Ignored);
    assert_eq!(group.leader.held(source(3), HeldVector::default()), Verdict::Ignored);
    group.first(4, 1, vec![says(log(1, 1, 1), 1, 3, &[(1, 2)])]);
    assert_eq!(parts(&group.assign()), [(1, 2)], "what its sibling has");
}

#[test]
fn a_proposal_in_flight_that_counts_a_destroyed_disk_is_refused_and_what_others_hold_is_proposed_again() {
    let mut group = reported();
    let in_flight = group.assign().expect("two datacenters have said so");
    group.leader.set_replicas(without_three());
    let fences = group.duties();
    assert_eq!(fences, [Entry::Fence { store: NodeId(3), map_version: 2 }]);
    group.commit(&in_flight);
    assert_eq!(group.ordered(log(1, 1, 1)), 1, "it came behind the fence");
    group.first(4, 1, vec![says(log(1, 1, 1), 1, 3, &[(1, 2)])]);
    let again = group.leader.assign(&group.state, 2, || 0);
    assert_eq!(parts(&again), [(1, 2)]);
    group.commit(&again.expect("above"));
    assert_eq!(group.ordered(log(1, 1, 1)), 3);
}

#[test]
fn what_was_refused_for_an_old_map_is_tried_at_once_under_the_new_one() {
    let mut group = reported();
    group.first(4, 1, vec![says(log(1, 1, 1), 1, 4, &[(1, 3)])]);
    group.apply(&Entry::Fence { store: NodeId(3), map_version: 2 });
    // This leader does not know that map yet.
    group.settle();
    assert_eq!((group.ordered(log(1, 1, 1)), group.assign()), (1, None), "it waits");
    group.leader.set_replicas(without_three());
    let proposal = group.leader.assign(&group.state, 2, || 0).expect("news");
    group.commit(&proposal);
    assert_eq!(group.ordered(log(1, 1, 1)), 4);
}

#[test]
fn a_fence_is_proposed_until_it_is_there_and_by_whoever_leads() {
    let mut group = reported();
    group.leader.set_replicas(without_three());
    let lost = group.leader.duties(&group.state, 2, || 0);
    assert_eq!(lost.len(), 1);
    assert_eq!(group.leader.duties(&group.state, 2, || 0), [], "it is under way");
    group.leader.completed(&group.state, lost[0].id, false);
    assert_eq!(group.duties(), [Entry::Fence { store: NodeId(3), map_version: 2 }]);
    assert_eq!(group.duties(), []);
    let mut next = Leader::new(without_three());
    assert_eq!(next.duties(&group.state, 2, || 0), []);
}

#[test]
fn a_destroyed_stores_log_is_closed_once_its_replacement_too_has_said_how_much_it_holds() {
    let mut group = Group::new();
    let own = log(3, 1, 1);
    for store in [3, 4, 1] {
        group.first(store, 1, vec![says(own, 1, 3, &[(1, 2)])]);
    }
    group.settle();
    group.leader.set_replicas(without_three());
    group.duties();
    let fenced = group.index;
    let say = |group: &mut Group, store, held| group.held(store, fenced, &[(own, held)]);
    let closes =
        |group: &mut Group| group.duties().into_iter().any(|entry| matches!(entry, Entry::CloseLogs { .. }));
    for store in [1, 2, 4] {
        say(&mut group, store, 3);
    }
    assert!(!closes(&mut group), "its place is not taken yet");
    group.leader.set_replicas(with_five());
    assert!(!closes(&mut group), "who has taken it has said nothing");
    say(&mut group, 5, 2);
    assert!(!closes(&mut group), "and lacks something");
    say(&mut group, 5, 3);
    assert!(closes(&mut group));
    assert!(group.state.logs().is_closed(&own));
}
