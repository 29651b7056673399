//! How far one message has come: pure, outcomes in, a result out.

use trunkline_types::{Boot, ClusterId, LogName, MessageId, NodeId, Receipt, Sequence, TopicId};
use trunkline_wire::v1::{AckLevel, PushResult};
use trunkline_wire::{Status, status};

use crate::error;

/// What is heard of one record after it was given to the link of a store.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// In the coordinator's memory.
    Accepted,
    /// On disk on two stores; whether it is known to be a duplicate.
    Stored(LogName, Sequence, bool),
    /// `MessageId(0)`: decided without one, for the topic was deleted.
    Ordered(MessageId),
    /// Decided: a duplicate of a message with this ID. `None`: which one, replicas tell.
    Duplicate(Option<MessageId>),
    /// On disk in all of these datacenters, which are all there are.
    Everywhere(Vec<String>),
    /// Certainly not stored.
    Refused(Status),
    /// May have been stored; nothing more will be heard.
    Failed(Status),
    /// The coordinator is gone and its answers with it.
    Lost,
}

/// What is to be done after an outcome.
#[derive(Debug)]
pub(crate) enum Step {
    Wait,
    /// The last word.
    Done(PushResult),
    /// It is stored; what more it has reached, other replicas know by this receipt.
    Ask(Receipt),
}

/// One message on its way to its level.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    cluster: ClusterId,
    topic: TopicId,
    checksum: u64,
    level: AckLevel,
    receipt: Option<Receipt>,
    reached: AckLevel,
    message_id: MessageId,
    datacenters: Vec<String>,
    duplicate: bool,
}

impl Progress {
    /// `level` is never `UNSPECIFIED`.
    pub(crate) fn new(cluster: ClusterId, topic: TopicId, checksum: u64, level: AckLevel) -> Self {
        Self {
            cluster,
            topic,
            checksum,
            level,
            receipt: None,
            reached: AckLevel::Unspecified,
            message_id: MessageId(0),
            datacenters: Vec::new(),
            duplicate: false,
        }
    }

    pub(crate) fn step(&mut self, outcome: Outcome) -> Step {
        match outcome {
            Outcome::Accepted => self.reach(AckLevel::None),
            Outcome::Stored(log, sequence, duplicate) => {
                self.duplicate |= duplicate;
                let (cluster, topic, checksum) = (self.cluster, self.topic, self.checksum);
                self.receipt = Some(Receipt { cluster, topic, log, sequence, checksum });
                self.reach(AckLevel::Local)
            }
            Outcome::Ordered(MessageId(0)) => Step::Done(self.failed(&error::topic_deleted())),
            Outcome::Ordered(id) => {
                self.message_id = id;
                self.reach(AckLevel::Ordered)
            }
            Outcome::Duplicate(first) => {
                self.duplicate = true;
                match (first, self.receipt) {
                    (Some(id), _) => {
                        self.message_id = id;
                        self.reach(AckLevel::Ordered)
                    }
                    (None, Some(receipt)) => Step::Ask(receipt),
                    (None, None) => Step::Wait, // A store says first that it is stored.
                }
            }
            Outcome::Everywhere(datacenters) => {
                self.datacenters = datacenters;
                self.reach(AckLevel::Everywhere)
            }
            Outcome::Refused(status) => Step::Done(self.failed(&status)),
            Outcome::Failed(status) => Step::Done(self.failed(&uncertain(&status))),
            Outcome::Lost => match self.receipt {
                Some(receipt) => Step::Ask(receipt),
                None => Step::Done(self.failed(&error::coordinator_lost())),
            },
        }
    }

    /// The result when the deadline comes first.
    pub(crate) fn overdue(&self) -> PushResult {
        let so_far = match self.reached {
            AckLevel::Unspecified => "and the message may have been stored",
            AckLevel::None => "the message is in the memory of one store",
            AckLevel::Local => "the message is stored and will be ordered",
            AckLevel::Ordered | AckLevel::Everywhere => "the message is ordered",
        };
        self.failed(&error::level_not_reached(name(self.level), so_far))
    }

    pub(crate) fn level(&self) -> AckLevel {
        self.level
    }

    fn reach(&mut self, level: AckLevel) -> Step {
        self.reached = self.reached.max(level);
        if self.reached >= self.level { Step::Done(self.result()) } else { Step::Wait }
    }

    fn result(&self) -> PushResult {
        PushResult {
            error: None,
            receipt: self.receipt.map(|receipt| receipt.to_text()).unwrap_or_default(),
            message_id: self.message_id.0,
            reached: self.reached.into(),
            datacenters: self.datacenters.clone(),
            duplicate: self.duplicate,
        }
    }

    fn failed(&self, why: &Status) -> PushResult {
        PushResult { error: Some(status::to_message(why)), ..self.result() }
    }
}

/// A result for what never came to a store.
pub(crate) fn refused(why: &Status) -> PushResult {
    PushResult { error: Some(status::to_message(why)), ..PushResult::default() }
}

/// A failure after which nothing is certain does not say otherwise, whatever a store wrote into it.
fn uncertain(error: &Status) -> Status {
    if status::is_not_stored(error) { Status::new(error.code(), error.message()) } else { error.clone() }
}

/// A level as the API spells it.
pub(crate) fn name(level: AckLevel) -> &'static str {
    match level {
        AckLevel::Unspecified => "UNSPECIFIED",
        AckLevel::None => "NONE",
        AckLevel::Local => "LOCAL",
        AckLevel::Ordered => "ORDERED",
        AckLevel::Everywhere => "EVERYWHERE",
    }
}

/// A coordinator under one of its boots, over one stream: another boot writes other logs, and what goes over another
/// stream may overtake what went before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) node: NodeId,
    pub(crate) boot: Boot,
    /// Counts the link's streams.
    pub(crate) stream: u64,
}

#[cfg(test)]
mod tests {
    use trunkline_types::{Bucket, Lane, Ordinal};
    use trunkline_wire::Code;
    use trunkline_wire::status::{is_not_stored, reason, reason_of, unavailable};

    use super::*;

    const TOPIC: TopicId = TopicId(1 << 16 | 5);

    fn log() -> LogName {
        let boot = Boot { counter: 1, random: 2 };
        LogName { bucket: Bucket(5), node: NodeId(7), boot, lane: Lane(0), ordinal: Ordinal(1) }
    }

    fn run(level: AckLevel, outcomes: &[Outcome]) -> (Progress, Step) {
        let mut progress = Progress::new(ClusterId(9), TOPIC, 42, level);
        let (last, before) = outcomes.split_last().expect("at least one outcome");
        for outcome in before {
            assert!(matches!(progress.step(outcome.clone()), Step::Wait), "{outcome:?} is not the last");
        }
        let step = progress.step(last.clone());
        (progress, step)
    }

    fn done(level: AckLevel, outcomes: &[Outcome]) -> PushResult {
        match run(level, outcomes).1 {
            Step::Done(result) => result,
            other => panic!("not done: {other:?}"),
        }
    }

    fn error_of(result: &PushResult) -> Status {
        status::from_message(result.error.as_ref().expect("an error"))
    }

    #[test]
    fn each_level_is_answered_as_soon_as_it_is_reached() {
        let stored = Outcome::Stored(log(), Sequence(3), false);
        let ordered = Outcome::Ordered(MessageId(11));
        let all = vec!["nyc".to_owned(), "sea".to_owned()];
        let none = done(AckLevel::None, &[Outcome::Accepted]);
        assert_eq!((none.reached(), none.receipt.as_str(), none.message_id), (AckLevel::None, "", 0));
        let local = done(AckLevel::Local, std::slice::from_ref(&stored));
        let receipt = Receipt::from_text(&local.receipt).expect("a receipt");
        assert_eq!((local.reached(), receipt.sequence, receipt.checksum), (AckLevel::Local, Sequence(3), 42));
        let third = done(AckLevel::Ordered, &[stored.clone(), ordered.clone()]);
        assert_eq!(
            (third.reached(), third.message_id, third.receipt),
            (AckLevel::Ordered, 11, local.receipt)
        );
        let everywhere = done(AckLevel::Everywhere, &[stored, ordered, Outcome::Everywhere(all.clone())]);
        assert_eq!((everywhere.reached(), everywhere.datacenters), (AckLevel::Everywhere, all));
    }

    #[test]
    fn only_a_refusal_is_certain() {
        let refusal = status::not_stored(&unavailable(reason::DRAINING, "ending"));
        assert!(is_not_stored(&error_of(&done(AckLevel::Local, &[Outcome::Refused(refusal.clone())]))));
        for unknown in [Outcome::Failed(refusal), Outcome::Lost] {
            let result = done(AckLevel::Local, &[unknown]);
            assert!(!is_not_stored(&error_of(&result)));
            assert_eq!(result.receipt, "");
        }
    }

    #[test]
    fn what_is_stored_is_asked_for_elsewhere_when_its_coordinator_is_gone() {
        let (_, step) = run(AckLevel::Ordered, &[Outcome::Stored(log(), Sequence(3), false), Outcome::Lost]);
        assert!(matches!(step, Step::Ask(receipt) if receipt.log == log()));
    }

    #[test]
    fn a_duplicate_is_answered_as_the_first_message_is() {
        let stored = |duplicate| Outcome::Stored(log(), Sequence(3), duplicate);
        let (progress, step) = run(AckLevel::Everywhere, &[stored(false), Outcome::Duplicate(None)]);
        assert!(matches!(step, Step::Ask(receipt) if receipt.sequence == Sequence(3)));
        assert!(progress.overdue().duplicate);
        let first = Outcome::Duplicate(Some(MessageId(9)));
        let ordered = done(AckLevel::Ordered, &[stored(false), first.clone()]);
        assert_eq!((ordered.duplicate, ordered.message_id, ordered.reached()), (true, 9, AckLevel::Ordered));
        let everywhere =
            done(AckLevel::Everywhere, &[stored(true), first, Outcome::Everywhere(vec!["nyc".to_owned()])]);
        assert_eq!((everywhere.duplicate, everywhere.message_id, everywhere.datacenters.len()), (true, 9, 1));
        let local = done(AckLevel::Local, &[stored(true)]);
        assert_eq!((local.duplicate, local.message_id, local.reached()), (true, 0, AckLevel::Local));
    }

    #[test]
    fn at_the_deadline_it_says_what_was_reached_and_never_that_nothing_was_stored() {
        let (progress, _) = run(AckLevel::Ordered, &[Outcome::Stored(log(), Sequence(3), false)]);
        let result = progress.overdue();
        let error = error_of(&result);
        assert_eq!(error.code(), Code::Unavailable);
        assert_eq!(reason_of(&error).as_deref(), Some(reason::LEVEL_NOT_REACHED));
        assert!(!is_not_stored(&error));
        assert_eq!(result.reached(), AckLevel::Local);
        assert!(!result.receipt.is_empty());
    }

    #[test]
    fn a_message_of_a_deleted_topic_keeps_its_receipt_and_gets_no_id() {
        let stored = Outcome::Stored(log(), Sequence(3), false);
        let result = done(AckLevel::Ordered, &[stored, Outcome::Ordered(MessageId(0))]);
        assert_eq!((error_of(&result).code(), result.message_id), (Code::NotFound, 0));
        assert!(!result.receipt.is_empty());
    }
}
