//! What a node answers: a handler for each method, typed where it is written, bytes where it is hosted.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;
use trunkline_wire::Status;
use trunkline_wire::method::{Streaming, Unary};

use crate::network::{CallOptions, Receiver, StreamClosed};

/// What came with a call beside its request.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Nobody waits for an answer after it. Always set: where the caller named none, it is the default deadline for
    /// unary calls and far away for streams.
    pub deadline: Instant,
    /// W3C traceparent.
    pub trace: Option<String>,
}

impl CallContext {
    /// For the calls that answering this one takes.
    pub fn onward(&self) -> CallOptions {
        CallOptions { deadline: Some(self.deadline), trace: self.trace.clone() }
    }
}

/// The answering half of a stream as bytes.
pub type RawResponder = mpsc::Sender<Bytes>;
type UnaryHandler =
    Arc<dyn Fn(CallContext, Bytes) -> BoxFuture<'static, Result<Bytes, Status>> + Send + Sync>;
type RawRequests = BoxStream<'static, Result<Bytes, Status>>;
type StreamingHandler = Arc<
    dyn Fn(CallContext, RawRequests, RawResponder) -> BoxFuture<'static, Result<(), Status>> + Send + Sync,
>;

/// One method's handler, for the host that decodes the transport. The host runs the future in the node's process
/// and drops it when the caller is gone.
#[derive(Clone)]
pub enum Handler {
    Unary(UnaryHandler),
    /// Ends the stream with the status that it returns.
    Streaming(StreamingHandler),
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unary(_) => "Unary",
            Self::Streaming(_) => "Streaming",
        })
    }
}

/// The answering half of a stream. Bounded: waits while the caller does not read.
pub struct Responder<A> {
    raw: RawResponder,
    message: std::marker::PhantomData<fn(A)>,
}

impl<A> fmt::Debug for Responder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder")
    }
}

impl<A> Clone for Responder<A> {
    fn clone(&self) -> Self {
        Self { raw: self.raw.clone(), message: std::marker::PhantomData }
    }
}

impl<A: Message> Responder<A> {
    /// # Errors
    /// [`StreamClosed`] once the caller is gone.
    pub async fn send(&self, message: &A) -> Result<(), StreamClosed> {
        self.raw.send(Bytes::from(message.encode_to_vec())).await.map_err(|_| StreamClosed)
    }

    /// Waits until all that was sent is on its way: for what is too large to wait here.
    ///
    /// # Errors
    /// [`StreamClosed`] once the caller is gone.
    pub async fn flushed(&self) -> Result<(), StreamClosed> {
        self.raw.reserve_many(self.raw.max_capacity()).await.map(drop).map_err(|_| StreamClosed)
    }

    pub async fn closed(&self) {
        self.raw.closed().await;
    }
}

/// Methods by path. Services make one each; a listener merges those it hosts.
#[derive(Clone, Debug, Default)]
pub struct Router {
    handlers: BTreeMap<&'static str, Handler>,
}

impl Router {
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a unary method.
    #[must_use]
    pub fn unary<Q, A, F, R>(mut self, method: Unary<Q, A>, handler: F) -> Self
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: Fn(CallContext, Q) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A, Status>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let raw: UnaryHandler = Arc::new(move |context, bytes| {
            let handler = handler.clone();
            Box::pin(async move {
                let request = decode::<Q>(bytes)?;
                handler(context, request).await.map(|response| Bytes::from(response.encode_to_vec()))
            })
        });
        self.handlers.insert(method.path(), Handler::Unary(raw));
        self
    }

    /// Registers a method with a stream in at least one direction.
    #[must_use]
    pub fn streaming<Q, A, F, R>(mut self, method: Streaming<Q, A>, handler: F) -> Self
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: Fn(CallContext, Receiver<Q>, Responder<A>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let raw: StreamingHandler = Arc::new(move |context, requests, responses| {
            let responder = Responder { raw: responses, message: std::marker::PhantomData };
            Box::pin(handler(context, Receiver::new(requests), responder))
        });
        self.handlers.insert(method.path(), Handler::Streaming(raw));
        self
    }

    /// All of this and all of `other`.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.handlers.extend(other.handlers);
        self
    }

    /// Every handler replaced by what `change` makes of it, for a host that puts something around them.
    #[must_use]
    pub fn map(mut self, change: impl Fn(&'static str, Handler) -> Handler) -> Self {
        for (path, handler) in &mut self.handlers {
            *handler = change(path, handler.clone());
        }
        self
    }

    pub fn handler(&self, path: &str) -> Option<&Handler> {
        self.handlers.get(path)
    }

    pub fn paths(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.handlers.keys().copied()
    }
}

fn decode<Q: Message + Default>(bytes: Bytes) -> Result<Q, Status> {
    Q::decode(bytes).map_err(|error| Status::invalid_argument(format!("malformed message: {error}")))
}
