//! grpc.health.v1: what the node says of itself, asked each time.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _, unfold};
use tokio::time::sleep;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as Served, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::hosting::Routes;

/// How soon a watcher learns of a change.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Clone)]
pub(super) struct Health {
    routes: Routes,
    healthy: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Health {
    pub(super) fn new(routes: Routes, healthy: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        Self { routes, healthy }
    }

    pub(super) fn into_service(self) -> HealthServer<Self> {
        HealthServer::new(self)
    }

    /// `None` for a service that is not here. The empty name is the node itself.
    fn status(&self, service: &str) -> Option<ServingStatus> {
        let known = service.is_empty() || self.routes.has_service(service);
        let said = if (self.healthy)() { ServingStatus::Serving } else { ServingStatus::NotServing };
        known.then_some(said)
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Served for Health {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.status(&request.get_ref().service) {
            Some(status) => Ok(Response::new(response(status))),
            None => Err(Status::not_found(format!("{:?} is not served here", request.get_ref().service))),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (health, service) = (self.clone(), request.into_inner().service);
        let changes = unfold(None, move |told| {
            let (health, service) = (health.clone(), service.clone());
            async move {
                loop {
                    let now = health.status(&service).unwrap_or(ServingStatus::ServiceUnknown);
                    if told != Some(now) {
                        return Some((Ok(response(now)), Some(now)));
                    }
                    sleep(LOOK_INTERVAL).await;
                }
            }
        });
        Ok(Response::new(changes.boxed()))
    }
}
