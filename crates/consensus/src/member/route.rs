//! Which way a request takes to the group's leader.

use trunkline_types::NodeId;

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The leader is here.
    Here,
    /// To the leader, or to a voter that may know it or reach it.
    To(NodeId),
    /// Nobody can be asked now.
    Nowhere,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// How many more times it may be handed on; the last goes to the leader itself.
    pub(super) hops: u32,
    /// How many attempts this voter has made before.
    pub(super) attempts: usize,
}

/// `others` are the other voters, the nearest first. The leader known here is the one heard last, and neighbors may be
/// cut off from the present one as this voter is: so the first attempt goes to it, and each further one to the next
/// voter that answers.
pub(super) fn route(
    me: NodeId,
    leader: Option<NodeId>,
    Way { hops, attempts }: Way,
    others: impl FnOnce() -> Vec<NodeId>,
    is_up: impl Fn(NodeId) -> bool,
) -> Route {
    match leader {
        Some(leader) if leader == me => Route::Here,
        _ if hops == 0 => Route::Nowhere,
        Some(leader) if (attempts == 0 || hops == 1) && is_up(leader) => Route::To(leader),
        _ if hops == 1 => Route::Nowhere,
        _ => {
            let others = others().into_iter().filter(|&voter| Some(voter) != leader);
            let ways: Vec<NodeId> = leader.into_iter().chain(others).filter(|&voter| is_up(voter)).collect();
            ways.get(attempts % ways.len().max(1)).map_or(Route::Nowhere, |&voter| Route::To(voter))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId(1);
    const OTHERS: [NodeId; 2] = [NodeId(2), NodeId(3)];

    #[test]
    fn a_request_goes_to_the_leader_and_then_to_each_voter_that_answers() {
        let to = |node| Route::To(NodeId(node));
        type Row = (Option<u64>, u32, usize, &'static [u64], Route);
        let table: &[Row] = &[
            (Some(1), 0, 0, &[], Route::Here),
            (Some(1), 2, 1, &[2, 3], Route::Here),
            (Some(3), 2, 0, &[2, 3], to(3)),
            (Some(3), 2, 1, &[2, 3], to(2)),
            (Some(3), 2, 2, &[2, 3], to(3)),
            (Some(3), 1, 0, &[3], to(3)),
            (Some(3), 0, 0, &[2, 3], Route::Nowhere),
            (Some(3), 2, 0, &[2], to(2)),
            (Some(3), 1, 0, &[2], Route::Nowhere),
            (Some(2), 2, 0, &[], Route::Nowhere),
            (None, 2, 0, &[2, 3], to(2)),
            (None, 2, 1, &[2, 3], to(3)),
            (None, 1, 0, &[2, 3], Route::Nowhere),
        ];
        for (leader, hops, attempts, up, expected) in table {
            let is_up = |peer: NodeId| up.contains(&peer.0);
            let found = route(
                ME,
                leader.map(NodeId),
                Way { hops: *hops, attempts: *attempts },
                || OTHERS.to_vec(),
                is_up,
            );
            assert_eq!(found, *expected, "leader {leader:?}, {hops} hops, {attempts} attempts, up {up:?}");
        }
    }
}
