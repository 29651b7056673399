//! Keeps one peer connected: dial, say hello, exchange until it breaks, wait, again.

use std::time::Duration;

use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use trunkline_ports::{CallOptions, Class, Host, Peer, Receiver, Sender};
use trunkline_types::NodeId;
use trunkline_types::limits::{CONNECT_TIMEOUT, HEARTBEAT_INTERVAL, SILENCE_MAX};
use trunkline_wire::Status;
use trunkline_wire::internal::{RaftFrames, raft_service};

use super::pending::Pending;
use super::{NoAnswer, Request};
use crate::backoff::backoff;

const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// A message is closed when it has so much; the rest goes in the next.
const FRAMES_MAX: usize = 256;
const MESSAGE_BYTES_MAX: usize = 1 << 20;

pub(super) async fn run(
    host: Host,
    peer: NodeId,
    mut queue: mpsc::Receiver<Request>,
    is_up: watch::Sender<bool>,
) {
    let mut attempts = 0_u32;
    while !queue.is_closed() {
        let pending = Pending::default();
        match tokio::time::timeout(CONNECT_TIMEOUT, dial(&host, peer)).await {
            Ok(Ok((sender, receiver))) => {
                let ended = exchange(&sender, receiver, &mut queue, &pending, &is_up).await;
                if is_up.send_replace(false) {
                    attempts = 0;
                }
                tracing::debug!(%peer, ended, "a Raft connection has ended");
            }
            Ok(Err(status)) => tracing::debug!(%peer, %status, "a Raft connection could not be made"),
            Err(_) => tracing::debug!(%peer, "a Raft connection could not be made in time"),
        }
        pending.lose_all();
        refuse_until(
            Instant::now() + backoff(&host.process, BACKOFF_FIRST, BACKOFF_MAX, attempts),
            &mut queue,
        )
        .await;
        attempts = attempts.saturating_add(1);
    }
}

async fn dial(host: &Host, peer: NodeId) -> Result<(Sender<RaftFrames>, Receiver<RaftFrames>), Status> {
    let address = host.map().member(peer).map(|node| node.address.clone());
    let address = address.ok_or_else(|| Status::unavailable("the map does not know the peer"))?;
    let to = Peer::new(address, Class::Consensus);
    let (sender, receiver) = host.network.open(&to, raft_service::EXCHANGE, CallOptions::default()).await?;
    let hello = RaftFrames { hello: Some(host.envelope()), frames: Vec::new() };
    sender.send(&hello).await.map_err(|_| Status::unavailable("the stream is closed"))?;
    Ok((sender, receiver))
}

/// Waits, and answers at once what cannot be sent meanwhile.
async fn refuse_until(end: Instant, queue: &mut mpsc::Receiver<Request>) {
    while let Ok(Some(request)) = tokio::time::timeout_at(end, queue.recv()).await {
        drop(request.answer.send(Err(NoAnswer::NotSent)));
    }
}

/// Runs both directions until one ends. The reading one never waits for the writing one.
async fn exchange(
    sender: &Sender<RaftFrames>,
    receiver: Receiver<RaftFrames>,
    queue: &mut mpsc::Receiver<Request>,
    pending: &Pending,
    is_up: &watch::Sender<bool>,
) -> &'static str {
    tokio::select! {
        biased;
        ended = read(receiver, pending, is_up) => ended,
        ended = write(sender, queue, pending) => ended,
    }
}

async fn read(
    mut receiver: Receiver<RaftFrames>,
    pending: &Pending,
    is_up: &watch::Sender<bool>,
) -> &'static str {
    loop {
        match tokio::time::timeout(SILENCE_MAX, receiver.next()).await {
            Ok(Ok(Some(message))) => {
                is_up.send_if_modified(|is_up| !std::mem::replace(is_up, true));
                message.frames.into_iter().for_each(|frame| pending.answer(frame));
            }
            Ok(Ok(None)) => return "the peer has ended it",
            Ok(Err(_)) => return "it broke",
            Err(_) => return "the peer is silent",
        }
    }
}

async fn write(
    sender: &Sender<RaftFrames>,
    queue: &mut mpsc::Receiver<Request>,
    pending: &Pending,
) -> &'static str {
    loop {
        let message = match tokio::time::timeout(HEARTBEAT_INTERVAL, queue.recv()).await {
            Ok(Some(first)) => {
                // Other groups have something to send by the same tick, or the same fsync: it goes along.
                tokio::task::yield_now().await;
                gather(first, queue, pending)
            }
            Ok(None) => return "nobody uses it any more",
            Err(_) => RaftFrames::default(),
        };
        if sender.send(&message).await.is_err() {
            return "it is closed";
        }
    }
}

/// Everything that waits, up to a message's size, in order.
fn gather(first: Request, queue: &mut mpsc::Receiver<Request>, pending: &Pending) -> RaftFrames {
    let mut message = RaftFrames::default();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(Request { mut frame, answer }) = next {
        if !answer.is_closed() {
            frame.id = pending.register(answer);
            bytes += frame.encoded_len();
            message.frames.push(frame);
        }
        let full = message.frames.len() >= FRAMES_MAX || bytes >= MESSAGE_BYTES_MAX;
        next = if full { None } else { queue.try_recv().ok() };
    }
    message
}
