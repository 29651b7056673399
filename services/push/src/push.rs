//! Push: one request of messages to one topic, in order.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use trunkline_types::{NodeId, TopicName};
use trunkline_wire::status::{from_message, is_not_stored, reason, reason_of};
use trunkline_wire::v1::{AckLevel, Message, PushRequest, PushResponse, PushResult};
use trunkline_wire::{Code, Status};

use crate::coordinator::Coordinator;
use crate::error;
use crate::handle::{Encoded, Server, answer_by};
use crate::link::{Batch, Outgoing, Told};
use crate::progress::{self, Outcome, Progress, Step};
use crate::topics::Topic;
use crate::trace;
use crate::validate;

/// A push that nothing was stored of is brought to its coordinator so often.
const ATTEMPTS_MAX: usize = 3;
/// Outcomes that one record can have: stored, ordered, everywhere, and the end.
pub(crate) const OUTCOMES_MAX: usize = 4;

/// What is pushed, checked and encoded.
struct Pushed<'a> {
    topic: Topic,
    level: AckLevel,
    records: &'a [Encoded],
    room: std::sync::Arc<crate::admission::Room>,
    until: Instant,
}

impl Server {
    /// Fails as a whole only when none of it was stored.
    pub(crate) async fn push(&self, request: PushRequest, deadline: Instant) -> Result<PushResponse, Status> {
        let _inside = self.admission.enter()?;
        let since = Instant::now();
        let count = request.messages.len();
        let asked = request.ack_level();
        let answer = self.push_messages(request, answer_by(deadline)).await;
        match &answer {
            Ok((level, results)) => results.iter().for_each(|one| self.metrics.answered(*level, one, since)),
            Err(_) => self.metrics.refused(asked, count),
        }
        answer.map(|(_, results)| PushResponse { results })
    }

    async fn push_messages(
        &self,
        request: PushRequest,
        until: Instant,
    ) -> Result<(AckLevel, Vec<PushResult>), Status> {
        let name = validate::topic(request.topic)?;
        let level = validate::ack_level("ack_level", request.ack_level)?;
        validate::messages(&request.messages)?;
        let bytes = request.messages.iter().map(validate::size).sum();
        let room = self.admission.take(request.messages.len(), bytes)?;
        self.metrics.took(bytes);
        let largest = largest(&request.messages);
        let now = self.host.process.wall_clock_ms();
        let records: Vec<_> = request.messages.into_iter().map(|message| self.encode(message, now)).collect();
        let mut attempts = Attempts { level, done: Vec::new(), failed: Vec::new() };
        let mut instead = None;
        for attempt in 1.. {
            let open = &records[attempts.done.len()..];
            let (topic, coordinator) = match self.route(&name, &largest, instead.take(), until).await {
                Ok(route) => route,
                Err(why) => return attempts.end(&why),
            };
            if attempts.level == AckLevel::Unspecified {
                attempts.level = topic.default_level;
            }
            let room = room.clone();
            let pushed = Pushed { topic, level: attempts.level, records: open, room, until };
            let results = self.bring(&coordinator, pushed).await;
            let why = attempts.take(results, open);
            let node = coordinator.link.node;
            match why {
                Some(why)
                    if attempt < ATTEMPTS_MAX
                        && self.worth_another(&name, topic, &why, node, &mut instead) => {}
                Some(why) => return attempts.end(&why),
                None => break,
            }
        }
        Ok((attempts.level, attempts.done))
    }

    /// The topic, and who takes its records.
    async fn route(
        &self,
        name: &TopicName,
        largest: &Option<(usize, Message)>,
        instead: Option<Coordinator>,
        until: Instant,
    ) -> Result<(Topic, Coordinator), Status> {
        let topic = self.topics.find_or_create(name, until).await?;
        if let Some((index, message)) = largest {
            validate::payload_of_topic(*index, message, topic.message_bytes_max)?;
        }
        let coordinator = match instead {
            Some(coordinator) => coordinator,
            None => self.coordinators.of(topic.id.bucket(), until).await?,
        };
        Ok((topic, coordinator))
    }

    /// Whether another attempt may go better than one that failed.
    fn worth_another(
        &self,
        name: &TopicName,
        topic: Topic,
        why: &Status,
        node: NodeId,
        instead: &mut Option<Coordinator>,
    ) -> bool {
        match refusal(why) {
            Refusal::TopicEnded => {
                self.topics.forget(name, topic.id);
                true
            }
            Refusal::StoreUnfit => {
                *instead = self.coordinators.instead_of(node, topic.id.bucket());
                instead.is_some()
            }
            Refusal::StoreGone => true,
            Refusal::Final => false,
        }
    }

    /// Gives the records to their coordinator and waits for each to reach the level, until the deadline.
    async fn bring(&self, coordinator: &Coordinator, pushed: Pushed<'_>) -> Vec<PushResult> {
        let count = pushed.records.len();
        let (reply, mut told) = mpsc::channel(count * OUTCOMES_MAX);
        let span = trace::append(&self.host, &coordinator.link.address, progress::name(pushed.level), count);
        let batch = Batch {
            records: outgoing(pushed.topic, 0, pushed.records),
            level: pushed.level,
            until: pushed.until,
            reply,
            room: pushed.room,
            writer: coordinator.writer,
            span: span.clone(),
        };
        if timeout_at(pushed.until, coordinator.link.append(batch)).await.is_err() {
            return vec![progress::refused(&error::no_time_left("sending to the coordinator")); count];
        }
        let cluster = self.host.map().cluster;
        let start = |record: &Encoded| Progress::new(cluster, pushed.topic.id, record.checksum, pushed.level);
        let mut waiting =
            Waiting { open: count, entries: pushed.records.iter().map(|r| (start(r), None)).collect() };
        let mut asking = FuturesUnordered::new();
        while waiting.open > 0 {
            tokio::select! {
                biased;
                Some(Told { index, outcome }) = told.recv() => {
                    if let Some(receipt) = waiting.step(index, outcome) {
                        let following = self.follow(receipt, pushed.level, pushed.until);
                        asking.push(async move { (index, following.await) });
                    }
                }
                Some((index, outcomes)) = asking.next() => {
                    for outcome in outcomes.into_iter().flatten() {
                        waiting.step(index, outcome);
                    }
                }
                () = sleep_until(pushed.until) => break,
            }
        }
        waiting.results()
    }
}

/// What became of a request's messages: at the end those that may be brought to a coordinator again.
struct Attempts {
    level: AckLevel,
    done: Vec<PushResult>,
    /// Of the last attempt, those behind `done`.
    failed: Vec<PushResult>,
}

impl Attempts {
    /// Takes the results of an attempt; why it failed, if it may be made again for what is not done: nothing of that was
    /// stored, or it has a producer, so that it counts once. Never for what others of the request were stored behind.
    fn take(&mut self, mut results: Vec<PushResult>, records: &[Encoded]) -> Option<Status> {
        for (now, before) in results.iter_mut().zip(&self.failed) {
            if error_of(now).is_some_and(|why| is_not_stored(&why)) && !is_certain(before) {
                // This attempt stored nothing; the one before may have.
                now.clone_from(before);
            }
        }
        let produced = records.iter().all(|record| record.produced.is_some());
        let fails = |result: &PushResult| {
            error_of(result).is_some() && result.receipt.is_empty() && (produced || is_certain(result))
        };
        let failing = results.iter().rev().take_while(|result| fails(result)).count();
        let mut first = results.len() - failing;
        if first > 0 && !produced {
            first = results.len();
        }
        self.failed = results.split_off(first);
        self.done.append(&mut results);
        self.failed.first().and_then(error_of)
    }

    /// No further attempt is made. Fails as a whole if nothing at all was stored.
    fn end(mut self, why: &Status) -> Result<(AckLevel, Vec<PushResult>), Status> {
        self.done.append(&mut self.failed);
        let nothing_stored = self.done.iter().all(|result| result.error.is_some() && is_certain(result));
        if nothing_stored { Err(why.clone()) } else { Ok((self.level, self.done)) }
    }
}

fn error_of(result: &PushResult) -> Option<Status> {
    result.error.as_ref().map(from_message)
}

/// Whether it is certain that nothing was stored.
fn is_certain(result: &PushResult) -> bool {
    error_of(result).is_some_and(|why| is_not_stored(&why))
}

/// The messages of one push that are on their way.
struct Waiting {
    open: usize,
    entries: Vec<(Progress, Option<PushResult>)>,
}

impl Waiting {
    /// Returns the receipt by which replicas are to be asked, if that is what comes next.
    fn step(&mut self, index: u64, outcome: Outcome) -> Option<trunkline_types::Receipt> {
        let entry = usize::try_from(index).ok().and_then(|index| self.entries.get_mut(index));
        let Some((progress, result @ None)) = entry else { return None };
        match progress.step(outcome) {
            Step::Wait => None,
            Step::Ask(receipt) => Some(receipt),
            Step::Done(done) => {
                *result = Some(done);
                self.open -= 1;
                None
            }
        }
    }

    fn results(self) -> Vec<PushResult> {
        let result =
            |(progress, result): (Progress, Option<PushResult>)| result.unwrap_or_else(|| progress.overdue());
        self.entries.into_iter().map(result).collect()
    }
}

/// Records as they go to a link, numbered from `first`.
pub(crate) fn outgoing(topic: Topic, first: u64, records: &[Encoded]) -> Vec<Outgoing> {
    let one = |(index, record): (u64, &Encoded)| Outgoing {
        index,
        topic: topic.id,
        checksum: record.checksum,
        body: record.body.clone(),
        produced: record.produced,
    };
    (first..).zip(records).map(one).collect()
}

/// The message with the largest payload and its place: the only one that a topic's own limit must be checked for.
fn largest(messages: &[Message]) -> Option<(usize, Message)> {
    let (index, message) = messages.iter().enumerate().max_by_key(|(_, message)| message.payload.len())?;
    Some((index, Message { payload: message.payload.clone(), ..Message::default() }))
}

/// What a failure means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    TopicEnded,
    /// This store cannot take it; its sibling may.
    StoreUnfit,
    /// The link knows it already.
    StoreGone,
    Final,
}

pub(crate) fn refusal(why: &Status) -> Refusal {
    let because = reason_of(why);
    match (why.code(), because.as_deref()) {
        (Code::NotFound, _) => Refusal::TopicEnded,
        (_, Some(reason::DISK_FULL | reason::STALE)) => Refusal::StoreUnfit,
        (Code::Unavailable, Some(reason::LEVEL_NOT_REACHED)) => Refusal::Final,
        (Code::Unavailable, _) => Refusal::StoreGone,
        _ => Refusal::Final,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use trunkline_types::{Produced, ProducerId};
    use trunkline_wire::status::{
        disk_full, failed_precondition, invalid, not_found, not_stored, overloaded, unavailable,
    };

    use super::*;

    #[test]
    fn a_refusal_decides_where_the_next_attempt_goes() {
        let table = [
            (not_found("deleted"), Refusal::TopicEnded),
            (disk_full("full"), Refusal::StoreUnfit),
            (failed_precondition(reason::STALE, "an older map"), Refusal::StoreUnfit),
            (unavailable(reason::UNREACHABLE, "gone"), Refusal::StoreGone),
            (unavailable(reason::DRAINING, "ending"), Refusal::StoreGone),
            (overloaded("queue", Duration::from_millis(1)), Refusal::Final),
            (invalid("topic", "is wrong"), Refusal::Final),
        ];
        for (why, expected) in table {
            assert_eq!(refusal(&not_stored(&why)), expected, "{why:?}");
        }
    }

    fn record(produced: bool) -> Encoded {
        let of = Produced { producer: ProducerId([1; 16]), sequence: 1 };
        Encoded { checksum: 0, body: Bytes::new(), produced: produced.then_some(of) }
    }

    fn attempts() -> Attempts {
        Attempts { level: AckLevel::Local, done: Vec::new(), failed: Vec::new() }
    }

    #[test]
    fn only_the_end_of_a_request_is_pushed_again_and_only_what_cannot_come_twice() {
        let no = || progress::refused(&error::not_handed_over());
        let lost = || progress::refused(&error::coordinator_lost());
        let late = || PushResult { receipt: "r".to_owned(), ..lost() };
        let ok = PushResult::default;
        // (with a producer, results, how many are done then, whether the rest is pushed again)
        for (produced, results, done, again) in [
            (false, vec![no(), no()], 0, true),
            (false, vec![no(), lost()], 2, false),
            (false, vec![ok(), no()], 2, false),
            (true, vec![no(), lost()], 0, true),
            (true, vec![ok(), lost()], 1, true),
            (true, vec![lost(), ok()], 2, false),
            (true, vec![lost(), ok(), lost(), no()], 2, true),
            (true, vec![late(), lost()], 1, true),
            (true, vec![lost(), late()], 2, false),
            (true, vec![ok(), ok()], 2, false),
        ] {
            let (mut attempts, records) = (attempts(), vec![record(produced); results.len()]);
            let why = attempts.take(results.clone(), &records);
            assert_eq!((attempts.done.len(), why.is_some()), (done, again), "{produced}: {results:?}");
        }
    }

    #[test]
    fn what_an_attempt_may_have_stored_no_later_one_takes_back() {
        let no = || progress::refused(&error::not_handed_over());
        let lost = || progress::refused(&error::coordinator_lost());
        let (mut attempts, records) = (attempts(), vec![record(true); 2]);
        attempts.take(vec![no(), lost()], &records);
        let why = attempts.take(vec![no(), no()], &records).expect("again");
        let (_, results) = attempts.end(&why).expect("the second may have been stored");
        assert_eq!(results.iter().map(is_certain).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn the_call_fails_as_a_whole_only_when_none_of_it_was_stored() {
        let no = progress::refused(&error::not_handed_over());
        let unknown = progress::refused(&error::coordinator_lost());
        let table = [
            (vec![no.clone(), no.clone()], true),
            (vec![no.clone(), unknown], false),
            (vec![no, PushResult::default()], false),
        ];
        for (results, fails) in table {
            let mut attempts = attempts();
            attempts.take(results.clone(), &[record(false)]);
            assert_eq!(attempts.end(&error::not_handed_over()).is_err(), fails, "{results:?}");
        }
    }
}
