//! From an HTTP/2 request to a handler and back.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic::{Code, Request, Response, Status, Streaming};
use trunkline_ports::process::TaskGuard;
use trunkline_ports::{CallContext, Handler, Process, Router};
use trunkline_types::limits::{DEADLINE_DEFAULT, DEADLINE_MAX, FRAME_BYTES_MAX, STREAM_QUEUE_MAX};
use trunkline_wire::status::{self, reason};

use crate::codec::RawCodec;
use crate::timeout;

/// A stream without a deadline has one all the same, which nobody lives to see.
const FAR_AWAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a listener answers now: the services behind it come and go while it listens.
#[derive(Clone, Debug, Default)]
pub struct Routes(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    router: Arc<Router>,
    /// Whether that is all there will be; before, what is not known is only not there yet.
    complete: bool,
}

impl Routes {
    /// Answers these methods, and says of all others that they are not there yet.
    pub fn starting(router: Router) -> Self {
        Self(Arc::new(RwLock::new(Known { router: Arc::new(router), complete: false })))
    }

    /// Answers these methods and no others.
    pub fn replace(&self, router: Router) {
        self.set(Known { router: Arc::new(router), complete: true });
    }

    /// Answers these methods, with more to come.
    pub fn replace_part(&self, router: Router) {
        self.set(Known { router: Arc::new(router), complete: false });
    }

    fn set(&self, known: Known) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn find(&self, path: &str) -> Result<Handler, Status> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match known.router.handler(path) {
            Some(handler) => Ok(handler.clone()),
            None if known.complete => Err(Status::unimplemented(format!("{path} is not served here"))),
            None => {
                let starting = status::unavailable(reason::UNREACHABLE, "the node is starting");
                Err(status::not_stored(&starting))
            }
        }
    }

    /// Whether any method of `service` is answered here.
    pub(crate) fn has_service(&self, service: &str) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.router.paths().any(|path| path.split('/').nth(1) == Some(service))
    }
}

/// Answers one request. Dropping the future drops the handler with it: its caller is gone.
pub(crate) async fn answer(
    routes: Routes,
    process: Process,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    let handler = match routes.find(request.uri().path()) {
        Ok(handler) => handler,
        Err(refusal) => return refusal.into_http(),
    };
    let request = request.map(|body| Body::new(body.map_err(|_| Status::cancelled("the caller is gone"))));
    let mut grpc = Grpc::new(RawCodec)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    match handler {
        Handler::Unary(handler) => {
            let mut call = UnaryCall { handler, is_reached: false };
            let response = grpc.unary(&mut call, request).await;
            // The one refusal of this code that comes before any handler.
            let refused = Status::from_header_map(response.headers()).filter(|_| !call.is_reached);
            match refused {
                Some(refused) if refused.code() == Code::OutOfRange => {
                    status::invalid("request", too_large()).into_http()
                }
                _ => response,
            }
        }
        Handler::Streaming(handler) => grpc.streaming(StreamingCall { handler, process }, request).await,
    }
}

/// The deadline that the caller named, as far away as it may be, or the default.
fn context(metadata: &MetadataMap, default: Duration, max: Duration) -> (CallContext, bool) {
    let said = metadata.get("grpc-timeout").and_then(|value| timeout::parse(value.to_str().ok()?));
    let deadline = Instant::now() + said.unwrap_or(default).min(max);
    let trace = metadata.get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
    (CallContext { deadline, trace }, said.is_some())
}

fn too_large() -> String {
    format!("is too large: one message of a call has at most {FRAME_BYTES_MAX} bytes")
}

fn too_late() -> Status {
    Status::deadline_exceeded("no answer before the deadline")
}

type UnaryHandler =
    Arc<dyn Fn(CallContext, Bytes) -> BoxFuture<'static, Result<Bytes, Status>> + Send + Sync>;

struct UnaryCall {
    handler: UnaryHandler,
    is_reached: bool,
}

impl UnaryService<Bytes> for &mut UnaryCall {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        self.is_reached = true;
        let (context, _) = context(request.metadata(), DEADLINE_DEFAULT, DEADLINE_MAX);
        let deadline = context.deadline;
        let answer = (self.handler)(context, request.into_inner());
        Box::pin(async move {
            match timeout_at(deadline, answer).await {
                Ok(answer) => answer.map(Response::new),
                Err(_) => Err(too_late()),
            }
        })
    }
}

type Requests = BoxStream<'static, Result<Bytes, Status>>;
type StreamingHandler = Arc<
    dyn Fn(CallContext, Requests, mpsc::Sender<Bytes>) -> BoxFuture<'static, Result<(), Status>>
        + Send
        + Sync,
>;

struct StreamingCall {
    handler: StreamingHandler,
    process: Process,
}

impl StreamingService<Bytes> for StreamingCall {
    type Response = Bytes;
    type ResponseStream = Responses;
    type Future = std::future::Ready<Result<Response<Responses>, Status>>;

    /// The handler is a task of its own, so that it reads on while nobody takes its answers.
    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (context, limited) = context(request.metadata(), FAR_AWAY, FAR_AWAY);
        let deadline = context.deadline;
        let (responder, frames) = mpsc::channel(STREAM_QUEUE_MAX);
        let (ended, end) = oneshot::channel();
        let requests = request.into_inner().map_err(|error| match error.code() {
            // Of what came before it on the stream, this says nothing.
            Code::OutOfRange => Status::invalid_argument(format!("request {}", too_large())),
            _ => error,
        });
        let handled = (self.handler)(context, requests.boxed(), responder);
        let task = self.process.spawn("stream", async move {
            let outcome = match limited {
                true => timeout_at(deadline, handled).await.unwrap_or_else(|_| Err(too_late())),
                false => handled.await,
            };
            let _ = ended.send(outcome);
        });
        let responses = Responses { frames, end: Some(end), outcome: None, _task: task.abort_on_drop() };
        std::future::ready(Ok(Response::new(responses)))
    }
}

/// What a handler sends, then what it returned. Dropped with the caller, and the handler with it.
struct Responses {
    frames: mpsc::Receiver<Bytes>,
    end: Option<oneshot::Receiver<Result<(), Status>>>,
    outcome: Option<Status>,
    _task: TaskGuard,
}

impl Responses {
    /// Whether the handler has returned.
    fn has_ended(&mut self, context: &mut Context<'_>) -> bool {
        let Some(end) = &mut self.end else { return true };
        let Poll::Ready(outcome) = Pin::new(end).poll(context) else { return false };
        self.outcome = match outcome {
            Ok(outcome) => outcome.err(),
            Err(_) => Some(status::unavailable(reason::UNREACHABLE, "the node was stopped")),
        };
        self.end = None;
        // What was sent before the return is still delivered; nothing sent after it is.
        self.frames.close();
        true
    }
}

impl Stream for Responses {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(Some(frame)) = self.frames.poll_recv(context) {
            return Poll::Ready(Some(Ok(frame)));
        }
        if !self.has_ended(context) {
            return Poll::Pending;
        }
        match self.frames.poll_recv(context) {
            Poll::Ready(Some(frame)) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => Poll::Ready(self.outcome.take().map(Err)),
            Poll::Pending => Poll::Pending,
        }
    }
}
