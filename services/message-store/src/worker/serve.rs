//! As holder: what followers are sent. Fresh records go first; catch-up of what a follower is far behind in takes a
//! bounded share; everything under way is bounded by what is not acknowledged yet.

mod choose;
mod frames;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use trunkline_ordering::store::LogNo;
use trunkline_types::{Boot, NodeId};
use trunkline_wire::convert::number;
use trunkline_wire::internal::{
    FollowRequest, FollowResponse, LogCursor, LogSkip, OnDisk, Record, Standing, Want, follow_refused,
};

use super::Worker;
use super::identity::{self, Unfollowed};
use crate::convert;
use crate::outlet::Outlet;

/// A follower that lacks more records of a log than this is catching up in it.
const FRESH_RECORDS_MAX: u64 = 512;
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

impl Default for Serve {
    fn default() -> Self {
        Self { next: 1, wanted: false, queued: false }
    }
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
    /// What is gone, where it was to be sent.
    skips: Vec<LogSkip>,
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
    pub(super) fn follower_up(
        &mut self,
        node: NodeId,
        boot: Boot,
        stream: u64,
        outlet: Outlet<FollowResponse>,
    ) {
        let Some(peer) = self.layout.peer(node).cloned() else { return };
        if !self.admits(node, boot, &outlet) {
            return;
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
            skips: Vec::new(),
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
        match self.take_follower_frame(node, frame) {
            Ok(()) => return,
            Err(Unfollowed::Malformed(malformed)) => {
                tracing::warn!(%node, %malformed, "a follower's stream is ended");
            }
            Err(Unfollowed::Behind(behind)) => {
                if let Some(follower) = self.followers.get(&node) {
                    identity::refuse(&follower.outlet, follow_refused::Why::DiskBehind(behind));
                }
            }
        }
        self.follower_gone(node);
    }

    fn take_follower_frame(&mut self, node: NodeId, frame: FollowRequest) -> Result<(), Unfollowed> {
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

    fn follower_cursor(&mut self, node: NodeId, cursor: LogCursor) -> Result<(), Unfollowed> {
        let name = convert::log_name(cursor.log)?;
        let (next, on_disk) = (number(cursor.next, "next")?, number(cursor.on_disk, "on_disk")?);
        let Some(log) = self.catalog.find_log(&name) else { return Ok(()) };
        if let Some(follower) = self.followers.get_mut(&node) {
            follower.logs.insert(log, Serve { next: next.max(1), ..Serve::default() });
        }
        self.follower_has(node, log, on_disk)
    }

    fn follower_on_disk(&mut self, node: NodeId, on_disk: OnDisk) -> Result<(), Unfollowed> {
        let name = convert::log_name(on_disk.log)?;
        let end = number(on_disk.end, "end")?;
        let Some(log) = self.catalog.find_log(&name) else { return Ok(()) };
        let now = self.now();
        if let Some(follower) = self.followers.get_mut(&node) {
            follower.acknowledged(log, end, now);
        }
        for elsewhere in on_disk.elsewhere {
            let end = number(elsewhere.end, "elsewhere.end")?;
            if let Some(datacenter) = self.layout.datacenter_named(&elsewhere.datacenter)
                && self.catalog.log_mut(log).stored_in(datacenter, end)
            {
                self.datacenter_moved(log, datacenter);
            }
        }
        if on_disk.closed {
            // It has an end, and what lay beyond was dropped: that is no loss, and `end` may be more than is there.
            let counter = self.followers.get(&node).map_or(0, |follower| follower.boot.counter);
            self.is_there(node, counter, log, end);
            return Ok(());
        }
        self.follower_has(node, log, end)
    }

    /// A follower says what it has on disk of a log that is open there.
    fn follower_has(&mut self, node: NodeId, log: LogNo, end: u64) -> Result<(), Unfollowed> {
        let Some(boot) = self.followers.get(&node).map(|follower| follower.boot) else { return Ok(()) };
        if let Some(behind) = self.has_lost(node, boot, log, end) {
            return Err(Unfollowed::Behind(behind));
        }
        self.peer_has(node, boot.counter, log, end);
        Ok(())
    }

    /// A peer says, under the boot with this counter, what it has on disk of a log.
    pub(super) fn peer_has(&mut self, node: NodeId, counter: u32, log: LogNo, end: u64) {
        let Some(datacenter) = self.layout.peer(node).map(|peer| peer.datacenter) else { return };
        if self.catalog.log_mut(log).stored_at(node, counter, datacenter, end) {
            self.datacenter_moved(log, datacenter);
        }
        self.is_there(node, counter, log, end);
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

    /// The boot of a store with this counter has records up to `end`, in memory or on disk, or needs none of them: as
    /// follower it is not sent them.
    pub(super) fn is_there(&mut self, node: NodeId, counter: u32, log: LogNo, end: u64) {
        if let Some(follower) = self.followers.get_mut(&node)
            && follower.boot.counter == counter
        {
            let serve = follower.logs.entry(log).or_default();
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

    fn follower_wants(&mut self, node: NodeId, want: Want) -> Result<(), Unfollowed> {
        let name = convert::log_name(want.log)?;
        let from = number(want.from, "from")?;
        let Some(log) = self.catalog.find_log(&name) else { return Ok(()) };
        let now = self.now();
        let Some(follower) = self.followers.get_mut(&node) else { return Ok(()) };
        let serve = follower.logs.entry(log).or_default();
        serve.wanted = !want.stop;
        if !want.stop {
            serve.next = from.max(1);
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
        self.announce_to_siblings_of(node, gone.datacenter, |worker, log| {
            worker.catalog.log(log).name.node == me
        });
    }

    pub(super) fn drop_gone_followers(&mut self) {
        let closed = self.followers.iter().filter(|(_, follower)| follower.outlet.is_closed());
        let gone: Vec<NodeId> = closed.map(|(&node, _)| node).collect();
        for node in gone {
            self.follower_gone(node);
        }
    }
}
