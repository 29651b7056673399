//! Tells a store what was decided in one group, in index order, as soon as it is applied here.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};
use trunkline_ordering::group::{Fact, Since, State};
use trunkline_types::limits::{FACTS_MESSAGE_RUNS_MAX, HEARTBEAT_INTERVAL};
use trunkline_types::{Bucket, ClusterMap, NodeId};
use trunkline_wire::Status;
use trunkline_wire::internal::{self, Behind, Facts, session_response::What};

use crate::convert::{facts_at, told};
use crate::member::Member;
use crate::words::Words;

/// Runs for as long as the session; ends only with an error.
pub(crate) async fn pump(
    member: Arc<Member>,
    map: Arc<ClusterMap>,
    store: NodeId,
    from: u64,
    words: Words,
) -> Result<(), Status> {
    let shape = member.read(State::shape);
    let held =
        shape.own_buckets().filter(|bucket| trunkline_placement::holds(&map, store, *bucket)).collect();
    Pump { group: member.id().to_u32(), member, held, next: from, words, told_at: Instant::now() }.run().await
}

struct Pump {
    group: u32,
    member: Arc<Member>,
    /// The buckets whose facts concern the store, ascending.
    held: Vec<Bucket>,
    /// The first index that the store has not been told.
    next: u64,
    words: Words,
    told_at: Instant,
}

impl Pump {
    async fn run(mut self) -> Result<(), Status> {
        let mut applied = self.member.view.applied.clone();
        // A voter that is behind the store would take logs for open that the store knows to be closed.
        let reached = applied.wait_for(|applied| *applied + 1 >= self.next).await.is_ok();
        if !reached {
            return std::future::pending().await;
        }
        self.tell_numbers().await?;
        // The last index that the store knows to be here.
        let mut told = self.next.saturating_sub(1);
        loop {
            let now = *applied.borrow_and_update();
            let (at, upto) = match self.member.read(|state| state.facts_since(self.next)) {
                Since::Facts { at, upto } => (at, upto),
                Since::Gone { from } => return self.behind(from).await,
            };
            self.next = upto + 1;
            let at: Vec<internal::FactsAt> =
                at.iter().filter_map(|at| facts_at(at, |bucket| self.holds(bucket))).collect();
            let due = self.told_at + HEARTBEAT_INTERVAL;
            if !at.is_empty() || (upto > told && Instant::now() >= due) {
                self.tell(at, upto).await?;
                told = upto;
            }
            if upto < now {
                continue;
            }
            tokio::select! {
                biased;
                changed = applied.changed() => if changed.is_err() { std::future::pending::<()>().await },
                () = sleep_until(self.told_at + HEARTBEAT_INTERVAL), if upto > told => {}
            }
        }
    }

    /// What short numbers stand for, before the facts that use them.
    async fn tell_numbers(&mut self) -> Result<(), Status> {
        let numbers = self.member.read(|state| state.log_numbers(self.next));
        let concerned: Vec<Fact> = numbers
            .into_iter()
            .filter(|fact| fact.bucket().is_none_or(|bucket| self.holds(bucket)))
            .collect();
        for part in concerned.chunks(FACTS_MESSAGE_RUNS_MAX) {
            let facts = part.iter().map(told).collect();
            let at = vec![internal::FactsAt { index: 0, facts, order_time_ms: 0 }];
            self.tell(at, self.next.saturating_sub(1)).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, at: Vec<internal::FactsAt>, applied: u64) -> Result<(), Status> {
        self.told_at = Instant::now();
        self.words.say(What::Facts(Facts { group: self.group, at, applied })).await
    }

    /// The store must copy the index from another one, and comes back in another session.
    async fn behind(&self, facts_from: u64) -> Result<(), Status> {
        self.words.say(What::Behind(Behind { group: self.group, facts_from })).await?;
        std::future::pending().await
    }

    fn holds(&self, bucket: Bucket) -> bool {
        self.held.binary_search(&bucket).is_ok()
    }
}
