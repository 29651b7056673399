//! The store that lacks the index: asks others for the buckets, until it has them all, and checks what comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use trunkline_ordering::group::{OrderedRun, Predecessor};
use trunkline_ordering::store::CopiedTopic;
use trunkline_ports::{CallOptions, Class, Host, Peer};
use trunkline_runtime::Backoff;
use trunkline_types::limits::{CONNECT_TIMEOUT, SILENCE_MAX};
use trunkline_types::{Bucket, LogName, NodeId, TopicId};
use trunkline_wire::convert::{Malformed, number};
use trunkline_wire::internal::follow_service::COPY_INDEX;
use trunkline_wire::internal::{self, CopyIndexRequest, CopyIndexResponse};
use trunkline_wire::{Code, Message as _, Status};

use crate::convert;
use crate::follow_stream::silent;
use crate::handle::{Handle, Input};

const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What is to be copied, and who may have it, the nearest first.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) group: u16,
    /// Copies must be of facts up to here at least: nothing here, not even half of a copy, is of later ones.
    pub(super) facts_index: u64,
    pub(super) buckets: BTreeSet<Bucket>,
    pub(super) sources: Vec<Source>,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) address: Arc<str>,
    pub(super) holds: BTreeSet<Bucket>,
}

/// One message of a copy, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Of the whole stream.
    pub(super) facts_index: u64,
    pub(super) boots_ended: Vec<(NodeId, u32)>,
    pub(super) topics: Vec<CopiedTopic>,
    pub(super) logs: Vec<LogThere>,
    pub(super) ordered: Vec<OrderedThere>,
    /// Topic, first ID, order time.
    pub(super) times: Vec<(TopicId, u64, u64)>,
    /// The last one: nothing is missing.
    pub(super) done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogThere {
    pub(super) in_stream: u32,
    pub(super) name: LogName,
    pub(super) predecessor: Option<Predecessor>,
    /// The group's own number; `None`: closed.
    pub(super) number: Option<u32>,
    pub(super) ordered: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrderedThere {
    pub(super) in_stream: u32,
    pub(super) from: u64,
    pub(super) runs: Vec<OrderedRun>,
}

/// Copies every bucket from the first source that has it, and tries again until all are there.
pub(super) async fn fetch(host: Host, handle: Handle, mut wanted: Wanted) {
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
    let group = wanted.group;
    let mut facts_index = u64::MAX;
    loop {
        for source in std::mem::take(&mut wanted.sources) {
            let buckets: BTreeSet<Bucket> = source.holds.intersection(&wanted.buckets).copied().collect();
            if !buckets.is_empty() {
                match fetch_once(&host, &handle, &mut wanted, &source.address, &buckets).await {
                    Ok(of) => {
                        facts_index = facts_index.min(of);
                        wanted.buckets.retain(|bucket| !buckets.contains(bucket));
                    }
                    Err(status) if matches!(status.code(), Code::DataLoss | Code::InvalidArgument) => {
                        tracing::warn!(group, address = %source.address, %status, "the index cannot be copied from here");
                    }
                    Err(status) => {
                        tracing::debug!(group, address = %source.address, %status, "the index is not copied from here");
                    }
                }
            }
            wanted.sources.push(source);
        }
        if wanted.buckets.is_empty() {
            let _ = handle.tell(Input::CopyEnded { group, facts_index }).await;
            return;
        }
        backoff.wait(&host.process).await;
    }
}

/// Copies these buckets from one store; up to which index its facts are.
async fn fetch_once(
    host: &Host,
    handle: &Handle,
    wanted: &mut Wanted,
    address: &Arc<str>,
    buckets: &BTreeSet<Bucket>,
) -> Result<u64, Status> {
    let group = wanted.group;
    let peer = Peer::new(address.clone(), Class::Calls);
    let opening = host.network.open(&peer, COPY_INDEX, CallOptions::default());
    let (sender, mut receiver) = timeout(CONNECT_TIMEOUT, opening).await.map_err(|_| silent())??;
    let request = CopyIndexRequest {
        envelope: Some(host.envelope()),
        group: convert::packed(group),
        buckets: buckets.iter().map(|bucket| bucket.0.into()).collect(),
    };
    sender.send(&request).await.map_err(|_| silent())?;
    let stream = handle.stream();
    let mut check = None;
    while let Some(frame) = timeout(SILENCE_MAX * 5, receiver.next()).await.map_err(|_| silent())?? {
        let permit = handle.follow_room(frame.encoded_len()).await?;
        let check = check.get_or_insert_with(|| Check::new(buckets.clone(), frame.facts_index));
        let part = check.take(frame)?;
        if part.facts_index < wanted.facts_index {
            return Err(Status::unavailable("its facts do not reach far enough, either"));
        }
        // Rows are about to be written: from here on nothing older will do.
        wanted.facts_index = part.facts_index;
        let (done, facts_index) = (part.done, part.facts_index);
        handle.tell(Input::CopyPart { group, stream, part, permit }).await?;
        if done {
            return Ok(facts_index);
        }
    }
    Err(Status::unavailable("the copy ended before it was complete"))
}

/// What a stream has said so far.
#[derive(Debug)]
struct Check {
    buckets: BTreeSet<Bucket>,
    facts_index: u64,
    /// Bucket, next sequence, ordered end.
    logs: BTreeMap<u32, (Bucket, u64, u64)>,
    /// IDs told, and how many there must be.
    ids: BTreeMap<TopicId, (u64, u64)>,
}

impl Check {
    fn new(buckets: BTreeSet<Bucket>, facts_index: u64) -> Self {
        Self { buckets, facts_index, logs: BTreeMap::new(), ids: BTreeMap::new() }
    }

    fn take(&mut self, frame: CopyIndexResponse) -> Result<Part, Malformed> {
        let facts_index = number(self.facts_index, "facts_index")?;
        let ended = frame.boots_ended.iter().map(|ended| (NodeId(ended.node), ended.counter));
        let part = Part {
            facts_index,
            boots_ended: ended.collect(),
            topics: frame.topics.into_iter().map(|topic| self.topic(topic)).collect::<Result<_, _>>()?,
            logs: frame.logs.into_iter().map(|log| self.log(log)).collect::<Result<_, _>>()?,
            ordered: frame.ordered.iter().map(|ordered| self.ordered(ordered)).collect::<Result<_, _>>()?,
            times: frame.times.iter().map(|time| self.time(time)).collect::<Result<_, _>>()?,
            done: frame.done,
        };
        let complete = self.logs.values().all(|(_, next, ordered)| next == ordered)
            && self.ids.values().all(|(told, all)| told == all);
        if part.done && !complete { Err(Malformed("done")) } else { Ok(part) }
    }

    fn topic(&mut self, copied: internal::CopiedTopic) -> Result<CopiedTopic, Malformed> {
        let topic = copied.topic.ok_or(Malformed("topics.topic"))?;
        let (id, next) = (TopicId(topic.topic_id), convert::place(copied.next_id, "topics.next_id")?);
        if !self.buckets.contains(&id.bucket()) || self.ids.insert(id, (0, next - 1)).is_some() {
            return Err(Malformed("topics.topic_id"));
        }
        let options = convert::options_bytes(topic.options.as_ref());
        Ok(CopiedTopic { topic: id, name: topic.name, options, deleted: copied.deleted, next })
    }

    fn log(&mut self, copied: internal::CopiedLog) -> Result<LogThere, Malformed> {
        let name: LogName = convert::log_name(copied.log)?;
        let ordered = convert::place(copied.ordered, "logs.ordered")?;
        let known = self.logs.insert(copied.number, (name.bucket, 1, ordered)).is_some();
        if known || !self.buckets.contains(&name.bucket) {
            return Err(Malformed("logs.log"));
        }
        let predecessor = convert::predecessor(copied.predecessor);
        let number = (!copied.closed).then_some(copied.group_number);
        Ok(LogThere { in_stream: copied.number, name, predecessor, number, ordered })
    }

    fn time(&self, copied: &internal::CopiedTime) -> Result<(TopicId, u64, u64), Malformed> {
        let topic = TopicId(copied.topic_id);
        let (_, all) = self.ids.get(&topic).ok_or(Malformed("times.topic_id"))?;
        if copied.id == 0 || copied.id > *all {
            return Err(Malformed("times.id"));
        }
        Ok((topic, copied.id, number(copied.order_time_ms, "times.order_time_ms")?))
    }

    fn ordered(&mut self, told: &internal::RecordsOrdered) -> Result<OrderedThere, Malformed> {
        let (bucket, next, end) = self.logs.get_mut(&told.number).ok_or(Malformed("ordered.number"))?;
        let (from, runs) = convert::ordered(told)?;
        let upto = from + runs.iter().map(|run| run.count).sum::<u64>();
        if from != *next || upto > *end {
            return Err(Malformed("ordered.from"));
        }
        *next = upto;
        for run in &runs {
            if run.topic.bucket() != *bucket {
                return Err(Malformed("ordered.runs.topic_id"));
            }
            if run.first_id != 0 {
                let known = self.ids.get_mut(&run.topic).ok_or(Malformed("ordered.runs.topic_id"))?;
                known.0 += run.count;
            }
        }
        Ok(OrderedThere { in_stream: told.number, from, runs })
    }
}

#[cfg(test)]
mod tests {
    use trunkline_types::{Boot, Lane, Ordinal};
    use trunkline_wire::v1::Topic;

    use super::*;

    fn topic(counter: u64) -> TopicId {
        TopicId::new(counter, Bucket(3))
    }

    fn named(counter: u64, next_id: u64) -> internal::CopiedTopic {
        let topic = Topic { name: "t".to_owned(), topic_id: topic(counter).0, options: None };
        internal::CopiedTopic { topic: Some(topic), deleted: false, next_id }
    }

    fn log(number: u32, bucket: u16, ordered: u64) -> internal::CopiedLog {
        let (boot, ordinal) = (Boot { counter: 1, random: 1 }, Ordinal(number));
        let log = LogName { bucket: Bucket(bucket), node: NodeId(1), boot, lane: Lane(0), ordinal };
        internal::CopiedLog { number, log: Some(log.into()), ordered, ..internal::CopiedLog::default() }
    }

    fn ordered(number: u32, from: u64, runs: &[(u64, u64, u64)]) -> internal::RecordsOrdered {
        let run = |&(counter, first_id, count): &(u64, u64, u64)| internal::OrderedRun {
            topic_id: topic(counter).0,
            first_id,
            count,
        };
        internal::RecordsOrdered { number, from, runs: runs.iter().map(run).collect() }
    }

    #[test]
    fn a_copy_is_taken_only_if_it_is_whole_and_of_what_was_asked_for() {
        let whole = || CopyIndexResponse {
            topics: vec![named(1, 4), named(2, 1)],
            logs: vec![log(1, 3, 4), log(2, 3, 2)],
            ordered: vec![
                ordered(1, 1, &[(1, 1, 2)]),
                ordered(1, 3, &[(9, 0, 1)]),
                ordered(2, 1, &[(1, 3, 1)]),
            ],
            done: true,
            ..CopyIndexResponse::default()
        };
        type Change = fn(&mut CopyIndexResponse);
        let time = |counter, id, order_time_ms| internal::CopiedTime {
            topic_id: topic(counter).0,
            id,
            order_time_ms,
        };
        let whole = || CopyIndexResponse { times: vec![time(1, 1, 500), time(1, 3, 700)], ..whole() };
        let cases: [(&str, Option<&str>, Change); 13] = [
            ("whole", None, |_| {}),
            ("not the last message", None, |frame| {
                frame.done = false;
                frame.ordered.pop();
            }),
            ("a log ends short", Some("done"), |frame| drop(frame.ordered.remove(1))),
            ("an ID is missing", Some("done"), |frame| frame.topics[0].next_id = 5),
            ("a gap", Some("ordered.from"), |frame| frame.ordered[1].from = 4),
            ("beyond its end", Some("ordered.from"), |frame| frame.ordered[2].runs[0].count = 2),
            ("no such log", Some("ordered.number"), |frame| frame.ordered[2].number = 7),
            ("no such topic", Some("ordered.runs.topic_id"), |frame| drop(frame.topics.remove(0))),
            ("another bucket", Some("logs.log"), |frame| frame.logs[1] = log(2, 4, 2)),
            ("a time of no such topic", Some("times.topic_id"), |frame| frame.times[0].topic_id = 1),
            ("of no such ID", Some("times.id"), |frame| frame.times[1].id = 4),
            ("no time", Some("times.order_time_ms"), |frame| frame.times[1].order_time_ms = u64::MAX),
            ("a log twice", Some("logs.log"), |frame| frame.logs[1] = log(1, 3, 2)),
        ];
        for (name, refused, change) in cases {
            let mut frame = whole();
            change(&mut frame);
            let taken = Check::new([Bucket(3)].into(), 7).take(frame);
            assert_eq!(taken.err().map(|malformed| malformed.0), refused, "{name}");
        }
        assert_eq!(Check::new([Bucket(3)].into(), u64::MAX).take(whole()), Err(Malformed("facts_index")));
    }
}
