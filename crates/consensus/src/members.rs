//! The groups that run on this node.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use trunkline_types::GroupId;

use crate::member::Member;

#[derive(Debug, Default)]
pub(crate) struct Members(RwLock<BTreeMap<GroupId, Arc<Member>>>);

impl Members {
    pub(crate) fn get(&self, group: GroupId) -> Option<Arc<Member>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Member>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn insert(&self, member: Arc<Member>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(member.id(), member);
    }

    pub(crate) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
