//! What is gone need not come: a holder says where, and a follower passes over it as far as the facts that it has itself
//! say the same. What it cannot check yet it looks at again.

use std::collections::BTreeMap;

use trunkline_ordering::store::LogNo;
use trunkline_types::NodeId;
use trunkline_wire::convert::{Malformed, number};
use trunkline_wire::internal::{LogSkip, Want};

use super::Worker;
use super::load::{Orders, OrdersFor};
use crate::convert;

/// Of each log, who says that its records up to where are gone.
pub(super) type Skips = BTreeMap<LogNo, (NodeId, u64)>;

impl Worker {
    /// As holder: a follower wants a record that is not there. It is gone, or it is to be repaired.
    pub(super) fn serve_what_is_gone(
        &mut self,
        node: NodeId,
        stream: u64,
        log: LogNo,
        from: u64,
        orders: &Orders,
    ) {
        let to = self.catalog.gone_until(from, &orders.runs, &orders.voids);
        if to == from {
            self.repairs.in_background(log, from);
        } else if self.catalog.get(log).is_some() {
            self.say_gone(node, stream, log, from, to);
        }
    }

    /// As follower: a holder says that records are gone.
    pub(super) fn take_skip(&mut self, node: NodeId, skip: LogSkip) -> Result<(), Malformed> {
        let name = convert::log_name(skip.log)?;
        let (from, to) = (convert::place(skip.from, "skips.from")?, number(skip.to, "skips.to")?);
        let Some(log) = self.known_log(name, skip.predecessor) else { return Ok(()) };
        let accepted = self.catalog.log(log).accepted();
        if from <= accepted && accepted < to {
            self.following.skips.insert(log, (node, to));
            self.loads.orders(log, accepted, OrdersFor::Skip { until: to });
        }
        Ok(())
    }

    /// What the index on disk says of records that are said to be gone.
    pub(super) fn skip(&mut self, log: LogNo, until: u64, orders: &Orders) {
        let Some(known) = self.catalog.get(log) else { return };
        let gone = self.catalog.gone_until(known.accepted(), &orders.runs, &orders.voids).min(until);
        if let Some(skipped) = self.catalog.skip(log, gone) {
            tracing::debug!(log = %self.catalog.log(log).name, ?skipped, "records are gone: they are passed over");
            self.metrics.skipped.inc_by(skipped.end - skipped.start);
            self.commit.skipped(log, skipped.start, skipped.end);
        }
        self.go_on_behind(log);
    }

    /// Asks for what follows once all that is said to be gone was passed over.
    fn go_on_behind(&mut self, log: LogNo) {
        let Some(&(node, until)) = self.following.skips.get(&log) else { return };
        let known = self.catalog.log(log);
        if known.accepted() < until {
            return;
        }
        self.following.skips.remove(&log);
        let want = Want { log: Some(known.name.into()), from: known.accepted(), stop: false };
        let near = self.layout.peers.iter().filter(|peer| peer.near).map(|peer| peer.node);
        for holder in near.filter(|near| *near != node).chain([node]) {
            self.following.want(holder, want);
        }
    }

    /// Once a second: the facts may say by now what they did not when a holder said it.
    pub(super) fn skips_again(&mut self) {
        let skips: Vec<(LogNo, u64)> =
            self.following.skips.iter().map(|(&log, &(_, until))| (log, until)).collect();
        for (log, until) in skips {
            match self.catalog.get(log).map(trunkline_ordering::store::Log::accepted) {
                Some(accepted) if accepted < until => {
                    self.loads.orders(log, accepted, OrdersFor::Skip { until });
                }
                Some(_) => self.go_on_behind(log),
                None => drop(self.following.skips.remove(&log)),
            }
        }
    }
}
