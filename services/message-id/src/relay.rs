//! Reports that other voters bring for groups that are led here, or next to here.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use trunkline_ports::{Receiver, Responder};
use trunkline_types::limits::{HEARTBEAT_INTERVAL, SILENCE_MAX, STREAM_QUEUE_MAX};
use trunkline_types::{Boot, NodeId};
use trunkline_wire::Status;
use trunkline_wire::internal::{
    RelayRequest, RelayResponse, RelayRestart, RelayedFrame, StoreGone, relayed_frame::What,
};
use trunkline_wire::short::Restoring;
use trunkline_wire::status::{self, reason};

use crate::route::{Route, Routes, reached};
use crate::voter::Voter;

/// Asks a store, or (0) all stores behind a path, to report anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    pub(crate) group: u16,
    pub(crate) store: NodeId,
}

/// Where a store's word came in, and so the way back.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    id: u64,
    restarts: mpsc::Sender<Restart>,
}

impl Path {
    pub(crate) fn new(id: u64) -> (Self, mpsc::Receiver<Restart>) {
        let (restarts, asked) = mpsc::channel(STREAM_QUEUE_MAX);
        (Self { id, restarts }, asked)
    }

    /// Dropped where too many wait: the next digest asks again.
    pub(crate) fn restart(&self, restart: Restart) {
        let _ = self.restarts.try_send(restart);
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// One store's word on its way.
#[derive(Clone, Debug)]
pub(crate) struct Relayed {
    pub(crate) path: Path,
    pub(crate) frame: RelayedFrame,
}

/// The group that a frame is about, packed.
pub(crate) fn group_of(frame: &RelayedFrame) -> Option<u32> {
    Some(match frame.what.as_ref()? {
        What::Report(report) => report.group,
        What::Held(held) => held.group,
        What::Digest(digest) => digest.group,
        What::Gone(gone) => gone.group,
    })
}

/// Serves one voter's relay stream.
pub(crate) async fn serve(
    voter: Arc<Voter>,
    mut requests: Receiver<RelayRequest>,
    responses: Responder<RelayResponse>,
) -> Result<(), Status> {
    let first = timeout_at(Instant::now() + SILENCE_MAX, requests.next()).await.map_err(|_| silent())??;
    let RelayRequest { hello, clock_ms, .. } = first.unwrap_or_default();
    voter.host.check(hello.as_ref())?;
    let peer = NodeId(hello.unwrap_or_default().node);
    voter.clocks.hear(peer, clock_ms);
    let hello =
        RelayResponse { hello: Some(voter.host.envelope()), restarts: Vec::new(), reaches: reached(&voter) };
    responses.send(&hello).await.map_err(|_| silent())?;
    let (path, restarts) = voter.new_path();
    let behind = Behind { voter: voter.clone(), path, stores: BTreeMap::new() };
    let routes = voter.routes.borrow().clone();
    Inbound { voter, peer, behind, restarts, responses, routes }.run(requests).await
}

struct Inbound {
    voter: Arc<Voter>,
    peer: NodeId,
    behind: Behind,
    restarts: mpsc::Receiver<Restart>,
    responses: Responder<RelayResponse>,
    routes: Routes,
}

impl Inbound {
    async fn run(mut self, mut requests: Receiver<RelayRequest>) -> Result<(), Status> {
        let mut changes = self.voter.routes.subscribe();
        let mut heartbeat = interval(HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_at = Instant::now() + SILENCE_MAX;
        let shutdown = self.voter.shutdown.clone();
        let mut names = Restoring::default();
        loop {
            let mut restarts = Vec::new();
            tokio::select! {
                biased;
                () = shutdown.stopped() => return Err(status::unavailable(reason::DRAINING, "the voter ends")),
                _ = changes.changed() => {
                    restarts = self.routes_changed(&changes.borrow_and_update().clone());
                }
                Some(restart) = self.restarts.recv() => restarts.push(told(restart)),
                _ = heartbeat.tick() => {}
                // Last but for the silence: it may always be ready.
                request = requests.next() => {
                    let Some(request) = request? else { return Ok(()) };
                    silent_at = Instant::now() + SILENCE_MAX;
                    self.voter.clocks.hear(self.peer, request.clock_ms);
                    for mut frame in request.frames {
                        names.restore_frame(&mut frame)?;
                        self.behind.forward(frame);
                    }
                    continue;
                }
                () = tokio::time::sleep_until(silent_at) => return Err(silent()),
            }
            let response = RelayResponse { hello: None, restarts, reaches: reached(&self.voter) };
            let sent = timeout_at(Instant::now() + SILENCE_MAX, self.responses.send(&response)).await;
            sent.map_err(|_| silent())?.map_err(|_| silent())?;
        }
    }

    /// What came by this stream went the old way: it begins anew.
    fn routes_changed(&mut self, now: &Routes) -> Vec<RelayRestart> {
        let before = std::mem::replace(&mut self.routes, now.clone());
        let is_new = |(group, route): &(&u16, &Route)| {
            is_new_way(before.get(group).copied().unwrap_or_default(), **route) && self.behind.has(**group)
        };
        now.iter().filter(is_new).map(|(&group, _)| told(Restart { group, store: NodeId(0) })).collect()
    }
}

fn told(Restart { group, store }: Restart) -> RelayRestart {
    RelayRestart { group: trunkline_types::GroupId::ordering(group).to_u32(), store: store.0 }
}

fn silent() -> Status {
    status::unavailable(reason::UNREACHABLE, "the relay stream was silent")
}

/// The stores behind a stream. When it ends, what they have said by it counts no more.
struct Behind {
    voter: Arc<Voter>,
    path: Path,
    /// (group, store) → boot and report session last seen, and hops.
    stores: BTreeMap<(u16, NodeId), Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    boot: Boot,
    session: u64,
    hops: u32,
}

impl Behind {
    fn has(&self, group: u16) -> bool {
        self.stores.range((group, NodeId(0))..=(group, NodeId(u64::MAX))).next().is_some()
    }

    fn forward(&mut self, frame: RelayedFrame) {
        let Some(member) = group_of(&frame).and_then(|group| self.voter.member_packed(group).ok()).cloned()
        else {
            return;
        };
        let key = (member.number, NodeId(frame.store));
        match frame.what.as_ref() {
            Some(What::Report(report)) => {
                let boot = frame.boot.map(Boot::from).unwrap_or_default();
                self.stores.insert(key, Seen { boot, session: report.session, hops: frame.hops });
            }
            Some(What::Gone(_)) => drop(self.stores.remove(&key)),
            Some(What::Held(_) | What::Digest(_)) | None => {}
        }
        self.voter.forward(&member, Relayed { path: self.path.clone(), frame });
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        for ((group, store), seen) in std::mem::take(&mut self.stores) {
            let Some(member) = self.voter.members.get(&group) else { continue };
            let frame = gone(member.id().to_u32(), store, seen.boot, seen.session, seen.hops);
            self.voter.forward(member, Relayed { path: self.path.clone(), frame });
        }
    }
}

pub(crate) fn gone(group: u32, store: NodeId, boot: Boot, session: u64, hops: u32) -> RelayedFrame {
    let what = What::Gone(StoreGone { group, session });
    RelayedFrame { store: store.0, boot: Some(boot.into()), what: Some(what), hops, number: 0 }
}

/// Whether the way has changed so that reports must begin anew.
pub(crate) fn is_new_way(before: Route, now: Route) -> bool {
    before != now && now.next.is_some()
}
