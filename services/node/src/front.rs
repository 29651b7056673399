//! The listener for clients of one process: the public methods of its push and pop nodes behind one address.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;
use trunkline_ports::{Handler, Process, Router};
use trunkline_runtime::OsProcess;
use trunkline_transport::{BindError, Bound, Door, Listener, Routes};
use trunkline_types::Role;
use trunkline_wire::Status;
use trunkline_wire::status::{self, reason};

/// Listens before its nodes are ready, and while one of them is stopped: their methods are then `UNAVAILABLE`.
#[derive(Debug)]
pub(crate) struct Front {
    parts: Arc<Parts>,
    listener: Listener,
    own: OsProcess,
}

#[derive(Debug)]
pub(crate) struct Parts {
    routes: Routes,
    roles: Vec<Role>,
    routers: Mutex<BTreeMap<Role, Router>>,
    ready: Mutex<BTreeMap<Role, Ready>>,
}

#[derive(Clone)]
pub(crate) struct Ready(pub(crate) Arc<dyn Fn() -> bool + Send + Sync>);

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ready")
    }
}

impl Front {
    /// Listens at `address` for the public methods of `roles`.
    pub(crate) async fn open(
        address: &str,
        roles: Vec<Role>,
        calls_max: usize,
        own: OsProcess,
    ) -> Result<Self, BindError> {
        let bound = Bound::to(address).await?;
        let routes = Routes::starting(Router::new());
        let parts = Arc::new(Parts {
            routes: routes.clone(),
            roles,
            routers: Mutex::default(),
            ready: Mutex::default(),
        });
        let asked = parts.clone();
        let healthy = Arc::new(move || asked.is_ready());
        let listener = Listener::serve(bound, Door::Clients { calls_max }, routes, healthy, &own.process());
        Ok(Self { parts, listener, own })
    }

    pub(crate) fn parts(&self) -> Arc<Parts> {
        self.parts.clone()
    }

    /// Takes no more calls and waits for those under way until `deadline`.
    pub(crate) async fn close(self, deadline: Instant) {
        self.listener.drain(deadline).await;
        self.own.kill().await;
    }
}

impl Parts {
    /// The public methods of a node that has (re)started; they run in its process and end with it.
    pub(crate) fn put(&self, role: Role, public: Router, ready: Ready, process: &Process) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(role, ready);
        let mut routers = self.routers.lock().unwrap_or_else(PoisonError::into_inner);
        routers.insert(role, public.map(|_, handler| in_process(handler, process.clone())));
        let merged = routers.values().cloned().fold(Router::new(), Router::merge);
        if self.roles.iter().all(|role| routers.contains_key(role)) {
            self.routes.replace(merged);
        } else {
            self.routes.replace_part(merged);
        }
    }

    fn is_ready(&self) -> bool {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.roles.iter().all(|role| ready.get(role).is_some_and(|ready| (ready.0)()))
    }
}

/// Runs a handler as a task of its own node, which may end before the listener does.
fn in_process(handler: Handler, process: Process) -> Handler {
    match handler {
        Handler::Unary(handler) => Handler::Unary(Arc::new(move |context, request| {
            elsewhere(handler(context, request), process.clone())
        })),
        Handler::Streaming(handler) => Handler::Streaming(Arc::new(move |context, requests, responder| {
            elsewhere(handler(context, requests, responder), process.clone())
        })),
    }
}

/// Dropping the future that is returned drops the one that was given.
fn elsewhere<T: Send + 'static>(
    work: BoxFuture<'static, Result<T, Status>>,
    process: Process,
) -> BoxFuture<'static, Result<T, Status>> {
    Box::pin(async move {
        let (done, outcome) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        let begins = begun.clone();
        let task = process.spawn("public call", async move {
            begins.store(true, Ordering::Release);
            let _ = done.send(work.await);
        });
        let _guard = task.abort_on_drop();
        outcome.await.unwrap_or_else(|_| Err(stopped(begun.load(Ordering::Acquire))))
    })
}

/// What was never begun has certainly not been done.
fn stopped(begun: bool) -> Status {
    let stopped = status::unavailable(reason::UNREACHABLE, "the node was stopped");
    if begun { stopped } else { status::not_stored(&stopped) }
}

#[cfg(test)]
mod tests {
    use trunkline_wire::v1::{GetTopicRequest, GetTopicResponse, topic_service};

    use super::*;

    fn public() -> Router {
        Router::new().unary(topic_service::GET_TOPIC, |_, _: GetTopicRequest| async {
            tokio::task::yield_now().await;
            Ok(GetTopicResponse::default())
        })
    }

    async fn call(handler: &Handler) -> Result<bytes::Bytes, Status> {
        let context = trunkline_ports::CallContext { deadline: Instant::now(), trace: None };
        match handler {
            Handler::Unary(handler) => handler(context, bytes::Bytes::new()).await,
            Handler::Streaming(_) => panic!("registered as unary"),
        }
    }

    #[tokio::test]
    async fn calls_of_a_stopped_node_are_unavailable() {
        let node = OsProcess::new(|_| ());
        let process = node.process();
        let hosted = public().map(|_, handler| in_process(handler, process.clone()));
        let handler = hosted.handler(topic_service::GET_TOPIC.path()).expect("registered");
        assert!(call(handler).await.is_ok());
        node.kill().await;
        let error = call(handler).await.expect_err("stopped");
        assert_eq!(status::reason_of(&error).as_deref(), Some(reason::UNREACHABLE));
        assert!(status::is_not_stored(&error), "it was never begun: {error:?}");
    }

    #[tokio::test]
    async fn a_call_that_was_under_way_when_its_node_was_stopped_may_have_been_done() {
        let node = OsProcess::new(|_| ());
        let process = node.process();
        let (begun, begins) = oneshot::channel();
        let begun = Mutex::new(Some(begun));
        let waiting = Router::new().unary(topic_service::GET_TOPIC, move |_, _: GetTopicRequest| {
            let begun = begun.lock().expect("not poisoned").take().expect("one call");
            async move {
                begun.send(()).expect("the test waits");
                std::future::pending().await
            }
        });
        let hosted = waiting.map(|_, handler| in_process(handler, process.clone()));
        let handler = hosted.handler(topic_service::GET_TOPIC.path()).expect("registered");
        let stopping = async {
            begins.await.expect("it begins");
            node.kill().await;
        };
        let (outcome, ()) = futures::join!(call(handler), stopping);
        let error = outcome.expect_err("stopped");
        assert_eq!(status::reason_of(&error).as_deref(), Some(reason::UNREACHABLE));
        assert!(!status::is_not_stored(&error), "{error:?}");
    }
}
