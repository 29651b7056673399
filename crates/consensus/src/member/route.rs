//! Which way a request takes to the group's leader.

use trunkline_types::NodeId;

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The leader is here.
    Here,
    /// To the leader.
    Leader(NodeId),
    /// To a voter that may reach the leader, which cannot be reached from here.
    Through(NodeId),
    /// Nobody can be asked now.
    Nowhere,
}

/// `hops`: how many more times the request may be handed on; the last goes to the leader itself. `others` are the other
/// voters, the nearest first.
pub(super) fn route(
    me: NodeId,
    leader: Option<NodeId>,
    hops: u32,
    others: impl FnOnce() -> Vec<NodeId>,
    is_up: impl Fn(NodeId) -> bool,
) -> Route {
    match leader {
        Some(leader) if leader == me => Route::Here,
        _ if hops == 0 => Route::Nowhere,
        Some(leader) if is_up(leader) => Route::Leader(leader),
        Some(leader) if hops > 1 => {
            let through = others().into_iter().find(|&voter| voter != leader && is_up(voter));
            through.map_or(Route::Nowhere, Route::Through)
        }
        Some(_) | None => Route::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId(1);
    const OTHERS: [NodeId; 2] = [NodeId(2), NodeId(3)];

    #[test]
    fn a_request_goes_straight_to_the_leader_or_through_the_nearest_voter_that_answers() {
        let node = NodeId;
        let table: &[(Option<u64>, u32, &[u64], Route)] = &[
            (Some(1), 0, &[], Route::Here),
            (Some(1), 2, &[2, 3], Route::Here),
            (Some(3), 2, &[2, 3], Route::Leader(node(3))),
            (Some(3), 1, &[3], Route::Leader(node(3))),
            (Some(3), 0, &[2, 3], Route::Nowhere),
            (Some(3), 2, &[2], Route::Through(node(2))),
            (Some(3), 1, &[2], Route::Nowhere),
            (Some(2), 2, &[], Route::Nowhere),
            (None, 2, &[2, 3], Route::Nowhere),
        ];
        for (leader, hops, up, expected) in table {
            let found = route(ME, leader.map(node), *hops, || OTHERS.to_vec(), |peer| up.contains(&peer.0));
            assert_eq!(found, *expected, "leader {leader:?}, {hops} hops, up {up:?}");
        }
    }
}
