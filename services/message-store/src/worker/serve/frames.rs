//! Messages to followers: fresh records first, then a bounded share of catch-up.

use trunkline_ordering::store::LogNo;
use trunkline_types::{Lane, NodeId};
use trunkline_wire::internal::{FollowResponse, LogEnd, LogRecords, Record};

use crate::convert;
use crate::worker::Worker;

/// Records of one message, in bytes; a single larger record goes alone.
const FRAME_BYTES: usize = 512 << 10;
/// Records of one log within a message, so that logs take turns.
const TURN_BYTES: usize = 128 << 10;
/// Sent to one follower and not on disk there: beyond it, nothing more is sent.
const UNDER_WAY_BYTES_MAX: usize = 16 << 20;
/// Announcements of one message.
const ENDS_MAX: usize = 1_000;

/// Messages to followers.
impl Worker {
    pub(in crate::worker) fn fill_followers(&mut self) {
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
        let Some(follower) = self.followers.get_mut(&node).filter(|follower| follower.announce_now) else {
            return;
        };
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
            let recent = self.recent.get(log, seq).or_else(|| self.large.record(log, seq));
            let Some(record) = recent.filter(|_| bytes < TURN_BYTES) else { break };
            bytes += record.body.len();
            records.push(record.clone());
        }
        records
    }

    fn put_records(
        &mut self,
        node: NodeId,
        frame: &mut FollowResponse,
        log: LogNo,
        records: Vec<Record>,
        catch_up: bool,
    ) -> usize {
        let now = self.now();
        let Some(follower) = self.followers.get_mut(&node) else { return 0 };
        let Some(serve) = follower.logs.get_mut(&log) else { return 0 };
        let (from, end) = (serve.next, serve.next + records.len() as u64);
        (serve.next, serve.queued) = (end, false);
        let bytes: usize = records.iter().map(|record| record.body.len() + 64).sum();
        let known = self.catalog.log(log);
        // A record that waits for its payload there, perhaps for minutes, is nothing that others wait behind.
        if known.name.lane != Lane::LARGE {
            follower.sent(log, end, bytes, catch_up, now);
        }
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
    pub(in crate::worker) fn records_loaded(
        &mut self,
        node: NodeId,
        stream: u64,
        log: LogNo,
        from: u64,
        records: Vec<Record>,
    ) {
        let Some(follower) = self.followers.get_mut(&node).filter(|f| f.stream == stream) else { return };
        follower.loading = None;
        if records.is_empty() {
            follower.unqueue(log);
        } else {
            follower.loaded = Some((log, from, records));
        }
    }
}
