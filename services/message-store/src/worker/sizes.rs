//! How much there is of topics whose bytes are limited: counted as it becomes readable, from memory, or from disk where
//! it is not there any more. Chunks that are full stand on disk, so that a restart counts little again.

use std::collections::BTreeMap;

use trunkline_ordering::store::{Chunk, Sizes, Topic};
use trunkline_types::TopicId;
use trunkline_wire::Message as _;
use trunkline_wire::v1::TopicOptions;

use super::Worker;
use crate::keys;

/// Messages of one topic counted from memory in a second; the rest waits for the next.
const COUNTED_MAX: u64 = 100_000;

#[derive(Debug)]
enum Counted {
    /// What was counted before is being read.
    Loading,
    Known {
        sizes: Sizes,
        /// Messages that are not in memory are being read.
        reading: bool,
    },
}

/// By topic, those with a limit only.
#[derive(Debug, Default)]
pub(crate) struct CountedSizes(BTreeMap<TopicId, Counted>);

impl CountedSizes {
    /// The messages below this ID are beyond what the topic keeps.
    pub(super) fn beyond(&self, topic: TopicId) -> u64 {
        match self.0.get(&topic) {
            Some(Counted::Known { sizes, .. }) => sizes.beyond(),
            Some(Counted::Loading) | None => 1,
        }
    }

    pub(super) fn forget(&mut self, topic: TopicId) {
        self.0.remove(&topic);
    }
}

/// The bytes that a topic keeps; 0: no limit.
fn limit(topic: &Topic) -> u64 {
    if topic.deleted { 0 } else { TopicOptions::decode(&topic.options[..]).map_or(0, |o| o.retention_bytes) }
}

impl Worker {
    /// Once a second.
    pub(super) fn count_sizes(&mut self) {
        let limited = |(id, topic): (TopicId, &Topic)| {
            let limit = if topic.options.is_empty() { 0 } else { limit(topic) };
            (limit > 0).then_some((id, limit))
        };
        let limits: BTreeMap<TopicId, u64> = self.catalog.topics().filter_map(limited).collect();
        let gone: Vec<TopicId> =
            self.sizes.0.keys().copied().filter(|topic| !limits.contains_key(topic)).collect();
        for topic in gone {
            self.sizes.forget(topic);
            let (from, to) = (keys::id_key(topic, 0), keys::id_key(topic, u64::MAX));
            self.commit.purge(|batch| batch.delete_range(keys::SIZES, from, to));
        }
        for (topic, limit) in limits {
            match self.sizes.0.get_mut(&topic) {
                None => {
                    self.sizes.0.insert(topic, Counted::Loading);
                    self.loads.chunks(topic);
                }
                Some(Counted::Loading) => {}
                Some(Counted::Known { sizes, .. }) => {
                    sizes.set_limit(limit);
                    self.count(topic);
                }
            }
        }
    }

    pub(super) fn chunks_loaded(&mut self, id: TopicId, chunks: Vec<Chunk>) {
        let Some(topic) = self.catalog.topic(id) else { return self.sizes.forget(id) };
        let sizes = Sizes::recover(limit(topic).max(1), topic.earliest(), chunks);
        self.sizes.0.insert(id, Counted::Known { sizes, reading: false });
        self.count(id);
    }

    pub(super) fn sizes_loaded(&mut self, topic: TopicId, from: u64, bytes: &[u64]) {
        let Some(Counted::Known { sizes, reading }) = self.sizes.0.get_mut(&topic) else { return };
        *reading = false;
        if sizes.next() == from {
            let full: Vec<Chunk> = bytes.iter().filter_map(|bytes| sizes.add(*bytes)).collect();
            self.write_chunks(topic, &full);
        }
        // Rows of the index may be on their way to disk: then the next second will do.
        if !bytes.is_empty() {
            self.count(topic);
        }
    }

    /// Counts what has become readable, from memory; asks the disk for what is not there.
    fn count(&mut self, id: TopicId) {
        let Some(topic) = self.catalog.topic(id) else { return };
        let Some(Counted::Known { sizes, reading }) = self.sizes.0.get_mut(&id) else { return };
        let before = sizes.beyond();
        sizes.trim(topic.earliest());
        let (mut full, end) = (Vec::new(), topic.watermark() + 1);
        let stop = end.min(sizes.next() + COUNTED_MAX);
        while !*reading && sizes.next() < stop {
            let found = topic.find(sizes.next());
            let record = found.and_then(|run| self.recent.get(run.log, run.seq_of(sizes.next())));
            match record {
                Some(record) => full.extend(sizes.add(record.body.len() as u64)),
                None => {
                    *reading = true;
                    self.loads.sizes(id, sizes.next(), end);
                }
            }
        }
        let (changed, first) = (sizes.beyond() != before, sizes.first());
        let group = self.catalog.group_of(id.bucket());
        if changed {
            self.sessions.topic_changed(group, id);
        }
        self.write_chunks(id, &full);
        if changed && let Some(first) = first {
            let (from, to) = (keys::id_key(id, 0), keys::id_key(id, first));
            self.commit.purge(|batch| batch.delete_range(keys::SIZES, from, to));
        }
    }

    fn write_chunks(&mut self, topic: TopicId, full: &[Chunk]) {
        for chunk in full {
            let value = keys::pair_value(chunk.end, chunk.bytes);
            self.commit.purge(|batch| batch.put(keys::SIZES, keys::id_key(topic, chunk.first), value));
        }
    }
}
