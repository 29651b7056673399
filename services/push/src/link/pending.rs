//! Who waits for which answer of a store.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;
use trunkline_types::{LogName, MessageId, Sequence};
use trunkline_wire::internal::{AppendRecord, Appended, Barrier, Record, appended};
use trunkline_wire::status::{self, reason};
use trunkline_wire::v1::AckLevel;

use super::{Batch, Outgoing, Told};
use crate::admission::Room;
use crate::progress::Outcome;

#[derive(Debug)]
struct Waiter {
    index: u64,
    level: AckLevel,
    until: Instant,
    reply: mpsc::Sender<Told>,
    _room: Arc<Room>,
}

/// The records that were handed over and whose last answer has not come. Tags increase over the link's whole life.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiters: BTreeMap<u64, Waiter>,
    last_tag: u64,
}

impl Pending {
    /// Registers a batch's records and turns them into what goes on the wire.
    pub(super) fn hand_over(&mut self, batch: Batch, now: Instant, frame: &mut Vec<AppendRecord>) {
        // Never 0, which would say that the caller waits for ever.
        let patience = batch.until.saturating_duration_since(now).as_micros().div_ceil(1_000).max(1);
        let patience_ms = u32::try_from(patience).unwrap_or(u32::MAX);
        let traceparent = batch.span.as_ref().map(|span| span.traceparent());
        let mut add = |index, record, upload, barrier| {
            self.last_tag += 1;
            let (level, until, reply) = (batch.level, batch.until, batch.reply.clone());
            self.waiters
                .insert(self.last_tag, Waiter { index, level, until, reply, _room: batch.room.clone() });
            let (tag, level, traceparent) = (self.last_tag, level.into(), String::new());
            frame.push(AppendRecord { tag, record, level, patience_ms, traceparent, upload, barrier });
        };
        for Outgoing { index, topic, checksum, body, upload } in batch.records {
            add(index, Some(Record { topic_id: topic.0, checksum, body }), upload, None);
        }
        if let Some((bucket, lane)) = batch.barrier {
            add(0, None, 0, Some(Barrier { bucket: bucket.0.into(), lane: lane.0.into() }));
        }
        // A log keeps the order of its records: the last one's way is that of all.
        if let (Some(last), Some(traceparent)) = (frame.last_mut(), traceparent) {
            last.traceparent = traceparent;
        }
    }

    /// Passes a store's answer on. Returns whether the store said that it takes no more.
    pub(super) fn answer(&mut self, answer: Appended) -> bool {
        let Some(waiter) = self.waiters.get(&answer.tag) else {
            return false; // Nobody waits any more.
        };
        let Some(outcome) = outcome(answer.what) else {
            return false; // Of a later version.
        };
        let refusing = matches!(&outcome, Outcome::Refused(why)
            if status::reason_of(why).as_deref() == Some(reason::DRAINING));
        let last = is_last(waiter.level, &outcome);
        let _ = waiter.reply.try_send(Told { index: waiter.index, outcome });
        if last {
            self.waiters.remove(&answer.tag);
        }
        refusing
    }

    /// The stream is gone: what was handed over is lost to sight.
    pub(super) fn lose(&mut self) {
        for (_, waiter) in std::mem::take(&mut self.waiters) {
            let _ = waiter.reply.try_send(Told { index: waiter.index, outcome: Outcome::Lost });
        }
    }

    /// Forgets what nobody listens for any more.
    pub(super) fn forget_overdue(&mut self, now: Instant) {
        self.waiters.retain(|_, waiter| waiter.until > now);
    }
}

fn is_last(level: AckLevel, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Accepted => level <= AckLevel::None,
        Outcome::Stored(..) => level <= AckLevel::Local,
        Outcome::Ordered(MessageId(id)) => *id == 0 || level <= AckLevel::Ordered,
        Outcome::Everywhere(_) | Outcome::Refused(_) | Outcome::Failed(_) | Outcome::Lost => true,
    }
}

fn outcome(what: Option<appended::What>) -> Option<Outcome> {
    Some(match what? {
        appended::What::Accepted(_) => Outcome::Accepted,
        appended::What::Stored(stored) => {
            let log = LogName::try_from(stored.log?).ok()?;
            Outcome::Stored(log, Sequence(stored.sequence))
        }
        appended::What::Ordered(ordered) => Outcome::Ordered(MessageId(ordered.message_id)),
        appended::What::Everywhere(everywhere) => Outcome::Everywhere(everywhere.datacenters),
        appended::What::Refused(why) => Outcome::Refused(status::not_stored(&status::from_message(&why))),
        appended::What::Failed(why) => Outcome::Failed(status::from_message(&why)),
    })
}
