//! What goes wrong: the kinds of faults, and who makes them.

mod disk_lost;
mod inject;
mod links;
mod nodes;
mod outages;

use std::fmt;

pub use inject::Injector;

use crate::plan::Topology;

/// A kind of fault. Each is undone after a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A node crashes, with any suffix of what it had not synced, and starts again.
    Crash,
    /// A node stands still.
    Pause,
    /// Nothing goes between two nodes.
    CutNodes,
    /// Nothing goes between a datacenter and another, or all others.
    CutDatacenters,
    /// Nothing goes one way, from a node or datacenter.
    OneWay,
    /// A link takes longer.
    Slow,
    /// A link loses messages.
    Lost,
    /// a sees b, b sees c, a does not see c.
    Bridge,
    /// All nodes of a datacenter crash, and start again.
    Outage,
    /// The same datacenter again, soon after it has returned.
    OutageTwice,
    /// The same, or another, while the first catches up.
    OutageInCatchUp,
    /// A voter is away until only a snapshot helps.
    VoterAway,
    /// A store is away until facts are forgotten.
    StoreAway,
    /// The relay of buckets crashes or stands still, in mid-stream.
    RelaySwitch,
    /// The leader of an ordering group crashes, stands still or is cut off.
    LeaderChange,
    /// A node's wall clock jumps.
    Clock,
    /// A node's disk is gone; a new node takes its place.
    DiskLost,
}

impl Kind {
    pub const ALL: [Self; 17] = [
        Self::Crash,
        Self::Pause,
        Self::CutNodes,
        Self::CutDatacenters,
        Self::OneWay,
        Self::Slow,
        Self::Lost,
        Self::Bridge,
        Self::Outage,
        Self::OutageTwice,
        Self::OutageInCatchUp,
        Self::VoterAway,
        Self::StoreAway,
        Self::RelaySwitch,
        Self::LeaderChange,
        Self::Clock,
        Self::DiskLost,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Pause => "pause",
            Self::CutNodes => "cut between nodes",
            Self::CutDatacenters => "cut between datacenters",
            Self::OneWay => "one-way loss",
            Self::Slow => "slow link",
            Self::Lost => "lost messages",
            Self::Bridge => "bridge",
            Self::Outage => "datacenter outage",
            Self::OutageTwice => "outage twice in a row",
            Self::OutageInCatchUp => "outage during catch-up",
            Self::VoterAway => "voter away",
            Self::StoreAway => "store away",
            Self::RelaySwitch => "relay switch",
            Self::LeaderChange => "leader change",
            Self::Clock => "clock jump",
            Self::DiskLost => "disk lost",
        }
    }

    /// Whether such a topology can have it.
    pub fn fits(self, topology: &Topology) -> bool {
        let datacenters = topology.datacenters.len();
        match self {
            Self::Bridge => datacenters >= 3,
            // A group of one voter has nobody who remembers, a bucket of one store no other copy.
            Self::CutDatacenters | Self::DiskLost => datacenters >= 2,
            Self::RelaySwitch => datacenters >= 2 && topology.stores >= 2,
            _ => true,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
