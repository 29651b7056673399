//! What the process shows of this store, as of the last second.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use trunkline_wire::internal::{GetStatusResponse, ReplicationStatus};

use crate::metrics::Metrics;

#[derive(Debug, Default)]
pub(crate) struct Figures {
    status: Mutex<(Vec<ReplicationStatus>, BTreeMap<String, f64>)>,
    ready: AtomicBool,
    waiting: AtomicUsize,
}

impl Figures {
    #[allow(clippy::cast_precision_loss, reason = "figures are for people")]
    pub(crate) fn publish(
        &self,
        replication: Vec<ReplicationStatus>,
        counts: [(&str, usize); 4],
        metrics: &Metrics,
    ) {
        let mut figures = metrics.figures();
        figures.extend(counts.map(|(name, count)| (name.to_owned(), count as f64)));
        figures.insert("pushes_waiting".to_owned(), self.waiting() as f64);
        *self.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = (replication, figures);
        self.ready.store(true, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> GetStatusResponse {
        let (replication, figures) =
            self.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        GetStatusResponse { replication, figures, ..GetStatusResponse::default() }
    }

    /// The worker runs.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    pub(crate) fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Pushes that wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}
