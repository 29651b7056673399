//! Calls and streams to other nodes: typed here, bytes below.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use prost::Message;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::Instant;
use trunkline_wire::Status;
use trunkline_wire::method::{Streaming, Unary};

/// Which connection a call takes. Streams that move much never share one with those that must be prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Requests and answers, and everything that is neither of the others.
    Calls,
    /// Raft.
    Consensus,
    /// Records between stores.
    Follow,
    /// Appends from push servers, reads by pop servers.
    Records,
    /// Large payloads, chunk by chunk.
    Payloads,
}

/// Where to: `HOST:PORT` of an internal listener (or a client listener, for crates/client).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    pub address: Arc<str>,
    pub class: Class,
}

impl Peer {
    pub fn new(address: impl Into<Arc<str>>, class: Class) -> Self {
        Self { address: address.into(), class }
    }
}

/// What goes with a call beside its request.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// Sent along as grpc-timeout and enforced here too; `None` for streams that live long.
    pub deadline: Option<Instant>,
    /// W3C traceparent.
    pub trace: Option<String>,
}

impl CallOptions {
    pub fn until(deadline: Instant) -> Self {
        Self { deadline: Some(deadline), trace: None }
    }
}

/// A stream to a peer as bytes. Dropping `sender` ends the caller's half; dropping both resets the stream.
pub struct RawStream {
    pub sender: mpsc::Sender<Bytes>,
    pub receiver: BoxStream<'static, Result<Bytes, Status>>,
}

impl fmt::Debug for RawStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawStream")
    }
}

/// Moves bytes between nodes: tonic in production, messages in the simulator. Frames of one stream arrive in order
/// or the stream ends. Connecting happens inside; a peer that cannot be reached is `UNAVAILABLE`, reason
/// `UNREACHABLE`. A call's error does not say by itself whether the peer has seen the request, except that it
/// was never sent, for want of a connection: that one carries `stored = "no"`.
pub trait Transport: Send + Sync + 'static {
    fn call(
        &self,
        to: &Peer,
        path: &'static str,
        request: Bytes,
        options: CallOptions,
    ) -> BoxFuture<'static, Result<Bytes, Status>>;

    fn open(
        &self,
        to: &Peer,
        path: &'static str,
        options: CallOptions,
    ) -> BoxFuture<'static, Result<RawStream, Status>>;
}

/// The typed face of a [`Transport`].
#[derive(Clone)]
pub struct Network(Arc<dyn Transport>);

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl Network {
    pub fn new(transport: impl Transport) -> Self {
        Self(Arc::new(transport))
    }

    /// # Errors
    /// The peer's status, or `UNAVAILABLE` / `DEADLINE_EXCEEDED` of the way to it.
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        to: &Peer,
        method: Unary<Q, A>,
        request: &Q,
        options: CallOptions,
    ) -> Result<A, Status> {
        let response = self.0.call(to, method.path(), encode(request), options).await?;
        decode(response)
    }

    /// # Errors
    /// As for [`Network::call`]; a handler's refusal may also come with the first message.
    pub async fn open<Q: Message, A: Message + Default>(
        &self,
        to: &Peer,
        method: Streaming<Q, A>,
        options: CallOptions,
    ) -> Result<(Sender<Q>, Receiver<A>), Status> {
        let raw = self.0.open(to, method.path(), options).await?;
        Ok((Sender::new(raw.sender), Receiver::new(raw.receiver)))
    }
}

fn encode(message: &impl Message) -> Bytes {
    Bytes::from(message.encode_to_vec())
}

fn decode<A: Message + Default>(bytes: Bytes) -> Result<A, Status> {
    A::decode(bytes).map_err(|error| Status::internal(format!("malformed message: {error}")))
}

/// The other side has ended the stream, or cannot be reached any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the stream is closed")]
pub struct StreamClosed;

/// The caller's half of a stream. Bounded: waits while the peer does not read.
pub struct Sender<Q> {
    raw: mpsc::Sender<Bytes>,
    message: PhantomData<fn(Q)>,
}

impl<Q> fmt::Debug for Sender<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<Q> Clone for Sender<Q> {
    fn clone(&self) -> Self {
        Self::new(self.raw.clone())
    }
}

impl<Q> Sender<Q> {
    pub fn new(raw: mpsc::Sender<Bytes>) -> Self {
        Self { raw, message: PhantomData }
    }

    /// Ends when the stream does.
    pub async fn closed(&self) {
        self.raw.closed().await;
    }

    pub fn is_closed(&self) -> bool {
        self.raw.is_closed()
    }

    /// Waits until all that was sent is on its way: for what is too large to wait here.
    ///
    /// # Errors
    /// [`StreamClosed`] once the stream has ended.
    pub async fn flushed(&self) -> Result<(), StreamClosed> {
        self.raw.reserve_many(self.raw.max_capacity()).await.map(drop).map_err(|_| StreamClosed)
    }
}

impl<Q: Message> Sender<Q> {
    /// # Errors
    /// [`StreamClosed`]; the message may or may not have been seen by the peer before.
    pub async fn send(&self, message: &Q) -> Result<(), StreamClosed> {
        self.raw.send(encode(message)).await.map_err(|_| StreamClosed)
    }
}

/// The other half of a stream.
pub struct Receiver<A> {
    raw: BoxStream<'static, Result<Bytes, Status>>,
    message: PhantomData<fn() -> A>,
}

impl<A> fmt::Debug for Receiver<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

impl<A> Receiver<A> {
    pub fn new(raw: BoxStream<'static, Result<Bytes, Status>>) -> Self {
        Self { raw, message: PhantomData }
    }
}

impl<A: Message + Default> Receiver<A> {
    /// The next message; `None` when the other side has ended its half. Cancel safe.
    ///
    /// # Errors
    /// The status the stream ended with.
    pub async fn next(&mut self) -> Result<Option<A>, Status> {
        match self.raw.next().await {
            Some(frame) => decode(frame?).map(Some),
            None => Ok(None),
        }
    }
}
