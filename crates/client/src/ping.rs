//! Measures how near each endpoint is, again and again, as long as the client lives.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use trunkline_ports::{CallOptions, Class};
use trunkline_wire::Code;
use trunkline_wire::v1::{GetReceiptRequest, push_service};

use crate::client::Inner;

/// An endpoint that takes longer is out of reach.
const PING_MAX: Duration = Duration::from_secs(2);
/// A traceparent that says "not recorded": a ping is part of nothing that anyone follows.
const NOT_RECORDED: &str = "00-00000000000000000000000000000001-0000000000000001-00";

/// Tells `measured` as soon as calls need not wait any more: when the nearest has answered, and the others have had
/// a little longer.
pub(crate) async fn run(client: Weak<Inner>, measured: watch::Sender<bool>) {
    loop {
        let Some(inner) = client.upgrade() else { return };
        round(&inner, &measured).await;
        measured.send_replace(true);
        let pause = inner.options.ping_every;
        let jitter = pause.mul_f64(0.1) * u32::try_from(inner.process.random() % 4).unwrap_or(0);
        drop(inner);
        sleep(pause + jitter).await;
    }
}

async fn round(inner: &Arc<Inner>, measured: &watch::Sender<bool>) {
    let begun = Instant::now();
    let mut pings: FuturesUnordered<_> =
        (0..inner.endpoints()).map(|endpoint| ping(inner, endpoint)).collect();
    // The first to answer is the nearest; others that are alike are given the time to show it.
    let mut enough = begun + PING_MAX;
    loop {
        match timeout_at(enough, pings.next()).await {
            Ok(None) => return,
            Ok(Some(answered)) => {
                if answered && !*measured.borrow() {
                    let took = begun.elapsed();
                    enough = enough.min(begun + took + took / 4 + Duration::from_millis(5));
                }
            }
            Err(_) => {
                measured.send_replace(true);
                enough = begun + PING_MAX * 2;
            }
        }
    }
}

/// The cheapest question there is: an empty receipt is refused at the door, without asking anyone.
async fn ping(inner: &Inner, endpoint: usize) -> bool {
    let begun = Instant::now();
    let peer = inner.peer(endpoint, Class::Calls);
    let deadline = Some(begun + PING_MAX);
    let options = CallOptions { deadline, trace: Some(NOT_RECORDED.to_owned()) };
    let request = GetReceiptRequest { receipt: String::new() };
    let answer = inner.network.call(&peer, push_service::GET_RECEIPT, &request, options).await;
    let lives = answer.map_or_else(|error| error.code() == Code::InvalidArgument, |_| true);
    if lives {
        inner.answered(endpoint, begun.elapsed());
    } else {
        tracing::debug!(datacenter = inner.datacenter(endpoint), "the endpoint does not answer");
        inner.failed(endpoint);
    }
    lives
}
