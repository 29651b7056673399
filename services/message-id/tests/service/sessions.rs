use std::time::Duration;

use tokio::time::{Instant, timeout};
use trunkline_message_id::Options;
use trunkline_testkit::fixture::{SimulatedNode, node};
use trunkline_types::Role;
use trunkline_wire::Code;
use trunkline_wire::internal::session_response::What;
use trunkline_wire::internal::{self, Behind, LogReport, RestartReports, fact};
use trunkline_wire::status::{reason, reason_of};

use crate::cluster::{Cluster, DATACENTERS, until};
use crate::store::{Store, holds, log};

/// A cluster with a topic, and a store of each datacenter in session with the voter there.
async fn with_stores() -> (Cluster, u64, Vec<Store>) {
    let cluster = Cluster::new().await;
    let topic = cluster.create("nyc", "orders").await.unwrap().topic.unwrap().topic_id;
    let mut stores = Vec::new();
    for datacenter in DATACENTERS {
        stores.push(Store::open(&cluster, datacenter, datacenter, 0).await);
    }
    (cluster, topic, stores)
}

#[tokio::test(start_paused = true)]
async fn what_two_datacenters_hold_gets_ids_that_every_store_is_told() {
    let (cluster, topic, mut stores) = with_stores().await;
    let origin = stores[0].log(&cluster);
    stores[0].report(true, vec![holds(origin, 1, &[(topic, 3)])]).await;
    stores[1].report(true, vec![]).await;
    stores[2].report(true, vec![]).await;
    assert!(
        timeout(Duration::from_secs(3), stores[0].ordered(1)).await.is_err(),
        "one datacenter is not enough"
    );
    stores[2].report(false, vec![holds(origin, 1, &[(topic, 2)])]).await;
    for store in &mut stores {
        assert_eq!(store.ordered(2).await[&topic], [1, 2]);
        let created =
            store.facts.iter().filter(|(_, fact)| matches!(fact.what, Some(fact::What::TopicCreated(_))));
        assert_eq!(created.count(), 1);
    }
    stores[1].report(false, vec![holds(origin, 3, &[(topic, 1)])]).await;
    for store in &mut stores {
        assert_eq!(store.ordered(3).await[&topic], [1, 2, 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_is_named_once_in_a_session_and_a_number_of_another_session_ends_it() {
    let (cluster, topic, mut stores) = with_stores().await;
    let origin = stores[0].log(&cluster);
    let named = |sequence, log| vec![LogReport { log: Some(log), ..holds(origin, sequence, &[(topic, 1)]) }];
    let whole = internal::LogName { number: 7, ..origin.into() };
    let number = internal::LogName { number: 7, ..internal::LogName::default() };
    // On the way to the leader it is named under the numbers of two other streams.
    let far = DATACENTERS.iter().position(|datacenter| *datacenter != cluster.leader()).unwrap();
    for (sequence, log) in [(1, whole), (2, number), (3, number)] {
        for store in [far, (far + 1) % 3] {
            stores[store].report(sequence == 1, named(sequence, log)).await;
        }
        assert_eq!(stores[far].ordered(sequence).await[&topic].len() as u64, sequence);
    }
    let other = (far + 2) % 3;
    stores[other].report(true, named(4, number)).await;
    assert_eq!(stores[other].next().await.unwrap_err().code(), Code::InvalidArgument);
    stores[far].report(false, named(4, number)).await;
    stores[(far + 1) % 3].report(false, named(4, number)).await;
    assert_eq!(stores[far].ordered(4).await[&topic], [1, 2, 3, 4], "nobody else is disturbed");
}

/// Consensus costs nothing in this test, so what remains is the report's way to the leader and the facts' way back.
#[tokio::test(start_paused = true)]
async fn ordering_adds_a_tick_to_the_network() {
    let (cluster, topic, mut stores) = with_stores().await;
    let origin = stores[0].log(&cluster);
    for store in &mut stores {
        store.report(true, vec![]).await;
    }
    let leader = DATACENTERS.iter().position(|datacenter| *datacenter == cluster.leader()).unwrap();
    for sequence in 1..20 {
        let start = Instant::now();
        for store in &mut stores {
            store.report(false, vec![holds(origin, sequence, &[(topic, 1)])]).await;
        }
        stores[leader].ordered(sequence).await;
        let network = cluster.map.round_trip(&"nyc".into(), &"mci".into()) / 2;
        let added = start.elapsed().saturating_sub(network);
        assert!(added <= Options::default().assignment_interval + Duration::from_millis(1), "{added:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_asks_every_store_to_report_anew() {
    let (cluster, topic, mut stores) = with_stores().await;
    let origin = stores[0].log(&cluster);
    for store in &mut stores {
        store.report(true, vec![holds(origin, 1, &[(topic, 2)])]).await;
    }
    stores[0].ordered(2).await;
    let (other, _) = cluster.others();
    cluster.consensus.lead(cluster.group(), Some(cluster.id(&other)));
    for store in &mut stores {
        assert_eq!(store.next().await.unwrap(), What::Restart(RestartReports { group: store.group }));
        store.report(false, vec![holds(origin, 3, &[(topic, 1)])]).await;
    }
    assert!(timeout(Duration::from_secs(1), stores[0].ordered(3)).await.is_err(), "the old session is void");
    for store in &mut stores {
        store.report_anew(vec![holds(origin, 3, &[(topic, 1)])]).await;
    }
    assert_eq!(stores[0].ordered(3).await[&topic], [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_cannot_reach_the_leader_goes_through_the_third() {
    let (cluster, topic, mut stores) = with_stores().await;
    let origin = stores[0].log(&cluster);
    let (leader, (cut_off, _)) = (cluster.leader(), cluster.others());
    let [far, near] =
        [&cut_off, &leader].map(|name| DATACENTERS.iter().position(|other| other == name).unwrap());
    for store in &mut stores {
        store.report(true, vec![]).await;
    }
    cluster.cut(&leader, &cut_off);
    assert_eq!(stores[far].next().await.unwrap(), What::Restart(RestartReports { group: stores[far].group }));
    stores[far].report_anew(vec![holds(origin, 1, &[(topic, 1)])]).await;
    stores[near].report(false, vec![holds(origin, 1, &[(topic, 1)])]).await;
    assert_eq!(stores[near].ordered(1).await[&topic], [1]);
    cluster.network.heal_all();
    assert_eq!(stores[far].next().await.unwrap(), What::Restart(RestartReports { group: stores[far].group }));
    stores[far].report_anew(vec![holds(origin, 2, &[(topic, 1)])]).await;
    stores[near].report(false, vec![holds(origin, 2, &[(topic, 1)])]).await;
    assert_eq!(stores[near].ordered(2).await[&topic], [1, 2]);
}

/// The leader before may still be in reach: it was, when another was elected that is not.
#[tokio::test(start_paused = true)]
async fn a_voter_that_hears_no_leader_sends_stores_to_one_that_does() {
    let (cluster, _, mut stores) = with_stores().await;
    let (deaf, _) = cluster.others();
    let far = DATACENTERS.iter().position(|name| **name == deaf).unwrap();
    cluster.consensus.deafen(cluster.group(), cluster.id(&deaf));
    let ended = async {
        loop {
            if let Err(end) = stores[far].next().await {
                break end;
            }
        }
    };
    let end = timeout(Duration::from_secs(5), ended).await.expect("the session ends");
    assert_eq!(reason_of(&end).as_deref(), Some(reason::UNREACHABLE));
}

/// Reports may go around; what the leader commits does not come to such a voter at all.
#[tokio::test(start_paused = true)]
async fn a_voter_that_hears_its_leader_no_more_sends_stores_to_one_that_does() {
    let (cluster, _, mut stores) = with_stores().await;
    let (leader, (cut_off, third)) = (cluster.leader(), cluster.others());
    let far = DATACENTERS.iter().position(|name| **name == cut_off).unwrap();
    cluster.cut(&leader, &cut_off);
    let end = loop {
        if let Err(end) = timeout(Duration::from_secs(5), stores[far].next()).await.expect("the session ends")
        {
            break end;
        }
    };
    assert_eq!(reason_of(&end).as_deref(), Some(reason::UNREACHABLE));
    let again = async |voter: &str| {
        let node = node(Role::MessageStore, &cut_off.as_str().into(), 1);
        let node = SimulatedNode::start(&cluster.network, &cluster.map, &node, 2);
        Store::open_on(node, &cluster, voter, 0, 1).await.map(drop)
    };
    assert_eq!(reason_of(&again(&cut_off).await.unwrap_err()).as_deref(), Some(reason::UNREACHABLE));
    again(&third).await.expect("the third voter hears the leader");
    cluster.network.heal_all();
    let answers = async {
        while again(&cut_off).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(5), answers).await.expect("it hears the leader again");
}

#[tokio::test(start_paused = true)]
async fn what_a_store_reported_in_a_session_that_ended_counts_no_more() {
    let (cluster, topic, mut stores) = with_stores().await;
    let origin = stores[0].log(&cluster);
    stores[2].report(true, vec![holds(origin, 1, &[(topic, 2)])]).await;
    stores[2].fall_silent();
    let ended = stores[2].next().await.unwrap_err();
    assert_eq!(reason_of(&ended).as_deref(), Some(reason::UNREACHABLE));
    tokio::time::sleep(Duration::from_secs(1)).await;
    stores[0].report(true, vec![holds(origin, 1, &[(topic, 2)])]).await;
    assert!(timeout(Duration::from_secs(3), stores[0].ordered(1)).await.is_err());
    let again = Store::open_on(stores.remove(2).node, &cluster, "sea", 0, 2).await;
    let mut again = again.unwrap();
    again.report(true, vec![holds(origin, 1, &[(topic, 2)])]).await;
    assert_eq!(stores[0].ordered(2).await[&topic], [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_digest_that_differs_brings_a_new_report() {
    let (cluster, topic, mut stores) = with_stores().await;
    let origin = stores[0].log(&cluster);
    stores[0].report(true, vec![holds(origin, 1, &[(topic, 2)])]).await;
    stores[0].digest(&[(origin, 3)]).await;
    assert!(timeout(Duration::from_secs(1), stores[0].next()).await.is_err(), "it agrees");
    stores[0].digest(&[(origin, 4)]).await;
    assert_eq!(stores[0].next().await.unwrap(), What::Restart(RestartReports { group: stores[0].group }));
}

#[tokio::test(start_paused = true)]
async fn what_stores_lack_of_closed_logs_is_counted_by_the_leader() {
    let (cluster, _, stores) = with_stores().await;
    let (leader, lacking) = (cluster.leader(), "message_id_logs_lacking");
    assert_eq!(cluster.figure(&leader, lacking), 0.0);
    stores[1].lacks(1, &[log(&cluster, &stores[0].node)]).await;
    until("it is counted", || cluster.figure(&leader, lacking) == 1.0).await;
    let (other, _) = cluster.others();
    cluster.consensus.lead(cluster.group(), Some(cluster.id(&other)));
    until("a leader no more", || cluster.figure(&leader, lacking) == 0.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_takes_up_the_facts_where_it_left_them_and_learns_the_numbers_of_the_logs() {
    let (cluster, topic, mut stores) = with_stores().await;
    let origin = stores[0].log(&cluster);
    for store in &mut stores {
        store.report(true, vec![holds(origin, 1, &[(topic, 2)])]).await;
    }
    stores[0].ordered(2).await;
    let from = stores[0].facts.last().unwrap().0 + 1;
    let mut again = Store::open(&cluster, "nyc", "mci", from).await;
    for store in &mut stores {
        store.report(false, vec![holds(origin, 3, &[(topic, 1)])]).await;
    }
    assert_eq!(again.ordered(1).await[&topic], [3]);
    let (index, first) = &again.facts[0];
    assert!(matches!(&first.what, Some(fact::What::LogOpened(opened)) if *index == 0 && opened.number == 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_away_longer_than_facts_are_kept_is_told_so() {
    let (cluster, topic, mut stores) = with_stores().await;
    for datacenter in DATACENTERS {
        let second = node(Role::MessageStore, &datacenter.into(), 2);
        let node = SimulatedNode::start(&cluster.network, &cluster.map, &second, 1);
        stores.push(Store::open_on(node, &cluster, datacenter, 0, 1).await.unwrap());
    }
    let origin = log(&cluster, &stores[0].node);
    for store in &mut stores {
        store.report(true, vec![holds(origin, 1, &[(topic, 2)])]).await;
    }
    for store in &mut stores {
        store.ordered(2).await;
    }
    let index = stores[0].facts.last().unwrap().0;
    for store in &stores {
        store.held(index).await;
    }
    for store in &mut stores {
        store.told(index + 1).await;
    }
    let mut late = Store::open(&cluster, "nyc", "mci", index).await;
    let behind = Behind { group: late.group, facts_from: index + 1 };
    assert_eq!(late.next().await.unwrap(), What::Behind(behind));
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_its_voter_drains_or_the_map_changes() {
    let (cluster, _, mut stores) = with_stores().await;
    cluster.voter("nyc").shutdown.drain();
    let ended = stores[0].next().await.unwrap_err();
    assert_eq!(reason_of(&ended).as_deref(), Some(reason::DRAINING));
    let mut newer = cluster.map.clone();
    newer.version += 1;
    cluster.voter("sea").node.learn(&newer);
    let ended = stores[2].next().await.unwrap_err();
    assert_eq!(reason_of(&ended).as_deref(), Some(reason::STALE));
}
