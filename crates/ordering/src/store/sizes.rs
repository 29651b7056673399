//! How many bytes a topic has, by ID: in chunks, so that what is beyond a limit is known to within one of them.

use std::collections::VecDeque;

/// Chunks are as large as this fraction of the limit, ...
const OF_THE_LIMIT: u64 = 64;
/// ... within these bounds: what a restart counts again, and how many there are.
const CHUNK_BYTES_MIN: u64 = 16 << 10;
const CHUNK_BYTES_MAX: u64 = 64 << 20;

/// The messages with IDs from `first` up to `end`, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub first: u64,
    pub end: u64,
    pub bytes: u64,
}

/// The counted messages of one topic, those left out that are there no more.
#[derive(Clone, Debug)]
pub struct Sizes {
    limit: u64,
    /// Consecutive; the last one grows.
    chunks: VecDeque<Chunk>,
    bytes: u64,
    /// The first ID that was not counted.
    next: u64,
}

impl Sizes {
    /// Counts from `first` on; the topic keeps `limit` bytes.
    pub fn new(limit: u64, first: u64) -> Self {
        Self { limit, chunks: VecDeque::new(), bytes: 0, next: first }
    }

    /// With what was counted before: full chunks, in order. Only those that follow each other up to the last count.
    pub fn recover(limit: u64, first: u64, full: impl IntoIterator<Item = Chunk>) -> Self {
        let mut sizes = Self::new(limit, first);
        for chunk in full {
            if chunk.first != sizes.next {
                (sizes.bytes, sizes.chunks) = (0, VecDeque::new());
            }
            sizes.next = chunk.end;
            sizes.bytes += chunk.bytes;
            sizes.chunks.push_back(chunk);
        }
        sizes
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Where the first chunk begins that is still there.
    pub fn first(&self) -> Option<u64> {
        self.chunks.front().map(|chunk| chunk.first)
    }

    /// The first ID that was not counted.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Counts the next message. A chunk that is full by that is to be remembered.
    pub fn add(&mut self, bytes: u64) -> Option<Chunk> {
        let full = (self.limit / OF_THE_LIMIT).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let id = self.next;
        self.next += 1;
        self.bytes += bytes;
        match self.chunks.back_mut() {
            Some(last) if last.bytes < full => {
                last.end = self.next;
                last.bytes += bytes;
            }
            _ => self.chunks.push_back(Chunk { first: id, end: self.next, bytes }),
        }
        self.chunks.back().copied().filter(|last| last.bytes >= full)
    }

    /// Messages below this ID are there no more.
    pub fn trim(&mut self, below: u64) {
        while self.chunks.front().is_some_and(|first| first.end <= below) {
            self.bytes -= self.chunks.pop_front().map_or(0, |gone| gone.bytes);
        }
        self.next = self.next.max(below);
    }

    /// The messages below this ID are beyond the limit: those from it on are at least that much.
    pub fn beyond(&self) -> u64 {
        let mut left = self.bytes;
        let mut below = self.chunks.front().map_or(1, |first| first.first);
        for chunk in &self.chunks {
            if left - chunk.bytes < self.limit {
                break;
            }
            left -= chunk.bytes;
            below = chunk.end;
        }
        below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    #[test]
    fn what_is_beyond_the_limit_is_known_to_within_a_chunk_and_never_too_much() {
        let mut sizes = Sizes::new(1 << 20, 5);
        let full: Vec<Chunk> = (0..2_000).filter_map(|_| sizes.add(KIB)).collect();
        assert_eq!(full[0], Chunk { first: 5, end: 21, bytes: 16 * KIB });
        let beyond = sizes.beyond();
        let kept = (2_005 - beyond) * KIB;
        assert!((1 << 20..(1 << 20) + 17 * KIB).contains(&kept), "{kept} bytes are kept");
        sizes.trim(beyond);
        assert_eq!(sizes.beyond(), beyond, "once it is gone no more is beyond");
        sizes.set_limit(2 << 20);
        assert_eq!(sizes.beyond(), beyond);
        sizes.set_limit(512 * KIB);
        assert!(sizes.beyond() > beyond);
    }

    #[test]
    fn a_restart_goes_on_from_the_full_chunks_that_follow_each_other() {
        let mut sizes = Sizes::new(1 << 20, 1);
        let full: Vec<Chunk> = (0..1_999).filter_map(|_| sizes.add(KIB)).collect();
        let mut again = Sizes::recover(1 << 20, 1, full.iter().copied());
        assert_eq!(again.next(), full.last().unwrap().end);
        while again.next() < sizes.next() {
            again.add(KIB);
        }
        assert_eq!(again.beyond(), sizes.beyond());
        let holed = full.iter().copied().filter(|chunk| chunk.first != 33);
        assert_eq!(Sizes::recover(1 << 20, 1, holed).chunks.front().unwrap().first, 49);
    }

    #[test]
    fn what_was_trimmed_before_it_was_counted_is_not_counted() {
        let mut sizes = Sizes::new(1 << 20, 1);
        sizes.trim(100);
        assert_eq!((sizes.next(), sizes.beyond()), (100, 1));
        sizes.add(KIB);
        assert_eq!(sizes.chunks.front().unwrap().first, 100);
    }
}
