//! The index of a group, copied from other stores: for one that was away for longer than facts are kept. Whole buckets
//! are copied, each from one store, as all its facts say; facts below that may come again. Until every bucket is there,
//! a row on disk says that the rest cannot be trusted, and a restart copies again.
//!
//! - [`serve`]: the store that has it. [`fetch`]: as bytes on their way to the store that lacks it, checked.

mod fetch;
mod serve;

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::OwnedSemaphorePermit;
use trunkline_ordering::group::OrderedRun;
use trunkline_ordering::store::{self, IndexRun, LogNo, Row};
use trunkline_types::Bucket;

use crate::worker::Worker;
use fetch::{Part, Source, Wanted};

pub(crate) use fetch::Part as CopiedPart;
pub(crate) use serve::{Snapshot, serve};

/// A copy that is coming in.
#[derive(Debug, Default)]
pub(crate) struct Copying {
    /// What copies are of: no older ones are taken.
    facts_index: u64,
    /// As the row on disk says it.
    noted: u64,
    stream: u64,
    /// What the stream's numbers stand for.
    numbers: BTreeMap<u32, LogNo>,
    copied: store::Copied,
    /// Orderings that pushes wait for, told once the stream is whole.
    awaited: Vec<(LogNo, u64, Vec<OrderedRun>)>,
}

impl Worker {
    /// Copies a group's index from the nearest stores that have it, as facts from `facts_from` on continue it.
    pub(crate) fn begin_copy(&mut self, group: u16, facts_from: u64) {
        if self.sessions.begin_copying(group) {
            tracing::info!(group, facts_from, "away for longer than facts are kept: the index is copied");
            let facts_index = facts_from.saturating_sub(1);
            self.copying.insert(group, Copying { facts_index, ..Copying::default() });
            self.fetch_index(group);
        }
    }

    /// Copies again what was being copied when the process ended. `noted`: what is there is of facts up to that index,
    /// so what comes must not be of older ones.
    pub(crate) fn copy_again(&mut self, group: u16, noted: u64) {
        if self.sessions.begin_copying(group) {
            tracing::info!(group, "the index was being copied: it is copied again");
            self.copying.insert(group, Copying { facts_index: noted, noted, ..Copying::default() });
            self.fetch_index(group);
        }
    }

    /// The layout has changed: who holds which bucket, and where.
    pub(crate) fn copies_from_others(&mut self) {
        let groups: Vec<u16> = self.copying.keys().copied().collect();
        groups.into_iter().for_each(|group| self.fetch_index(group));
    }

    fn fetch_index(&mut self, group: u16) {
        let Some(copying) = self.copying.get(&group) else { return };
        let held =
            (0u16..).zip(&self.layout.held).filter(|(_, held)| **held).map(|(bucket, _)| Bucket(bucket));
        let buckets: BTreeSet<Bucket> =
            held.filter(|bucket| self.catalog.group_of(*bucket) == group).collect();
        if buckets.is_empty() {
            self.copying.remove(&group); // By a newer map there is nothing left to copy.
            self.dialed.copies.remove(&group);
            return;
        }
        let mut peers: Vec<_> = self.layout.peers.iter().collect();
        peers.sort_by_key(|peer| (!peer.near, peer.round_trip, peer.node));
        let source = |peer: &&crate::layout::PeerStore| Source {
            address: peer.address.clone(),
            holds: buckets.iter().copied().filter(|bucket| self.layout.shares(peer.node, *bucket)).collect(),
        };
        let sources = peers.iter().map(source).collect();
        let wanted = Wanted { group, facts_index: copying.facts_index, buckets, sources };
        let task = fetch::fetch(self.host.clone(), self.handle.clone(), wanted);
        let guard = self.host.process.spawn("store-copy-index", task).abort_on_drop();
        self.dialed.copies.insert(group, guard);
    }

    pub(crate) fn copy_part(&mut self, group: u16, stream: u64, part: Part, permit: OwnedSemaphorePermit) {
        if self.copying.get(&group).is_none_or(|copying| stream < copying.stream) {
            return; // Of a copy that was given up.
        }
        let Some(mut copying) = self.copying.remove(&group) else { return };
        if copying.stream != stream {
            copying = Copying {
                facts_index: copying.facts_index,
                noted: copying.noted,
                stream,
                ..Copying::default()
            };
        }
        copying.facts_index = copying.facts_index.max(part.facts_index);
        let mut rows = Vec::new();
        if copying.noted < part.facts_index {
            copying.noted = part.facts_index;
            rows.push(Row::Copying { group, upto: Some(part.facts_index) });
        }
        let (done, mut settled) = (part.done, Vec::new());
        self.take_part(&mut copying, part, &mut rows);
        if done {
            tracing::debug!(group, "the index was copied");
            // They are committed, so pushes that wait for them are answered at once, as by the facts.
            for (log, from, runs) in std::mem::take(&mut copying.awaited) {
                self.own_log_ordered(log, from, &runs);
            }
            let copied = std::mem::take(&mut copying.copied);
            self.catalog.stage_copy(group, copied, &mut rows, &mut settled);
        }
        self.copying.insert(group, copying);
        self.take(rows, settled);
        self.commit.hold(permit);
    }

    fn take_part(&mut self, copying: &mut Copying, part: Part, rows: &mut Vec<Row>) {
        copying.copied.boots_ended.extend(part.boots_ended);
        copying.copied.topics.extend(part.topics);
        rows.extend(part.times.into_iter().map(|(topic, id, ms)| Row::Time { topic, id, ms }));
        for there in part.logs {
            // What the facts have closed here, they have ordered to its end here.
            if !self.catalog.is_closed(&there.name) {
                let log = self.catalog.open_log(there.name, there.predecessor, rows);
                copying.numbers.insert(there.in_stream, log);
                let (number, ordered) = (there.number, there.ordered);
                copying.copied.logs.push(store::CopiedLog { log, number, ordered });
            }
        }
        for ordered in part.ordered {
            let Some(&log) = copying.numbers.get(&ordered.in_stream) else { continue };
            let mut seq = ordered.from;
            for &run in &ordered.runs {
                rows.push(Row::Order { log, seq, run });
                if run.first_id != 0 {
                    let indexed = IndexRun { first: run.first_id, log, seq, count: run.count };
                    rows.push(Row::Index { topic: run.topic, run: indexed });
                }
                seq += run.count;
            }
            if self.coordinator.waits_below(log, seq) {
                copying.awaited.push((log, ordered.from, ordered.runs));
            }
        }
    }

    /// All buckets were copied, each as the facts up to `facts_index` say or later ones: a new session takes what follows.
    pub(crate) fn copy_ended(&mut self, group: u16, facts_index: u64) {
        if self.copying.remove(&group).is_some() {
            let (mut rows, mut settled) = (Vec::new(), Vec::new());
            self.catalog.end_copy(group, facts_index, &mut rows, &mut settled);
            self.take(rows, settled);
            self.dialed.copies.remove(&group);
            self.sessions.end_copying(group);
        }
    }
}
