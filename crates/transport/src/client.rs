//! Calls and streams to other nodes.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryFutureExt as _};
use http::uri::PathAndQuery;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};
use trunkline_ports::{CallOptions, Peer, Process, RawStream, Transport};
use trunkline_types::DatacenterName;
use trunkline_types::limits::{DEADLINE_DEFAULT, FRAME_BYTES_MAX, STREAM_QUEUE_MAX};
use trunkline_wire::status::not_stored;

use crate::codec::RawCodec;
use crate::connection::Connection;
use crate::dial::{Dialer, Tcp};
use crate::link::Link;
use crate::socket::Dial;
use crate::wan::Wan;

/// One node's way to all others: a connection per (address, class), made when first needed.
#[derive(Clone, Debug)]
pub struct GrpcTransport {
    dialer: Dialer,
    links: Arc<RwLock<BTreeMap<Peer, Arc<Link>>>>,
}

impl GrpcTransport {
    /// `wan` is what lies between `datacenter` and the others, where that is not the real thing.
    pub fn new(process: Process, datacenter: DatacenterName, wan: Option<Arc<Wan>>) -> Self {
        let tcp = Tcp { process: process.clone(), datacenter, wan };
        Self::over(process, Arc::new(tcp))
    }

    /// Over connections that `dial` makes; their tasks belong to `process`.
    pub fn over(process: Process, dial: Arc<dyn Dial>) -> Self {
        Self { dialer: Dialer { process, dial }, links: Arc::default() }
    }

    fn link(&self, peer: &Peer) -> Arc<Link> {
        if let Some(link) = self.links.read().unwrap_or_else(PoisonError::into_inner).get(peer) {
            return link.clone();
        }
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Link::new(peer.address.clone(), self.dialer.clone()));
        links.entry(peer.clone()).or_insert_with(new).clone()
    }
}

impl Transport for GrpcTransport {
    fn call(
        &self,
        to: &Peer,
        path: &'static str,
        request: Bytes,
        options: CallOptions,
    ) -> BoxFuture<'static, Result<Bytes, Status>> {
        let link = self.link(to);
        let deadline = options.deadline.unwrap_or_else(|| Instant::now() + DEADLINE_DEFAULT);
        let options = CallOptions { deadline: Some(deadline), ..options };
        Box::pin(async move {
            // Without a connection nothing was sent: the one failure of the way that is certain.
            let connection = timeout_at(deadline, link.connection()).await;
            let connection =
                connection.unwrap_or_else(|_| Err(link.too_late())).map_err(|why| not_stored(&why))?;
            let answer = async {
                let _slot = link.slot()?;
                let request = with_options(Request::new(request), &options)?;
                let path = PathAndQuery::from_static(path);
                client(connection, &link).unary(request, path, RawCodec).await.map(Response::into_inner)
            };
            timeout_at(deadline, answer).await.unwrap_or_else(|_| Err(too_late()))
        })
    }

    fn open(
        &self,
        to: &Peer,
        path: &'static str,
        options: CallOptions,
    ) -> BoxFuture<'static, Result<RawStream, Status>> {
        let link = self.link(to);
        Box::pin(async move {
            let opening = open(link, path, &options);
            match options.deadline {
                None => opening.await,
                Some(deadline) => timeout_at(deadline, opening).await.unwrap_or_else(|_| Err(too_late())),
            }
        })
    }
}

type Answer = BoxFuture<'static, Result<Response<Streaming<Bytes>>, Status>>;

/// Returns as soon as the request is on its way: the answer's head comes with its first message.
async fn open(link: Arc<Link>, path: &'static str, options: &CallOptions) -> Result<RawStream, Status> {
    let connection = link.connection().await?;
    let slot = link.slot()?;
    let (sender, frames) = mpsc::channel(STREAM_QUEUE_MAX);
    let (ended, end) = oneshot::channel();
    // Once the peer has ended the stream, what is sent goes nowhere: the sender learns it.
    let frames = ReceiverStream::new(frames).take_until(only_if_said(end));
    let request = with_options(Request::new(frames), options)?;
    let mut grpc = client(connection, &link);
    let mut answer: Answer =
        Box::pin(async move { grpc.streaming(request, PathAndQuery::from_static(path), RawCodec).await });
    let frames = match answer.as_mut().now_or_never() {
        Some(answer) => answer?.into_inner().boxed(),
        None => answer.map_ok(Response::into_inner).try_flatten_stream().boxed(),
    };
    let frames = Frames {
        frames,
        deadline: options.deadline.map(|deadline| Box::pin(sleep_until(deadline))),
        ended: Some(ended),
        slot: Some(slot),
    };
    Ok(RawStream { sender, receiver: frames.boxed() })
}

async fn only_if_said(end: oneshot::Receiver<()>) {
    if end.await.is_err() {
        futures::future::pending::<()>().await;
    }
}

/// What a peer sends, up to the stream's end, its first error or the deadline.
struct Frames {
    frames: BoxStream<'static, Result<Bytes, Status>>,
    deadline: Option<Pin<Box<Sleep>>>,
    ended: Option<oneshot::Sender<()>>,
    slot: Option<OwnedSemaphorePermit>,
}

impl Frames {
    fn end(&mut self) {
        self.slot = None;
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(());
        }
        self.frames = futures::stream::empty().boxed();
        self.deadline = None;
    }
}

impl futures::Stream for Frames {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = match self.frames.poll_next_unpin(context) {
            Poll::Pending => match &mut self.deadline {
                Some(deadline) => deadline.as_mut().poll(context).map(|()| Some(Err(too_late()))),
                None => Poll::Pending,
            },
            ready @ Poll::Ready(_) => ready,
        };
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.end();
        }
        polled
    }
}

fn client(connection: Connection, link: &Link) -> Grpc<Connection> {
    let grpc = Grpc::with_origin(connection, link.origin());
    grpc.max_decoding_message_size(FRAME_BYTES_MAX).max_encoding_message_size(FRAME_BYTES_MAX)
}

fn with_options<T>(mut request: Request<T>, options: &CallOptions) -> Result<Request<T>, Status> {
    if let Some(deadline) = options.deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(too_late());
        }
        request.set_timeout(left);
    }
    if let Some(trace) = options.trace.as_deref().and_then(|trace| MetadataValue::try_from(trace).ok()) {
        request.metadata_mut().insert("traceparent", trace);
    }
    Ok(request)
}

fn too_late() -> Status {
    Status::deadline_exceeded("no answer before the deadline")
}
