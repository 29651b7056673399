//! Where a large payload's bytes come from. (Small ones are in memory anyway.)

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use trunkline_ports::{Sender, StreamClosed};
use trunkline_types::{Checksum, checksum};
use trunkline_wire::v1::{PayloadChunk, PushStreamRequest};

/// Bytes that may be read more than once: what was refused is sent again.
pub trait PayloadSource: Send + Sync + 'static {
    /// How many there are.
    fn bytes(&self) -> u64;

    /// `length` of them from `at` on.
    fn read(&self, at: u64, length: usize) -> BoxFuture<'static, io::Result<Bytes>>;
}

impl PayloadSource for Bytes {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, at: u64, length: usize) -> BoxFuture<'static, io::Result<Bytes>> {
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        let bytes = self.slice(at..at.saturating_add(length).min(self.len()));
        Box::pin(async move { Ok(bytes) })
    }
}

/// A shared source.
#[derive(Clone)]
pub(crate) struct Source(Arc<dyn PayloadSource>);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.bytes()).finish()
    }
}

/// Why not all of a payload was sent.
#[derive(Debug)]
pub(crate) enum Unsent {
    Closed,
    /// It could not be read here; the server stores nothing of it.
    Unread(io::Error),
}

impl From<StreamClosed> for Unsent {
    fn from(_: StreamClosed) -> Self {
        Self::Closed
    }
}

impl Source {
    pub(crate) fn new(source: impl PayloadSource) -> Self {
        Self(Arc::new(source))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Sends all of it, chunk by chunk; the last says what the whole is.
    pub(crate) async fn send(
        &self,
        sender: &Sender<PushStreamRequest>,
        chunk_bytes: u32,
    ) -> Result<(), Unsent> {
        let (mut at, mut whole) = (0, Checksum::default());
        while at < self.bytes() {
            let length = (self.bytes() - at).min(chunk_bytes.into());
            let data = self.0.read(at, usize::try_from(length).unwrap_or(usize::MAX)).await;
            let data = data.map_err(Unsent::Unread)?;
            if data.len() as u64 != length {
                return Err(Unsent::Unread(io::ErrorKind::UnexpectedEof.into()));
            }
            whole.update(&data);
            at += length;
            let payload_checksum = (at == self.bytes()).then(|| whole.get());
            let chunk = PayloadChunk { checksum: Some(checksum(&data)), data, payload_checksum };
            sender.send(&PushStreamRequest { chunk: Some(chunk), ..PushStreamRequest::default() }).await?;
            sender.flushed().await?;
        }
        Ok(())
    }
}
