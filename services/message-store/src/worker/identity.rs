//! Who goes on under its identity, and who does not: a store whose data directory was rolled back or copied lacks what
//! it told others to have on disk, and these count on it. Whoever follows says its boot and what it has on disk; the
//! holder compares, and its refusal ends the follower's process.

use trunkline_ordering::store::LogNo;
use trunkline_types::{Boot, LogName, NodeId};
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::{DiskBehind, FollowRefused, FollowResponse, follow_refused};

use super::Worker;
use crate::outlet::Outlet;

/// Why a follower's stream is ended.
#[derive(Debug)]
pub(super) enum Unfollowed {
    Malformed(Malformed),
    Behind(DiskBehind),
}

impl From<Malformed> for Unfollowed {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl Worker {
    /// A store speaks under this boot. The error: another that exposes it, of those that were seen or that the facts say
    /// there were.
    pub(super) fn is_newest(&mut self, node: NodeId, boot: Boot) -> Result<(), Boot> {
        let before = self.boots.newest(node);
        self.boots.admit(node, boot)?;
        if before != Some(boot) {
            self.commit.seen(node, boot);
        }
        let ended = self.catalog.boots_ended_below(node);
        if boot.counter < ended { Err(Boot { counter: ended, random: 0 }) } else { Ok(()) }
    }
}

/// The holder's side.
impl Worker {
    /// Whether this boot of a store may follow; it is told if not.
    pub(super) fn admits(&mut self, node: NodeId, boot: Boot, outlet: &Outlet<FollowResponse>) -> bool {
        if let Some(behind) = self.behind.get(&node) {
            refuse(outlet, follow_refused::Why::DiskBehind(*behind));
            return false;
        }
        let Err(other) = self.is_newest(node, boot) else { return true };
        if other.counter == boot.counter {
            tracing::warn!(%node, %boot, %other, "a follower is refused: there are two of this boot");
        }
        refuse(outlet, follow_refused::Why::OtherBoot(other.into()));
        false
    }

    /// A boot of a store has a log on disk up to `now`. If that is less than what earlier boots of it told, no later
    /// one is admitted either: what else it has lost, nobody here can say. This store remembers for as long as it
    /// lives; if both have begun anew, others may remember.
    pub(super) fn has_lost(&mut self, node: NodeId, boot: Boot, log: LogNo, now: u64) -> Option<DiskBehind> {
        let known = self.catalog.log(log);
        let told = known.told_before(node, boot.counter);
        if now >= told {
            return None;
        }
        tracing::warn!(%node, %boot, log = %known.name, told, now, "a follower is refused: its disk was rolled back");
        let behind = DiskBehind { log: Some(known.name.into()), told, now };
        self.behind.insert(node, behind);
        Some(behind)
    }
}

/// Tells a follower that it is refused. If there is no room for it, the next stream will.
pub(super) fn refuse(outlet: &Outlet<FollowResponse>, why: follow_refused::Why) {
    if outlet.has_room() {
        let refused = Some(FollowRefused { why: Some(why) });
        outlet.send(FollowResponse { refused, ..FollowResponse::default() });
    }
}

/// The follower's side.
impl Worker {
    /// A holder has refused this store: what it knows of it, this directory does not.
    pub(super) fn refused(&self, holder: NodeId, why: follow_refused::Why) {
        let boot = self.host.identity.boot;
        match why {
            follow_refused::Why::OtherBoot(other) => {
                let other = Boot::from(other);
                self.superseded(
                    other.counter,
                    &format!("store {holder} has seen boot {other}, this is {boot}"),
                );
            }
            follow_refused::Why::DiskBehind(DiskBehind { log, told, now }) => {
                let log = log.and_then(|log| LogName::try_from(log).ok());
                let log = log.map_or_else(String::new, |log| log.to_string());
                self.give_up(&format!(
                    "an earlier boot told store {holder} that it had log {log} on disk up to {told}, now it ends at {now}"
                ));
            }
        }
    }

    /// Boots below this counter have ended; all of a store that is no more.
    pub(super) fn superseded(&self, ended: u32, proof: &str) {
        if ended < u32::MAX {
            return self.give_up(proof);
        }
        let me = self.me();
        self.host
            .process
            .refuse(&format!("node {me} was replaced by another: empty its data directory, or remove it"));
    }

    /// Goes on under this identity no more.
    pub(super) fn give_up(&self, proof: &str) {
        self.host.process.refuse(&format!(
            "the data directory was rolled back or copied: {proof}. Replace this node: with an empty directory it is a new one"
        ));
    }
}
