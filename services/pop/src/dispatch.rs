//! Brings a call to the dispatcher of its subscription: this server if it is, another if that one is alive, else
//! this server after acquiring the subscription.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use trunkline_runtime::Backoff;
use trunkline_types::TopicName;
use trunkline_wire::internal::pop_peer_service::SUBSCRIPTION_CHANGED;
use trunkline_wire::internal::{
    DispatchTarget, Dispatcher, NotDispatcher, StoredSubscription, SubscriptionChangedRequest,
};
use trunkline_wire::{Code, Status};

use crate::change::Change;
use crate::errand::{Errand, describe_there};
use crate::error;
use crate::handle::{Handle, Situation};
use crate::peers::{Link, Peers, Pulse};
use crate::positions::{Acquire, Key};
use crate::reply::Reply;
use crate::routes::{Route, Routes};
use crate::table::{Found, NoClaim};
use crate::tools::Tools;
use crate::trace;
use crate::worker::Worker;

const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// What a dispatcher needs to answer in time, beside the way.
const PEER_MARGIN: Duration = Duration::from_millis(20);
/// Draining waits so long for the last commits.
const RELEASE_MAX: Duration = Duration::from_secs(5);

pub(crate) struct Dispatch {
    tools: Tools,
    peers: Peers,
    routes: Routes,
}

/// One attempt's outcome.
enum Turn<A> {
    Answered(Result<A, Status>),
    /// Look again, with what was learned.
    Again(Option<Route>),
}

/// What became of forwarding a call.
enum Forwarded<A> {
    Answered(Result<A, Status>),
    /// It does not dispatch; this is who does, if it knows.
    Elsewhere(Option<Route>),
    Dead,
    /// Nothing is known; the same may be tried again.
    Failed,
}

impl Dispatch {
    pub(crate) fn new(tools: Tools) -> Arc<Self> {
        let peers = Peers::new(tools.host.clone());
        Arc::new(Self { tools, peers, routes: Routes::default() })
    }

    /// Runs until it is answered or out of time.
    pub(crate) async fn run<E: Errand>(
        &self,
        key: &Key,
        topic: &TopicName,
        errand: &E,
    ) -> Result<E::Answer, Status> {
        let until = errand.deadline();
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        let mut known = None;
        loop {
            match self.tools.table.find(key) {
                Found::Dispatched(handle) => match errand.here(&handle).await {
                    Reply::Answered(answer) => return Ok(answer),
                    Reply::Refused(refused) => return Err(refused),
                    Reply::Elsewhere(newer) => {
                        self.routes.forget(key);
                        known = newer;
                    }
                },
                Found::Claimed(mut over) => {
                    // An error is the end of the claim.
                    let _ = timeout_at(until, over.changed()).await;
                }
                Found::Nothing => match self.turn(key, topic, known.take(), errand, &mut backoff).await? {
                    Turn::Answered(answer) => return answer,
                    Turn::Again(learned) => known = learned,
                },
            }
            if Instant::now() >= until {
                return Err(error::out_of_time(
                    "the subscription's dispatcher could not be reached or replaced",
                ));
            }
        }
    }

    /// Of a call that another server has forwarded: only what is dispatched here. `Err` says who it is, if known.
    pub(crate) async fn dispatched_here(
        &self,
        target: &DispatchTarget,
        key: &Key,
        until: Instant,
    ) -> Result<Handle, NotDispatcher> {
        while target.node == self.tools.host.identity.node.0 && Instant::now() < until {
            match self.tools.table.find(key) {
                Found::Dispatched(handle) => return Ok(handle),
                Found::Claimed(mut over) => {
                    // An error is the end of the claim.
                    let _ = timeout_at(until, over.changed()).await;
                }
                Found::Nothing => break,
            }
        }
        let newer = self.routes.get(key).filter(|route| route.token > target.fencing_token);
        Err(newer.map(|route| route.to_message()).unwrap_or_default())
    }

    /// What the subscription's dispatcher knows beyond what is committed, if it says.
    pub(crate) async fn describe(
        &self,
        key: &Key,
        stored: &StoredSubscription,
        until: Instant,
    ) -> Option<Situation> {
        if let Found::Dispatched(handle) = self.tools.table.find(key) {
            return handle.describe().await;
        }
        let to = stored.dispatcher.as_ref().filter(|dispatcher| !self.is_me(dispatcher))?;
        let target = target(key, to, stored.fencing_token);
        describe_there(&self.tools.host, &Link::peer(to), target, trace::until(until)).await
    }

    /// Tells the subscription's dispatcher what has become of it. One that does not hear it finds out at its next commit.
    pub(crate) async fn changed(&self, key: &Key, to: Option<&Dispatcher>, change: Change, until: Instant) {
        self.routes.forget(key);
        let Some(to) = to else { return };
        let target = target(key, to, 0);
        if self.is_me(to) {
            if let Ok(handle) = self.dispatched_here(&target, key, until).await {
                // An error is a worker that is too busy: it finds out, too.
                let _ = timeout_at(until, handle.changed(change)).await;
            }
            return;
        }
        let envelope = Some(self.tools.host.envelope());
        let request = SubscriptionChangedRequest { envelope, target: Some(target), ..change.to_message() };
        let network = &self.tools.host.network;
        let told = network.call(&Link::peer(to), SUBSCRIPTION_CHANGED, &request, trace::until(until)).await;
        if let Err(error) = told {
            tracing::debug!(topic = %key.topic, consumer = %key.consumer, %error, "its dispatcher was not told");
        }
    }

    /// Gives up every subscription, committing what there is, and resolves when that is done.
    pub(crate) async fn release_all(&self) {
        let mut count = self.tools.table.count();
        for handle in self.tools.table.handles() {
            handle.release().await;
        }
        // Who is not done by then is taken over as from a crash.
        let _ = timeout_at(Instant::now() + RELEASE_MAX, count.wait_for(|count| *count == 0)).await;
    }

    async fn turn<E: Errand>(
        &self,
        key: &Key,
        topic: &TopicName,
        known: Option<Route>,
        errand: &E,
        backoff: &mut Backoff,
    ) -> Result<Turn<E::Answer>, Status> {
        if self.tools.shutdown.is_draining() {
            return Err(error::draining());
        }
        let until = errand.deadline();
        let route = match known.or_else(|| self.routes.get(key)) {
            Some(route) => route,
            None => self.find(key, topic, until).await?,
        };
        if let Some(to) = route.dispatcher.as_ref().filter(|dispatcher| !self.is_me(dispatcher)) {
            match self.forward(key, to, route.token, errand).await {
                Forwarded::Answered(answer) => {
                    self.tools.metrics.forwarded("answered");
                    self.routes.put(key, &route);
                    return Ok(Turn::Answered(answer));
                }
                Forwarded::Elsewhere(Some(newer)) if newer.token > route.token => {
                    self.tools.metrics.forwarded("elsewhere");
                    return Ok(Turn::Again(Some(newer)));
                }
                Forwarded::Elsewhere(_) => self.tools.metrics.forwarded("released"),
                Forwarded::Dead => self.tools.metrics.forwarded("dead"),
                Forwarded::Failed => {
                    self.tools.metrics.forwarded("failed");
                    // Out of time is found by the caller.
                    let _ = timeout_at(until, backoff.wait(&self.tools.host.process)).await;
                    return Ok(Turn::Again(Some(route)));
                }
            }
        }
        self.routes.forget(key);
        self.acquire(key, topic, route.token, until).await.map(Turn::Again)
    }

    async fn find(&self, key: &Key, topic: &TopicName, until: Instant) -> Result<Route, Status> {
        match self.tools.positions.find(key, until).await? {
            Some(subscription) => Ok(Route::from(subscription)),
            None => Err(error::not_subscribed(topic, &key.consumer)),
        }
    }

    /// Makes this server the dispatcher if nobody was since the token seen; else says who is.
    async fn acquire(
        &self,
        key: &Key,
        topic: &TopicName,
        token_seen: u64,
        until: Instant,
    ) -> Result<Option<Route>, Status> {
        let claim = match self.tools.table.claim(key) {
            Ok(claim) => claim,
            Err(NoClaim::Taken) => return Ok(None),
            Err(NoClaim::Full) => {
                return Err(error::overloaded("this pop server dispatches as many subscriptions as it may"));
            }
        };
        match self.tools.positions.acquire(key, token_seen, until).await {
            Ok(Acquire::Acquired(subscription)) => {
                self.tools.metrics.acquired("acquired");
                tracing::debug!(%topic, consumer = %key.consumer, token_seen, "dispatches");
                let (handle, commands) = Handle::new();
                let worker =
                    Worker::new(self.tools.clone(), key.clone(), topic.clone(), &subscription, commands);
                let place = claim.dispatch(handle);
                self.tools.host.process.spawn("pop-dispatcher", worker.run(place));
                Ok(None)
            }
            Ok(Acquire::Overtaken(subscription)) => {
                self.tools.metrics.acquired("overtaken");
                Ok(Some(Route::from(subscription)))
            }
            Err(error) if error.code() == Code::NotFound => Err(error::not_subscribed(topic, &key.consumer)),
            Err(error) => {
                self.tools.metrics.acquired("failed");
                Err(error)
            }
        }
    }

    async fn forward<E: Errand>(
        &self,
        key: &Key,
        to: &Dispatcher,
        token: u64,
        errand: &E,
    ) -> Forwarded<E::Answer> {
        let link = self.peers.link(to);
        if link.pulse() == Pulse::Dead {
            return Forwarded::Dead;
        }
        let (map, here) = (self.tools.host.map(), &self.tools.host.identity.datacenter);
        let way = map.round_trip(here, &to.datacenter.as_str().into());
        let left =
            errand.deadline().saturating_duration_since(Instant::now()).saturating_sub(way + PEER_MARGIN);
        let patience_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
        let (peer, target) = (Link::peer(to), target(key, to, token));
        let answer = tokio::select! {
            biased;
            answer = errand.there(&self.tools.host, &peer, target, patience_ms) => answer,
            () = link.dead() => return Forwarded::Dead,
        };
        match answer {
            Ok(Reply::Answered(answer)) => Forwarded::Answered(Ok(answer)),
            Ok(Reply::Refused(refused)) => Forwarded::Answered(Err(refused)),
            Ok(Reply::Elsewhere(newer)) => Forwarded::Elsewhere(newer),
            Err(error) if !error::is_of_the_way(&error) => Forwarded::Answered(Err(error)),
            Err(error) if errand.may_repeat() || !error::is_silence(&error) => Forwarded::Failed,
            // It may have been done: only a new dispatcher, which knows nothing of it, may do it again.
            Err(_) => match timeout_at(errand.deadline(), link.verdict()).await {
                Ok(Pulse::Dead) => Forwarded::Dead,
                Ok(_) | Err(_) => Forwarded::Answered(Err(error::no_reply())),
            },
        }
    }

    fn is_me(&self, dispatcher: &Dispatcher) -> bool {
        dispatcher.node == self.tools.host.identity.node.0
    }
}

fn target(key: &Key, to: &Dispatcher, fencing_token: u64) -> DispatchTarget {
    let consumer = key.consumer.as_str().to_owned();
    DispatchTarget { node: to.node, topic_id: key.topic.0, consumer, fencing_token }
}
