//! A WAN below HTTP/2: bytes in order, each chunk delayed by half of the round trip, each direction by itself.
//!
//! Two tasks stand between the connection and its socket, one per direction. Each stamps what it reads with the time
//! when it is due, and writes it then. A cut lets nothing through, not even what is due; after it all goes on in
//! order. Both are bounded: a reader that is slow in the end slows the writer down, as TCP does.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex, split};
use tokio::time::{Instant, sleep_until};
use trunkline_ports::Process;
use trunkline_types::limits::DELAY_LINE_BYTES_MAX;

use crate::wan::Way;

/// What is read at once, and what waits at either end beside the line itself.
const CHUNK_BYTES: usize = 64 * 1024;
const ENDS_BYTES: usize = 256 * 1024;

pub(crate) struct DelayLine;

impl DelayLine {
    /// The near end of a line whose far end is (`reader`, `writer`).
    pub(crate) fn over<R, W>(
        reader: R,
        writer: W,
        there: Arc<Way>,
        back: Arc<Way>,
        process: &Process,
    ) -> DuplexStream
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let (near, far) = duplex(ENDS_BYTES);
        let (from_near, to_near) = split(far);
        process.spawn("wan there", Direction::new(there).carry(from_near, writer));
        process.spawn("wan back", Direction::new(back).carry(reader, to_near));
        near
    }
}

/// What is on its way; an empty chunk is the end.
struct Direction {
    way: Arc<Way>,
    chunks: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    last_due: Instant,
    ended: bool,
}

impl Direction {
    fn new(way: Arc<Way>) -> Self {
        Self { way, chunks: VecDeque::new(), bytes: 0, last_due: Instant::now(), ended: false }
    }

    async fn carry<R, W>(mut self, mut from: R, mut to: W)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
        loop {
            let takes_more = !self.ended && self.bytes < DELAY_LINE_BYTES_MAX;
            tokio::select! {
                biased;
                () = arrival(&self.way, self.chunks.front().map(|chunk| chunk.0)) => {
                    if !self.deliver(&mut to).await {
                        return;
                    }
                }
                read = from.read_buf(&mut buffer), if takes_more => {
                    self.take(read.map_or_else(|_| Bytes::new(), |_| buffer.split().freeze()));
                    buffer.reserve(CHUNK_BYTES);
                }
            }
        }
    }

    fn take(&mut self, chunk: Bytes) {
        self.ended = chunk.is_empty();
        self.bytes += chunk.len();
        self.last_due = self.way.due(Instant::now(), self.last_due, chunk.len());
        self.chunks.push_back((self.last_due, chunk));
    }

    /// Writes all that is due; false once the end has arrived, or nobody reads any more.
    async fn deliver(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> bool {
        while let Some((due, _)) = self.chunks.front()
            && *due <= Instant::now()
        {
            let Some((_, chunk)) = self.chunks.pop_front() else { return true };
            self.bytes -= chunk.len();
            if chunk.is_empty() {
                let _ = to.shutdown().await;
                return false;
            }
            self.way.count(chunk.len());
            if to.write_all(&chunk).await.is_err() {
                return false;
            }
        }
        to.flush().await.is_ok()
    }
}

/// Resolves when what is due at `due` may arrive: never where nothing is on its way.
async fn arrival(way: &Way, due: Option<Instant>) {
    match due {
        None => futures::future::pending().await,
        Some(due) => {
            sleep_until(due).await;
            way.whole().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{advance, timeout};
    use trunkline_runtime::OsProcess;

    use super::*;

    fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    struct Line {
        near: DuplexStream,
        far: DuplexStream,
        there: Arc<Way>,
        began: Instant,
    }

    fn line(there_ms: u64, back_ms: u64, rate: Option<u64>) -> Line {
        let there = Arc::new(Way::new(millis(there_ms), rate));
        let back = Arc::new(Way::new(millis(back_ms), rate));
        let (far, inner) = duplex(1024);
        let (reader, writer) = split(inner);
        let process = OsProcess::new(|_| ()).process();
        let near = DelayLine::over(reader, writer, there.clone(), back, &process);
        Line { near, far, there, began: Instant::now() }
    }

    async fn read(stream: &mut DuplexStream, bytes: usize) -> Vec<u8> {
        let mut buffer = vec![0; bytes];
        stream.read_exact(&mut buffer).await.expect("the line is whole");
        buffer
    }

    #[tokio::test(start_paused = true)]
    async fn each_direction_takes_its_own_time() {
        for (there, back) in [(0, 0), (35, 35), (75, 10)] {
            let mut line = line(there, back, None);
            line.near.write_all(b"ping").await.expect("room");
            assert_eq!(read(&mut line.far, 4).await, b"ping");
            assert_eq!(line.began.elapsed(), millis(there), "there");
            line.far.write_all(b"pong").await.expect("room");
            assert_eq!(read(&mut line.near, 4).await, b"pong");
            assert_eq!(line.began.elapsed(), millis(there + back), "and back");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_sent_later_arrive_later_and_in_order() {
        let mut line = line(75, 75, None);
        line.near.write_all(b"one").await.expect("room");
        tokio::task::yield_now().await;
        advance(millis(20)).await;
        line.near.write_all(b"two").await.expect("room");
        assert_eq!(read(&mut line.far, 3).await, b"one");
        assert_eq!(line.began.elapsed(), millis(75));
        assert_eq!(read(&mut line.far, 3).await, b"two");
        assert_eq!(line.began.elapsed(), millis(95));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_stalls_even_what_is_under_way_and_nothing_is_lost() {
        let mut line = line(10, 10, None);
        line.near.write_all(b"one").await.expect("room");
        tokio::task::yield_now().await;
        line.there.set_cut(true);
        line.near.write_all(b"two").await.expect("room");
        let mut first = [0; 1];
        assert!(
            timeout(millis(5_000), line.far.read_exact(&mut first)).await.is_err(),
            "nothing passes a cut"
        );
        line.there.set_cut(false);
        assert_eq!(read(&mut line.far, 6).await, b"onetwo");
        assert_eq!(line.began.elapsed(), millis(5_000));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_arrives_after_all_bytes() {
        let mut line = line(10, 10, None);
        line.near.write_all(b"last").await.expect("room");
        drop(line.near);
        let mut all = Vec::new();
        line.far.read_to_end(&mut all).await.expect("a clean end");
        assert_eq!(all, b"last");
        assert_eq!(line.began.elapsed(), millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limits_what_gets_through() {
        let mut line = line(10, 10, Some(1_000_000));
        let sent = vec![7; 200_000];
        line.near.write_all(&sent).await.expect("room");
        assert_eq!(read(&mut line.far, 200_000).await, sent);
        assert_eq!(line.began.elapsed(), millis(210));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_attempt_takes_a_round_trip_and_hangs_while_cut() {
        let (there, back) = (Way::new(millis(35), None), Way::new(millis(35), None));
        let began = Instant::now();
        there.handshake(&back).await;
        assert_eq!(began.elapsed(), millis(70));
        back.set_cut(true);
        assert!(timeout(millis(60_000), there.handshake(&back)).await.is_err());
    }
}
