//! One group's order time on this voter: proposed by the clocks of all voters while it leads.

use std::sync::Arc;

use tokio::time::Instant;
use trunkline_ordering::group::OrderTime;
use trunkline_types::GroupId;
use trunkline_types::limits::ORDER_TIME_HELD_TOLD_AFTER;

use crate::metrics::Share;
use crate::voter::Voter;

pub(crate) struct GroupTime {
    voter: Arc<Voter>,
    group: GroupId,
    time: OrderTime,
    /// 1 while this voter leads and order time is held.
    held: Share,
    held_since: Option<Instant>,
    told: bool,
}

impl GroupTime {
    pub(crate) fn new(voter: Arc<Voter>, group: GroupId) -> Self {
        let held = Share::of(&voter.figures.order_time_held);
        Self { voter, group, time: OrderTime::default(), held, held_since: None, told: false }
    }

    /// The group's state has come to this.
    pub(crate) fn applied(&mut self, order_time_ms: u64) {
        self.time.applied(order_time_ms, self.voter.clocks.elapsed());
    }

    /// A leadership begins or ends, or a proposal was lost.
    pub(crate) fn forget(&mut self) {
        self.time.forget();
    }

    /// For an entry that is proposed now.
    pub(crate) fn propose(&mut self) -> u64 {
        self.time.propose(self.clocks(), self.voter.clocks.elapsed())
    }

    /// Once a second while this voter leads, whether there is something to propose or not: where order time stands;
    /// `None` while it is held, or there is none.
    pub(crate) fn look(&mut self) -> Option<u64> {
        let now = self.time.look(self.clocks(), self.voter.clocks.elapsed());
        let is_held = self.time.is_held();
        self.show(is_held);
        now.or(Some(self.time.known_ms()).filter(|known| *known > 0)).filter(|_| !is_held)
    }

    /// An operator says that the clocks are right. True if order time was held.
    pub(crate) fn confirm(&mut self) -> bool {
        let was_held = self.time.confirm();
        if was_held {
            tracing::info!(group = %self.group, "an operator has confirmed the clocks: order time goes on");
        }
        was_held
    }

    /// This voter does not lead (any more).
    pub(crate) fn resign(&mut self) {
        self.forget();
        self.show(false);
    }

    fn clocks(&self) -> Vec<u64> {
        self.voter.clocks.now(self.voter.host.process.wall_clock_ms())
    }

    fn show(&mut self, is_held: bool) {
        self.held.set(is_held.into());
        if !is_held {
            (self.held_since, self.told) = (None, false);
            return;
        }
        let since = *self.held_since.get_or_insert_with(Instant::now);
        if !self.told && since.elapsed() >= ORDER_TIME_HELD_TOLD_AFTER {
            self.told = true;
            tracing::warn!(
                group = %self.group,
                "order time stands still: fewer than three voters' clocks are heard, and they differ from elapsed \
                 time by more than a minute. Messages are ordered all the same. It goes on when the clocks are right \
                 or three voters agree, or an operator confirms them. Until then nothing is trimmed"
            );
        }
    }
}
