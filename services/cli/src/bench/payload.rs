//! What a message of the load carries: a header, and random bytes.

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::time::{Duration, Instant};
use trunkline_ports::Process;

/// Run, origin, topic, sequence, intended send time.
pub(crate) const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 8;
/// Random bytes to cut payloads from: generating each anew would measure the generator.
const POOL_BYTES: usize = 4 << 20;

/// A message's place in the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which datacenter's senders sent it.
    pub(super) origin: usize,
    pub(super) topic: usize,
    /// Of (origin, topic): 0, 1, 2, …
    pub(super) sequence: u64,
    /// Intended, after the load began.
    pub(super) at: Duration,
}

impl Mark {
    /// How long ago it was meant to be sent.
    pub(super) fn age(&self, begun: Instant) -> Duration {
        begun.elapsed().saturating_sub(self.at)
    }
}

/// Makes and reads payloads of one run.
#[derive(Debug)]
pub(super) struct Pool {
    run: u64,
    size: usize,
    random: Bytes,
}

impl Pool {
    pub(super) fn new(process: &Process, run: u64, size: usize) -> Self {
        let bytes = POOL_BYTES + size;
        let mut random = Vec::with_capacity(bytes + 8);
        while random.len() < bytes {
            random.extend(process.random().to_le_bytes());
        }
        Self { run, size, random: random.into() }
    }

    /// The bytes that payloads are cut from.
    pub(super) fn random(&self) -> Bytes {
        self.random.clone()
    }

    pub(super) fn payload(&self, mark: Mark) -> Bytes {
        let mut payload = BytesMut::with_capacity(self.size);
        payload.put_u64(self.run);
        payload.put_u32(u32::try_from(mark.origin).unwrap_or(u32::MAX));
        payload.put_u32(u32::try_from(mark.topic).unwrap_or(u32::MAX));
        payload.put_u64(mark.sequence);
        payload.put_u64(u64::try_from(mark.at.as_micros()).unwrap_or(u64::MAX));
        let rest = self.size - HEADER_BYTES;
        let from = usize::try_from(mark.sequence.wrapping_mul(7_919) % POOL_BYTES as u64).unwrap_or(0);
        payload.extend_from_slice(&self.random[from..from + rest]);
        payload.freeze()
    }

    /// `None` for what this run has not made.
    pub(super) fn mark(&self, payload: &[u8]) -> Option<Mark> {
        let (run, rest) = payload.split_first_chunk::<8>()?;
        let (origin, rest) = rest.split_first_chunk::<4>()?;
        let (topic, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (at, _) = rest.split_first_chunk::<8>()?;
        (u64::from_be_bytes(*run) == self.run).then_some(Mark {
            origin: usize::try_from(u32::from_be_bytes(*origin)).ok()?,
            topic: usize::try_from(u32::from_be_bytes(*topic)).ok()?,
            sequence: u64::from_be_bytes(*sequence),
            at: Duration::from_micros(u64::from_be_bytes(*at)),
        })
    }
}

#[cfg(test)]
mod tests {
    use trunkline_testkit::SimulatedProcess;

    use super::*;

    #[tokio::test]
    async fn a_mark_survives_its_payload() {
        let pool = Pool::new(&SimulatedProcess::alone(1).process(), 7, 100);
        let mark = Mark { origin: 2, topic: 9, sequence: 12_345, at: Duration::from_micros(678) };
        let payload = pool.payload(mark);
        assert_eq!((payload.len(), pool.mark(&payload)), (100, Some(mark)));
        let other = Pool::new(&SimulatedProcess::alone(1).process(), 8, 100);
        assert_eq!((other.mark(&payload), pool.mark(b"short")), (None, None));
    }
}
