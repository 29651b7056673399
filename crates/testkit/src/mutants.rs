//! Deliberately broken builds: the production services on ports of which one misbehaves as a tempting shortcut would.
//!
//! Each stands for a line of the list of wrong builds that look right; the simulator must catch every one of them, or
//! it would not notice the mistake if we made it. Nothing here is ever part of the shipped binary.
//!
//! - [`tamper`]: the workbench: messages changed at a node's door.
//! - [`lying_disk`], [`sessions`], [`entries`], [`streams`], [`delivery`]: what is broken, by port.

mod delivery;
mod entries;
mod lying_disk;
mod sessions;
mod streams;
mod tamper;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use trunkline_ports::{Consensus, Host, Identity, Router, Storage};
use trunkline_types::{ClusterMap, DatacenterName, NodeId, Role};

use crate::parts::Parts;
use entries::{Breaks, BrokenConsensus};
use lying_disk::LyingDisk;
use tamper::Tamper;

/// How late a lying disk writes.
const WRITES_LATE: Duration = Duration::from_millis(300);
/// So late that a lying disk has written what it is about.
const LATE: Duration = Duration::from_millis(600);

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    AckBeforeFsync,
    ReportBeforeFsync,
    OrderAtOneDatacenter,
    ForgetAStraggler,
    FollowOnlyFromTheOrigin,
    OneFixedRouteForReports,
    EntryAppliedAsWritten,
    FactsDroppedTooEarly,
    ClosedLogOrderedAgain,
    SilenceTakenForHeld,
    TakeOverCountsHandedOut,
    PositionAsHighWaterMark,
    PopAcknowledgesLastAnswer,
    LocalWaitsForOrder,
    AppendsOutOfOrder,
    FailuresCalledCertain,
    TokensWithoutGeneration,
}

impl Mutant {
    pub const ALL: [Self; 17] = [
        Self::AckBeforeFsync,
        Self::ReportBeforeFsync,
        Self::OrderAtOneDatacenter,
        Self::ForgetAStraggler,
        Self::FollowOnlyFromTheOrigin,
        Self::OneFixedRouteForReports,
        Self::EntryAppliedAsWritten,
        Self::FactsDroppedTooEarly,
        Self::ClosedLogOrderedAgain,
        Self::SilenceTakenForHeld,
        Self::TakeOverCountsHandedOut,
        Self::PositionAsHighWaterMark,
        Self::PopAcknowledgesLastAnswer,
        Self::LocalWaitsForOrder,
        Self::AppendsOutOfOrder,
        Self::FailuresCalledCertain,
        Self::TokensWithoutGeneration,
    ];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::AckBeforeFsync => "ack before fsync",
            Self::ReportBeforeFsync => "report before fsync",
            Self::OrderAtOneDatacenter => "order at one datacenter",
            Self::ForgetAStraggler => "forget a straggler",
            Self::FollowOnlyFromTheOrigin => "follow only from the origin",
            Self::OneFixedRouteForReports => "one fixed route for reports",
            Self::EntryAppliedAsWritten => "entry applied as written after a leader change",
            Self::FactsDroppedTooEarly => "facts dropped before two datacenters have them",
            Self::ClosedLogOrderedAgain => "a closed log ordered again by a new leader",
            Self::SilenceTakenForHeld => "silence of a store taken for held",
            Self::TakeOverCountsHandedOut => "take-over counts handed-out as delivered",
            Self::PositionAsHighWaterMark => "position as a high-water mark",
            Self::PopAcknowledgesLastAnswer => "pop acknowledges what the caller last got",
            Self::LocalWaitsForOrder => "LOCAL waits for the order",
            Self::AppendsOutOfOrder => "a coordinator appends in its own order",
            Self::FailuresCalledCertain => "every failure is called certain",
            Self::TokensWithoutGeneration => "tokens without a generation",
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One cluster of broken nodes: they share what the mutant has to remember. A new one for each run.
pub struct BrokenBuild {
    mutant: Mutant,
    hosts: Mutex<BTreeMap<NodeId, Host>>,
    tamper: Option<Arc<dyn Tamper>>,
    silence: sessions::TakesSilenceForHeld,
}

impl fmt::Debug for BrokenBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BrokenBuild").field(&self.mutant).finish()
    }
}

impl BrokenBuild {
    pub fn new(mutant: Mutant) -> Self {
        let silence = sessions::TakesSilenceForHeld::default();
        let tamper: Option<Arc<dyn Tamper>> = match mutant {
            Mutant::AckBeforeFsync => Some(Arc::new(sessions::ReportsLate(LATE))),
            Mutant::ReportBeforeFsync => Some(Arc::new(streams::AnswersLate(LATE))),
            Mutant::ForgetAStraggler => Some(Arc::new(sessions::ForgetsStragglers::default())),
            Mutant::OneFixedRouteForReports => Some(Arc::new(streams::RelaysForNobody)),
            Mutant::ClosedLogOrderedAgain => Some(Arc::new(sessions::OrdersClosedLogsAgain::default())),
            Mutant::SilenceTakenForHeld => Some(Arc::new(silence.clone())),
            Mutant::TakeOverCountsHandedOut => {
                Some(Arc::new(delivery::TakesHandedOutForDelivered::default()))
            }
            Mutant::PositionAsHighWaterMark => Some(Arc::new(delivery::CommitsHighWaterMarks::default())),
            Mutant::PopAcknowledgesLastAnswer => Some(Arc::new(delivery::AcknowledgesLastAnswer::default())),
            Mutant::LocalWaitsForOrder => Some(Arc::new(streams::LocalWaitsForOrder)),
            Mutant::AppendsOutOfOrder => Some(Arc::new(streams::AppendsBackwards)),
            Mutant::FailuresCalledCertain => Some(Arc::new(streams::CallsFailuresCertain)),
            Mutant::TokensWithoutGeneration => Some(Arc::new(delivery::ForgetsGenerations::default())),
            // Each node has one of its own, or another port is broken.
            Mutant::FollowOnlyFromTheOrigin
            | Mutant::OrderAtOneDatacenter
            | Mutant::EntryAppliedAsWritten
            | Mutant::FactsDroppedTooEarly => None,
        };
        Self { mutant, hosts: Mutex::default(), tamper, silence }
    }
}

impl Parts for BrokenBuild {
    fn host(&self, host: Host) -> Host {
        let host = match self.mutant {
            Mutant::OrderAtOneDatacenter if host.identity.role == Role::MessageId => beside_each_other(host),
            Mutant::SilenceTakenForHeld => self.silence.host(host),
            _ => host,
        };
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.insert(host.identity.node, host.clone());
        host
    }

    fn storage(&self, of: &Identity, storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
        match self.mutant {
            Mutant::AckBeforeFsync | Mutant::ReportBeforeFsync if of.role == Role::MessageStore => {
                Arc::new(LyingDisk::new(storage, WRITES_LATE))
            }
            _ => storage,
        }
    }

    fn consensus(&self, of: &Identity, consensus: Arc<dyn Consensus>) -> Arc<dyn Consensus> {
        let breaks = match self.mutant {
            Mutant::EntryAppliedAsWritten => Breaks::AppliesAsWritten,
            Mutant::FactsDroppedTooEarly => Breaks::ForgetsFacts,
            _ => return consensus,
        };
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        match hosts.get(&of.node) {
            Some(host) => Arc::new(BrokenConsensus::new(consensus, breaks, host.clone())),
            None => consensus,
        }
    }

    fn router(&self, of: &Identity, router: Router) -> Router {
        let own: Arc<dyn Tamper>;
        let tamper = match (self.mutant, &self.tamper) {
            (Mutant::FollowOnlyFromTheOrigin, _) => {
                own = Arc::new(streams::ServesOwnLogsOnly(of.node));
                &own
            }
            (_, Some(tamper)) => tamper,
            (_, None) => return router,
        };
        tamper::at_the_door(router, tamper)
    }
}

/// A voter that takes two stores of one datacenter for stores of two: each datacenter's second store stands, on its
/// map, in the next one.
fn beside_each_other(mut host: Host) -> Host {
    let (sender, moved) = watch::channel(Arc::new(with_stores_moved(&host.map.borrow())));
    let mut whole = host.map.clone();
    host.map = moved;
    host.process.spawn("map", async move {
        while whole.changed().await.is_ok() {
            let map = whole.borrow_and_update().clone();
            sender.send_replace(Arc::new(with_stores_moved(&map)));
        }
    });
    host
}

fn with_stores_moved(map: &ClusterMap) -> ClusterMap {
    let mut moved = map.clone();
    let names: Vec<DatacenterName> =
        map.datacenters.iter().map(|datacenter| datacenter.name.clone()).collect();
    for (number, datacenter) in names.iter().enumerate() {
        let next = &names[(number + 1) % names.len()];
        let at_home =
            map.nodes.iter().filter(|node| node.role == Role::MessageStore && node.datacenter == *datacenter);
        let second: Vec<NodeId> = at_home.skip(1).map(|node| node.id).collect();
        for node in moved.nodes.iter_mut().filter(|node| second.contains(&node.id)) {
            node.datacenter = next.clone();
        }
    }
    moved
}
