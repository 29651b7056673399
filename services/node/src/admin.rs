//! The admin listener: AdminService, `/metrics` and `/health` on one port.

mod fan_out;
mod operator;
mod pages;

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use trunkline_ports::{Network, Router};
use trunkline_runtime::OsProcess;
use trunkline_transport::{BindError, Bound, Door, Listener, Routes, Wan};
use trunkline_types::{ClusterMap, DatacenterName};
use trunkline_wire::Status;
use trunkline_wire::internal::{
    AdminConfirmOrderTimeRequest, CutRequest, CutResponse, DeclareDatacenterRequest, HealRequest,
    HealResponse, StartNodeRequest, StartNodeResponse, StatusRequest, StopNodeRequest, StopNodeResponse,
    admin_service,
};
use trunkline_wire::status::failed_precondition;

use crate::metrics::Metrics;
use crate::refusal::Refusal;

pub(crate) use fan_out::Known;

/// What only `dev` can do to its nodes.
pub(crate) trait Controls: Send + Sync + 'static {
    /// Ends a node as `kill -9` would.
    fn stop(&self, node: String) -> BoxFuture<'static, Result<(), Refusal>>;
    /// Starts it on what is on its disk.
    fn start(&self, node: String) -> BoxFuture<'static, Result<(), Refusal>>;
}

/// What the admin listener of a process speaks for.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) network: Network,
    pub(crate) map: watch::Receiver<Arc<ClusterMap>>,
    /// The nodes of this process, as far as they do not stand in the map.
    pub(crate) nodes: Arc<[Known]>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) healthy: Arc<dyn Fn() -> bool + Send + Sync>,
    /// In `dev` only.
    pub(crate) wan: Option<Arc<Wan>>,
    pub(crate) controls: Option<Arc<dyn Controls>>,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subject")
    }
}

/// A listening admin door.
#[derive(Debug)]
pub(crate) struct Admin {
    listener: Listener,
    own: OsProcess,
}

impl Admin {
    pub(crate) async fn open(address: &str, subject: Subject, own: OsProcess) -> Result<Self, BindError> {
        let bound = Bound::to(address).await?;
        let routes = Routes::default();
        let healthy = subject.healthy.clone();
        let door = Door::Admin(pages::pages(&subject));
        routes.replace(router(subject));
        let listener = Listener::serve(bound, door, routes, healthy, &own.process());
        Ok(Self { listener, own })
    }

    pub(crate) async fn close(self, deadline: Instant) {
        self.listener.drain(deadline).await;
        self.own.kill().await;
    }
}

fn router(subject: Subject) -> Router {
    let (status, cut, heal, stop, start) =
        (subject.clone(), subject.clone(), subject.clone(), subject.clone(), subject.clone());
    let (confirm, declare) = (subject.clone(), subject);
    Router::new()
        .unary(admin_service::STATUS, move |context, _: StatusRequest| {
            let subject = status.clone();
            async move { Ok(fan_out::status(&subject, context.deadline).await) }
        })
        .unary(admin_service::CUT, move |_, request: CutRequest| {
            let done = link(&cut, request.datacenter, Wan::cut);
            async move { done.map(|()| CutResponse {}) }
        })
        .unary(admin_service::HEAL, move |_, request: HealRequest| {
            let done = link(&heal, request.datacenter, Wan::heal);
            async move { done.map(|()| HealResponse {}) }
        })
        .unary(admin_service::STOP_NODE, move |_, request: StopNodeRequest| {
            let controls = controls(&stop);
            async move { controls?.stop(request.node).await.map(|()| StopNodeResponse {}).map_err(refused) }
        })
        .unary(admin_service::START_NODE, move |_, request: StartNodeRequest| {
            let controls = controls(&start);
            async move { controls?.start(request.node).await.map(|()| StartNodeResponse {}).map_err(refused) }
        })
        .unary(admin_service::CONFIRM_ORDER_TIME, move |_, _: AdminConfirmOrderTimeRequest| {
            let subject = confirm.clone();
            async move { Ok(operator::confirm_order_time(&subject).await) }
        })
        .unary(admin_service::DECLARE_DATACENTER, move |_, request: DeclareDatacenterRequest| {
            let subject = declare.clone();
            async move { operator::declare_datacenter(&subject, request).await }
        })
}

fn link(
    subject: &Subject,
    datacenter: String,
    change: fn(&Wan, &DatacenterName) -> bool,
) -> Result<(), Status> {
    let wan = subject.wan.as_ref().ok_or_else(not_dev)?;
    if change(wan, &DatacenterName(datacenter.clone())) {
        return Ok(());
    }
    let known: Vec<String> =
        subject.map.borrow().datacenters.iter().map(|known| known.name.0.clone()).collect();
    Err(refused(format!("{datacenter:?} is not a datacenter; there are {}", known.join(", "))))
}

fn controls(subject: &Subject) -> Result<Arc<dyn Controls>, Status> {
    subject.controls.clone().ok_or_else(not_dev)
}

fn not_dev() -> Status {
    refused("only `trunkline dev` can do that: here, stop the process or cut its network")
}

fn refused(why: impl std::fmt::Display) -> Status {
    failed_precondition("REFUSED", why.to_string())
}
