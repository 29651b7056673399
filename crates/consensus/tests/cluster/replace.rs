//! A voter takes another's place: it learns, catches up, and then votes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_consensus::Options;
use trunkline_testkit::{MemoryStorage, eventually};
use trunkline_types::{ClusterMap, Node, NodeId};

use crate::nodes::{Cluster, Voter, agree, leader};
use crate::{propose, steady, three};

const NEW: NodeId = NodeId(77);
const PATIENCE: Duration = Duration::from_secs(60);

/// The map that says that a new node is to take the place of `old`, which every voter learns.
fn begin(cluster: &mut Cluster, old: NodeId, new: NodeId, voters: &[Voter]) -> ClusterMap {
    let place = cluster.map.node(old).expect("a node of the map").clone();
    let name = format!("{}-{new}", place.datacenter);
    let new = Node { id: new, address: format!("{name}:7000"), name, ..place };
    cluster.map = cluster.map.replace(old, new).expect("it fits").expect("it is news");
    voters.iter().for_each(|voter| voter.node.learn(&cluster.map));
    cluster.map.clone()
}

async fn new_voter(cluster: &mut Cluster, id: NodeId) -> Voter {
    cluster.start_on(id, Some(Arc::new(MemoryStorage::new()))).await
}

/// Waits until the others' group has exactly these voters.
async fn vote(voters: &[Voter], expected: &[NodeId]) {
    let mut expected = expected.to_vec();
    expected.sort();
    for voter in voters {
        let voting = async || {
            let mut found = voter.group.voters();
            found.sort();
            (found == expected).then_some(())
        };
        eventually(PATIENCE, &format!("{} to know the voters", voter.name), voting).await;
    }
}

/// Crashes one of three and puts a new one in its place.
async fn replaced(cluster: &mut Cluster, which: usize) -> Vec<Voter> {
    let mut voters = cluster.start_all().await;
    for number in 0..50 {
        propose(&voters[0], number).await;
    }
    let old = voters.remove(which);
    old.node.process.crash();
    leader(&voters).await;
    begin(cluster, old.id, NEW, &voters);
    voters.push(new_voter(cluster, NEW).await);
    let ids: Vec<NodeId> = voters.iter().map(|voter| voter.id).collect();
    vote(&voters, &ids).await;
    voters
}

#[tokio::test(start_paused = true)]
async fn a_new_voter_takes_the_place_of_any_that_is_lost_and_makes_a_quorum() {
    for which in 0..3 {
        let mut cluster = Cluster::new(three(), steady());
        let mut voters = replaced(&mut cluster, which).await;
        let index = propose(&voters[0], 50).await;
        assert_eq!(agree(&[&voters[0], &voters[1], &voters[2]], index).await.len(), 51);
        let done = cluster.map.replacement_done().expect("it has begun");
        voters.iter().for_each(|voter| voter.node.learn(&done));
        voters.remove(0).node.process.crash();
        leader(&voters).await;
        let index = propose(&voters[1], 51).await;
        assert_eq!(agree(&[&voters[0], &voters[1]], index).await.len(), 52);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_voter_that_comes_late_gets_a_snapshot() {
    let options = Options { snapshot_entries: 20, entries_kept: 5, ..steady() };
    let mut cluster = Cluster::new(three(), options);
    let voters = replaced(&mut cluster, 2).await;
    let index = propose(&voters[0], 50).await;
    assert_eq!(agree(&[&voters[0], &voters[2]], index).await.len(), 51);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_replaced_while_it_lives_hands_over_and_has_no_vote() {
    let mut cluster = Cluster::new(three(), steady());
    let mut voters = cluster.start_all().await;
    let leading = leader(&voters).await;
    let old = voters[leading].id;
    propose(&voters[0], 1).await;
    begin(&mut cluster, old, NEW, &voters);
    let new = new_voter(&mut cluster, NEW).await;
    let before = voters.remove(leading);
    voters.push(new);
    let ids: Vec<NodeId> = voters.iter().map(|voter| voter.id).collect();
    vote(&voters, &ids).await;
    leader(&voters).await;
    let index = propose(&voters[2], 2).await;
    agree(&[&voters[0], &voters[1], &voters[2]], index).await;
    before.node.process.crash();
    propose(&voters[0], 3).await;
}

#[tokio::test(start_paused = true)]
async fn another_new_voter_may_be_named_while_the_first_is_not_heard() {
    let mut cluster = Cluster::new(three(), steady());
    let mut voters = cluster.start_all().await;
    propose(&voters[0], 1).await;
    let old = voters.remove(1);
    old.node.process.crash();
    begin(&mut cluster, old.id, NodeId(76), &voters);
    // It never comes; the group goes on without it.
    let start = Instant::now();
    for number in 2..10 {
        propose(&voters[0], number).await;
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    begin(&mut cluster, old.id, NEW, &voters);
    voters.push(new_voter(&mut cluster, NEW).await);
    let ids: Vec<NodeId> = voters.iter().map(|voter| voter.id).collect();
    vote(&voters, &ids).await;
    let index = propose(&voters[2], 10).await;
    agree(&[&voters[0], &voters[1], &voters[2]], index).await;
}
