//! As holder: what followers are sent. Fresh records go first; catch-up of what a follower is far behind in takes a
//! bounded share; everything under way is bounded by what is not acknowledged yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use trunkline_ordering::store::LogNo;
use trunkline_types::{Boot, NodeId};
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::{
    DatacenterEnd, FollowRequest, FollowResponse, LogCursor, LogEnd, LogRecords, OnDisk, Record, Standing, Want,
};

use super::Worker;
use crate::convert;
use crate::outlet::Outlet;

/// Records of one message, in bytes; a single larger record goes alone.
const FRAME_BYTES: usize = 512 << 10;
/// Records of one log within a message, so that logs take turns.
const TURN_BYTES: usize = 128 << 10;
/// Sent to one follower and not on disk there: beyond it, nothing more is sent.
const UNDER_WAY_BYTES_MAX: usize = 16 << 20;
/// A follower that lacks more records of a log than this is catching up in it.
const FRESH_RECORDS_MAX: u64 = 512;
/// Announcements of one message.
const ENDS_MAX: usize = 1_000;
const STALL_MIN: Duration = Duration::from_millis(200);

/// What a follower has of one log.
#[derive(Clone, Copy, Debug)]
struct Serve {
    /// Sent up to here, or known to be there.
    next: u64,
    /// It asked for this log.
    wanted: bool,
    queued: bool,
}

#[derive(Debug)]
struct UnderWay {
    end: u64,
    bytes: usize,
    catch_up: bool,
}

/// A store that follows this one.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(super) boot: Boot,
    stream: u64,
    outlet: Outlet<FollowResponse>,
    datacenter: u16,
    near: bool,
    round_trip: Duration,
    /// All its cursors are known.
    ready: bool,
    announced: bool,
    relay: bool,
    /// It has told its standing on this stream.
    pub(super) standing_known: bool,
    lost: Vec<NodeId>,
    logs: BTreeMap<LogNo, Serve>,
    fresh: VecDeque<LogNo>,
    behind: VecDeque<LogNo>,
    /// What is being read from disk for it, and what was.
    loading: Option<LogNo>,
    loaded: Option<(LogNo, u64, Vec<Record>)>,
    announce: BTreeSet<LogNo>,
    announce_now: bool,
    under_way: BTreeMap<LogNo, VecDeque<UnderWay>>,
    under_way_bytes: usize,
    catch_up_bytes: usize,
    progress_at: Duration,
}

impl Follower {
    /// It has caught up with its siblings: may be relay.
    pub(super) fn is_relay(&self) -> bool {
        self.relay && !self.outlet.is_closed()
    }

    fn acknowledged(&mut self, log: LogNo, end: u64, now: Duration) {
        let Some(sent) = self.under_way.get_mut(&log) else { return };
        while let Some(first) = sent.front().filter(|first| first.end <= end) {
            self.under_way_bytes -= first.bytes;
            self.catch_up_bytes -= if first.catch_up { first.bytes } else { 0 };
            self.progress_at = now;
            sent.pop_front();
        }
        if sent.is_empty() {
            self.under_way.remove(&log);
        }
    }

    fn sent(&mut self, log: LogNo, end: u64, bytes: usize, catch_up: bool, now: Duration) {
        if self.under_way.is_empty() {
            self.progress_at = now;
        }
        self.under_way_bytes += bytes;
        self.catch_up_bytes += if catch_up { bytes } else { 0 };
        self.under_way.entry(log).or_default().push_back(UnderWay { end, bytes, catch_up });
    }

    fn unqueue(&mut self, log: LogNo) {
        if let Some(serve) = self.logs.get_mut(&log) {
            serve.queued = false;
        }
    }

    fn is_stalled(&self, now: Duration) -> bool {
        let patience = STALL_MIN.max(self.round_trip * 2);
        !self.under_way.is_empty() && now.saturating_sub(self.progress_at) > patience
    }
}

/// The follower's side of the stream: up, frames, gone.
impl Worker {
    pub(super) fn follower_up(&mut self, node: NodeId, boot: Boot, stream: u64, outlet: Outlet<FollowResponse>) {
        let Some(peer) = self.layout.peer(node).cloned() else { return };
        if self.followers.get(&node).is_some_and(|before| before.boot.counter > boot.counter) {
            return; // A later boot of it follows already.
        }
        if !peer.near {
            self.contact(node);
        }
        let now = self.now();
        let follower = Follower {
            boot,
            stream,
            outlet,
            datacenter: peer.datacenter,
            near: peer.near,
            round_trip: peer.round_trip,
            ready: false,
            announced: false,
            relay: false,
            standing_known: false,
            lost: Vec::new(),
            logs: BTreeMap::new(),
            fresh: VecDeque::new(),
            behind: VecDeque::new(),
            loading: None,
            loaded: None,
            announce: BTreeSet::new(),
            announce_now: false,
            under_way: BTreeMap::new(),
            under_way_bytes: 0,
            catch_up_bytes: 0,
            progress_at: now,
        };
        self.followers.insert(node, follower);
    }

    pub(super) fn follower_frame(&mut self, node: NodeId, stream: u64, frame: FollowRequest) {
        if self.followers.get(&node).is_none_or(|follower| follower.stream != stream) {
            return;
        }
        if let Err(malformed) = self.take_follower_frame(node, frame) {
            tracing::warn!(%node, %malformed, "a follower's stream is ended");
            self.follower_gone(node);
        }
    }

    fn take_follower_frame(&mut self, node: NodeId, frame: FollowRequest) -> Result<(), Malformed> {
        for cursor in frame.cursors {
            self.follower_cursor(node, cursor)?;
        }
        for on_disk in frame.on_disk {
            self.follower_on_disk(node, on_disk)?;
        }
        for want in frame.wants {
            self.follower_wants(node, want)?;
        }
        if let Some(standing) = frame.standing {
            self.follower_standing(node, standing);
        }
        if frame.cursors_done {
            self.follower_ready(node);
        }
        Ok(())
    }

    fn follower_cursor(&mut self, node: NodeId, cursor: LogCursor) -> Result<(), Malformed> {
        let name = convert::log_name(cursor.log)?;
        let Some(log) = self.catalog.find_log(&name) else { return Ok(()) };
        if let Some(follower) = self.followers.get_mut(&node) {
            follower.logs.insert(log, Serve { next: cursor.next.max(1), wanted: false, queued: false });
        }
        self.peer_has(node, log, cursor.on_disk);
        Ok(())
    }

    fn follower_on_disk(&mut self, node: NodeId, on_disk: OnDisk) -> Result<(), Malformed> {
        let name = convert::log_name(on_disk.log)?;
        let Some(log) = self.catalog.find_log(&name) else { return Ok(()) };
        let now = self.now();
        if let Some(follower) = self.followers.get_mut(&node) {
            follower.acknowledged(log, on_disk.end, now);
        }
        for elsewhere in on_disk.elsewhere {
            if let Some(datacenter) = self.layout.datacenter_named(&elsewhere.datacenter)
                && self.catalog.log_mut(log).stored_in(datacenter, elsewhere.end)
            {
                self.datacenter_moved(log, datacenter);
            }
        }
        self.peer_has(node, log, on_disk.end);
        Ok(())
    }

    /// A peer says what it has on disk of a log.
    pub(super) fn peer_has(&mut self, node: NodeId, log: LogNo, end: u64) {
        let Some(datacenter) = self.layout.peer(node).map(|peer| peer.datacenter) else { return };
        if self.catalog.log_mut(log).stored_at(node, datacenter, end) {
            self.datacenter_moved(log, datacenter);
        }
        self.own_log_moved(log);
    }

    /// A datacenter has more of a log than was known: the holder that it came from hears of it, on the way to the
    /// log's coordinator.
    fn datacenter_moved(&mut self, log: LogNo, datacenter: u16) {
        if datacenter == self.layout.here {
            return;
        }
        if self.catalog.log(log).name.node == self.me() {
            self.progressed_away(log);
            self.own_log_moved(log);
        } else {
            self.tell_source(log);
        }
    }

    /// A store has sent records up to `end`: as follower it is not sent them back.
    pub(super) fn is_there(&mut self, node: NodeId, log: LogNo, end: u64) {
        if let Some(follower) = self.followers.get_mut(&node) {
            let serve = follower.logs.entry(log).or_insert(Serve { next: end, wanted: false, queued: false });
            serve.next = serve.next.max(end);
        }
    }

    /// A log that is closed and complete needs no attention any more.
    pub(super) fn forget_served(&mut self, log: LogNo) {
        let now = self.now();
        for follower in self.followers.values_mut() {
            follower.acknowledged(log, u64::MAX, now);
            follower.logs.remove(&log);
            follower.announce.remove(&log);
        }
    }

    fn follower_wants(&mut self, node: NodeId, want: Want) -> Result<(), Malformed> {
        let name = convert::log_name(want.log)?;
        let Some(log) = self.catalog.find_log(&name) else { return Ok(()) };
        let now = self.now();
        let Some(follower) = self.followers.get_mut(&node) else { return Ok(()) };
        let serve = follower.logs.entry(log).or_insert(Serve { next: 1, wanted: false, queued: false });
        serve.wanted = !want.stop;
        if !want.stop {
            serve.next = want.from.max(1);
            follower.acknowledged(log, u64::MAX, now);
            self.offer(node, log);
        }
        Ok(())
    }

    fn follower_standing(&mut self, node: NodeId, standing: Standing) {
        let Some(follower) = self.followers.get_mut(&node) else { return };
        let lost: Vec<NodeId> = standing.lost.into_iter().map(NodeId).collect();
        let newly: Vec<NodeId> = lost.iter().copied().filter(|lost| !follower.lost.contains(lost)).collect();
        (follower.relay, follower.standing_known, follower.lost) = (standing.relay, true, lost);
        if follower.ready {
            self.offer_all(node);
            self.announce_where(node, |worker, log| newly.contains(&worker.catalog.log(log).name.node));
        }
        self.standing_changed();
    }

    fn follower_ready(&mut self, node: NodeId) {
        if let Some(follower) = self.followers.get_mut(&node) {
            follower.ready = true;
            follower.announce_now = true;
        }
        self.offer_all(node);
        self.announce_where(node, |_, _| true);
    }

    /// The follower's stream has ended: what only it was sent, its siblings hear of.
    fn follower_gone(&mut self, node: NodeId) {
        let Some(gone) = self.followers.remove(&node) else { return };
        if gone.near {
            return self.standing_changed();
        }
        let me = self.me();
        self.announce_to_siblings_of(node, gone.datacenter, |worker, log| worker.catalog.log(log).name.node == me);
    }

    pub(super) fn drop_gone_followers(&mut self) {
        let closed = self.followers.iter().filter(|(_, follower)| follower.outlet.is_closed());
        let gone: Vec<NodeId> = closed.map(|(&node, _)| node).collect();
        for node in gone {
            self.follower_gone(node);
        }
    }
}

/// Which records go where.
impl Worker {
    /// Whether a follower is sent this log without asking, or has asked for it.
    fn sends(&self, node: NodeId, follower: &Follower, log: LogNo) -> bool {
        let name = self.catalog.log(log).name;
        if !self.layout.shares(node, name.bucket) {
            return false;
        }
        if follower.logs.get(&log).is_some_and(|serve| serve.wanted) {
            return true;
        }
        if follower.near {
            return !(name.node == node && name.boot == follower.boot);
        }
        name.node == self.me()
            && follower.relay
            && self.layout.relay(name.bucket, follower.datacenter, &follower.lost) == Some(node)
    }

    /// Queues a log for a follower if it is to be sent more of it.
    fn offer(&mut self, node: NodeId, log: LogNo) {
        let Some(follower) = self.followers.get(&node).filter(|follower| follower.ready) else { return };
        let known = self.catalog.log(log);
        let there = known.at(node);
        let serve = follower.logs.get(&log).copied().unwrap_or(Serve { next: 1, wanted: false, queued: false });
        let next = serve.next.max(there);
        if serve.queued || next >= known.accepted() || !self.sends(node, follower, log) {
            return;
        }
        let superseded = known.name.node == self.me() && !self.coordinator.is_current(log, known.name.bucket);
        let fresh = !superseded && known.accepted() - next <= FRESH_RECORDS_MAX;
        let Some(follower) = self.followers.get_mut(&node) else { return };
        follower.logs.insert(log, Serve { next, queued: true, ..serve });
        if fresh { follower.fresh.push_back(log) } else { follower.behind.push_back(log) }
    }

    fn offer_all(&mut self, node: NodeId) {
        let logs: Vec<LogNo> = self.catalog.all_open_logs().collect();
        for log in logs {
            self.offer(node, log);
        }
    }

    /// Logs that got records since the last flush.
    pub(super) fn offer_grown(&mut self) {
        if self.grown.is_empty() {
            return;
        }
        let nodes: Vec<NodeId> = self.followers.keys().copied().collect();
        for log in std::mem::take(&mut self.grown) {
            for &node in &nodes {
                self.offer(node, log);
            }
        }
    }

    /// Announces logs to a follower that is not sent them and lacks of them.
    fn announce_where(&mut self, node: NodeId, which: impl Fn(&Self, LogNo) -> bool) {
        let logs: Vec<LogNo> = self.catalog.all_open_logs().filter(|&log| which(self, log)).collect();
        for log in logs {
            self.announce(node, log);
        }
    }

    fn announce(&mut self, node: NodeId, log: LogNo) {
        let Some(follower) = self.followers.get(&node).filter(|follower| follower.ready) else { return };
        let known = self.catalog.log(log);
        let there = follower.logs.get(&log).map_or(1, |serve| serve.next).max(known.at(node));
        let shared = self.layout.shares(node, known.name.bucket);
        let news = shared && known.durable() > there && (follower.near || !self.sends(node, follower, log));
        if news && let Some(follower) = self.followers.get_mut(&node) {
            follower.announce.insert(log);
        }
    }

    fn announce_to_siblings_of(&mut self, node: NodeId, datacenter: u16, which: impl Fn(&Self, LogNo) -> bool) {
        let siblings = self.followers.iter().filter(|(other, f)| **other != node && f.datacenter == datacenter);
        let siblings: Vec<NodeId> = siblings.map(|(&other, _)| other).collect();
        for sibling in siblings {
            self.announce_where(sibling, &which);
        }
    }

    /// More of a log is on disk here: followers of other datacenters hear of it where nobody sends it to them.
    pub(super) fn durable_moved(&mut self, log: LogNo) {
        self.acknowledge(log);
        let known = self.catalog.log(log);
        let (name, ended) = (known.name, known.ended);
        let mine = name.node == self.me();
        let concerned = |(&node, follower): (&NodeId, &Follower)| {
            let unserved = mine && {
                let relay = self.layout.relay(name.bucket, follower.datacenter, &follower.lost);
                relay.is_none_or(|relay| !self.followers.contains_key(&relay))
            };
            (!follower.near && (ended || unserved || follower.lost.contains(&name.node))).then_some(node)
        };
        let nodes: Vec<NodeId> = self.followers.iter().filter_map(concerned).collect();
        for node in nodes {
            self.announce(node, log);
        }
    }

    pub(super) fn serving_wants_fast(&self) -> bool {
        self.followers.values().any(|follower| {
            !follower.announce.is_empty() || (!follower.near && !follower.under_way.is_empty())
        })
    }

    /// A relay that does not acknowledge: its siblings hear what it was sent.
    pub(super) fn serve_tick(&mut self) {
        self.drop_gone_followers();
        let now = self.now();
        let stalled = self.followers.iter().filter(|(_, f)| !f.near && f.is_stalled(now));
        let stalled: Vec<(NodeId, u16, Vec<LogNo>)> =
            stalled.map(|(&node, f)| (node, f.datacenter, f.under_way.keys().copied().collect())).collect();
        for (node, datacenter, logs) in stalled {
            self.announce_to_siblings_of(node, datacenter, |_, log| logs.binary_search(&log).is_ok());
        }
        for follower in self.followers.values_mut() {
            follower.announce_now = !follower.announce.is_empty();
        }
    }
}

/// Messages to followers.
impl Worker {
    pub(super) fn fill_followers(&mut self) {
        let nodes: Vec<NodeId> = self.followers.keys().copied().collect();
        for node in nodes {
            while self.fill_follower(node) {}
        }
    }

    /// Sends one message if there is something to send and room for it.
    fn fill_follower(&mut self, node: NodeId) -> bool {
        let Some(follower) = self.followers.get(&node) else { return false };
        let records = !follower.fresh.is_empty() || !follower.behind.is_empty() || follower.loaded.is_some();
        let due = follower.announce_now || records;
        if !follower.ready || !due || !follower.outlet.has_room() {
            return false;
        }
        let mut frame = FollowResponse::default();
        self.put_announcements(node, &mut frame);
        let mut bytes = 0;
        while bytes < FRAME_BYTES && self.put_fresh(node, &mut frame, &mut bytes) {}
        while bytes < FRAME_BYTES && self.put_behind(node, &mut frame, &mut bytes) {}
        if frame.records.is_empty() && frame.ends.is_empty() && !frame.announced {
            return false;
        }
        let Some(follower) = self.followers.get(&node) else { return false };
        if !follower.near {
            self.metrics.wan_bytes.inc_by(bytes as u64);
        }
        self.metrics.followed_out_bytes.inc_by(bytes as u64);
        follower.outlet.send(frame);
        true
    }

    fn put_announcements(&mut self, node: NodeId, frame: &mut FollowResponse) {
        let Some(follower) = self.followers.get_mut(&node).filter(|follower| follower.announce_now) else { return };
        while frame.ends.len() < ENDS_MAX
            && let Some(log) = follower.announce.pop_first()
        {
            let known = self.catalog.log(log);
            frame.ends.push(LogEnd {
                log: Some(known.name.into()),
                predecessor: convert::to_predecessor(known.predecessor),
                end: known.durable(),
            });
        }
        if follower.announce.is_empty() {
            follower.announce_now = false;
            frame.announced = !std::mem::replace(&mut follower.announced, true);
        }
    }

    fn put_fresh(&mut self, node: NodeId, frame: &mut FollowResponse, bytes: &mut usize) -> bool {
        let Some(follower) = self.followers.get_mut(&node) else { return false };
        if follower.under_way_bytes >= UNDER_WAY_BYTES_MAX {
            return false;
        }
        let Some(log) = follower.fresh.pop_front() else { return false };
        let Some(next) = follower.logs.get(&log).map(|serve| serve.next) else { return true };
        let records = self.recent_records(log, next);
        if records.is_empty() {
            // No more in memory: read from disk, as catch-up.
            if let Some(follower) = self.followers.get_mut(&node) {
                follower.behind.push_back(log);
            }
            return true;
        }
        *bytes += self.put_records(node, frame, log, records, false);
        true
    }

    fn put_behind(&mut self, node: NodeId, frame: &mut FollowResponse, bytes: &mut usize) -> bool {
        let Some(follower) = self.followers.get_mut(&node) else { return false };
        if follower.catch_up_bytes >= self.options.catch_up_bytes || follower.loading.is_some() {
            return false;
        }
        if let Some((log, from, records)) = follower.loaded.take() {
            if follower.logs.get(&log).is_some_and(|serve| serve.queued && serve.next == from) {
                *bytes += self.put_records(node, frame, log, records, true);
            }
            return true;
        }
        let Some(log) = follower.behind.pop_front() else { return false };
        let Some(next) = follower.logs.get(&log).map(|serve| serve.next) else { return true };
        let records = self.recent_records(log, next);
        if !records.is_empty() {
            *bytes += self.put_records(node, frame, log, records, true);
            return true;
        }
        let Some(follower) = self.followers.get_mut(&node) else { return false };
        let (stream, durable) = (follower.stream, self.catalog.log(log).durable());
        if next < durable {
            follower.loading = Some(log);
            self.loads.records(node, stream, log, next, durable, TURN_BYTES);
            return false;
        }
        follower.unqueue(log);
        true
    }

    /// Records from `next` on that are in memory, one turn of them.
    fn recent_records(&self, log: LogNo, next: u64) -> Vec<Record> {
        let accepted = self.catalog.log(log).accepted();
        let (mut records, mut bytes) = (Vec::new(), 0);
        for seq in next..accepted {
            let Some(record) = self.recent.get(log, seq).filter(|_| bytes < TURN_BYTES) else { break };
            bytes += record.body.len();
            records.push(record.clone());
        }
        records
    }

    fn put_records(
        &mut self, node: NodeId, frame: &mut FollowResponse, log: LogNo, records: Vec<Record>, catch_up: bool,
    ) -> usize {
        let now = self.now();
        let Some(follower) = self.followers.get_mut(&node) else { return 0 };
        let Some(serve) = follower.logs.get_mut(&log) else { return 0 };
        let (from, end) = (serve.next, serve.next + records.len() as u64);
        (serve.next, serve.queued) = (end, false);
        let bytes: usize = records.iter().map(|record| record.body.len() + 64).sum();
        follower.sent(log, end, bytes, catch_up, now);
        let known = self.catalog.log(log);
        frame.records.push(LogRecords {
            log: Some(known.name.into()),
            predecessor: convert::to_predecessor(known.predecessor),
            from,
            records,
        });
        self.offer(node, log);
        bytes
    }

    /// Records read from disk for a follower's catch-up. None: unreadable here, it will turn to another holder.
    pub(super) fn records_loaded(&mut self, node: NodeId, stream: u64, log: LogNo, from: u64, records: Vec<Record>) {
        let Some(follower) = self.followers.get_mut(&node).filter(|f| f.stream == stream) else { return };
        follower.loading = None;
        if records.is_empty() {
            follower.unqueue(log);
        } else {
            follower.loaded = Some((log, from, records));
        }
    }

    /// What is known of other datacenters' disks, for an acknowledgement on its way to the log's origin.
    pub(super) fn elsewhere(&self, log: LogNo, holder: NodeId) -> Vec<DatacenterEnd> {
        let there = self.layout.peer(holder).map(|peer| peer.datacenter);
        let others = self.catalog.log(log).elsewhere();
        others
            .filter(|&(datacenter, end)| datacenter != self.layout.here && Some(datacenter) != there && end > 1)
            .map(|(datacenter, end)| DatacenterEnd {
                datacenter: self.layout.datacenter_name(datacenter).to_owned(),
                end,
            })
            .collect()
    }
}
