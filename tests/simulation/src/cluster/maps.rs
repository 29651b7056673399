//! How nodes hear of newer cluster maps: as in production, from what group 0 commits, and by asking the message-id nodes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use trunkline_ports::{CallOptions, Class, Host, Peer, Router};
use trunkline_types::ClusterMap;
use trunkline_wire::internal::{GetMapRequest, GetMapResponse, node_service};

const WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// The newest map that a node has on its disk. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct KnownMap {
    on_disk: Arc<Mutex<ClusterMap>>,
}

/// What a node that runs learns maps by.
#[derive(Clone, Debug)]
pub(super) struct Learner {
    known: KnownMap,
    running: watch::Sender<Arc<ClusterMap>>,
}

impl KnownMap {
    pub(super) fn new(map: ClusterMap) -> Self {
        Self { on_disk: Arc::new(Mutex::new(map)) }
    }

    pub(super) fn get(&self) -> ClusterMap {
        self.on_disk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn learner(&self, running: watch::Sender<Arc<ClusterMap>>) -> Learner {
        Learner { known: self.clone(), running }
    }
}

impl Learner {
    fn learn(&self, map: &ClusterMap) {
        let mut on_disk = self.known.on_disk.lock().unwrap_or_else(PoisonError::into_inner);
        if on_disk.version < map.version {
            *on_disk = map.clone();
            self.running.send_replace(Arc::new(map.clone()));
        }
    }

    /// Takes what group 0 commits, on a node that votes in it.
    pub(super) async fn take(self, mut committed: watch::Receiver<Option<Arc<ClusterMap>>>) {
        loop {
            if let Some(map) = committed.borrow_and_update().clone() {
                self.learn(&map);
            }
            if committed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Asks one message-id node after the other, each for as long as it answers.
    pub(super) async fn follow(self, host: Host, addresses: Vec<String>) {
        let mut turn = usize::try_from(host.identity.node.0 % 1_024).unwrap_or(0);
        loop {
            let address = addresses[turn % addresses.len()].as_str();
            let version_known = host.map().version;
            let request =
                GetMapRequest { version_known, wait_ms: u32::try_from(WAIT.as_millis()).unwrap_or(0) };
            let options = CallOptions::until(Instant::now() + 2 * WAIT);
            let peer = Peer::new(address, Class::Calls);
            match host.network.call(&peer, node_service::GET_MAP, &request, options).await {
                Ok(answer) => serde_json::from_slice(&answer.map).iter().for_each(|map| self.learn(map)),
                Err(_) => turn += 1,
            }
            sleep(PAUSE).await;
        }
    }
}

/// Answers the same question.
pub(super) fn router(host: &Host) -> Router {
    let host = host.clone();
    Router::new().unary(node_service::GET_MAP, move |_, request: GetMapRequest| {
        let mut known = host.map.clone();
        async move {
            let wait = Duration::from_millis(request.wait_ms.into());
            let _ = timeout(wait, known.wait_for(|map| map.version > request.version_known)).await;
            let map = known.borrow().clone();
            let map = serde_json::to_vec(map.as_ref()).expect("a map is plain data");
            Ok(GetMapResponse { map: map.into() })
        }
    })
}
