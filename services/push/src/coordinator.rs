//! Which store takes a bucket's records: the first-ranked of this datacenter that can be reached.
//!
//! A choice stays until its store is lost or refuses, even when a better-ranked one returns, so that messages that
//! are sent one after the other do not overtake each other for the sake of balance.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::select_all;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use trunkline_placement::replicas_in;
use trunkline_ports::Host;
use trunkline_types::{Bucket, ClusterMap, NodeId, Role};
use trunkline_wire::Status;

use crate::error;
use crate::link::{Link, LinkState};
use crate::progress::Writer;

/// How long a push waits for a first store of its bucket to be reached.
const WAIT_MAX: Duration = Duration::from_secs(2);

type Links = Arc<BTreeMap<NodeId, Arc<Link>>>;

/// The links to all stores of this datacenter, and which of them each bucket uses. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Coordinators {
    host: Host,
    links: watch::Receiver<Links>,
    chosen: Arc<Mutex<BTreeMap<Bucket, NodeId>>>,
}

/// A bucket's coordinator and the boot under which it was chosen.
#[derive(Clone, Debug)]
pub(crate) struct Coordinator {
    pub(crate) link: Arc<Link>,
    pub(crate) writer: Writer,
}

impl Coordinators {
    /// Opens a link to every store of this datacenter, and follows the map.
    pub(crate) fn start(host: &Host) -> Self {
        let mut map = host.map.clone();
        let first = Arc::new(links(host, &map.borrow_and_update(), &Links::default()));
        let (links_told, links_seen) = watch::channel(first);
        let watcher = host.clone();
        host.process.spawn("stores", async move {
            while map.changed().await.is_ok() {
                let newest = map.borrow_and_update().clone();
                let before = links_told.borrow().clone();
                links_told.send_replace(Arc::new(links(&watcher, &newest, &before)));
            }
            links_told.closed().await;
        });
        Self { host: host.clone(), links: links_seen, chosen: Arc::default() }
    }

    /// Whether any store can be reached.
    pub(crate) fn any(&self) -> bool {
        self.links.borrow().values().any(|link| link.writer().is_some())
    }

    /// The coordinator of a bucket, waiting a moment for a first one.
    pub(crate) async fn of(&self, bucket: Bucket, deadline: Instant) -> Result<Coordinator, Status> {
        let until = deadline.min(Instant::now() + WAIT_MAX);
        let mut late = false;
        loop {
            // Watched before they are looked at: no change is missed.
            let mut links = self.links.clone();
            links.mark_unchanged();
            let ranked = self.ranked(bucket, None);
            let mut watches: Vec<_> = ranked.iter().map(|link| link.watch()).collect();
            watches.iter_mut().for_each(watch::Receiver::mark_unchanged);
            if let Some(coordinator) = self.choose(bucket, &ranked, late) {
                return Ok(coordinator);
            }
            if late {
                return Err(error::no_coordinator(bucket));
            }
            let mut changes = vec![async move { drop(links.changed().await) }.boxed()];
            changes.extend(
                watches.into_iter().map(|mut watch| async move { drop(watch.changed().await) }.boxed()),
            );
            late = timeout_at(until, select_all(changes)).await.is_err();
        }
    }

    /// Who takes the bucket's records from now on in place of a store that has refused; `None` while it is the only one.
    pub(crate) fn instead_of(&self, refused: NodeId, bucket: Bucket) -> Option<Coordinator> {
        self.choose(bucket, &self.ranked(bucket, Some(refused)), true)
    }

    fn ranked(&self, bucket: Bucket, avoid: Option<NodeId>) -> Vec<Arc<Link>> {
        let map = self.host.map();
        let links = self.links.borrow();
        let replicas = replicas_in(&map, bucket, &self.host.identity.datacenter);
        let usable = replicas.into_iter().filter(|node| Some(node.id) != avoid);
        usable.filter_map(|node| links.get(&node.id).cloned()).collect()
    }

    fn choose(&self, bucket: Bucket, ranked: &[Arc<Link>], late: bool) -> Option<Coordinator> {
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = chosen.get(&bucket).copied();
        let coordinator =
            |link: &Arc<Link>| link.writer().map(|writer| Coordinator { link: link.clone(), writer });
        let kept = ranked.iter().find(|link| Some(link.node) == before).and_then(coordinator);
        let found = kept.or_else(|| {
            // A better-ranked store that was never tried yet is worth the wait; one that is down is not.
            let mut worth = ranked.iter().take_while(|link| late || link.state() != LinkState::Untried);
            worth.find_map(coordinator)
        })?;
        chosen.insert(bucket, found.link.node);
        Some(found)
    }
}

/// Keeps the links to stores that are still at their place, and starts those to new ones.
fn links(host: &Host, map: &ClusterMap, before: &Links) -> BTreeMap<NodeId, Arc<Link>> {
    let stores = map.nodes_of(Role::MessageStore).filter(|node| node.datacenter == host.identity.datacenter);
    stores
        .map(|store| {
            let kept = before.get(&store.id).filter(|link| link.address == store.address).cloned();
            (store.id, kept.unwrap_or_else(|| Arc::new(Link::start(host, store))))
        })
        .collect()
}
