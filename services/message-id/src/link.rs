//! The relay stream to another voter: reports go out, requests to begin anew come back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use trunkline_ports::{CallOptions, Class, Peer, Receiver, Sender};
use trunkline_runtime::Backoff;
use trunkline_types::limits::{
    HEARTBEAT_INTERVAL, REDIAL_FIRST, REDIAL_MAX, RELAY_QUEUE_MAX, SILENCE_MAX, WORDS_BYTES_MAX,
};
use trunkline_types::{ClusterMap, GroupId, NodeId};
use trunkline_wire::Message as _;
use trunkline_wire::internal::order_service::RELAY;
use trunkline_wire::internal::{
    Envelope, RelayRequest, RelayResponse, RelayRestart, RelayedFrame, relayed_frame::What,
};
use trunkline_wire::short::Shortening;

use crate::relay::{Path, Relayed, Restart};
use crate::route::Next;
use crate::voter::Voter;

/// A stream that has lived for so long begins a new series of attempts when it ends.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// A frame for the stream, of a group by its number.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) group: u16,
    pub(crate) relayed: Relayed,
}

/// What is known of a relay stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkState {
    pub(crate) up: bool,
    /// Counts its connections.
    pub(crate) epoch: u64,
    /// Groups (packed) whose leader the peer is or has next.
    pub(crate) reaches: BTreeSet<u32>,
}

pub(crate) type LinkStates = BTreeMap<NodeId, LinkState>;

/// Keeps a stream to every voter that shares a group with this node, by the newest map and by what it is to become.
pub(crate) async fn keep_all(voter: Arc<Voter>) {
    let mut map = voter.host.map.clone();
    loop {
        let wanted = peers(&voter, &map.borrow_and_update().clone());
        voter.outgoing.send_modify(|outgoing| {
            outgoing.retain(|peer, _| wanted.contains(peer));
            for peer in wanted {
                outgoing.entry(peer).or_insert_with(|| {
                    let (sender, queue) = mpsc::channel(RELAY_QUEUE_MAX);
                    voter.host.process.spawn("relay", keep(voter.clone(), peer, queue));
                    sender
                });
            }
        });
        tokio::select! {
            biased;
            () = voter.shutdown.stopped() => return,
            changed = map.changed() => if changed.is_err() { return },
        }
    }
}

fn peers(voter: &Voter, map: &ClusterMap) -> BTreeSet<NodeId> {
    let groups = || voter.members.values().map(|member| member.id());
    let voters = |map: &ClusterMap| -> Vec<NodeId> {
        groups().flat_map(|group| trunkline_placement::voters(map, group)).map(|node| node.id).collect()
    };
    let all = voters(map).into_iter().chain(voters(&map.target()));
    all.filter(|node| *node != voter.host.identity.node).collect()
}

/// Keeps the stream to one peer until shutdown, or until nobody sends into it.
async fn keep(voter: Arc<Voter>, peer: NodeId, mut outgoing: mpsc::Receiver<Outgoing>) {
    let mut backoff = Backoff::new(REDIAL_FIRST, REDIAL_MAX);
    while !outgoing.is_closed() {
        let began = Instant::now();
        tokio::select! {
            biased;
            () = voter.shutdown.stopped() => return,
            () = connected(&voter, peer, &mut outgoing) => {}
        }
        voter.links.send_if_modified(|links| {
            let link = links.entry(peer).or_default();
            let was_up = std::mem::replace(&mut link.up, false);
            link.reaches.clear();
            was_up
        });
        while outgoing.try_recv().is_ok() {
            voter.figures.reports_dropped.inc();
        }
        if began.elapsed() > STABLE_AFTER {
            backoff.reset();
        }
        tokio::select! {
            biased;
            () = voter.shutdown.stopped() => return,
            () = backoff.wait(&voter.host.process) => {}
        }
    }
    voter.links.send_modify(|links| drop(links.remove(&peer)));
}

/// One connection, until it breaks.
async fn connected(voter: &Arc<Voter>, peer: NodeId, outgoing: &mut mpsc::Receiver<Outgoing>) {
    let Some(address) = voter.host.map().member(peer).map(|node| node.address.clone()) else { return };
    let deadline = Instant::now() + SILENCE_MAX;
    let to = Peer::new(address, Class::Calls);
    let opening = voter.host.network.open(&to, RELAY, CallOptions::default());
    let Ok(Ok((sender, mut receiver))) = timeout_at(deadline, opening).await else { return };
    let hello = request(voter, Some(voter.host.envelope()), Vec::new());
    let welcomed = async {
        sender.send(&hello).await.ok()?;
        receiver.next().await.ok()?
    };
    let Ok(Some(welcome)) = timeout_at(deadline, welcomed).await else { return };
    voter.links.send_modify(|links| {
        let link = links.entry(peer).or_default();
        link.up = true;
        link.epoch += 1;
        link.reaches = welcome.reaches.iter().copied().collect();
    });
    let (names, origins) = (Shortening::default(), BTreeMap::new());
    Stream { voter, peer, sender, names, origins }.run(receiver, outgoing).await;
}

/// Any message tells the peer what the clock shows here; there is one in each heartbeat interval.
fn request(voter: &Voter, hello: Option<Envelope>, frames: Vec<RelayedFrame>) -> RelayRequest {
    RelayRequest { hello, frames, clock_ms: voter.host.process.wall_clock_ms() }
}

struct Stream<'a> {
    voter: &'a Arc<Voter>,
    peer: NodeId,
    sender: Sender<RelayRequest>,
    names: Shortening,
    /// (group, store) → where its word comes from: the way back.
    origins: BTreeMap<(u16, NodeId), Path>,
}

impl Stream<'_> {
    async fn run(mut self, mut receiver: Receiver<RelayResponse>, outgoing: &mut mpsc::Receiver<Outgoing>) {
        let mut heartbeat = interval(HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_at = Instant::now() + SILENCE_MAX;
        loop {
            let mut frames = Vec::new();
            tokio::select! {
                biased;
                // First, for it is due only now and then: what follows may always be ready.
                _ = heartbeat.tick() => {}
                response = receiver.next() => {
                    let Ok(Some(response)) = response else { return };
                    silent_at = Instant::now() + SILENCE_MAX;
                    self.answered(response);
                    continue;
                }
                first = outgoing.recv() => {
                    let Some(first) = first else { return };
                    // Lets whoever is ready go first: what they bring goes along.
                    tokio::task::yield_now().await;
                    self.take(first, outgoing, &mut frames);
                }
                () = tokio::time::sleep_until(silent_at) => return,
            }
            let request = request(self.voter, None, frames);
            let sent = timeout_at(Instant::now() + SILENCE_MAX, self.sender.send(&request)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// As many frames as fit into one message.
    fn take(
        &mut self,
        first: Outgoing,
        outgoing: &mut mpsc::Receiver<Outgoing>,
        frames: &mut Vec<RelayedFrame>,
    ) {
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(Outgoing { group, mut relayed }) = next {
            let key = (group, NodeId(relayed.frame.store));
            match relayed.frame.what {
                Some(What::Gone(_)) if self.origins.get(&key) == Some(&relayed.path) => {
                    self.origins.remove(&key);
                }
                Some(What::Report(_)) => drop(self.origins.insert(key, relayed.path)),
                _ => {}
            }
            self.names.shorten_frame(&mut relayed.frame);
            bytes += relayed.frame.encoded_len();
            frames.push(relayed.frame);
            next = if bytes < WORDS_BYTES_MAX { outgoing.try_recv().ok() } else { None };
        }
    }

    fn answered(&mut self, response: RelayResponse) {
        let reaches: BTreeSet<u32> = response.reaches.into_iter().collect();
        self.voter.links.send_if_modified(|links| {
            let link = links.entry(self.peer).or_default();
            let changed = link.reaches != reaches;
            link.reaches = reaches;
            changed
        });
        response.restarts.into_iter().for_each(|restart| self.restart(&restart));
    }

    /// Passes a request to begin anew on to where the reports come from, if they still go by this stream.
    fn restart(&self, restart: &RelayRestart) {
        let Some(GroupId { number: group, .. }) = GroupId::from_u32(restart.group) else { return };
        let routes = self.voter.routes.borrow();
        if routes.get(&group).is_none_or(|route| route.next != Some(Next::Link(self.peer))) {
            return;
        }
        let asked = NodeId(restart.store);
        let behind = self.origins.range((group, NodeId(0))..=(group, NodeId(u64::MAX)));
        for (&(_, store), path) in behind.filter(|((_, store), _)| asked.0 == 0 || *store == asked) {
            path.restart(Restart { group, store });
        }
    }
}
