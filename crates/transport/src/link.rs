//! The way to one peer for one class of traffic: a connection that is up, or one attempt at a time to have one.
//!
//! While an attempt runs, calls wait for it; after it has failed, calls fail at once until the next may begin: a
//! circuit breaker. The first attempt after a loss begins at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tonic::Status;
use trunkline_types::limits::{OVERLOAD_RETRY, REDIAL_FIRST, REDIAL_MAX, STREAMS_PER_CONNECTION_MAX};
use trunkline_wire::status;

use crate::connection::{Connection, unreachable};
use crate::dial::Dialer;

type Outcome = Option<Result<Connection, Status>>;

#[derive(Debug)]
enum State {
    Down { failures: u32, until: Instant, why: Option<Status> },
    Dialing(watch::Receiver<Outcome>),
    Up(Connection),
}

/// What a caller finds.
enum Found {
    Up(Connection),
    Dialing(watch::Receiver<Outcome>),
    Down(Status),
}

#[derive(Debug)]
pub(crate) struct Link {
    address: Arc<str>,
    origin: Uri,
    dialer: Dialer,
    state: Mutex<State>,
    slots: Arc<Semaphore>,
}

impl Link {
    pub(crate) fn new(address: Arc<str>, dialer: Dialer) -> Self {
        let state = State::Down { failures: 0, until: Instant::now(), why: None };
        let slots = Arc::new(Semaphore::new(STREAMS_PER_CONNECTION_MAX as usize));
        let authority = address.parse().unwrap_or_else(|_| Authority::from_static("invalid"));
        let origin = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query("/").build();
        let origin = origin.expect("all three parts of a URI are there");
        Self { address, origin, dialer, state: Mutex::new(state), slots }
    }

    /// `http://HOST:PORT/`, as HTTP/2 names whom it speaks to.
    pub(crate) fn origin(&self) -> Uri {
        self.origin.clone()
    }

    /// One of the streams that may be open at a time.
    pub(crate) fn slot(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.slots.clone().try_acquire_owned().map_err(|_| {
            status::overloaded(format!("too many calls to {} are under way", self.address), OVERLOAD_RETRY)
        })
    }

    /// A connection that is up as far as anyone knows.
    pub(crate) async fn connection(self: &Arc<Self>) -> Result<Connection, Status> {
        let mut dialing = match self.find() {
            Found::Up(connection) => return Ok(connection),
            Found::Down(why) => return Err(why),
            Found::Dialing(dialing) => dialing,
        };
        let outcome = dialing.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| Err(unreachable(&self.address, "the process ends")))
    }

    /// There was no connection before somebody's deadline.
    pub(crate) fn too_late(&self) -> Status {
        unreachable(&self.address, "no connection before the deadline")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(self: &Arc<Self>) -> Found {
        let mut state = self.state();
        let failures = match &*state {
            State::Up(connection) if !connection.is_closed() => return Found::Up(connection.clone()),
            // Nobody dials any more where the process that did has ended.
            State::Dialing(dialing) if dialing.has_changed().is_ok() => {
                return Found::Dialing(dialing.clone());
            }
            State::Down { until, why: Some(why), .. } if Instant::now() < *until => {
                return Found::Down(why.clone());
            }
            State::Down { failures, .. } => *failures,
            State::Up(_) | State::Dialing(_) => 0,
        };
        let dialing = self.dial(failures);
        *state = State::Dialing(dialing.clone());
        Found::Dialing(dialing)
    }

    fn dial(self: &Arc<Self>, failures: u32) -> watch::Receiver<Outcome> {
        let (told, dialing) = watch::channel(None);
        let link = self.clone();
        self.dialer.process.spawn("dial", async move {
            let outcome = link.dialer.connect(&link.address).await;
            *link.state() = match &outcome {
                Ok(connection) => State::Up(connection.clone()),
                Err(why) => State::Down {
                    failures: failures.saturating_add(1),
                    until: Instant::now() + link.pause(failures),
                    why: Some(why.clone()),
                },
            };
            told.send_replace(Some(outcome));
        });
        dialing
    }

    /// Exponential, with full jitter above the half.
    fn pause(&self, failures: u32) -> Duration {
        let half = REDIAL_FIRST.saturating_mul(1 << failures.min(10)).min(REDIAL_MAX) / 2;
        let jitter =
            self.dialer.process.random() % u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_micros(jitter)
    }
}
