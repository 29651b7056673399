use trunkline_types::{ClusterMap, GroupId, Node, NodeId, Role, Standing};
use trunkline_wire::internal::map_service::{GET_FENCES, REPLACE_NODE};
use trunkline_wire::internal::{
    Fence, GetFencesRequest, GetFencesResponse, ReplaceNodeRequest, ReplaceNodeResponse,
};
use trunkline_wire::status::{reason, reason_of};
use trunkline_wire::{Code, Status};

use crate::cluster::{Cluster, DATACENTERS, until};

fn asked(cluster: &Cluster, old: &Node, new: u64) -> ReplaceNodeRequest {
    ReplaceNodeRequest {
        cluster: cluster.map.cluster.0,
        old: old.id.0,
        new,
        role: old.role.to_string(),
        datacenter: old.datacenter.to_string(),
        name: old.name.clone(),
        address: "new:7000".to_owned(),
    }
}

async fn replace(
    cluster: &Cluster,
    datacenter: &str,
    old: &Node,
    new: u64,
) -> Result<ReplaceNodeResponse, Status> {
    cluster.call(datacenter, REPLACE_NODE, asked(cluster, old, new)).await
}

/// What group 0 has committed, at every voter; and they act by it.
async fn committed(cluster: &Cluster, version: u64) -> ClusterMap {
    for voter in &cluster.voters {
        let map = || voter.map.borrow().as_ref().map_or(0, |map| map.version);
        until("the map is committed", || map() >= version).await;
    }
    let map = cluster.voters[0].map.borrow().as_deref().cloned().unwrap();
    cluster.voters.iter().for_each(|voter| voter.node.learn(&map));
    cluster.caller.learn(&map);
    map
}

async fn fences(cluster: &Cluster, group: u16) -> Vec<Fence> {
    let envelope = Some(cluster.caller.host.envelope());
    let request = GetFencesRequest { envelope, group: GroupId::ordering(group).to_u32() };
    let answer: GetFencesResponse = cluster.call("nyc", GET_FENCES, request).await.unwrap();
    answer.fences
}

#[tokio::test(start_paused = true)]
async fn a_store_is_fenced_off_in_every_group_before_another_has_its_place() {
    let cluster = Cluster::new().await;
    let old = cluster.map.nodes_of(Role::MessageStore).next().unwrap().clone();
    let begun = replace(&cluster, "mci", &old, 77).await.unwrap();
    assert_eq!((begun.map_version, begun.done), (2, false));
    let again = replace(&cluster, "sea", &old, 77).await.unwrap();
    assert_eq!((again.map_version, again.done), (2, false), "it goes on");
    for group in 0..2 {
        assert_eq!(fences(&cluster, group).await, [], "nobody acts by that map yet");
    }
    let map = committed(&cluster, 2).await;
    assert_eq!(map.standing(NodeId(77)), Standing::Joining);
    let map = committed(&cluster, 3).await;
    for group in 0..2 {
        assert_eq!(fences(&cluster, group).await, [Fence { store: old.id.0, map_version: 2 }]);
    }
    assert_eq!((map.standing(NodeId(77)), map.replacing.is_none()), (Standing::Member, true));
    let again = replace(&cluster, "nyc", &old, 77).await.unwrap();
    assert_eq!((again.map_version, again.done), (3, true));
}

#[tokio::test(start_paused = true)]
async fn whoever_leads_group_0_goes_on_with_what_another_began() {
    let mut cluster = Cluster::new().await;
    let old = cluster.map.nodes_of(Role::MessageStore).last().unwrap().clone();
    let leader = cluster.leader_of(GroupId::MAP);
    replace(&cluster, &leader, &old, 77).await.unwrap();
    let at = cluster.voters.iter().position(|voter| voter.node.host.identity.datacenter.0 == leader).unwrap();
    let draining = cluster.voters.remove(at);
    draining.shutdown.drain();
    draining.service.drained.await;
    committed(&cluster, 2).await;
    draining.node.learn(&cluster.voters[0].map.borrow().as_deref().cloned().unwrap());
    let map = committed(&cluster, 3).await;
    assert_eq!(map.standing(NodeId(77)), Standing::Member);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_replaced_is_refused_and_changes_nothing() {
    let cluster = Cluster::new().await;
    let old = cluster.map.nodes_of(Role::MessageStore).next().unwrap().clone();
    let strange = Node { id: NodeId(5), ..old.clone() };
    let refused = replace(&cluster, "nyc", &strange, 77).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), "0000000000000005 is not a node of the map");
    let other = ReplaceNodeRequest { cluster: 9, ..asked(&cluster, &old, 77) };
    let refused =
        cluster.call("nyc", REPLACE_NODE, other).await.map(|_: ReplaceNodeResponse| ()).unwrap_err();
    assert_eq!(reason_of(&refused).as_deref(), Some(reason::STALE));
    for (field, wrong) in [
        ("role", ReplaceNodeRequest { role: "store".to_owned(), ..asked(&cluster, &old, 77) }),
        ("new", asked(&cluster, &old, 0)),
        ("address", ReplaceNodeRequest { address: String::new(), ..asked(&cluster, &old, 77) }),
    ] {
        let refused =
            cluster.call("nyc", REPLACE_NODE, wrong).await.map(|_: ReplaceNodeResponse| ()).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}");
        assert!(refused.message().starts_with(field), "{}", refused.message());
    }
    for datacenter in DATACENTERS {
        assert_eq!(cluster.voter(datacenter).map.borrow().as_ref().unwrap().version, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replaced_node_is_refused_and_a_replaced_voter_stops() {
    let cluster = Cluster::new().await;
    let old = cluster.voter("sea").node.host.identity.clone();
    let place = cluster.map.node(old.node).unwrap().clone();
    let begun = cluster.map.replace(old.node, Node { id: NodeId(77), ..place }).unwrap().unwrap();
    let done = begun.replacement_done().unwrap();
    cluster.voter("nyc").node.learn(&done);
    let envelope = Some(cluster.voter("sea").node.host.envelope());
    let request = GetFencesRequest { envelope, group: cluster.group().to_u32() };
    let refused = cluster.call("nyc", GET_FENCES, request).await.map(|_: GetFencesResponse| ()).unwrap_err();
    assert_eq!(reason_of(&refused).as_deref(), Some(reason::NODE_REPLACED));
    cluster.voter("sea").node.learn(&done);
    let why = cluster.voter("sea").node.process.ended().await;
    assert!(why.contains("was replaced by"), "{why}");
}
