//! The client: one call after another to the endpoint that is best at the moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use trunkline_ports::{CallOptions, Class, Network, Peer, Process};
use trunkline_types::limits::{DEADLINE_MARGIN, DEADLINE_MAX};
use trunkline_wire::method::Unary;
use trunkline_wire::status::{reason, reason_of, unavailable};
use trunkline_wire::{Code, Message, Status};

use crate::endpoints::{Endpoint, Endpoints};
use crate::nearness::Nearness;
use crate::options::Options;
use crate::ping;
use crate::producer::Producer;
use crate::retry::{Budget, Kind, Verdict, verdict};

/// Pause before a call is made again where it has been made already: grows to the second, with full jitter above half.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// An endpoint that takes longer than this beyond a call's own wait is left for another, if there is one.
const PATIENCE: Duration = Duration::from_secs(3);

/// A client of one cluster. Cheap to clone; clones share what they measure and their retry budget.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
    /// Only this endpoint, and never another.
    only: Option<usize>,
    /// Of messages that are pushed one call at a time; clones share it.
    producer: Arc<Mutex<Producer>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) network: Network,
    pub(crate) process: Process,
    pub(crate) options: Options,
    endpoints: Vec<Endpoint>,
    state: Mutex<State>,
    measured: watch::Receiver<bool>,
}

#[derive(Debug)]
struct State {
    nearness: Nearness,
    budget: Budget,
}

/// The name of a datacenter that the client has no endpoint of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no endpoint of datacenter {name:?}; there are {known}")]
pub struct UnknownDatacenter {
    name: String,
    known: String,
}

/// One call's needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) class: Class,
    pub(crate) kind: Kind,
    pub(crate) deadline: Instant,
    /// How long the server is asked to wait.
    pub(crate) wait: Duration,
}

impl Client {
    /// Begins to measure the endpoints at once.
    pub fn new(network: Network, process: Process, endpoints: &Endpoints, options: Options) -> Self {
        let endpoints: Vec<Endpoint> = endpoints.iter().cloned().collect();
        let (told, measured) = watch::channel(endpoints.len() == 1);
        let state = State { nearness: Nearness::new(endpoints.len()), budget: Budget::new(Instant::now()) };
        let state = Mutex::new(state);
        let inner =
            Arc::new(Inner { network, process: process.clone(), options, endpoints, state, measured });
        process.spawn("nearness", ping::run(Arc::downgrade(&inner), told));
        Self { inner, only: None, producer: Arc::default() }
    }

    /// The same client, bound to one datacenter: it fails rather than go elsewhere.
    ///
    /// # Errors
    /// [`UnknownDatacenter`] where the client has no endpoint of that name.
    pub fn only(&self, datacenter: &str) -> Result<Self, UnknownDatacenter> {
        let place = self.inner.endpoints.iter().position(|endpoint| endpoint.datacenter == datacenter);
        let Some(place) = place else {
            let known: Vec<_> = self.datacenters();
            return Err(UnknownDatacenter { name: datacenter.to_owned(), known: known.join(", ") });
        };
        Ok(Self { inner: self.inner.clone(), only: Some(place), producer: Arc::default() })
    }

    /// All datacenters that it knows, as configured.
    pub fn datacenters(&self) -> Vec<String> {
        self.inner.endpoints.iter().map(|endpoint| endpoint.datacenter.clone()).collect()
    }

    pub(crate) fn deadline(&self, wait: Duration) -> Instant {
        Instant::now() + (self.inner.options.deadline + wait).min(DEADLINE_MAX)
    }

    /// The endpoint to use now, of those that `tried` has not counted yet where there are any.
    pub(crate) async fn endpoint(&self, tried: &[u32], deadline: Instant) -> usize {
        if let Some(only) = self.only {
            return only;
        }
        let mut measured = self.inner.measured.clone();
        tokio::select! {
            biased;
            _ = measured.wait_for(|&measured| measured) => {}
            () = sleep_until(deadline) => {}
        }
        let order = self.inner.state().nearness.order(Instant::now());
        let best = order.into_iter().min_by_key(|&endpoint| tried[endpoint]);
        best.expect("there is an endpoint")
    }

    pub(crate) fn producer(&self) -> MutexGuard<'_, Producer> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tried(&self) -> Vec<u32> {
        vec![0; self.inner.endpoints.len()]
    }

    fn alternatives(&self) -> bool {
        self.only.is_none() && self.inner.endpoints.len() > 1
    }

    /// Makes a call, wherever it can be answered, until its deadline.
    pub(crate) async fn call<Q: Message, A: Message + Default>(
        &self,
        method: Unary<Q, A>,
        request: &Q,
        needs: Needs,
    ) -> Result<A, Status> {
        self.inner.deposit();
        let mut tried = self.tried();
        let mut said = None;
        loop {
            let endpoint = self.endpoint(&tried, needs.deadline).await;
            let error = match self.attempt(endpoint, method, request, needs).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            tried[endpoint] += 1;
            let verdict = verdict(needs.kind, &error);
            if verdict == Verdict::Final && lost(&error) {
                // The outcome is unknown and the caller's to handle; the next call goes elsewhere.
                self.inner.failed(endpoint);
            }
            if !self.again(verdict, endpoint, &tried, needs.deadline).await {
                return Err(telling(said, error, needs.kind));
            }
            if reason_of(&error).is_some() {
                said = Some(error);
            }
        }
    }

    pub(crate) async fn attempt<Q: Message, A: Message + Default>(
        &self,
        endpoint: usize,
        method: Unary<Q, A>,
        request: &Q,
        needs: Needs,
    ) -> Result<A, Status> {
        let patient = Instant::now() + needs.wait + PATIENCE;
        // A push that is left half-way is one of unknown outcome: it has all the time there is.
        let impatient = needs.kind == Kind::Idempotent && self.alternatives();
        let until = if impatient { patient.min(needs.deadline) } else { needs.deadline };
        let peer = self.inner.peer(endpoint, needs.class);
        let answer = self.inner.network.call(&peer, method, request, CallOptions::until(until)).await;
        if answer.is_ok() {
            self.inner.state().nearness.served(endpoint);
        }
        answer
    }

    /// Waits until the next attempt, or says that there is none.
    pub(crate) async fn again(
        &self,
        verdict: Verdict,
        endpoint: usize,
        tried: &[u32],
        deadline: Instant,
    ) -> bool {
        let now = Instant::now();
        let repeated = if self.alternatives() { tried.iter().min() } else { tried.get(endpoint) };
        let pause = match verdict {
            Verdict::Final => return false,
            Verdict::Elsewhere { suspect } => {
                if suspect {
                    self.inner.state().nearness.failed(endpoint, now);
                }
                repeated.map_or(Duration::ZERO, |&times| self.inner.pause(times))
            }
            Verdict::After(delay) => delay + self.inner.pause(1) / 2,
        };
        // What a server cannot answer in time any more is not asked.
        if now + pause + DEADLINE_MARGIN >= deadline || !self.inner.state().budget.withdraw(now) {
            return false;
        }
        if !pause.is_zero() {
            sleep_until(now + pause).await;
        }
        true
    }
}

impl Inner {
    pub(crate) fn peer(&self, endpoint: usize, class: Class) -> Peer {
        Peer::new(self.endpoints[endpoint].address.as_str(), class)
    }

    pub(crate) fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    pub(crate) fn datacenter(&self, endpoint: usize) -> &str {
        &self.endpoints[endpoint].datacenter
    }

    pub(crate) fn answered(&self, endpoint: usize, took: Duration) {
        self.state().nearness.answered(endpoint, took);
    }

    pub(crate) fn failed(&self, endpoint: usize) {
        self.state().nearness.failed(endpoint, Instant::now());
    }

    /// A call begins.
    pub(crate) fn deposit(&self) {
        self.state().budget.deposit();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None before the first repetition.
    pub(crate) fn pause(&self, times: u32) -> Duration {
        if times == 0 {
            return Duration::ZERO;
        }
        let step = PAUSE_FIRST.saturating_mul(1 << (times - 1).min(10)).min(PAUSE_MAX);
        let half = step / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_micros(self.process.random() % micros)
    }
}

/// Whether the error is of the way to the server, or of a server that goes.
pub(crate) fn lost(error: &Status) -> bool {
    error.code() == Code::Unavailable
        && matches!(reason_of(error).as_deref(), None | Some(reason::UNREACHABLE | reason::DRAINING))
}

/// A last attempt that ran out of time says nothing: what a server said before does. Only of calls that may be made
/// twice; and that nothing was done is certain no more.
fn telling(said: Option<Status>, last: Status, kind: Kind) -> Status {
    match said {
        Some(said) if kind == Kind::Idempotent && last.code() == Code::DeadlineExceeded => {
            unavailable(&reason_of(&said).unwrap_or_default(), said.message())
        }
        _ => last,
    }
}

/// For calls that answer the same the second time.
pub(crate) const IDEMPOTENT: Kind = Kind::Idempotent;
