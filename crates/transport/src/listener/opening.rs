//! The beginning of a caller's connection, until its first bytes have come.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use trunkline_types::limits::LISTENER_FIRST_BYTES_TIMEOUT;

use crate::socket::Socket;

/// How HTTP/2 begins. Before it there are no pings that could tell a caller that is slow from one that is gone.
pub(super) const PREFACE_BYTES: usize = 24;

/// A socket whose reader fails where the first bytes do not come in time.
pub(super) struct Opening {
    socket: Box<dyn Socket>,
    awaited: usize,
    until: Option<Pin<Box<Sleep>>>,
}

impl Opening {
    pub(super) fn new(socket: Box<dyn Socket>, awaited: usize) -> Self {
        Self { socket, awaited, until: Some(Box::pin(sleep(LISTENER_FIRST_BYTES_TIMEOUT))) }
    }
}

impl AsyncRead for Opening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        let Some(until) = &mut self.until else { return polled };
        if polled.is_pending() && until.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.awaited = self.awaited.saturating_sub(buffer.filled().len() - before);
        if self.awaited == 0 {
            self.until = None;
        }
        polled
    }
}

impl AsyncWrite for Opening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
