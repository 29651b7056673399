//! A Follow stream as bytes on their way: dialed by the follower, answered by the holder. Both fill silence and end the
//! stream when the other side is silent.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use trunkline_ports::{CallOptions, Class, Host, Peer, Receiver, Responder, Sender};
use trunkline_runtime::Backoff;
use trunkline_types::limits::{CONNECT_TIMEOUT, HEARTBEAT_INTERVAL, SILENCE_MAX};
use trunkline_types::{NodeId, checksum};
use trunkline_wire::internal::follow_service::FOLLOW;
use trunkline_wire::internal::{Envelope, FollowRequest, FollowResponse};
use trunkline_wire::short::{Restoring, Shortening};
use trunkline_wire::{Code, Message as _, Status};

use crate::handle::{Handle, Input};
use crate::outlet::Inlet;

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The other side has said nothing for too long.
pub(crate) fn silent() -> Status {
    Status::unavailable("the peer is silent")
}

/// Follows one store for as long as the task lives.
pub(crate) async fn follow(host: Host, handle: Handle, node: NodeId, address: Arc<str>) {
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
    loop {
        let mut up = false;
        if let Err(status) = follow_once(&host, &handle, node, &address, &mut up).await {
            if status.code() == Code::DataLoss {
                tracing::warn!(%node, %status, "a holder's stream is ended");
            } else {
                tracing::debug!(%node, %status, "a holder's stream has ended");
            }
        }
        if up {
            backoff.reset();
        }
        if handle.tell(Input::HolderDown { node }).await.is_err() {
            return;
        }
        backoff.wait(&host.process).await;
    }
}

async fn follow_once(
    host: &Host,
    handle: &Handle,
    node: NodeId,
    address: &Arc<str>,
    up: &mut bool,
) -> Result<(), Status> {
    let peer = Peer::new(address.clone(), Class::Follow);
    let opening = host.network.open(&peer, FOLLOW, CallOptions::default());
    let (sender, mut receiver) = timeout(CONNECT_TIMEOUT, opening).await.map_err(|_| silent())??;
    let hello = FollowRequest { hello: Some(host.envelope()), ..FollowRequest::default() };
    send(&sender, &hello).await?;
    let first = timeout(CONNECT_TIMEOUT, receiver.next()).await.map_err(|_| silent())??.ok_or_else(silent)?;
    host.check(first.hello.as_ref())?;
    let Some(hello) = first.hello.as_ref().filter(|hello| hello.node == node.0) else {
        return Err(Status::failed_precondition("another node answers at this address"));
    };
    let boot = hello.boot();
    let (outlet, mut inlet) = handle.outlet();
    let stream = handle.stream();
    handle.tell(Input::HolderUp { node, boot, stream, outlet }).await?;
    *up = true;
    tokio::select! {
        biased;
        ended = receive(handle, node, stream, &mut receiver) => ended,
        ended = requests(&mut inlet, &sender) => ended,
    }
}

async fn receive(
    handle: &Handle,
    node: NodeId,
    stream: u64,
    receiver: &mut Receiver<FollowResponse>,
) -> Result<(), Status> {
    let mut names = Restoring::default();
    loop {
        let frame = timeout(SILENCE_MAX, receiver.next()).await.map_err(|_| silent())??;
        let Some(mut frame) = frame else { return Ok(()) };
        names.restore(&mut frame)?;
        let bytes = frame.encoded_len();
        let mut records = frame.records.iter().flat_map(|log| &log.records);
        if records.any(|record| checksum(&record.body) != record.checksum) {
            return Err(Status::data_loss("a record does not fit its checksum"));
        }
        if bytes > 0 {
            let permit = handle.follow_room(bytes).await?;
            handle.tell(Input::HolderFrame { node, stream, frame, permit }).await?;
        }
    }
}

async fn requests(inlet: &mut Inlet<FollowRequest>, sender: &Sender<FollowRequest>) -> Result<(), Status> {
    let mut names = Shortening::default();
    loop {
        match timeout(HEARTBEAT_INTERVAL, inlet.next()).await {
            Ok(Some(mut frame)) => {
                names.shorten(&mut frame);
                send(sender, &frame).await?;
            }
            Ok(None) => return Ok(()),
            Err(_) => send(sender, &FollowRequest::default()).await?,
        }
    }
}

async fn send(sender: &Sender<FollowRequest>, frame: &FollowRequest) -> Result<(), Status> {
    let sent = timeout(SILENCE_MAX, sender.send(frame)).await.map_err(|_| silent())?;
    sent.map_err(|_| Status::unavailable("the stream is closed"))
}

/// The holder's side.
pub(crate) async fn serve(
    host: Host,
    handle: Handle,
    mut requests: Receiver<FollowRequest>,
    responses: Responder<FollowResponse>,
) -> Result<(), Status> {
    let first = timeout(CONNECT_TIMEOUT, requests.next()).await.map_err(|_| silent())??.ok_or_else(silent)?;
    host.check(first.hello.as_ref())?;
    let hello: &Envelope = first.hello.as_ref().ok_or_else(silent)?;
    let (node, boot) = (NodeId(hello.node), hello.boot());
    let welcome = FollowResponse { hello: Some(host.envelope()), ..FollowResponse::default() };
    answer(&responses, &welcome).await?;
    let (outlet, mut inlet) = handle.outlet();
    let stream = handle.stream();
    handle.tell(Input::FollowerUp { node, boot, stream, outlet }).await?;
    tokio::select! {
        biased;
        ended = take(&handle, node, stream, &mut requests) => ended,
        ended = answers(&mut inlet, &responses) => ended,
    }
}

async fn take(
    handle: &Handle,
    node: NodeId,
    stream: u64,
    requests: &mut Receiver<FollowRequest>,
) -> Result<(), Status> {
    let mut names = Restoring::default();
    loop {
        let frame = timeout(SILENCE_MAX, requests.next()).await.map_err(|_| silent())??;
        let Some(mut frame) = frame else { return Ok(()) };
        names.restore(&mut frame)?;
        if frame.encoded_len() > 0 {
            handle.tell(Input::FollowerFrame { node, stream, frame }).await?;
        }
    }
}

async fn answers(
    inlet: &mut Inlet<FollowResponse>,
    responses: &Responder<FollowResponse>,
) -> Result<(), Status> {
    let mut names = Shortening::default();
    loop {
        match timeout(HEARTBEAT_INTERVAL, inlet.next()).await {
            Ok(Some(mut frame)) => {
                names.shorten(&mut frame);
                answer(responses, &frame).await?;
            }
            Ok(None) => return Ok(()),
            Err(_) => answer(responses, &FollowResponse::default()).await?,
        }
    }
}

async fn answer(responses: &Responder<FollowResponse>, frame: &FollowResponse) -> Result<(), Status> {
    let sent = timeout(SILENCE_MAX, responses.send(frame)).await.map_err(|_| silent())?;
    sent.map_err(|_| Status::unavailable("the stream is closed"))
}
