//! As follower: what holders send is taken where it continues a log, acknowledged when it is on disk, and asked for
//! elsewhere when it does not come.

mod pull;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use trunkline_ordering::store::{Accepted, LogNo, Pull};
use trunkline_types::{Boot, Lane, LogName, NodeId, TopicId};
use trunkline_wire::convert::{Malformed, number};
use trunkline_wire::internal::{
    FollowRequest, FollowResponse, LogCursor, LogEnd, LogRecords, OnDisk, ReplicationStatus, Standing, Want,
};

use super::Worker;
use crate::convert;
use crate::outlet::Outlet;

/// Cursors, acknowledgements and wants of one message.
const ENTRIES_MAX: usize = 1_000;

/// A store that this one follows.
#[derive(Debug)]
struct Holder {
    boot: Boot,
    stream: u64,
    outlet: Outlet<FollowRequest>,
    /// Logs whose cursors are still to be said; `None` once all are.
    cursors: Option<VecDeque<LogNo>>,
    standing_due: bool,
    acknowledge: BTreeSet<LogNo>,
    /// It waits for one of them: at once, not at the next tick.
    urgent: bool,
    /// The same of logs that are closed and complete here, which it does not know yet.
    acknowledge_closed: BTreeMap<LogName, u64>,
    /// Logs that it, or an earlier stream, has sent records of.
    delivers: BTreeSet<LogNo>,
    wants: Vec<Want>,
    /// It has announced what it had beyond the cursors.
    announced: bool,
}

impl Holder {
    fn has_acknowledgements(&self) -> bool {
        !self.acknowledge.is_empty() || !self.acknowledge_closed.is_empty()
    }
}

/// This store as follower.
#[derive(Debug, Default)]
pub(crate) struct Following {
    holders: BTreeMap<NodeId, Holder>,
    /// Stores that there is no stream from; siblings until they have caught up, too.
    down: BTreeSet<NodeId>,
    /// Caught up with the siblings since the start.
    relay: bool,
    said: Option<(bool, Vec<NodeId>)>,
    /// Who delivered a log's last records.
    sources: BTreeMap<LogNo, NodeId>,
    /// Logs that somebody has more of.
    pulls: BTreeMap<LogNo, Pull>,
    behind_since: BTreeMap<NodeId, Duration>,
}

impl Following {
    /// Some acknowledgement waits for the next tick.
    pub(super) fn want_tick(&self) -> bool {
        self.holders.values().any(|holder| holder.has_acknowledgements() && !holder.outlet.is_closed())
    }
}

/// Streams come and go.
impl Worker {
    pub(super) fn holder_up(&mut self, node: NodeId, boot: Boot, stream: u64, outlet: Outlet<FollowRequest>) {
        let Some(near) = self.layout.peer(node).map(|peer| peer.near) else { return };
        if let Err(other) = self.is_newest(node, boot) {
            tracing::debug!(%node, %boot, %other, "a holder is not followed: another boot of it was seen");
            return; // The stream ends with its outlet.
        }
        if !near {
            self.following.down.remove(&node);
        }
        let shared = |&log: &LogNo| self.layout.shares(node, self.catalog.log(log).name.bucket);
        let cursors: VecDeque<LogNo> = self.catalog.all_open_logs().filter(shared).collect();
        // What an earlier stream brought and is not on disk yet, its cursor does not say.
        let under_way = |&log: &LogNo| {
            let known = self.catalog.log(log);
            known.accepted() > known.durable() && known.name.boot != self.host.identity.boot
        };
        let delivers = cursors.iter().copied().filter(under_way).collect();
        let holder = Holder {
            boot,
            stream,
            outlet,
            cursors: Some(cursors),
            standing_due: true,
            acknowledge: BTreeSet::new(),
            urgent: false,
            acknowledge_closed: BTreeMap::new(),
            delivers,
            wants: Vec::new(),
            announced: false,
        };
        self.following.holders.insert(node, holder);
        self.standing_changed();
    }

    pub(super) fn holder_down(&mut self, node: NodeId) {
        self.following.holders.remove(&node);
        self.following.down.insert(node);
        let now = self.now();
        self.following.behind_since.entry(node).or_insert(now);
        for pull in self.following.pulls.values_mut() {
            pull.lost(now, node);
        }
        self.standing_changed();
    }

    /// Holders hear what this follower stands ready for when that changes.
    pub(super) fn standing_changed(&mut self) {
        let following = &mut self.following;
        for (node, follower) in &self.followers {
            if following.holders.contains_key(node) && follower.is_relay() {
                following.down.remove(node);
            }
        }
        let down: Vec<NodeId> = following.down.iter().copied().collect();
        let standing = (following.relay, down);
        if following.said.as_ref() != Some(&standing) {
            following.said = Some(standing);
            following.holders.values_mut().for_each(|holder| holder.standing_due = true);
        }
    }

    /// May be relay once no sibling that can be reached has more than is here.
    fn check_relay(&mut self) {
        if self.following.relay {
            return;
        }
        let following = &self.following;
        let caught_up = |node: NodeId| match following.holders.get(&node) {
            Some(holder) => {
                let mut logs = self.catalog.all_open_logs().map(|log| self.catalog.log(log));
                holder.announced && logs.all(|log| log.at(node) <= log.accepted())
            }
            None => following.down.contains(&node),
        };
        if self.layout.peers.iter().filter(|peer| peer.near).all(|peer| caught_up(peer.node)) {
            self.following.relay = true;
            self.standing_changed();
        }
    }
}

/// What holders send.
impl Worker {
    pub(super) fn holder_frame(
        &mut self,
        node: NodeId,
        stream: u64,
        frame: FollowResponse,
        permit: OwnedSemaphorePermit,
    ) {
        if self.following.holders.get(&node).is_none_or(|holder| holder.stream != stream) {
            return;
        }
        if let Err(malformed) = self.take_holder_frame(node, frame) {
            tracing::warn!(%node, %malformed, "a holder's stream is ended");
            self.following.holders.remove(&node); // Its task ends with its outlet, and dials again.
        }
        self.commit.hold(permit);
    }

    fn take_holder_frame(&mut self, node: NodeId, frame: FollowResponse) -> Result<(), Malformed> {
        if let Some(why) = frame.refused.and_then(|refused| refused.why) {
            self.refused(node, why);
            return Ok(());
        }
        for end in frame.ends {
            self.holder_has(node, end)?;
        }
        if frame.announced
            && let Some(holder) = self.following.holders.get_mut(&node)
        {
            holder.announced = true;
            self.origin_is_back(node);
        }
        for records in frame.records {
            self.take_records(node, records)?;
        }
        if !self.following.relay {
            self.check_relay();
        }
        Ok(())
    }

    fn known_log(
        &mut self,
        name: LogName,
        predecessor: Option<trunkline_wire::internal::Predecessor>,
    ) -> Option<LogNo> {
        // What this boot writes, it follows from nobody.
        let (own, boot) = (name.node == self.me(), self.host.identity.boot);
        if own && name.boot.counter >= boot.counter && name.boot != boot {
            self.give_up(&format!("there is log {name} of this node, whose boot is {boot}"));
        }
        let closed = self.catalog.is_closed_and_complete(&name);
        if (own && name.boot == boot) || closed || !self.catalog.holds(name.bucket) {
            return None;
        }
        self.boots.saw(name.node, name.boot);
        let mut rows = Vec::new();
        let log = self.catalog.open_log(name, convert::predecessor(predecessor), &mut rows);
        self.commit.rows(&self.catalog, rows);
        Some(log)
    }

    fn holder_has(&mut self, node: NodeId, end: LogEnd) -> Result<(), Malformed> {
        let name = convert::log_name(end.log)?;
        let has = number(end.end, "end")?;
        let Some(log) = self.known_log(name, end.predecessor) else { return Ok(()) };
        if let Some(counter) = self.following.holders.get(&node).map(|holder| holder.boot.counter) {
            self.peer_has(node, counter, log, has);
        }
        let now = self.now();
        let accepted = self.catalog.log(log).accepted();
        if has > accepted && self.catalog.log(log).closed.is_none_or(|closed| accepted < closed) {
            self.following.pulls.entry(log).or_insert_with(|| Pull::new(now, accepted));
            self.step_pull(log);
        }
        Ok(())
    }

    fn take_records(&mut self, node: NodeId, mut sent: LogRecords) -> Result<(), Malformed> {
        let name = convert::log_name(sent.log)?;
        let end = number(sent.from, "from")? + sent.records.len() as u64;
        if sent.from == 0 {
            return Err(Malformed("from"));
        }
        let Some(log) = self.known_log(name, sent.predecessor) else {
            if let Some(holder) = self.following.holders.get_mut(&node)
                && self.catalog.is_closed_and_complete(&name)
            {
                holder.acknowledge_closed.insert(name, end);
            }
            return Ok(());
        };
        let topics: Vec<TopicId> = sent.records.iter().map(|record| TopicId(record.topic_id)).collect();
        if topics.iter().any(|topic| topic.bucket() != name.bucket) {
            return Err(Malformed("record.topic_id"));
        }
        if let Some(counter) = self.following.holders.get(&node).map(|holder| holder.boot.counter) {
            self.is_there(node, counter, log, end);
        }
        let takes = self.takes_large(node, log, sent.from, &sent.records)?;
        if takes == 0 {
            return Ok(());
        }
        sent.records.truncate(takes);
        match self.catalog.accept(log, sent.from, &topics[..takes]) {
            Accepted::Gap { next } => {
                self.want(node, Want { log: Some(name.into()), from: next, stop: false });
            }
            Accepted::New(new) => {
                let skip = usize::try_from(new.start - sent.from).unwrap_or(usize::MAX);
                let fresh = sent.records.into_iter().skip(skip);
                for (seq, record) in new.clone().zip(fresh) {
                    self.metrics.followed_in.inc();
                    if name.lane == Lane::LARGE {
                        self.await_payload(node, log, seq, record);
                    } else {
                        self.store(log, seq, record);
                    }
                }
                self.delivered(node, log, new.is_empty());
            }
        }
        Ok(())
    }

    /// Records came from a holder; `known`: none of them was new.
    fn delivered(&mut self, node: NodeId, log: LogNo, known: bool) {
        if let Some(holder) = self.following.holders.get_mut(&node) {
            // The first time it also hears what was here before: no cursor may have said it.
            let first = holder.delivers.insert(log);
            if first || known {
                holder.acknowledge.insert(log);
            }
            // Before the write: should this store forget it, the holder will know.
            holder.urgent |= first;
        }
        if !known {
            let before = self.following.sources.insert(log, node);
            if before != Some(node) {
                self.comes_another_way(log, before, node);
            }
        }
        let now = self.now();
        let Some(candidate) = self.candidate(node, log) else { return };
        let accepted = self.catalog.log(log).accepted();
        let Some(pull) = self.following.pulls.get_mut(&log) else { return };
        let stop = pull.delivered(now, accepted, &candidate);
        self.ask(log, stop);
    }

    pub(super) fn want(&mut self, node: NodeId, want: Want) {
        self.following.holders.entry(node).and_modify(|holder| holder.wants.push(want));
    }

    fn comes_another_way(&self, log: LogNo, before: Option<NodeId>, now: NodeId) {
        let near = |node: NodeId| self.layout.peer(node).is_some_and(|peer| peer.near);
        let name = self.catalog.log(log).name;
        let (origin, boot) = (name.node, name.boot.counter);
        let (was_near, is_near) = (before.map(near), near(now));
        tracing::debug!(log = %name, %origin, boot, holder = %now, ?was_near, is_near, "a log comes another way");
    }

    /// Records of this log are on disk here: whoever sends them hears of it.
    pub(super) fn acknowledge(&mut self, log: LogNo) {
        let Some(origin) = self.catalog.get(log).map(|log| log.name.node) else { return };
        let near = self.layout.is_near(origin);
        for (&node, holder) in &mut self.following.holders {
            if holder.delivers.contains(&log) {
                holder.acknowledge.insert(log);
                // A push may wait for it.
                holder.urgent |= near && node == origin;
            }
        }
    }

    /// A log that is closed and complete needs no attention any more.
    pub(super) fn forget_followed(&mut self, log: LogNo) {
        self.following.sources.remove(&log);
        self.following.pulls.remove(&log);
        for holder in self.following.holders.values_mut() {
            holder.delivers.remove(&log);
            holder.acknowledge.remove(&log);
            holder.cursors.iter_mut().for_each(|cursors| cursors.retain(|other| *other != log));
        }
    }

    /// Another datacenter has more of this log: whoever it comes from hears of it.
    pub(super) fn tell_source(&mut self, log: LogNo) {
        if let Some(source) = self.following.sources.get(&log)
            && let Some(holder) = self.following.holders.get_mut(source)
        {
            holder.acknowledge.insert(log);
        }
    }
}

/// Messages to holders.
impl Worker {
    pub(super) fn fill_holders(&mut self) {
        let nodes: Vec<NodeId> = self.following.holders.keys().copied().collect();
        for node in nodes {
            while self.fill_holder(node) {}
        }
    }

    fn fill_holder(&mut self, node: NodeId) -> bool {
        let Some(holder) = self.following.holders.get_mut(&node) else { return false };
        let due = holder.standing_due
            || holder.cursors.is_some()
            || !holder.wants.is_empty()
            || (holder.has_acknowledgements() && (holder.urgent || self.pace.is_open()));
        if !due || !holder.outlet.has_room() {
            return false;
        }
        let mut frame = FollowRequest::default();
        if std::mem::take(&mut holder.standing_due)
            && let Some((relay, down)) = &self.following.said
        {
            let lost = down.iter().map(|node| node.0).collect();
            frame.standing = Some(Standing { relay: *relay, lost });
        }
        if let Some(cursors) = &mut holder.cursors {
            for log in cursors.drain(..cursors.len().min(ENTRIES_MAX)) {
                let known = self.catalog.log(log);
                let (next, on_disk) = (known.accepted(), known.durable());
                frame.cursors.push(LogCursor { log: Some(known.name.into()), next, on_disk });
            }
            frame.cursors_done = cursors.is_empty();
        }
        if frame.cursors_done {
            holder.cursors = None;
        }
        let wants = holder.wants.len().min(ENTRIES_MAX);
        frame.wants = holder.wants.drain(..wants).collect();
        let mut acknowledged = Vec::new();
        while acknowledged.len() < ENTRIES_MAX
            && let Some(log) = holder.acknowledge.pop_first()
        {
            acknowledged.push(log);
        }
        let closed = std::iter::from_fn(|| holder.acknowledge_closed.pop_first()).take(ENTRIES_MAX);
        frame.on_disk.extend(closed.map(|(log, end)| OnDisk {
            log: Some(log.into()),
            end,
            elsewhere: Vec::new(),
            closed: true,
        }));
        holder.urgent &= holder.has_acknowledgements();
        frame.on_disk.extend(acknowledged.into_iter().map(|log| self.on_disk(log, node)));
        if let Some(holder) = self.following.holders.get(&node) {
            holder.outlet.send(frame);
        }
        true
    }

    fn on_disk(&self, log: LogNo, holder: NodeId) -> OnDisk {
        let known = self.catalog.log(log);
        OnDisk {
            log: Some(known.name.into()),
            end: known.durable(),
            elsewhere: self.elsewhere(log, holder),
            closed: known.is_complete(),
        }
    }

    /// How far this store is behind each peer's own origin logs.
    pub(super) fn replication(&mut self) -> Vec<ReplicationStatus> {
        let now = self.now();
        let mut behind: BTreeMap<NodeId, u64> = BTreeMap::new();
        for log in self.catalog.all_open_logs() {
            let known = self.catalog.log(log);
            let there = known.at(known.name.node).max(known.accepted());
            *behind.entry(known.name.node).or_default() += there.saturating_sub(known.durable());
        }
        let mut status = Vec::new();
        for peer in &self.layout.peers {
            let records_behind = behind.get(&peer.node).copied().unwrap_or(0);
            let holder = self.following.holders.get(&peer.node);
            // Of a peer that has not said what it has, nothing is known: not that there is no more.
            let since = match records_behind {
                0 if holder.is_some_and(|holder| holder.announced) => {
                    self.following.behind_since.remove(&peer.node);
                    now
                }
                _ => *self.following.behind_since.entry(peer.node).or_insert(now),
            };
            status.push(ReplicationStatus {
                from: peer.node.0,
                from_datacenter: self.layout.datacenter_name(peer.datacenter).to_owned(),
                connected: holder.is_some(),
                records_behind,
                behind_ms: u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX),
            });
        }
        status
    }
}
