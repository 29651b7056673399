//! The cluster map: one versioned document, committed in group 0, that says who is there and what is where.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::{Bucket, ClusterId, GroupId, NodeId};
use crate::limits::BUCKETS_MAX;

/// A datacenter's name, for example `nyc`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatacenterName(pub String);

impl fmt::Display for DatacenterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for DatacenterName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// What a node does. One node has one role; one process may run several nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Push,
    Pop,
    MessageId,
    SubscriptionPosition,
    MessageStore,
}

impl Role {
    pub const ALL: [Self; 5] =
        [Self::Push, Self::Pop, Self::MessageId, Self::SubscriptionPosition, Self::MessageStore];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pop => "pop",
            Self::MessageId => "message-id",
            Self::SubscriptionPosition => "subscription-position",
            Self::MessageStore => "message-store",
        }
    }

    /// Whether the role has a data directory and so a lasting identity. The others have a fresh one per start
    /// and do not stand in the map.
    pub fn is_stateful(self) -> bool {
        matches!(self, Self::MessageId | Self::SubscriptionPosition | Self::MessageStore)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|role| role.as_str()).collect();
            format!("{text:?} is not a role; roles are {}", known.join(", "))
        })
    }
}

/// A datacenter as the map knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Datacenter {
    pub name: DatacenterName,
    /// Round trips to other datacenters in milliseconds. Said once per pair, by either side.
    #[serde(default)]
    pub round_trip_ms: BTreeMap<DatacenterName, u32>,
    /// An operator has declared it lost: what may go does not wait until it has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// A stateful node as the map knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Node {
    pub id: NodeId,
    pub role: Role,
    pub datacenter: DatacenterName,
    /// `HOST:PORT` of its internal listener; the host may be a DNS name, resolved again at each connection.
    pub address: String,
    /// A name for people, for example `nyc-store-1`. Unique in the map.
    pub name: String,
}

/// The cluster map. Version 0 is "none yet".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClusterMap {
    pub cluster: ClusterId,
    /// The cluster's name for people; a node whose own file names another does not join.
    pub name: String,
    pub version: u64,
    pub datacenters: Vec<Datacenter>,
    pub nodes: Vec<Node>,
    /// R: stores per datacenter that hold a bucket.
    pub replicas_per_datacenter: u16,
    /// V: voters per datacenter of a group.
    pub voters_per_datacenter: u16,
    /// B: a power of two, fixed at `cluster init`.
    pub buckets: u32,
    /// G: ordering groups.
    pub ordering_groups: u16,
    /// G': position groups.
    pub position_groups: u16,
}

/// Why a map cannot be used, in the words of the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidMap {
    #[error("datacenters: at least one is needed")]
    NoDatacenter,
    #[error("datacenters: {0:?} is named twice")]
    DatacenterTwice(String),
    #[error("datacenters: no round-trip-ms between {0:?} and {1:?}")]
    NoRoundTrip(String, String),
    #[error("nodes: {0:?} is named twice")]
    NodeTwice(String),
    #[error("nodes: {0:?} is in {1:?}, which is not a datacenter of this map")]
    UnknownDatacenter(String, String),
    #[error("nodes: {0:?} has role {1}, which has no place in the map")]
    Stateless(String, Role),
    #[error("nodes: {0:?} has no {1}")]
    RoleMissing(String, Role),
    #[error("{0}: {1} is not {2}")]
    Number(&'static str, u64, &'static str),
}

impl ClusterMap {
    /// # Errors
    /// [`InvalidMap`], for the first thing that is wrong.
    pub fn validate(&self) -> Result<(), InvalidMap> {
        if self.datacenters.is_empty() {
            return Err(InvalidMap::NoDatacenter);
        }
        for (index, a) in self.datacenters.iter().enumerate() {
            for b in &self.datacenters[index + 1..] {
                if a.name == b.name {
                    return Err(InvalidMap::DatacenterTwice(a.name.0.clone()));
                }
                if self.round_trip_said(&a.name, &b.name).is_none() {
                    return Err(InvalidMap::NoRoundTrip(a.name.0.clone(), b.name.0.clone()));
                }
            }
        }
        let power = self.buckets.is_power_of_two() && self.buckets <= BUCKETS_MAX;
        number("buckets", self.buckets.into(), power, "a power of two of at most 65536")?;
        number(
            "replicas-per-datacenter",
            self.replicas_per_datacenter.into(),
            self.replicas_per_datacenter > 0,
            "at least 1",
        )?;
        number(
            "voters-per-datacenter",
            self.voters_per_datacenter.into(),
            self.voters_per_datacenter > 0,
            "at least 1",
        )?;
        number("ordering-groups", self.ordering_groups.into(), self.ordering_groups > 0, "at least 1")?;
        number("position-groups", self.position_groups.into(), self.position_groups > 0, "at least 1")?;
        self.validate_nodes()
    }

    fn validate_nodes(&self) -> Result<(), InvalidMap> {
        for (index, node) in self.nodes.iter().enumerate() {
            if !node.role.is_stateful() {
                return Err(InvalidMap::Stateless(node.name.clone(), node.role));
            }
            if self.datacenter(&node.datacenter).is_none() {
                return Err(InvalidMap::UnknownDatacenter(node.name.clone(), node.datacenter.0.clone()));
            }
            if self.nodes[index + 1..].iter().any(|other| other.name == node.name || other.id == node.id) {
                return Err(InvalidMap::NodeTwice(node.name.clone()));
            }
        }
        for datacenter in &self.datacenters {
            for role in Role::ALL.into_iter().filter(|role| role.is_stateful()) {
                if self.nodes_of(role).all(|node| node.datacenter != datacenter.name) {
                    return Err(InvalidMap::RoleMissing(datacenter.name.0.clone(), role));
                }
            }
        }
        Ok(())
    }

    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    pub fn nodes_of(&self, role: Role) -> impl Iterator<Item = &Node> + '_ {
        self.nodes.iter().filter(move |node| node.role == role)
    }

    pub fn datacenter(&self, name: &DatacenterName) -> Option<&Datacenter> {
        self.datacenters.iter().find(|datacenter| datacenter.name == *name)
    }

    /// The round trip between two datacenters; zero within one, and between ones the map does not know.
    pub fn round_trip(&self, a: &DatacenterName, b: &DatacenterName) -> Duration {
        let said = if a == b { None } else { self.round_trip_said(a, b) };
        Duration::from_millis(said.unwrap_or(0).into())
    }

    fn round_trip_said(&self, a: &DatacenterName, b: &DatacenterName) -> Option<u32> {
        let said = |from: &DatacenterName, to| self.datacenter(from)?.round_trip_ms.get(to).copied();
        said(a, b).or_else(|| said(b, a))
    }

    /// The worst round trip between any two datacenters: what all Raft timing follows.
    pub fn round_trip_worst(&self) -> Duration {
        let pairs = self.datacenters.iter().flat_map(|a| self.datacenters.iter().map(move |b| (a, b)));
        pairs.map(|(a, b)| self.round_trip(&a.name, &b.name)).max().unwrap_or_default()
    }

    /// The group that orders the messages of `bucket`.
    pub fn ordering_group(&self, bucket: Bucket) -> GroupId {
        GroupId::ordering(bucket.0 % self.ordering_groups)
    }

    /// The group that keeps the position of (topic, consumer).
    #[allow(clippy::cast_possible_truncation, reason = "below position_groups, a u16")]
    pub fn position_group(&self, topic: crate::TopicId, consumer: &str) -> GroupId {
        let mut key = topic.0.to_be_bytes().to_vec();
        key.extend_from_slice(consumer.as_bytes());
        GroupId::position((crate::hash64(&key) % u64::from(self.position_groups)) as u16)
    }

    /// In how many datacenters, and on how many stores, a record must be on disk before it gets an ID.
    pub fn datacenters_needed(&self) -> usize {
        self.datacenters.len().min(2)
    }

    /// See [`ClusterMap::datacenters_needed`]: min(2, replicas of the bucket).
    pub fn stores_needed(&self, replicas: usize) -> usize {
        replicas.min(2)
    }
}

fn number(field: &'static str, value: u64, holds: bool, rule: &'static str) -> Result<(), InvalidMap> {
    if holds { Ok(()) } else { Err(InvalidMap::Number(field, value, rule)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn three() -> ClusterMap {
        let datacenter = |name: &str, trips: &[(&str, u32)]| Datacenter {
            name: name.into(),
            round_trip_ms: trips.iter().map(|&(to, ms)| (to.into(), ms)).collect(),
        };
        let mut nodes = Vec::new();
        for (i, name) in ["nyc", "mci", "sea"].into_iter().enumerate() {
            for (j, role) in
                [Role::MessageId, Role::SubscriptionPosition, Role::MessageStore].into_iter().enumerate()
            {
                nodes.push(Node {
                    id: NodeId((i * 10 + j + 1) as u64),
                    role,
                    datacenter: name.into(),
                    address: format!("127.0.0.1:{}", 7000 + i * 10 + j),
                    name: format!("{name}-{role}"),
                });
            }
        }
        ClusterMap {
            cluster: ClusterId(1),
            name: "test".into(),
            version: 1,
            datacenters: vec![
                datacenter("nyc", &[("mci", 33), ("sea", 70)]),
                datacenter("mci", &[("sea", 72)]),
                datacenter("sea", &[]),
            ],
            nodes,
            replicas_per_datacenter: 2,
            voters_per_datacenter: 1,
            buckets: 256,
            ordering_groups: 4,
            position_groups: 4,
        }
    }

    #[test]
    fn round_trips_are_symmetric_and_the_worst_is_found() {
        let map = three();
        assert_eq!(map.validate(), Ok(()));
        assert_eq!(map.round_trip(&"sea".into(), &"mci".into()), Duration::from_millis(72));
        assert_eq!(map.round_trip(&"sea".into(), &"sea".into()), Duration::ZERO);
        assert_eq!(map.round_trip_worst(), Duration::from_millis(72));
    }

    #[test]
    fn a_map_that_cannot_work_is_refused_in_the_words_of_the_file() {
        let broken = |change: fn(&mut ClusterMap)| {
            let mut map = three();
            change(&mut map);
            map.validate().expect_err("broken").to_string()
        };
        assert_eq!(broken(|m| m.buckets = 100), "buckets: 100 is not a power of two of at most 65536");
        assert_eq!(
            broken(|m| m.datacenters[0].round_trip_ms.clear()),
            "datacenters: no round-trip-ms between \"nyc\" and \"mci\""
        );
        assert_eq!(broken(|m| m.nodes[1].id = m.nodes[0].id), "nodes: \"nyc-message-id\" is named twice");
        assert_eq!(broken(|m| drop(m.nodes.remove(0))), "nodes: \"nyc\" has no message-id");
    }

    #[test]
    fn a_map_survives_its_file_format() {
        let map = three();
        let node = &map.nodes[0];
        assert_eq!(NodeId::try_from(String::from(node.id)), Ok(node.id));
    }
}
