//! Reads streams: one per pop server, on which all its reads are asked and answered.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_ordering::store::Topic;
use trunkline_ports::Span;
use trunkline_types::TopicId;
use trunkline_types::limits::{READ_ANSWER_BYTES_MAX, READ_WAITERS_MAX, READS_UNDER_WAY_BYTES_MAX};
use trunkline_wire::internal::{ReadAsked, ReadRequest};
use trunkline_wire::{Status, status};

use super::turns::Turns;
use super::waiting::Waiting;
use super::{Worker, bounds};
use crate::handle::{ReadAnswer, ReadReady};
use crate::outlet::Outlet;

/// After which a read may come again that found too many others waiting.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Reads go to the disk only while less than this is under way: the rest of the window is for answers from memory.
const FROM_DISK_BYTES_MAX: u64 = READS_UNDER_WAY_BYTES_MAX / 2;

/// One read of a stream.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) tag: u64,
    pub(super) request: ReadRequest,
    /// Answered by this, and nothing else.
    refused: Option<Status>,
    /// Of the call that it is for, while that is recorded.
    span: Option<Span>,
}

#[derive(Debug)]
struct ReadStream {
    outlet: Outlet<Vec<ReadReady>>,
    /// Reads that can be answered, in the order in which they came to be.
    ready: VecDeque<Asked>,
    /// Those of them that need the disk and wait for their turn there, so that they hold up nobody else.
    behind: VecDeque<Asked>,
    turns: Turns,
    /// Somebody waits for one of them, and not for a message: not at the next tick, at once.
    urgent: bool,
    /// Waiting reads by tag.
    waits: BTreeMap<u64, TopicId>,
    /// Of answers: given, and arrived there.
    given_bytes: u64,
    taken_bytes: u64,
}

impl ReadStream {
    fn under_way_bytes(&self) -> u64 {
        self.given_bytes.saturating_sub(self.taken_bytes)
    }

    fn may_answer(&self) -> bool {
        (!self.ready.is_empty() || self.has_turn())
            && self.under_way_bytes() < READS_UNDER_WAY_BYTES_MAX
            && self.outlet.has_room()
    }

    /// A read that waits for its turn may go to the disk.
    fn has_turn(&self) -> bool {
        !self.behind.is_empty() && self.turns.is_free() && self.under_way_bytes() < FROM_DISK_BYTES_MAX
    }

    fn is_ready(&mut self, asked: Asked, urgent: bool) {
        self.waits.remove(&asked.tag);
        self.ready.push_back(asked);
        self.urgent |= urgent;
    }
}

/// Everyone who reads here.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    streams: BTreeMap<u64, ReadStream>,
    waiting: Waiting,
}

impl Readers {
    /// Reads that were asked and have no answer yet.
    fn count(&self) -> usize {
        self.waiting.count()
            + self.streams.values().map(|stream| stream.ready.len() + stream.behind.len()).sum::<usize>()
    }

    /// `urgent`: not at the next tick, at once.
    fn are_ready(&mut self, reads: Vec<(u64, Asked)>, urgent: bool) {
        for (stream, asked) in reads {
            if let Some(stream) = self.streams.get_mut(&stream) {
                stream.is_ready(asked, urgent);
            }
        }
    }

    /// When a waiting read is next told that what it waits for does not come.
    pub(in crate::worker) fn due(&self) -> Option<Instant> {
        self.waiting.due()
    }

    /// Some answer waits for the next tick.
    pub(in crate::worker) fn want_tick(&self) -> bool {
        self.streams.values().any(ReadStream::may_answer)
    }
}

impl Worker {
    pub(in crate::worker) fn reads_up(&mut self, stream: u64, outlet: Outlet<Vec<ReadReady>>) {
        let reads = ReadStream {
            outlet,
            ready: VecDeque::new(),
            behind: VecDeque::new(),
            turns: Turns::new(self.wake.clone()),
            urgent: false,
            waits: BTreeMap::new(),
            given_bytes: 0,
            taken_bytes: 0,
        };
        self.readers.streams.insert(stream, reads);
    }

    pub(in crate::worker) fn reads(
        &mut self,
        number: u64,
        asked: Vec<ReadAsked>,
        abandoned: &[u64],
        taken_bytes: u64,
    ) {
        let Readers { streams, waiting } = &mut self.readers;
        let Some(stream) = streams.get_mut(&number) else { return };
        stream.taken_bytes = stream.taken_bytes.max(taken_bytes);
        for tag in abandoned {
            if let Some(topic) = stream.waits.remove(tag) {
                waiting.abandon(topic, number, *tag);
            }
        }
        if !abandoned.is_empty() {
            stream.ready.retain(|asked| !abandoned.contains(&asked.tag));
            stream.behind.retain(|asked| !abandoned.contains(&asked.tag));
        }
        for asked in asked {
            self.read_asked(number, asked);
        }
    }

    fn read_asked(&mut self, number: u64, ReadAsked { tag, read, wait, traceparent }: ReadAsked) {
        let mut request = read.unwrap_or_default();
        let (_, bytes) = bounds(&request);
        request.max_bytes = (bytes as u64).min(READ_ANSWER_BYTES_MAX);
        let topic = TopicId(request.topic_id);
        let known =
            self.catalog.topic(topic).filter(|topic| !topic.deleted && request.from > topic.watermark());
        let (waits, indexed) =
            (wait && known.is_some(), known.is_some_and(|topic| request.from < topic.next()));
        let refused = if request.from == 0 {
            Some(status::invalid("from", "must be at least 1"))
        } else if self.readers.count() >= READ_WAITERS_MAX {
            Some(status::overloaded("too many reads wait", RETRY_AFTER))
        } else {
            None
        };
        let span = self.host.traces.under(Some(&traceparent), "read");
        let Readers { streams, waiting } = &mut self.readers;
        let Some(stream) = streams.get_mut(&number) else { return };
        let waits = waits && refused.is_none();
        let asked = Asked { tag, request, refused, span };
        if waits {
            stream.waits.insert(tag, topic);
            waiting.add(topic, number, asked, indexed);
        } else {
            stream.is_ready(asked, true);
        }
    }

    /// A topic's watermark has moved.
    pub(in crate::worker) fn readable(&mut self, topic: TopicId) {
        let Some(watermark) = self.catalog.topic(topic).map(Topic::watermark) else { return };
        let readable = self.readers.waiting.readable(topic, watermark);
        self.readers.are_ready(readable, false);
    }

    /// More of a topic is ordered, which may be readable here or not.
    pub(in crate::worker) fn indexed(&mut self, topic: TopicId) {
        if let Some(known) = self.catalog.topic(topic).filter(|known| known.watermark() + 1 < known.next()) {
            self.readers.waiting.indexed(topic, &(known.watermark() + 1..known.next()));
        }
    }

    /// Reads that have waited long enough for what is ordered and does not come.
    pub(in crate::worker) fn answer_late_reads(&mut self, now: Instant) {
        let late = self.readers.waiting.late(now);
        self.readers.are_ready(late, true);
    }

    /// Streams that are gone, and waiting reads of topics that are: once a second.
    pub(in crate::worker) fn sweep_readers(&mut self) {
        let Readers { streams, waiting } = &mut self.readers;
        streams.retain(|_, stream| !stream.outlet.is_closed());
        waiting.retain_streams(|stream| streams.contains_key(&stream));
        let over = |topic: TopicId| self.catalog.topic(topic).is_none_or(|topic| topic.deleted);
        let over = waiting.all_where(over);
        self.readers.are_ready(over, true);
    }

    /// What can be answered, where there is room for it.
    pub(in crate::worker) fn fill_readers(&mut self) {
        let tick = self.pace.is_open();
        let due = |stream: &ReadStream| tick || stream.urgent || stream.has_turn();
        let due = self.readers.streams.iter().filter(|(_, stream)| due(stream));
        let due: Vec<u64> = due.map(|(&number, _)| number).collect();
        for number in due {
            while self.fill_reader(number) {}
        }
    }

    fn fill_reader(&mut self, number: u64) -> bool {
        let Some(stream) = self.readers.streams.get_mut(&number).filter(|stream| stream.may_answer()) else {
            return false;
        };
        let (mut ready, mut behind) = (std::mem::take(&mut stream.ready), std::mem::take(&mut stream.behind));
        let (turns, under_way) = (stream.turns.clone(), stream.under_way_bytes());
        let (mut answers, mut bytes) = (Vec::new(), 0);
        while bytes < READ_ANSWER_BYTES_MAX {
            let turns =
                Some(&turns).filter(|turns| turns.is_free() && under_way + bytes < FROM_DISK_BYTES_MAX);
            let next = ready.pop_front().or_else(|| turns.and_then(|_| behind.pop_front()));
            let Some(asked) = next else { break };
            match self.answer_asked(asked, turns) {
                Ok(answer) => {
                    bytes += answer.counted_bytes;
                    answers.push(answer);
                }
                Err(asked) => behind.push_back(asked),
            }
        }
        if let Some(stream) = self.readers.streams.get_mut(&number) {
            stream.urgent &= !ready.is_empty();
            (stream.ready, stream.behind) = (ready, behind);
            stream.given_bytes += bytes;
            if !answers.is_empty() {
                stream.outlet.send(answers);
            }
        }
        true
    }

    /// Gives the read back that needs the disk, where it can have no turn there.
    fn answer_asked(&self, asked: Asked, turns: Option<&Turns>) -> Result<ReadReady, Asked> {
        let Asked { tag, request, refused, span } = asked;
        let answer = refused.map_or_else(|| Ok(self.answer_read(&request)), Err);
        let (counted_bytes, turn) = match &answer {
            Ok(ReadAnswer::Ready(found)) => {
                (found.records.iter().map(|record| record.body.len() as u64).sum(), None)
            }
            Ok(ReadAnswer::Cold { .. }) => match turns.and_then(Turns::take) {
                // So much may come from the disk.
                Some(turn) => (request.max_bytes, Some(turn)),
                None => return Err(Asked { tag, request, refused: None, span }),
            },
            Err(_) => (0, None),
        };
        Ok(ReadReady { tag, request, answer, counted_bytes, turn, span })
    }
}
