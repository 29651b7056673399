use trunkline_testkit::MapBuilder;
use trunkline_types::{GroupId, NodeId};

use crate::cluster::{Cluster, DATACENTERS, until};

#[tokio::test(start_paused = true)]
async fn groups_are_led_by_their_first_voter_and_the_map_is_committed() {
    let cluster = Cluster::new().await;
    for voter in &cluster.voters {
        assert_eq!(voter.map.borrow().as_deref(), Some(&cluster.map));
        let status = (voter.service.status)();
        assert_eq!(status.groups.len(), 3);
        for group in status.groups {
            let id = GroupId::from_u32(group.group).unwrap();
            let first = trunkline_placement::voters(&cluster.map, id)[0].id;
            assert_eq!((NodeId(group.leader), group.voters), (first, 3), "{id}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_voter_is_ready_once_its_groups_have_leaders() {
    let map = MapBuilder::three_datacenters().buckets(8).groups(2, 1).build();
    let mut cluster = Cluster::without_voters(map);
    let ranked = trunkline_placement::voters(&cluster.map, cluster.group());
    let (first, last) = (ranked[0].datacenter.0.clone(), ranked[2].datacenter.0.clone());
    cluster.start(&last, 1).await;
    assert!(!(cluster.voter(&last).service.ready)());
    cluster.start(&first, 1).await;
    let others: Vec<_> =
        DATACENTERS.iter().filter(|name| ![&first, &last].contains(&&name.to_string())).collect();
    cluster.start(others[0], 1).await;
    until("every group has a leader", || (cluster.voter(&last).service.ready)()).await;
}

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_over_on_drain() {
    let mut cluster = Cluster::new().await;
    let first = cluster.leader();
    let at = cluster.voters.iter().position(|voter| voter.node.host.identity.datacenter.0 == first).unwrap();
    let draining = cluster.voters.remove(at);
    draining.shutdown.drain();
    draining.service.drained.await;
    assert_ne!(cluster.leader(), first);
    assert!(!(draining.service.ready)());
}
