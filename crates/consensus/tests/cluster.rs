//! Three voters on a simulated network: latency, failover, cuts, restarts.

#[path = "cluster/life.rs"]
mod life;
#[path = "cluster/nodes.rs"]
mod nodes;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_consensus::Options;
use trunkline_ports::ProposeError;
use trunkline_testkit::network::Side;
use trunkline_testkit::{HostileStorage, MapBuilder, MemoryStorage};
use trunkline_types::Role;

use nodes::{Cluster, GROUP, Voter, agree, leader, within};

fn three() -> MapBuilder {
    MapBuilder::three_datacenters()
}

fn steady() -> Options {
    Options { balance_interval: Duration::ZERO, ..Options::default() }
}

fn entry(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// One voter after the other.
fn turn(voters: &[Voter], number: u64) -> &Voter {
    let turn = number % voters.len() as u64;
    &voters[usize::try_from(turn).expect("a small number")]
}

async fn propose(voter: &Voter, number: u64) -> u64 {
    let committed = voter.group.propose(entry(number), within(10_000)).await.expect("a quorum is there");
    assert_eq!(committed.answer, entry(number));
    committed.index
}

#[tokio::test(start_paused = true)]
async fn a_commit_takes_one_round_trip_although_there_is_a_batch_every_few_milliseconds() {
    for (round_trip, at_most) in [(72, 40), (150, 155)] {
        let map = if round_trip == 150 { three().round_trips(150) } else { three() };
        let mut cluster = Cluster::new(map, steady());
        let voters = cluster.start_all().await;
        let leading = leader(&voters).await;
        // The nearest other voter is 33 ms from nyc and from mci.
        assert_eq!(voters[leading].name, "nyc-message-id-1");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut proposals = Vec::new();
        for number in 0..400 {
            let group = voters[leading].group.clone();
            let (sender, receiver) = tokio::sync::oneshot::channel();
            voters[leading].node.host.process.spawn("proposer", async move {
                let start = Instant::now();
                let committed = group.propose(entry(number), within(10_000)).await;
                drop(sender.send(committed.map(|_| start.elapsed())));
            });
            proposals.push(receiver);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        let mut latencies = Vec::new();
        for proposal in proposals {
            latencies.push(proposal.await.unwrap().unwrap());
        }
        latencies.sort();
        let worst = latencies[latencies.len() - 1];
        assert!(worst <= Duration::from_millis(at_most), "at {round_trip} ms: worst {worst:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_voter_leads_within_a_second_of_the_leaders_crash_at_150_ms() {
    let mut worst = Duration::ZERO;
    for round in 0..5 {
        let mut cluster = Cluster::new(three().round_trips(150), steady());
        let mut voters = cluster.start_all().await;
        tokio::time::sleep(Duration::from_millis(1_000 + 37 * round)).await;
        let leading = leader(&voters).await;
        let last = propose(&voters[leading], round).await;
        let crashed = voters.remove(leading);
        crashed.node.process.crash();
        let start = Instant::now();
        leader(&voters).await;
        worst = worst.max(start.elapsed());
        let next = propose(&voters[0], 100).await;
        assert!(next > last);
        agree(&[&voters[0], &voters[1]], next).await;
    }
    assert!(worst < Duration::from_secs(1), "{worst:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_commits_soon_however_long_the_log_is() {
    let mut cluster = Cluster::new(three().round_trips(150), steady());
    let mut voters = cluster.start_all().await;
    let leading = leader(&voters).await;
    let group = &voters[leading].group;
    for batch in 0..50 {
        let proposals = (0..200).map(|number| group.propose(entry(batch * 200 + number), within(10_000)));
        let committed = futures::future::join_all(proposals).await;
        assert!(committed.iter().all(Result::is_ok));
    }
    voters.remove(leading).node.process.crash();
    let leading = leader(&voters).await;
    let start = Instant::now();
    propose(&voters[leading], 10_000).await;
    assert!(start.elapsed() <= Duration::from_millis(4 * 150), "{:?}", start.elapsed());
    let ledger = voters[leading].ledger.all();
    assert_eq!(ledger.len(), 10_001);
}

#[tokio::test(start_paused = true)]
async fn a_follower_proposes_and_confirms_through_the_leader() {
    let mut cluster = Cluster::new(three(), steady());
    let voters = cluster.start_all().await;
    let leading = leader(&voters).await;
    let (follower, other) = (&voters[(leading + 1) % 3], &voters[(leading + 2) % 3]);
    let index = propose(follower, 7).await;
    let confirmed = other.group.confirm(within(5_000)).await.expect("a quorum is there");
    assert!(confirmed >= index);
    assert_eq!(other.ledger.all().get(&index).map(Vec::as_slice), Some(&entry(7)[..]));
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_cannot_reach_the_leader_goes_through_the_third() {
    let mut cluster = Cluster::new(three(), steady());
    let voters = cluster.start_all().await;
    let leading = leader(&voters).await;
    let follower = &voters[(leading + 1) % 3];
    propose(follower, 1).await;
    cluster.cut_between(&voters[leading], follower);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(leader(&voters).await, leading, "the third voter still hears the leader");
    let index = propose(follower, 2).await;
    cluster.network.heal_all();
    agree(&[&voters[0], &voters[1], &voters[2]], index).await;
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_hears_no_leader_confirms_nothing_and_says_so_soon() {
    let mut cluster = Cluster::new(three(), steady());
    let voters = cluster.start_all().await;
    let leading = leader(&voters).await;
    let follower = &voters[(leading + 1) % 3];
    cluster.cut_between(&voters[leading], follower);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let index = propose(follower, 1).await;
    let began = Instant::now();
    let refused = follower.group.confirm(within(10_000)).await;
    assert_eq!(refused, Err(ProposeError::NoQuorum(GROUP)), "what was committed has not come here");
    assert!(began.elapsed() < Duration::from_secs(1), "another can be asked in time: {:?}", began.elapsed());
    cluster.network.heal_all();
    let confirmed = follower.group.confirm(within(10_000)).await.expect("it hears the leader again");
    assert!(confirmed >= index);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_says_so_and_what_it_refused_is_never_there() {
    let mut cluster = Cluster::new(three(), steady());
    let voters = cluster.start_all().await;
    let old = leader(&voters).await;
    propose(&voters[old], 1).await;
    cluster.cut_off(&voters[old]);
    let start = Instant::now();
    let mut leadership = voters[old].group.leadership();
    leadership.wait_for(|leadership| !leadership.is_here).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(450), "{:?}", start.elapsed());
    let refused = voters[old].group.propose(entry(666), within(500)).await;
    assert_eq!(refused, Err(ProposeError::NoQuorum(GROUP)));
    let others: Vec<&Voter> = voters.iter().filter(|voter| voter.id != voters[old].id).collect();
    let committed = propose(others[0], 2).await;
    cluster.network.heal_all();
    let ledger = agree(&[&voters[0], &voters[1], &voters[2]], committed).await;
    let numbers: Vec<Bytes> = ledger.into_values().map(Bytes::from).collect();
    assert_eq!(numbers, [entry(1), entry(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_missed_more_than_the_log_keeps_gets_a_snapshot() {
    let options = Options { snapshot_entries: 50, entries_kept: 10, ..steady() };
    let mut cluster = Cluster::new(three(), options);
    let mut voters = cluster.start_all().await;
    let leading = leader(&voters).await;
    let away = voters.remove((leading + 1) % 3);
    let (id, before) = (away.id, propose(&away, 0).await);
    away.node.process.crash();
    let mut last = before;
    for number in 1..400 {
        last = propose(turn(&voters, number), number).await;
    }
    let back = cluster.start(id).await;
    let ledger = agree(&[&back, &voters[0], &voters[1]], last).await;
    assert_eq!(ledger.len(), 400);
    let taken: u64 = voters.iter().map(|voter| voter.consensus.figures()[&GROUP].snapshots).sum();
    assert!(taken >= 2, "{taken} snapshots");
    assert_eq!(back.consensus.figures()[&GROUP].snapshots, 0, "its own was sent to it");
}

#[tokio::test(start_paused = true)]
async fn everything_is_there_after_all_voters_have_crashed_at_once() {
    let options = Options { snapshot_entries: 30, entries_kept: 5, tail_bytes: 100, ..steady() };
    let mut cluster = Cluster::new(three(), options);
    let voters = cluster.start_all().await;
    let mut last = 0;
    for number in 0..100 {
        last = propose(turn(&voters, number), number).await;
    }
    voters.iter().for_each(|voter| voter.node.process.crash());
    let mut again = Vec::new();
    for id in cluster.ids() {
        again.push(cluster.start(id).await);
    }
    leader(&again).await;
    let ledger = agree(&[&again[0], &again[1], &again[2]], last).await;
    let numbers: Vec<Vec<u8>> = ledger.into_values().collect();
    assert_eq!(numbers, (0..100).map(|number| entry(number).to_vec()).collect::<Vec<_>>());
    assert!(propose(&again[2], 100).await > last);
}

#[tokio::test(start_paused = true)]
async fn a_group_of_one_voter_needs_nobody() {
    let mut cluster = Cluster::new(MapBuilder::of(&["home"]), steady());
    let voters = cluster.start_all().await;
    let index = propose(&voters[0], 1).await;
    assert_eq!(voters[0].group.confirm(within(1_000)).await, Ok(index));
    assert_eq!(voters[0].group.voters(), cluster.ids());
    let figures = voters[0].consensus.figures()[&GROUP];
    assert_eq!((figures.proposals, figures.committed, figures.raft_bytes), (1, 1, 9));
    voters[0].group.transfer(voters[0].id);
    voters[0].node.process.crash();
    let again = cluster.start(voters[0].id).await;
    assert!(propose(&again, 2).await > index);
}

#[tokio::test(start_paused = true)]
async fn nine_voters_outlive_a_datacenter_and_one_more_machine() {
    let map = three().nodes(Role::MessageId, 3).voters(3);
    let mut cluster = Cluster::new(map, steady());
    let mut voters = cluster.start_all().await;
    assert_eq!(voters.len(), 9);
    let mut last = propose(&voters[8], 1).await;
    for name in ["sea-message-id-1", "sea-message-id-2", "sea-message-id-3", "nyc-message-id-1"] {
        let index = voters.iter().position(|voter| voter.name == name).unwrap();
        voters.remove(index).node.process.crash();
    }
    last = last.max(propose(&voters[0], 2).await);
    agree(&voters.iter().collect::<Vec<_>>(), last).await;
}

/// Nobody in sea hears a leader in mci, and the first voters that one there would ask are its neighbors.
#[tokio::test(start_paused = true)]
async fn a_datacenter_that_cannot_reach_the_leaders_goes_through_the_third() {
    let map = three().nodes(Role::MessageId, 3).voters(3);
    let mut cluster = Cluster::new(map, steady());
    let voters = cluster.start_all().await;
    let named = |name: &str| voters.iter().find(|voter| voter.name == name).expect("a voter");
    let (nyc, mci, sea) = (named("nyc-message-id-1"), named("mci-message-id-1"), named("sea-message-id-1"));
    let leads = async |voter: &Voter| {
        voters[leader(&voters).await].group.transfer(voter.id);
        voter.group.leadership().wait_for(|leadership| leadership.is_here).await.expect("it runs");
        propose(voter, 1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    for leads_before in [mci, nyc] {
        leads(leads_before).await;
        cluster.network.cut(&Side::datacenter("mci"), &Side::datacenter("sea"));
        tokio::time::sleep(Duration::from_secs(5)).await;
        if leads_before.id != mci.id {
            leads(mci).await;
            let start = Instant::now();
            propose(sea, 2).await;
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        assert_eq!(sea.group.leadership().borrow().leader, None, "who is not heard may be none any more");
        assert!(mci.group.leadership().borrow().is_here);
        let start = Instant::now();
        let index = propose(sea, 3).await;
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        cluster.network.heal_all();
        agree(&voters.iter().collect::<Vec<_>>(), index).await;
    }
}

#[tokio::test(start_paused = true)]
async fn leadership_returns_to_the_first_ranked_voter_when_all_is_well() {
    let mut cluster = Cluster::new(three(), Options::default());
    let mut voters = cluster.start_all().await;
    let first = voters.remove(0);
    let id = first.id;
    first.node.process.crash();
    leader(&voters).await;
    propose(&voters[0], 1).await;
    voters.insert(0, cluster.start(id).await);
    let start = Instant::now();
    let mut leadership = voters[0].group.leadership();
    leadership.wait_for(|leadership| leadership.is_here).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    propose(&voters[1], 2).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(leader(&voters).await, 0, "it stays");
}

#[tokio::test(start_paused = true)]
async fn proposals_under_way_survive_a_change_of_leader_or_say_that_they_may_not_have() {
    let mut cluster = Cluster::new(three(), steady());
    let voters = cluster.start_all().await;
    let (mut acknowledged, mut last) = (Vec::new(), 0);
    for number in 0..300_u64 {
        if number % 60 == 30 {
            let leading = leader(&voters).await;
            voters[leading].group.transfer(voters[(leading + 1) % 3].id);
        }
        match turn(&voters, number).group.propose(entry(number), within(5_000)).await {
            Ok(committed) => {
                last = committed.index;
                acknowledged.push(entry(number).to_vec());
            }
            Err(ProposeError::Unknown(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let ledger = agree(&[&voters[0], &voters[1], &voters[2]], last).await;
    let there: Vec<Vec<u8>> = ledger.into_values().collect();
    assert!(acknowledged.iter().all(|entry| there.iter().filter(|other| *other == entry).count() == 1));
    assert!(acknowledged.len() >= 290, "{}", acknowledged.len());
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_ends_the_process() {
    let mut cluster = Cluster::new(MapBuilder::of(&["home"]), steady());
    let (storage, faults) = HostileStorage::new(MemoryStorage::new());
    let id = cluster.ids()[0];
    let voter = cluster.start_on(id, Some(std::sync::Arc::new(storage))).await;
    propose(&voter, 1).await;
    faults.fail_writes_after(0);
    let lost = voter.group.propose(entry(2), within(1_000)).await;
    assert_eq!(lost, Err(ProposeError::Unknown(GROUP)));
    assert!(voter.node.process.ended().await.contains("cannot be written"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_told_to_stop_refuses_and_the_others_go_on() {
    let mut cluster = Cluster::new(three(), steady());
    let mut voters = cluster.start_all().await;
    let leading = leader(&voters).await;
    let stopped = voters.remove(leading);
    propose(&stopped, 1).await;
    stopped.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(stopped.group.propose(entry(2), within(5_000)).await, Err(ProposeError::ShuttingDown));
    assert_eq!(stopped.group.confirm(within(5_000)).await, Err(ProposeError::ShuttingDown));
    assert!(!stopped.group.leadership().borrow().is_here);
    leader(&voters).await;
    propose(&voters[0], 3).await;
}

#[tokio::test(start_paused = true)]
async fn too_many_proposals_are_refused_at_the_door() {
    let options = Options { proposals_bytes_max: 1 << 20, ..steady() };
    let mut cluster = Cluster::new(three(), options);
    let voters = cluster.start_all().await;
    let leading = leader(&voters).await;
    let large = Bytes::from(vec![0; 300 << 10]);
    let deadline = within(5_000);
    let proposals: Vec<_> = (0..4).map(|_| voters[leading].group.propose(large.clone(), deadline)).collect();
    let outcomes = futures::future::join_all(proposals).await;
    let refused = outcomes.iter().filter(|outcome| **outcome == Err(ProposeError::Overloaded(GROUP))).count();
    assert_eq!((refused, outcomes.iter().filter(|outcome| outcome.is_ok()).count()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn an_idle_group_says_little() {
    let mut cluster = Cluster::new(three(), steady());
    let _voters = cluster.start_all().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = cluster.network.deliveries();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let per_second = (cluster.network.deliveries() - before) / 10;
    // Heartbeats and their answers to two followers, and the links' own.
    assert!(per_second <= 2 * 2 * 10 + 6 * 2 * 2, "{per_second} messages a second");
}
