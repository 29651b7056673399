//! The nodes of all datacenters in one process, each of which can be stopped and started by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{BoxFuture, join_all};
use tokio::sync::Mutex;
use tokio::time::Instant;
use trunkline_runtime::OsProcess;
use trunkline_types::{DatacenterName, Role};

use super::layout::Layout;
use crate::admin::Controls;
use crate::front::{Front, Parts};
use crate::node::{Node, Plan, Surroundings, stop_all};
use crate::refusal::Refusal;

pub(super) struct Embedded {
    surroundings: Surroundings,
    fronts: BTreeMap<DatacenterName, Arc<Parts>>,
    plans: BTreeMap<String, Plan>,
    /// A node that is not here is stopped.
    nodes: Mutex<BTreeMap<String, Node>>,
}

impl Embedded {
    /// Opens the clients' listeners and starts all nodes at once.
    pub(super) async fn start(
        layout: &Layout,
        surroundings: Surroundings,
    ) -> Result<(Arc<Self>, Vec<Front>), Refusal> {
        let (mut fronts, mut parts) = (Vec::new(), BTreeMap::new());
        for datacenter in layout.datacenters() {
            let (roles, calls_max) = (vec![Role::Push, Role::Pop], surroundings.options.clients.calls_max);
            let front =
                Front::open(&layout.clients(&datacenter), roles, calls_max, OsProcess::new(|_| ())).await?;
            parts.insert(datacenter, front.parts());
            fronts.push(front);
        }
        let plans: Vec<Plan> = layout.plans();
        let starts = plans.iter().map(|plan| {
            let front = front_of(&parts, plan);
            Node::start(plan.clone(), &surroundings, front)
        });
        let started: Result<Vec<Node>, Refusal> = join_all(starts).await.into_iter().collect();
        let started = started?;
        for node in &started {
            layout.check(&node.map())?;
        }
        let nodes = started.into_iter().map(|node| (node.identity().name.clone(), node)).collect();
        let plans = plans.into_iter().map(|plan| (plan.name.clone(), plan)).collect();
        let embedded = Self { surroundings, fronts: parts, plans, nodes: Mutex::new(nodes) };
        Ok((Arc::new(embedded), fronts))
    }

    /// Resolves once every node runs its service.
    pub(super) async fn started(&self) -> Result<(), Refusal> {
        let nodes = self.nodes.lock().await;
        join_all(nodes.values().map(Node::started)).await.into_iter().collect()
    }

    /// Whether every node that is not stopped and has work can do it.
    pub(super) async fn is_ready(&self) -> bool {
        self.nodes.lock().await.values().all(|node| node.is_ready() || node.is_waiting())
    }

    /// Nodes whose directories are new: another has had their place before.
    pub(super) async fn waiting(&self) -> Vec<String> {
        let nodes = self.nodes.lock().await;
        nodes.values().filter(|node| node.is_waiting()).map(|node| node.identity().name.clone()).collect()
    }

    /// The same for those who cannot wait; while a node is being stopped or started it is not.
    pub(super) fn readiness(self: &Arc<Self>) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let embedded = Arc::downgrade(self);
        Arc::new(move || {
            let Some(embedded) = embedded.upgrade() else { return false };
            embedded.nodes.try_lock().is_ok_and(|nodes| nodes.values().all(Node::is_ready))
        })
    }

    pub(super) async fn unready(&self) -> Vec<String> {
        let nodes = self.nodes.lock().await;
        nodes.values().filter(|node| !node.is_ready()).map(|node| node.identity().name.clone()).collect()
    }

    pub(super) async fn stop(&self, fronts: Vec<Front>, deadline: Instant) {
        let nodes = std::mem::take(&mut *self.nodes.lock().await);
        stop_all(fronts, nodes.into_values().collect(), deadline).await;
    }

    fn plan(&self, name: &str) -> Result<Plan, Refusal> {
        self.plans.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.plans.keys().map(String::as_str).collect();
            Refusal::new(format!("{name:?} is not a node; there are {}", known.join(", ")))
        })
    }

    async fn stop_node(&self, name: &str) -> Result<(), Refusal> {
        self.plan(name)?;
        let mut nodes = self.nodes.lock().await;
        let node = nodes.remove(name).ok_or_else(|| Refusal::new(format!("{name} is stopped already")))?;
        node.kill().await;
        Ok(())
    }

    async fn start_node(&self, name: &str) -> Result<(), Refusal> {
        let plan = self.plan(name)?;
        let mut nodes = self.nodes.lock().await;
        if nodes.contains_key(name) {
            return Err(Refusal::new(format!("{name} is running")));
        }
        let front = front_of(&self.fronts, &plan);
        let newest_map = nodes.values().map(Node::map).max_by_key(|map| map.version);
        let surroundings = Surroundings { newest_map, ..self.surroundings.clone() };
        let node = Node::start(plan, &surroundings, front).await?;
        nodes.insert(name.to_owned(), node);
        Ok(())
    }
}

fn front_of(fronts: &BTreeMap<DatacenterName, Arc<Parts>>, plan: &Plan) -> Option<Arc<Parts>> {
    fronts.get(&plan.datacenter).filter(|_| !plan.role.is_stateful()).cloned()
}

/// What the admin listener holds of the nodes.
pub(super) struct Handle(pub(super) Arc<Embedded>);

impl Controls for Handle {
    fn stop(&self, node: String) -> BoxFuture<'static, Result<(), Refusal>> {
        let embedded = self.0.clone();
        Box::pin(async move { embedded.stop_node(&node).await })
    }

    fn start(&self, node: String) -> BoxFuture<'static, Result<(), Refusal>> {
        let embedded = self.0.clone();
        Box::pin(async move { embedded.start_node(&node).await })
    }
}
