//! One node takes another's place, in two versions of the map. The first says that it is to: from then on the old one
//! counts no more, a new voter joins its groups, and ordering groups fence off a store that is gone. The second, once
//! that is done, names the new one. In between only the map says how far it has come, so whoever goes on with it may
//! have been interrupted anywhere.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{ClusterMap, InvalidMap, Node, Role};
use crate::ids::NodeId;
use crate::limits::REPLACED_NODES_MAX;

/// A node is to take another's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Replacement {
    pub old: NodeId,
    /// With the old one's place.
    pub new: Node,
    /// The version of the map that first said that the old one is to be replaced.
    pub since: u64,
}

/// A node that is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Replaced {
    pub node: NodeId,
    pub role: Role,
    pub by: NodeId,
    /// [`Replacement::since`].
    pub since: u64,
}

/// What a node is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// The map does not know it: it waits.
    Unknown,
    /// It is to take another's place.
    Joining,
    Member,
    /// It is no more, and stops.
    Replaced(&'a Replaced),
}

/// Why a node cannot take another's place. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReplaceError {
    #[error("{0} is not a node of the map")]
    UnknownNode(NodeId),
    #[error("{0} was replaced by {1} already")]
    ReplacedByAnother(NodeId, NodeId),
    #[error("node {0} is in the map already: start the new node with an emptied data directory")]
    NotNew(NodeId),
    #[error("node {0} was replaced itself: start the new node with an emptied data directory")]
    NewIsReplaced(NodeId),
    #[error("its {0} is {1}, not {2}")]
    DoesNotFit(&'static str, String, String),
    #[error("the map has another node of the name {0:?}")]
    NameTaken(String),
    #[error("{0} is being replaced: one at a time")]
    Busy(String),
    #[error("the map remembers {REPLACED_NODES_MAX} nodes that were replaced, which is all that it can")]
    TooMany,
}

impl ClusterMap {
    /// A node of the map, or the one that is to become one: whoever may be spoken to.
    pub fn member(&self, id: NodeId) -> Option<&Node> {
        self.node(id).or_else(|| self.joining().filter(|node| node.id == id))
    }

    /// The node that is to take another's place.
    pub fn joining(&self) -> Option<&Node> {
        self.replacing.as_ref().map(|replacement| &replacement.new)
    }

    pub fn standing(&self, id: NodeId) -> Standing<'_> {
        if let Some(replaced) = self.replaced.iter().find(|replaced| replaced.node == id) {
            Standing::Replaced(replaced)
        } else if self.node(id).is_some() {
            Standing::Member
        } else if self.member(id).is_some() {
            Standing::Joining
        } else {
            Standing::Unknown
        }
    }

    /// Whether a node does its work: a voter from the moment that it joins its groups, a store once it has its place.
    pub fn has_work_for(&self, node: NodeId, role: Role) -> bool {
        let is_there = match self.standing(node) {
            Standing::Member => true,
            Standing::Joining => role != Role::MessageStore,
            Standing::Unknown | Standing::Replaced(_) => false,
        };
        self.version > 0 && (is_there || !role.is_stateful())
    }

    /// Nodes of a role that count no more, with the version of the map that said so first: those that are to be
    /// replaced and those that were.
    pub fn gone(&self, role: Role) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        let replacing = self.replacing.iter().filter(move |replacement| replacement.new.role == role);
        let replaced = self.replaced.iter().filter(move |replaced| replaced.role == role);
        let replaced = replaced.map(|replaced| (replaced.node, replaced.since));
        replacing.map(|replacement| (replacement.old, replacement.since)).chain(replaced)
    }

    /// The map as it is to become: the new node in its place. The same where nothing is to be replaced.
    pub fn target(&self) -> Self {
        let Some(Replacement { old, new, since }) = self.replacing.clone() else { return self.clone() };
        let mut target = self.clone();
        target.replacing = None;
        target.replaced.push(Replaced { node: old, role: new.role, by: new.id, since });
        target.nodes.iter_mut().filter(|node| node.id == old).for_each(|node| *node = new.clone());
        target
    }

    /// The next map, which says that `new` is to take the place of `old`; `None` if that is said already, or done. The
    /// new node may be named anew until it is done.
    ///
    /// # Errors
    /// [`ReplaceError`].
    pub fn replace(&self, old: NodeId, new: Node) -> Result<Option<Self>, ReplaceError> {
        if let Standing::Replaced(known) = self.standing(old) {
            let done = known.by == new.id;
            return if done { Ok(None) } else { Err(ReplaceError::ReplacedByAnother(old, known.by)) };
        }
        let place = self.node(old).ok_or(ReplaceError::UnknownNode(old))?;
        let before = self.replacing.as_ref();
        if let Some(other) = before.filter(|before| before.old != old) {
            let name = self.node(other.old).map_or_else(|| other.old.to_string(), |node| node.name.clone());
            return Err(ReplaceError::Busy(name));
        }
        self.fits(place, &new)?;
        let new = Node { place: Some(place.place()), ..new };
        if before.is_some_and(|before| before.new == new) {
            return Ok(None);
        }
        let mut next = Self { version: self.version + 1, ..self.clone() };
        let since = before.map_or(next.version, |before| before.since);
        if let Some(given_up) = before.filter(|before| before.new.id != new.id) {
            let Node { id, role, .. } = given_up.new;
            next.replaced.push(Replaced { node: id, role, by: new.id, since: next.version });
        }
        if next.replaced.len() >= REPLACED_NODES_MAX {
            return Err(ReplaceError::TooMany);
        }
        next.replacing = Some(Replacement { old, new, since });
        Ok(Some(next))
    }

    /// Whether `new` can take the place of `old`.
    fn fits(&self, old: &Node, new: &Node) -> Result<(), ReplaceError> {
        match self.standing(new.id) {
            Standing::Unknown | Standing::Joining => {}
            Standing::Member => return Err(ReplaceError::NotNew(new.id)),
            Standing::Replaced(_) => return Err(ReplaceError::NewIsReplaced(new.id)),
        }
        let pairs = [
            ("role", new.role.to_string(), old.role.to_string()),
            ("datacenter", new.datacenter.to_string(), old.datacenter.to_string()),
        ];
        if let Some((what, has, wanted)) = pairs.into_iter().find(|(_, has, wanted)| has != wanted) {
            return Err(ReplaceError::DoesNotFit(what, has, wanted));
        }
        if self.nodes.iter().any(|other| other.name == new.name && other.id != old.id) {
            return Err(ReplaceError::NameTaken(new.name.clone()));
        }
        Ok(())
    }

    /// The next map, in which the new node has its place; `None` where nothing is to be replaced.
    pub fn replacement_done(&self) -> Option<Self> {
        self.replacing.is_some().then(|| Self { version: self.version + 1, ..self.target() })
    }

    pub(super) fn validate_replacements(&self) -> Result<(), InvalidMap> {
        let named = |id: NodeId| self.member(id).map_or_else(|| id.to_string(), |node| node.name.clone());
        if let Some(replaced) = self.replaced.iter().find(|replaced| self.member(replaced.node).is_some()) {
            return Err(InvalidMap::Replaced(named(replaced.node)));
        }
        let Some(Replacement { old, new, since }) = &self.replacing else { return Ok(()) };
        let takes = |old: &Node| self.fits(old, new).is_ok() && new.place == Some(old.place());
        let fits = self.node(*old).is_some_and(takes) && (1..=self.version).contains(since);
        if fits { Ok(()) } else { Err(InvalidMap::Replacement(named(new.id))) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::three;
    use super::*;

    fn new(id: u64) -> Node {
        let old = three().nodes[2].clone();
        Node { id: NodeId(id), address: "127.0.0.1:9000".to_owned(), ..old }
    }

    const OLD: NodeId = NodeId(3);

    fn begun() -> ClusterMap {
        three().replace(OLD, new(77)).unwrap().unwrap()
    }

    #[test]
    fn a_node_takes_anothers_place_in_two_versions() {
        let begun = begun();
        assert_eq!((begun.version, begun.validate()), (2, Ok(())));
        assert_eq!((begun.standing(OLD), begun.standing(NodeId(77))), (Standing::Member, Standing::Joining));
        assert_eq!(begun.gone(Role::MessageStore).collect::<Vec<_>>(), [(OLD, 2)]);
        assert_eq!(begun.gone(Role::MessageId).count(), 0);
        assert_eq!((begun.node(NodeId(77)), begun.member(NodeId(77))), (None, begun.joining()));
        let done = begun.replacement_done().unwrap();
        assert_eq!((done.version, done.validate()), (3, Ok(())));
        assert_eq!(done, ClusterMap { version: 3, ..begun.target() });
        assert_eq!(done.node(NodeId(77)).map(Node::place), Some(OLD));
        assert_eq!(done.standing(NodeId(77)), Standing::Member);
        assert!(matches!(done.standing(OLD), Standing::Replaced(old) if old.by == NodeId(77)));
        assert_eq!(done.gone(Role::MessageStore).collect::<Vec<_>>(), [(OLD, 2)]);
        assert_eq!(done.replacement_done(), None);
        let again = Node { name: "other".to_owned(), ..new(78) };
        let again = done.replace(NodeId(77), again).unwrap().unwrap().replacement_done().unwrap();
        assert_eq!(again.node(NodeId(78)).map(Node::place), Some(OLD), "a place outlives its nodes");
        assert_eq!(again.validate(), Ok(()));
    }

    #[test]
    fn a_command_that_is_repeated_changes_nothing() {
        let begun = begun();
        assert_eq!(begun.replace(OLD, new(77)), Ok(None));
        let done = begun.replacement_done().unwrap();
        assert_eq!(done.replace(OLD, new(77)), Ok(None));
    }

    #[test]
    fn another_new_node_may_be_named_until_it_is_done() {
        let other = begun().replace(OLD, new(78)).unwrap().unwrap();
        assert_eq!((other.version, other.validate()), (3, Ok(())));
        assert!(
            matches!(other.standing(NodeId(77)), Standing::Replaced(given_up) if given_up.by == NodeId(78))
        );
        let gone: Vec<_> = other.gone(Role::MessageStore).collect();
        assert_eq!(gone, [(OLD, 2), (NodeId(77), 3)], "the fence stands where it stood");
        let moved = Node { address: "127.0.0.1:9001".to_owned(), ..new(78) };
        let moved = other.replace(OLD, moved).unwrap().unwrap();
        assert_eq!((moved.version, moved.standing(NodeId(78))), (4, Standing::Joining));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |map: &ClusterMap, old, new| map.replace(old, new).expect_err("refused").to_string();
        let (map, done) = (three(), begun().replacement_done().unwrap());
        let cases = [
            (refused(&map, NodeId(99), new(77)), "0000000000000063 is not a node of the map"),
            (
                refused(&map, OLD, new(13)),
                "node 000000000000000d is in the map already: start the new node with an emptied data directory",
            ),
            (
                refused(&done, NodeId(13), Node { datacenter: "mci".into(), ..new(3) }),
                "node 0000000000000003 was replaced itself: start the new node with an emptied data directory",
            ),
            (refused(&done, OLD, new(78)), "0000000000000003 was replaced by 000000000000004d already"),
            (
                refused(&map, OLD, Node { role: Role::MessageId, ..new(77) }),
                "its role is message-id, not message-store",
            ),
            (
                refused(&map, OLD, Node { datacenter: "sea".into(), ..new(77) }),
                "its datacenter is sea, not nyc",
            ),
            (
                refused(&map, OLD, Node { name: "mci-message-store".to_owned(), ..new(77) }),
                "the map has another node of the name \"mci-message-store\"",
            ),
            (
                refused(&begun(), NodeId(13), Node { datacenter: "mci".into(), ..new(78) }),
                "nyc-message-store is being replaced: one at a time",
            ),
        ];
        for (said, expected) in cases {
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn a_map_that_takes_a_replaced_node_back_is_invalid() {
        let mut back = begun().replacement_done().unwrap();
        (back.nodes[0].place, back.nodes[0].id) = (Some(back.nodes[0].id), OLD);
        assert_eq!(back.validate(), Err(InvalidMap::Replaced("nyc-message-id".to_owned())));
        let mut misplaced = begun();
        misplaced.replacing.as_mut().unwrap().new.place = None;
        assert_eq!(misplaced.validate(), Err(InvalidMap::Replacement("nyc-message-store".to_owned())));
    }
}
