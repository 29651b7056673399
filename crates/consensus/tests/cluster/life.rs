//! A group's life beside its log: its first members, and where leadership goes when a node drains.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_ports::{CallOptions, Class, Consensus as _, Peer};
use trunkline_testkit::network::Side;
use trunkline_testkit::{MapBuilder, MemoryStorage};
use trunkline_types::GroupId;
use trunkline_wire::internal::raft_service::KNOWS;
use trunkline_wire::internal::{Envelope, RaftKnowsRequest};
use trunkline_wire::{Code, Status};

use crate::nodes::{Cluster, GROUP, Voter, agree, leader, within};
use crate::{propose, steady, three};

fn is_led(voter: &Voter) -> bool {
    voter.group.leadership().borrow().leader.is_some()
}

async fn ask(cluster: &Cluster, voter: &Voter, request: RaftKnowsRequest) -> Result<bool, Status> {
    let address = cluster.map.node(voter.id).expect("a node of the map").address.as_str();
    let to = Peer::new(address, Class::Consensus);
    let options = CallOptions::until(within(1_000));
    let answer = voter.node.host.network.call(&to, KNOWS, &request, options).await;
    answer.map(|answer| answer.initialized)
}

#[tokio::test(start_paused = true)]
async fn a_group_is_initialized_by_its_first_voter_once_the_others_say_that_they_have_it_not() {
    let mut cluster = Cluster::new(three(), steady());
    let mut voters = Vec::new();
    for id in cluster.ids() {
        assert!(voters.iter().all(|voter| !is_led(voter)), "one that is silent may have it");
        voters.push(cluster.start(id).await);
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(leader(&voters).await, 0);
    for voter in &voters {
        assert_eq!(voter.group.voters().len(), 3);
    }
    propose(&voters[2], 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_is_initialized_by_nobody_else() {
    let mut cluster = Cluster::new(three(), steady());
    let mut voters = Vec::new();
    for id in cluster.ids().into_iter().skip(1) {
        voters.push(cluster.start(id).await);
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(voters.iter().all(|voter| !is_led(voter)));
}

#[tokio::test(start_paused = true)]
async fn a_first_voter_that_has_lost_its_disk_begins_no_second_history() {
    let mut cluster = Cluster::new(three(), steady());
    let mut voters = cluster.start_all().await;
    let first = voters.remove(0);
    let index = propose(&first, 1).await;
    agree(&[&voters[0], &voters[1]], index).await;
    first.node.process.crash();
    cluster.cut_off(&voters[0]);
    cluster.cut_off(&voters[1]);
    let empty = cluster.start_on(first.id, Some(Arc::new(MemoryStorage::new()))).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!is_led(&empty) && empty.group.voters().is_empty());
    cluster.network.heal_all();
    let ledger = agree(&[&voters[0], &voters[1], &empty], index).await;
    assert_eq!(ledger.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_voter_answers_for_the_groups_that_it_has_started_and_its_own_cluster_only() {
    let mut cluster = Cluster::new(three(), steady());
    let id = cluster.ids()[1];
    let voter = cluster.start(id).await;
    let request = |group: GroupId, envelope: Envelope| RaftKnowsRequest {
        envelope: Some(envelope),
        group: group.to_u32(),
    };
    let envelope = voter.node.host.envelope();
    assert!(!ask(&cluster, &voter, request(GROUP, envelope)).await.expect("it has started this one"));
    let not_started = ask(&cluster, &voter, request(GroupId::ordering(1), envelope)).await;
    assert_eq!(not_started.map_err(|status| status.code()), Err(Code::Unavailable));
    let strange = Envelope { cluster: envelope.cluster + 1, ..envelope };
    let refused = ask(&cluster, &voter, request(GROUP, strange)).await;
    assert_eq!(refused.map_err(|status| status.code()), Err(Code::FailedPrecondition));
    let others: Vec<_> = cluster.ids().into_iter().filter(|other| *other != id).collect();
    let mut voters = vec![cluster.start(others[0]).await, cluster.start(others[1]).await];
    voters.push(voter);
    leader(&voters).await;
    propose(&voters[2], 1).await;
    assert!(ask(&cluster, &voters[2], request(GROUP, envelope)).await.expect("it has started this one"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_drains_hands_leadership_to_the_next_voter_and_nothing_is_lost() {
    let mut cluster = Cluster::new(three(), steady());
    let voters = cluster.start_all().await;
    let mut last = propose(&voters[0], 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (drains, takes) in [(0, 1), (1, 0)] {
        assert_eq!(leader(&voters).await, drains);
        let start = Instant::now();
        voters[drains].consensus.hand_over().await;
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
        assert_eq!(leader(&voters).await, takes);
        last = propose(&voters[2], last).await;
    }
    voters[2].consensus.hand_over().await;
    assert_eq!(leader(&voters).await, 0, "who does not lead has nothing to hand over");
    agree(&[&voters[0], &voters[1], &voters[2]], last).await;
}

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_to_the_third_voter_where_the_next_is_down() {
    let mut cluster = Cluster::new(three(), steady());
    let mut voters = cluster.start_all().await;
    propose(&voters[0], 1).await;
    voters.remove(1).node.process.crash();
    tokio::time::sleep(Duration::from_secs(3)).await;
    voters[0].consensus.hand_over().await;
    assert_eq!(leader(&voters).await, 1);
    propose(&voters[0], 2).await;
}

#[tokio::test(start_paused = true)]
async fn draining_does_not_wait_for_voters_that_cannot_be_reached() {
    let mut cluster = Cluster::new(three(), steady());
    let voters = cluster.start_all().await;
    cluster.network.cut(&Side::node(&voters[0].name), &Side::Others);
    let start = Instant::now();
    voters[0].consensus.hand_over().await;
    assert!(start.elapsed() <= Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_group_of_one_voter_has_nobody_to_hand_leadership_to() {
    let mut cluster = Cluster::new(MapBuilder::of(&["home"]), steady());
    let voters = cluster.start_all().await;
    let start = Instant::now();
    voters[0].consensus.hand_over().await;
    assert_eq!((leader(&voters).await, start.elapsed()), (0, Duration::ZERO));
}
