//! What a request meets first: reflection, health, pages, and for clients the limit on calls under way.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper::body::Incoming;
use tonic::body::Body;
use tonic_reflection::server::Builder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt as _};
use trunkline_ports::Process;
use trunkline_types::limits::OVERLOAD_RETRY;
use trunkline_wire::status;

use crate::hosting::{self, Routes};
use crate::listener::health::Health;
use crate::listener::{Door, Pages};

type Request = http::Request<Incoming>;
type Response = http::Response<Body>;
type Stack = BoxCloneSyncService<Request, Response, tower::BoxError>;
type Exact = BoxCloneSyncService<Request, Response, Infallible>;

/// Answers every request of a listener.
pub(super) struct Entrance {
    process: Process,
    pages: Option<Pages>,
    health: Exact,
    reflection: Option<(Exact, Exact)>,
    methods: Methods,
    /// Around `methods`, where there is a limit.
    limited: Option<Stack>,
}

impl Entrance {
    pub(super) fn new(
        door: Door,
        routes: Routes,
        healthy: Arc<dyn Fn() -> bool + Send + Sync>,
        process: Process,
    ) -> Self {
        let methods = Methods { routes: routes.clone(), process: process.clone() };
        let health = BoxCloneSyncService::new(Health::new(routes, healthy).into_service());
        let (pages, calls_max) = match door {
            Door::Internal => (None, None),
            Door::Clients { calls_max } => (None, Some(calls_max)),
            Door::Admin(pages) => (Some(pages), None),
        };
        let limited = calls_max.map(|calls_max| {
            let stack = ServiceBuilder::new()
                .layer(LoadShedLayer::new())
                .layer(GlobalConcurrencyLimitLayer::new(calls_max))
                .service(methods.clone());
            BoxCloneSyncService::new(stack)
        });
        let reflection = limited.is_some().then(reflection);
        Self { process, pages, health, reflection, methods, limited }
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    pub(super) fn is_for_clients(&self) -> bool {
        self.limited.is_some()
    }

    pub(super) fn speaks_http1(&self) -> bool {
        self.pages.is_some()
    }

    pub(super) async fn answer(&self, request: Request) -> Response {
        let path = request.uri().path();
        if let Some(pages) = &self.pages
            && request.method() == http::Method::GET
        {
            return page(pages, path);
        }
        if path.starts_with("/grpc.health.v1.") {
            return exactly(&self.health, request).await;
        }
        if let Some((v1, v1alpha)) = &self.reflection {
            if path.starts_with("/grpc.reflection.v1.") {
                return exactly(v1, request).await;
            }
            if path.starts_with("/grpc.reflection.v1alpha.") {
                return exactly(v1alpha, request).await;
            }
        }
        match &self.limited {
            None => self.methods.answer(request).await,
            // The one error of the stack is the refusal of a call above the limit.
            Some(stack) => stack.clone().oneshot(request).await.unwrap_or_else(|_| {
                status::overloaded("too many calls are under way here", OVERLOAD_RETRY).into_http()
            }),
        }
    }
}

async fn exactly(service: &Exact, request: Request) -> Response {
    match service.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn page(pages: &Pages, path: &str) -> Response {
    let (status, content_type, body) = match (pages.0)(path) {
        Some(page) => (page.status, page.content_type, page.body),
        None => (404, "text/plain; charset=utf-8", "not found\n".into()),
    };
    let mut response = http::Response::new(Body::new(http_body_util::Full::new(body)));
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = http::HeaderValue::from_static(content_type);
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
}

/// Both versions, for clients still ask for either.
fn reflection() -> (Exact, Exact) {
    let builder = || Builder::configure().register_encoded_file_descriptor_set(trunkline_wire::DESCRIPTORS);
    let v1 = builder().build_v1().expect("the descriptors come from our own build");
    let v1alpha = builder().build_v1alpha().expect("the descriptors come from our own build");
    (BoxCloneSyncService::new(v1), BoxCloneSyncService::new(v1alpha))
}

/// The methods of the routes as a tower service.
#[derive(Clone, Debug)]
struct Methods {
    routes: Routes,
    process: Process,
}

impl Methods {
    fn answer(&self, request: Request) -> impl Future<Output = Response> + Send + 'static {
        hosting::answer(self.routes.clone(), self.process.clone(), request)
    }
}

impl Service<Request> for Methods {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answer = self.answer(request);
        Box::pin(async move { Ok(answer.await) })
    }
}
