//! The file that names a cluster's first nodes: what `trunkline cluster init` reads, and what `dev` writes for itself.

use std::path::Path;

use serde::{Deserialize, Serialize};
use trunkline_types::{ClusterId, ClusterMap, Datacenter, DatacenterName, Node, NodeId, Role, hash64};

use crate::refusal::Refusal;

/// A cluster map in which nodes are named by address, before anyone has asked for their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MapFile {
    /// The cluster's name.
    pub name: String,
    #[serde(default = "two")]
    pub replicas_per_datacenter: u16,
    #[serde(default = "one")]
    pub voters_per_datacenter: u16,
    #[serde(default = "buckets")]
    pub buckets: u32,
    #[serde(default = "groups")]
    pub ordering_groups: u16,
    #[serde(default = "groups")]
    pub position_groups: u16,
    pub datacenters: Vec<Datacenter>,
    pub nodes: Vec<FirstNode>,
}

/// One of the first nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FirstNode {
    pub name: String,
    pub role: Role,
    pub datacenter: DatacenterName,
    /// `HOST:PORT` of its internal listener.
    pub address: String,
}

fn one() -> u16 {
    1
}

fn two() -> u16 {
    2
}

fn buckets() -> u32 {
    4_096
}

fn groups() -> u16 {
    64
}

impl MapFile {
    /// # Errors
    /// One line with the file and what is wrong in it.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        let refused = |why: &dyn std::fmt::Display| Refusal::new(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| refused(&error))?;
        let file: Self = toml::from_str(&text).map_err(|error| refused(&first_line(&error)))?;
        // Ids are not known yet: all that can be wrong without them is said before anyone is asked.
        let ids: Vec<NodeId> = (1..).map(NodeId).take(file.nodes.len()).collect();
        file.map(&ids).validate().map_err(|error| refused(&error))?;
        Ok(file)
    }

    /// The first version of the map. The cluster's id follows from the nodes' ids, which are random: whoever makes the
    /// map of the same nodes, and however often, makes the same one.
    pub fn map(&self, ids: &[NodeId]) -> ClusterMap {
        let nodes = self.nodes.iter().zip(ids).map(|(node, id)| Node {
            id: *id,
            role: node.role,
            datacenter: node.datacenter.clone(),
            address: node.address.clone(),
            name: node.name.clone(),
            place: None,
        });
        let mut map = ClusterMap {
            cluster: ClusterId(0),
            name: self.name.clone(),
            version: 1,
            datacenters: self.datacenters.clone(),
            nodes: nodes.collect(),
            replicas_per_datacenter: self.replicas_per_datacenter,
            voters_per_datacenter: self.voters_per_datacenter,
            buckets: self.buckets,
            ordering_groups: self.ordering_groups,
            position_groups: self.position_groups,
            replacing: None,
            replaced: Vec::new(),
        };
        let named: Vec<u8> = map.nodes.iter().flat_map(|node| node.id.0.to_be_bytes()).collect();
        map.cluster = ClusterId(hash64(&[self.name.as_bytes(), &named].concat()).max(1));
        map
    }
}

/// toml's errors draw the place over several lines; the line number and what is wrong are enough.
fn first_line(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let place = text.lines().next().unwrap_or_default();
    if place.contains(error.message()) { place.to_owned() } else { format!("{place}: {}", error.message()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"
        name = "one"
        replicas-per-datacenter = 1
        datacenters = [{ name = "nyc" }]
        nodes = [
            { name = "a", role = "message-id", datacenter = "nyc", address = "127.0.0.1:1" },
            { name = "b", role = "subscription-position", datacenter = "nyc", address = "127.0.0.1:2" },
            { name = "c", role = "message-store", datacenter = "nyc", address = "127.0.0.1:3" },
        ]"#;

    fn read(text: &str) -> Result<MapFile, Refusal> {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("map.toml");
        std::fs::write(&path, text).expect("written");
        MapFile::read(&path)
    }

    #[test]
    fn the_same_nodes_make_the_same_cluster() {
        let file = read(ONE).expect("valid");
        let ids = [NodeId(1), NodeId(2), NodeId(3)];
        assert_eq!(file.map(&ids), file.map(&ids));
        assert_ne!(file.map(&ids).cluster, file.map(&[NodeId(1), NodeId(2), NodeId(4)]).cluster);
        assert_eq!(file.map(&ids).validate(), Ok(()));
    }

    #[test]
    fn a_file_that_cannot_work_is_refused_in_one_line() {
        for (change, word) in [
            (("name = \"one\"", "names = \"one\""), "unknown field `names`"),
            (("role = \"message-store\"", "role = \"push\""), "push"),
            (
                (
                    "datacenter = \"nyc\", address = \"127.0.0.1:3\"",
                    "datacenter = \"x\", address = \"127.0.0.1:3\"",
                ),
                "\"x\"",
            ),
            (("replicas-per-datacenter = 1", "replicas-per-datacenter = 0"), "replicas-per-datacenter"),
        ] {
            let refusal = read(&ONE.replace(change.0, change.1)).expect_err("refused").to_string();
            assert!(refusal.contains("map.toml") && refusal.contains(word), "{refusal}");
            assert!(!refusal.contains('\n'));
        }
    }
}
