//! A session with a voter as bytes on their way: the nearest that answers, local ones first; back to the nearest once it
//! answers again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use trunkline_ports::{CallOptions, Class, Host, Peer, Receiver, Sender};
use trunkline_runtime::Backoff;
use trunkline_types::limits::{CONNECT_TIMEOUT, HEARTBEAT_INTERVAL, SILENCE_MAX};
use trunkline_wire::Status;
use trunkline_wire::internal::node_service::IDENTIFY;
use trunkline_wire::internal::order_service::SESSION;
use trunkline_wire::internal::{
    Heartbeat, IdentifyRequest, SessionRequest, SessionResponse, session_request,
};

use crate::follow_stream::silent;
use crate::handle::{Handle, Input};
use crate::layout::Plan;
use crate::outlet::Inlet;

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How often a farther voter's session asks whether the nearest answers again: soon at first, for most likely it has
/// only just started; seldom while it answers and cannot serve.
const PROBE_FIRST: Duration = Duration::from_millis(500);
const PROBE_MAX: Duration = Duration::from_secs(5);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Keeps the session of one plan for as long as the task lives.
pub(crate) async fn run(host: Host, handle: Handle, number: usize, plan: Plan) {
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
    let mut probe = Backoff::new(PROBE_FIRST, PROBE_MAX);
    let mut at = 0;
    loop {
        let Some(voter) = plan.voters.get(at) else { return };
        let nearest = plan.voters.first().filter(|_| at > 0);
        let mut up = false;
        let session = session_once(&host, &handle, number, voter, &mut up);
        let ended = tokio::select! {
            biased;
            ended = session => ended,
            () = nearest_answers(&host, nearest, &mut probe) => Ok(()),
        };
        if let Err(status) = ended {
            tracing::debug!(%voter, %status, "a session has ended");
        }
        if up {
            backoff.reset();
        }
        if up && at == 0 {
            probe.reset();
        }
        at = if up { 0 } else { (at + 1) % plan.voters.len() };
        if at == 0 {
            backoff.wait(&host.process).await;
        }
    }
}

async fn session_once(
    host: &Host,
    handle: &Handle,
    plan: usize,
    voter: &Arc<str>,
    up: &mut bool,
) -> Result<(), Status> {
    let peer = Peer::new(voter.clone(), Class::Calls);
    let opening = host.network.open(&peer, SESSION, CallOptions::default());
    let (sender, mut receiver) = timeout(CONNECT_TIMEOUT, opening).await.map_err(|_| silent())??;
    let (outlet, mut inlet) = handle.outlet();
    let stream = handle.stream();
    handle.tell(Input::SessionUp { plan, stream, outlet }).await?;
    tokio::select! {
        biased;
        ended = receive(handle, plan, stream, &mut receiver, up) => ended,
        ended = send_all(&mut inlet, &sender) => ended,
    }
}

async fn receive(
    handle: &Handle,
    plan: usize,
    stream: u64,
    receiver: &mut Receiver<SessionResponse>,
    up: &mut bool,
) -> Result<(), Status> {
    loop {
        let frame = timeout(SILENCE_MAX, receiver.next()).await.map_err(|_| silent())??;
        let Some(frame) = frame else { return Ok(()) };
        *up = true;
        if let Some(what) = frame.what {
            handle.tell(Input::SessionFrame { plan, stream, what }).await?;
        }
    }
}

async fn send_all(inlet: &mut Inlet<SessionRequest>, sender: &Sender<SessionRequest>) -> Result<(), Status> {
    loop {
        let request = match timeout(HEARTBEAT_INTERVAL, inlet.next()).await {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(_) => SessionRequest { what: Some(session_request::What::Heartbeat(Heartbeat {})) },
        };
        let sent = timeout(SILENCE_MAX, sender.send(&request)).await.map_err(|_| silent())?;
        sent.map_err(|_| Status::unavailable("the stream is closed"))?;
    }
}

/// Ends once the nearest voter answers, where the session is with another.
async fn nearest_answers(host: &Host, nearest: Option<&Arc<str>>, probe: &mut Backoff) {
    let Some(nearest) = nearest else { return futures::future::pending().await };
    let peer = Peer::new(nearest.clone(), Class::Calls);
    loop {
        probe.wait(&host.process).await;
        let until = CallOptions::until(Instant::now() + PROBE_TIMEOUT);
        if host.network.call(&peer, IDENTIFY, &IdentifyRequest {}, until).await.is_ok() {
            return;
        }
    }
}
