//! This node's members of the groups that it votes in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use trunkline_delivery::position::{Answer, Entry};
use trunkline_placement::voters;
use trunkline_ports::{Consensus, Group, Host};
use trunkline_runtime::Ticks;
use trunkline_types::{ConsumerName, GroupId, TopicId};
use trunkline_wire::Status;
use trunkline_wire::internal::{GetStatusResponse, GroupStatus};

use crate::error::{self, StartError};
use crate::machine::{Machine, State};
use crate::metrics::Metrics;

/// Acknowledgements are committed behind the pops: what comes within so much of one another, of all subscriptions, is
/// proposed together, and so shares frames and fsyncs.
const COMMIT_TICK: Duration = Duration::from_millis(8);

/// One group: propose here, read there.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) group: Arc<dyn Group>,
    pub(crate) state: State,
}

pub(crate) struct Groups {
    members: BTreeMap<GroupId, Member>,
    pub(crate) metrics: Metrics,
    ticks: Ticks,
}

impl Groups {
    pub(crate) async fn start(
        host: &Host,
        consensus: &dyn Consensus,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let map = host.map();
        let mut members = BTreeMap::new();
        for id in (0..map.position_groups).map(GroupId::position) {
            if voters(&map, id).iter().all(|voter| voter.id != host.identity.node) {
                continue;
            }
            let state = State::default();
            let machine = Machine::new(state.clone(), host.process.clone(), metrics.subscriptions.clone());
            let started = consensus.start(id, Box::new(machine)).await;
            let group = started.map_err(|source| StartError::Group { group: id, source })?;
            members.insert(id, Member { group, state });
        }
        Ok(Self { members, metrics, ticks: Ticks::every(COMMIT_TICK) })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> + '_ {
        self.members.values()
    }

    /// The group, if this node votes in it.
    pub(crate) fn get(&self, id: GroupId) -> Result<&Member, Status> {
        self.members.get(&id).ok_or_else(|| error::not_a_voter(id))
    }

    /// The group of a subscription, if this node votes in it.
    pub(crate) fn of(&self, host: &Host, topic: TopicId, consumer: &ConsumerName) -> Result<&Member, Status> {
        self.get(host.map().position_group(topic, consumer.as_str()))
    }

    /// Commits an entry; returns what came of it.
    pub(crate) async fn propose(
        &self,
        member: &Member,
        call: &'static str,
        entry: &Entry,
        deadline: Instant,
    ) -> Result<Answer, Status> {
        let committed = member.group.propose(entry.encode().into(), deadline).await.map_err(|error| {
            self.metrics.proposed(call, "failed");
            error::propose(&error)
        })?;
        let answer = Answer::decode(&committed.answer);
        answer.map_err(|unreadable| Status::internal(unreadable.to_string()))
    }

    /// The moment at which commits are proposed.
    pub(crate) async fn commit_tick(&self) {
        sleep_until(self.ticks.after(Instant::now())).await;
    }

    /// Every group has a leader, by what this node knows.
    pub(crate) fn are_led(&self) -> bool {
        self.iter().all(|member| member.group.leadership().borrow().leader.is_some())
    }

    pub(crate) fn status(&self) -> GetStatusResponse {
        let group = |member: &Member| {
            let leadership = *member.group.leadership().borrow();
            GroupStatus {
                group: member.group.id().to_u32(),
                leader: leadership.leader.unwrap_or_default().0,
                term: leadership.term,
                applied: *member.group.applied().borrow(),
                voters: u32::try_from(member.group.voters().len()).unwrap_or(u32::MAX),
            }
        };
        let subscriptions: usize = self.iter().map(|member| member.state.read().len()).sum();
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        let figures = [("subscriptions".to_owned(), subscriptions as f64)].into();
        GetStatusResponse {
            groups: self.iter().map(group).collect(),
            figures,
            ..GetStatusResponse::default()
        }
    }
}
