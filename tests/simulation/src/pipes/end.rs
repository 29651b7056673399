//! One end of a connection, as a socket.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::half::Half;
use super::{Pipes, lock};

const CHUNK_BYTES: usize = 16 * 1024;

pub(super) struct End {
    pipes: Pipes,
    number: u64,
    /// Which of the connection's hosts has it: also the direction that it writes.
    side: usize,
    outgoing: Arc<Mutex<Half>>,
    incoming: Arc<Mutex<Half>>,
    to_read: Option<Pin<Box<Sleep>>>,
    to_write: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "End({}.{})", self.number, self.side)
    }
}

impl End {
    pub(super) fn new(
        pipes: Pipes,
        number: u64,
        side: usize,
        outgoing: Arc<Mutex<Half>>,
        incoming: Arc<Mutex<Half>>,
    ) -> Self {
        Self { pipes, number, side, outgoing, incoming, to_read: None, to_write: None }
    }

    /// Bytes for the reader, none at the end; or when it is worth to look again, `None` where somebody will say.
    fn read(&self, most: usize, context: &Context<'_>) -> Result<io::Result<Bytes>, Option<Instant>> {
        let now = Instant::now();
        let mut state = self.pipes.state();
        let reset_at = lock(&self.outgoing).reset_at;
        if reset_at.is_some_and(|at| at <= now) {
            return Ok(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut half = lock(&self.incoming);
        half.reader = Some(context.waker().clone());
        let direction = 1 - self.side;
        let first = half.chunks.front().filter(|chunk| state.carries(self.number, direction, chunk.written));
        let Some(chunk) = first else { return Err(reset_at) };
        let due = half.open_at.map_or(chunk.due, |open| open.max(chunk.due));
        if due > now {
            return Err(Some(reset_at.map_or(due, |at| at.min(due))));
        }
        if chunk.bytes.is_empty() {
            return Ok(Ok(Bytes::new()));
        }
        let bytes = half.take(most, now + state.way_of(self.number, self.side).delay);
        state.count(self.number, direction, &bytes);
        Ok(Ok(bytes))
    }

    /// How many bytes are taken; or when there may be room.
    fn write(&self, bytes: &[u8], context: &Context<'_>) -> Result<io::Result<usize>, Option<Instant>> {
        let now = Instant::now();
        let state = self.pipes.state();
        let way = state.way_of(self.number, self.side);
        let mut half = lock(&self.outgoing);
        if half.reset_at.is_some_and(|at| at <= now) || half.ended {
            return Ok(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if half.reader_is_gone && half.reset_at.is_none() && state.is_open(self.number) {
            half.reset_at = Some(now + way.delay + state.way_of(self.number, 1 - self.side).delay);
            lock(&self.incoming).wake();
        }
        let acknowledged = state.acknowledges(self.number, self.side);
        if acknowledged {
            half.settle(now);
        }
        if half.room() == 0 {
            half.writer = Some(context.waker().clone());
            return Err(half.next_freed().filter(|_| acknowledged));
        }
        let taken = bytes.len().min(half.room()).min(CHUNK_BYTES);
        let jitter = u64::try_from(way.jitter.as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(state.random.below(jitter));
        half.send(Bytes::copy_from_slice(&bytes[..taken]), way, jitter, now);
        Ok(Ok(taken))
    }

    fn finish(&self) {
        let way = self.pipes.state().way_of(self.number, self.side);
        let mut half = lock(&self.outgoing);
        if !half.ended {
            half.send(Bytes::new(), way, Duration::ZERO, Instant::now());
        }
    }
}

/// Pending until `at`, or until somebody wakes the task.
fn wait<T>(
    timer: &mut Option<Pin<Box<Sleep>>>,
    at: Option<Instant>,
    context: &mut Context<'_>,
) -> Poll<io::Result<T>> {
    *timer = at.map(|at| Box::pin(sleep_until(at)));
    if let Some(timer) = timer
        && timer.as_mut().poll(context).is_ready()
    {
        context.waker().wake_by_ref();
    }
    Poll::Pending
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.read(buffer.remaining(), context) {
            Ok(read) => Poll::Ready(read.map(|bytes| buffer.put_slice(&bytes))),
            Err(at) => wait(&mut this.to_read, at, context),
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.write(bytes, context) {
            Ok(written) => Poll::Ready(written),
            Err(at) => wait(&mut this.to_write, at, context),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.finish();
        self.pipes.state().leave(self.number);
        let mut half = lock(&self.incoming);
        half.reader_is_gone = true;
        half.wake();
    }
}
