//! What the node says of itself: groups, figures, readiness.

use std::collections::BTreeMap;
use std::sync::Arc;

use trunkline_ordering::group::State;
use trunkline_ports::Group;
use trunkline_wire::internal::{GetStatusResponse, GroupStatus};

use crate::voter::Voter;

/// Identity and map version are filled in by the process.
pub(crate) fn status(voter: &Voter, map_group: Option<&Arc<dyn Group>>) -> GetStatusResponse {
    let groups = map_group.into_iter().chain(voter.members.values().map(|member| &member.group));
    let led = voter.members.values().filter(|member| member.leadership().is_here).count();
    let up = voter.links.borrow().values().filter(|link| link.up).count();
    let mut figures: BTreeMap<String, f64> = voter.figures.values().collect();
    let total = |of: fn(&State) -> usize| voter.members.values().map(|member| member.read(of)).sum::<usize>();
    let counts = [
        ("message_id_groups_led", led),
        ("message_id_relay_streams_up", up),
        ("message_id_topics", total(|state| state.topics().len())),
        ("message_id_logs_open", total(|state| state.logs().open_count())),
        ("message_id_fact_runs_kept", total(|state| state.history().runs())),
    ];
    for (name, count) in counts {
        figures.insert(name.to_owned(), f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
    let order_time_ms = voter.members.values().map(|member| member.read(State::order_time_ms)).max();
    #[allow(clippy::cast_precision_loss, reason = "exact for some 280,000 years")]
    figures.insert("message_id_order_time_ms".to_owned(), order_time_ms.unwrap_or(0) as f64);
    GetStatusResponse {
        groups: groups.map(|group| group_status(group.as_ref())).collect(),
        figures,
        ..GetStatusResponse::default()
    }
}

fn group_status(group: &dyn Group) -> GroupStatus {
    let leadership = *group.leadership().borrow();
    GroupStatus {
        group: group.id().to_u32(),
        leader: leadership.leader.map_or(0, |leader| leader.0),
        term: leadership.term,
        applied: *group.applied().borrow(),
        voters: u32::try_from(group.voters().len()).unwrap_or(u32::MAX),
    }
}

/// It can do its work: every group that it votes in has a leader.
pub(crate) fn is_ready(voter: &Voter) -> bool {
    !voter.shutdown.is_draining() && voter.members.values().all(|member| member.leadership().leader.is_some())
}
