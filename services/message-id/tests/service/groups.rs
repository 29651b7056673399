use trunkline_testkit::MapBuilder;
use trunkline_types::{GroupId, NodeId};
use trunkline_wire::internal::{OrderKnowsGroupRequest, order_service::KNOWS_GROUP};

use crate::cluster::{Cluster, until};

#[tokio::test(start_paused = true)]
async fn groups_are_initialized_by_their_first_voter_and_the_map_is_committed() {
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
async fn nothing_is_initialized_before_a_majority_has_said_that_it_knows_nothing() {
    let map = MapBuilder::three_datacenters().buckets(8).groups(2, 1).build();
    let mut cluster = Cluster::without_voters(map);
    cluster.start("nyc", 1).await;
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    assert!(!(cluster.voter("nyc").service.ready)());
    cluster.start("mci", 1).await;
    until("the groups are initialized", || (cluster.voter("nyc").service.ready)()).await;
    let group = cluster.group().to_u32();
    let request = OrderKnowsGroupRequest { envelope: Some(cluster.caller.host.envelope()), group };
    assert!(cluster.call("mci", KNOWS_GROUP, request).await.unwrap().initialized);
}

#[tokio::test(start_paused = true)]
async fn leadership_returns_to_the_first_voter_and_is_handed_over_on_drain() {
    let mut cluster = Cluster::new().await;
    let (group, first) = (cluster.group(), cluster.leader());
    let (other, _) = cluster.others();
    cluster.consensus.lead(group, Some(cluster.id(&other)));
    assert_eq!(cluster.leader(), other);
    until("the first voter leads again", || cluster.leader() == first).await;
    let at = cluster.voters.iter().position(|voter| voter.node.host.identity.datacenter.0 == first).unwrap();
    let draining = cluster.voters.remove(at);
    draining.shutdown.drain();
    draining.service.drained.await;
    assert_ne!(cluster.leader(), first);
    assert!(!(draining.service.ready)());
}
