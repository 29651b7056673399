//! What every node answers, whatever its role, from its first moment on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;
use trunkline_ports::{CallContext, Host, Router};
use trunkline_types::limits::DEADLINE_MARGIN;
use trunkline_wire::Status;
use trunkline_wire::internal::{
    GetMapRequest, GetMapResponse, GetStatusRequest, GetStatusResponse, IdentifyRequest, IdentifyResponse,
    node_service,
};

use crate::bootstrap::bootstrap;
use crate::follow_map::encode;
use crate::known_map::KnownMap;

/// What a node says of itself.
pub(crate) type Say = Arc<dyn Fn() -> GetStatusResponse + Send + Sync>;

pub(crate) fn router(host: &Host, known: &Arc<KnownMap>, cluster_name: &str, status: Say) -> Router {
    let (identified, map, founded) = (host.clone(), known.clone(), (host.clone(), known.clone()));
    let cluster_name: Arc<str> = cluster_name.into();
    Router::new()
        .unary(node_service::IDENTIFY, move |_, _: IdentifyRequest| {
            let answer = identify(&identified, &cluster_name);
            async move { Ok(answer) }
        })
        .unary(node_service::GET_MAP, move |context, request| get_map(map.clone(), context, request))
        .unary(node_service::GET_STATUS, move |_, _: GetStatusRequest| {
            let answer = status();
            async move { Ok(answer) }
        })
        .unary(node_service::BOOTSTRAP, move |context, request| {
            let (host, known) = founded.clone();
            async move { bootstrap(&host, &known, context, request).await }
        })
}

fn identify(host: &Host, cluster_name: &str) -> IdentifyResponse {
    IdentifyResponse {
        node: host.identity.node.0,
        role: host.identity.role.as_str().to_owned(),
        datacenter: host.identity.datacenter.0.clone(),
        cluster: host.map().cluster.0,
        cluster_name: cluster_name.to_owned(),
        name: host.identity.name.clone(),
    }
}

async fn get_map(
    known: Arc<KnownMap>,
    context: CallContext,
    request: GetMapRequest,
) -> Result<GetMapResponse, Status> {
    let mut watch = known.watch();
    let wait = Duration::from_millis(request.wait_ms.into());
    let latest = context.deadline.checked_sub(DEADLINE_MARGIN).unwrap_or(context.deadline);
    let until = latest.min(tokio::time::Instant::now() + wait);
    let newer = watch.wait_for(|map| map.version > request.version_known);
    let _ = timeout_at(until, newer).await;
    Ok(GetMapResponse { map: encode(&known.get()).into() })
}
