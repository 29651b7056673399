//! The transport port's contract over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use trunkline_ports::{CallContext, CallOptions, Class, Network, Peer, Process, Responder, Router};
use trunkline_runtime::OsProcess;
use trunkline_transport::{Bound, Door, GrpcTransport, Listener, Page, Pages, Routes, Wan};
use trunkline_wire::internal::{BootstrapRequest as Frame, BootstrapResponse as Answer};
use trunkline_wire::method::{Streaming, Unary};
use trunkline_wire::status::{self, reason};
use trunkline_wire::{Code, Message as _, Status};

const ECHO: Unary<Frame, Answer> = Unary::new("/test.Service/Echo");
const FAIL: Unary<Frame, Answer> = Unary::new("/test.Service/Fail");
const HANG: Unary<Frame, Answer> = Unary::new("/test.Service/Hang");
const DEADLINE: Unary<Frame, Answer> = Unary::new("/test.Service/Deadline");
const MISSING: Unary<Frame, Answer> = Unary::new("/test.Service/Missing");
const CHAT: Streaming<Frame, Answer> = Streaming::new("/test.Service/Chat");
const HANG_STREAM: Streaming<Frame, Answer> = Streaming::new("/test.Service/HangStream");
const REFUSE: Streaming<Frame, Answer> = Streaming::new("/test.Service/Refuse");

/// Says when the handler that holds it is dropped.
struct Dropped(mpsc::Sender<&'static str>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.try_send("dropped");
    }
}

fn frame(bytes: impl Into<Bytes>) -> Frame {
    Frame { map: bytes.into() }
}

fn router(events: mpsc::Sender<&'static str>) -> Router {
    let stream_events = events.clone();
    Router::new()
        .unary(ECHO, |context: CallContext, request: Frame| async move {
            let trace = context.trace.map(Bytes::from);
            Ok(Answer { map: trace.unwrap_or(request.map) })
        })
        .unary(FAIL, |_, _| async { Err(status::not_stored(&status::unavailable(reason::NO_QUORUM, "no"))) })
        .unary(HANG, move |_, _| {
            let dropped = Dropped(events.clone());
            async move {
                let _dropped = dropped;
                std::future::pending::<Result<Answer, Status>>().await
            }
        })
        .unary(DEADLINE, |context: CallContext, _| async move {
            let left = context.deadline.saturating_duration_since(Instant::now());
            Ok(Answer { map: left.as_millis().to_string().into() })
        })
        .streaming(CHAT, |_, mut requests, responses: Responder<Answer>| async move {
            while let Some(request) = requests.next().await? {
                if request.map.is_empty() {
                    return Err(Status::aborted("enough"));
                }
                let _ = responses.send(&Answer { map: request.map }).await;
            }
            responses.send(&Answer { map: "bye".into() }).await.map_err(|_| Status::cancelled("gone"))
        })
        .streaming(HANG_STREAM, move |_, _, responses: Responder<Answer>| {
            let dropped = Dropped(stream_events.clone());
            async move {
                let _dropped = dropped;
                let _ = responses.send(&Answer::default()).await;
                std::future::pending::<Result<(), Status>>().await
            }
        })
        .streaming(REFUSE, |_, _, _| async { Err(Status::permission_denied("not you")) })
}

struct World {
    network: Network,
    listener: Option<Listener>,
    address: String,
    served: OsProcess,
    routes: Routes,
    healthy: Arc<AtomicBool>,
    events: mpsc::Receiver<&'static str>,
}

impl World {
    async fn with(door: Door) -> Self {
        Self::behind(door, None).await
    }

    async fn behind(door: Door, wan: Option<Arc<Wan>>) -> Self {
        let (told, events) = mpsc::channel(16);
        let served = OsProcess::new(|_| ());
        let bound = Bound::to("127.0.0.1:0").await.expect("a free port");
        let address = bound.address().expect("bound").to_string();
        let routes = Routes::default();
        routes.replace(router(told));
        let healthy = Arc::new(AtomicBool::new(true));
        let says = healthy.clone();
        let says = Arc::new(move || says.load(Ordering::Relaxed));
        let listener = Listener::serve(bound, door, routes.clone(), says, &served.process());
        if let Some(wan) = &wan {
            wan.place(address.clone(), "sea".into());
        }
        let network = Network::new(GrpcTransport::new(process(), "nyc".into(), wan));
        Self { network, listener: Some(listener), address, served, routes, healthy, events }
    }

    fn peer(&self) -> Peer {
        Peer::new(self.address.as_str(), Class::Calls)
    }

    async fn call(&self, method: Unary<Frame, Answer>, bytes: &'static str) -> Result<Answer, Status> {
        self.network.call(&self.peer(), method, &frame(bytes), soon()).await
    }
}

fn process() -> Process {
    OsProcess::new(|_| ()).process()
}

fn soon() -> CallOptions {
    CallOptions::until(Instant::now() + Duration::from_secs(5))
}

async fn next(events: &mut mpsc::Receiver<&'static str>) -> &'static str {
    timeout(Duration::from_secs(5), events.recv()).await.expect("an event").expect("the router lives")
}

#[tokio::test]
async fn a_call_brings_its_answer_or_its_error_with_details() {
    let world = World::with(Door::Internal).await;
    assert_eq!(world.call(ECHO, "hello").await.expect("an answer").map, "hello");
    let error = world.call(FAIL, "").await.expect_err("a refusal");
    assert!(status::is_not_stored(&error) && status::reason_of(&error).as_deref() == Some(reason::NO_QUORUM));
    assert_eq!(world.call(MISSING, "").await.expect_err("no such method").code(), Code::Unimplemented);
    let traced = CallOptions { trace: Some("00-1-2-01".to_owned()), ..soon() };
    let answer = world.network.call(&world.peer(), ECHO, &frame(""), traced).await.expect("an answer");
    assert_eq!(answer.map, "00-1-2-01");
}

#[tokio::test]
async fn large_frames_go_through_and_larger_ones_do_not() {
    let world = World::with(Door::Internal).await;
    let large = frame(vec![7; 7 << 20]);
    let answer = world.network.call(&world.peer(), ECHO, &large, soon()).await.expect("an answer");
    assert_eq!(answer.map, large.map);
    let larger = frame(vec![7; 9 << 20]);
    world.network.call(&world.peer(), ECHO, &larger, soon()).await.expect_err("too large");
}

/// What a client without limits of its own sends: each frame's length, and its bytes as far as they matter.
fn frames(of: &[(u32, &[u8])]) -> Bytes {
    let mut sent = Vec::new();
    for (length, bytes) in of {
        sent.push(0);
        sent.extend_from_slice(&length.to_be_bytes());
        sent.extend_from_slice(bytes);
    }
    sent.into()
}

/// Makes a call over a connection of its own; the status with which it ends.
async fn ends_with(address: &str, path: &str, sent: Bytes) -> Status {
    let socket = TcpStream::connect(address).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .expect("it speaks HTTP/2");
    let _connection = process().spawn("connection", async { drop(connection.await) }).abort_on_drop();
    let request = http::Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(http_body_util::Full::new(sent))
        .expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let at_once = Status::from_header_map(response.headers());
    let rest = response.into_body().collect().await.expect("to its end");
    at_once.or_else(|| Status::from_header_map(rest.trailers()?)).expect("a status")
}

#[tokio::test]
async fn what_is_too_large_for_any_method_is_refused_naming_the_limit() {
    let world = World::with(Door::Clients { calls_max: 10 }).await;
    let error = ends_with(&world.address, "/test.Service/Echo", frames(&[(20_000_000, b"...")])).await;
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(error.message(), "request is too large: one message of a call has at most 8388608 bytes");
    assert!(status::is_not_stored(&error), "no handler has seen it");
    let first = frame("first").encode_to_vec();
    let length = u32::try_from(first.len()).expect("short");
    let sent = frames(&[(length, &first), (20_000_000, b"...")]);
    let error = ends_with(&world.address, "/test.Service/Chat", sent).await;
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(!status::is_not_stored(&error), "the first was taken");
}

#[tokio::test]
async fn a_method_that_is_not_there_yet_is_certainly_not_stored() {
    let world = World::with(Door::Internal).await;
    let starting = Routes::starting(Router::new());
    let bound = Bound::to("127.0.0.1:0").await.expect("a free port");
    let address = bound.address().expect("bound").to_string();
    let _listener =
        Listener::serve(bound, Door::Internal, starting.clone(), Arc::new(|| true), &world.served.process());
    let peer = Peer::new(address, Class::Calls);
    let error = world.network.call(&peer, ECHO, &frame("x"), soon()).await.expect_err("starting");
    assert!(error.code() == Code::Unavailable && status::is_not_stored(&error));
    starting
        .replace(Router::new().unary(ECHO, |_, request: Frame| async { Ok(Answer { map: request.map }) }));
    assert_eq!(world.network.call(&peer, ECHO, &frame("x"), soon()).await.expect("started").map, "x");
    drop(world.routes);
}

#[tokio::test]
async fn deadlines_travel_and_end_calls_on_both_sides() {
    let mut world = World::with(Door::Internal).await;
    let in_2s = CallOptions::until(Instant::now() + Duration::from_secs(2));
    let said = world.network.call(&world.peer(), DEADLINE, &frame(""), in_2s).await.expect("an answer");
    let left: u64 = std::str::from_utf8(&said.map).expect("digits").parse().expect("digits");
    assert!((1_000..=2_000).contains(&left), "{left}");
    let said = world.network.call(&world.peer(), DEADLINE, &frame(""), CallOptions::default()).await;
    assert!(said.expect("an answer").map.len() <= 5, "the default is 10 s");
    let soon = CallOptions::until(Instant::now() + Duration::from_millis(50));
    let error = world.network.call(&world.peer(), HANG, &frame(""), soon).await.expect_err("nobody answers");
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(next(&mut world.events).await, "dropped");
    let past = CallOptions::until(Instant::now());
    let error = world.network.call(&world.peer(), ECHO, &frame(""), past).await.expect_err("too late");
    assert_eq!(error.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_call_whose_caller_is_gone_is_dropped() {
    let mut world = World::with(Door::Internal).await;
    world.call(ECHO, "connect").await.expect("an answer");
    let peer = world.peer();
    let empty = Frame::default();
    let caller = world.network.call(&peer, HANG, &empty, CallOptions::default());
    assert!(timeout(Duration::from_millis(50), caller).await.is_err());
    assert_eq!(next(&mut world.events).await, "dropped");
    let (sender, mut receiver) =
        world.network.open(&peer, HANG_STREAM, CallOptions::default()).await.expect("open");
    receiver.next().await.expect("open").expect("a first message");
    drop((sender, receiver));
    assert_eq!(next(&mut world.events).await, "dropped");
}

#[tokio::test]
async fn a_stream_goes_both_ways_and_ends_with_its_handlers_status() {
    let world = World::with(Door::Internal).await;
    let (sender, mut receiver) = world.network.open(&world.peer(), CHAT, soon()).await.expect("open");
    for round in 0..500_u32 {
        sender.send(&frame(round.to_string())).await.expect("the stream lives");
        assert_eq!(receiver.next().await.expect("open").expect("an echo").map, round.to_string());
    }
    drop(sender);
    assert_eq!(receiver.next().await.expect("open").expect("the last word").map, "bye");
    assert!(receiver.next().await.expect("a clean end").is_none());

    let (sender, mut receiver) = world.network.open(&world.peer(), CHAT, soon()).await.expect("open");
    sender.send(&frame("")).await.expect("the stream lives");
    assert_eq!(receiver.next().await.expect_err("aborted").code(), Code::Aborted);
    timeout(Duration::from_secs(5), sender.closed()).await.expect("the sender learns it");

    let (_sender, mut receiver) = world.network.open(&world.peer(), REFUSE, soon()).await.expect("open");
    assert_eq!(receiver.next().await.expect_err("refused").code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_reader_that_is_slow_makes_its_writer_wait() {
    let world = World::with(Door::Internal).await;
    let (sender, mut receiver) =
        world.network.open(&world.peer(), CHAT, CallOptions::default()).await.expect("open");
    let megabyte = frame(vec![1; 1 << 20]);
    let mut sent = 0;
    while timeout(Duration::from_millis(300), sender.send(&megabyte)).await.is_ok() {
        sent += 1;
        assert!(sent < 1_000, "nothing bounds the stream");
    }
    for _ in 0..sent {
        receiver.next().await.expect("open").expect("nothing is lost");
    }
}

#[tokio::test]
async fn an_unreachable_peer_says_so_and_is_found_again() {
    let mut world = World::with(Door::Internal).await;
    world.call(ECHO, "x").await.expect("an answer");
    drop(world.listener.take());
    world.served.kill().await;
    let error = world.call(ECHO, "x").await.expect_err("gone");
    assert_eq!(status::reason_of(&error).as_deref(), Some(reason::UNREACHABLE));

    let (told, _events) = mpsc::channel(1);
    world.served = OsProcess::new(|_| ());
    world.routes.replace(router(told));
    let bound = Bound::to(&world.address).await.expect("the port is free again");
    let process = world.served.process();
    let listener = Listener::serve(bound, Door::Internal, world.routes.clone(), Arc::new(|| true), &process);
    world.listener = Some(listener);
    let found = async {
        while world.call(ECHO, "x").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), found).await.expect("found again");
}

#[tokio::test]
async fn clients_above_the_limit_are_refused_with_a_delay() {
    let world = World::with(Door::Clients { calls_max: 1 }).await;
    let peer = world.peer();
    let empty = Frame::default();
    let hanging = world.network.call(&peer, HANG, &empty, CallOptions::default());
    let mut hanging = std::pin::pin!(hanging);
    let refused = async {
        loop {
            match world.call(ECHO, "x").await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    };
    let error = tokio::select! {
        _ = &mut hanging => panic!("nobody answers"),
        error = refused => error,
    };
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(status::retry_after(&error).is_some() && status::is_not_stored(&error));
}

#[tokio::test]
async fn draining_lets_calls_finish_and_takes_no_more() {
    let mut world = World::with(Door::Internal).await;
    let (sender, mut receiver) =
        world.network.open(&world.peer(), CHAT, CallOptions::default()).await.expect("open");
    sender.send(&frame("one")).await.expect("the stream lives");
    receiver.next().await.expect("open").expect("an echo");
    let listener = world.listener.take().expect("listening");
    let drained = listener.drain(Instant::now() + Duration::from_secs(5));
    let finish = async {
        sender.send(&frame("two")).await.expect("the stream lives");
        assert_eq!(receiver.next().await.expect("open").expect("an echo").map, "two");
        drop(sender);
        while receiver.next().await.expect("open").is_some() {}
    };
    let began = Instant::now();
    tokio::join!(drained, finish);
    assert!(began.elapsed() < Duration::from_secs(4), "drained as soon as the last stream has ended");
    world.call(ECHO, "x").await.expect_err("nobody listens");
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("listening");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    answer
}

#[tokio::test]
async fn operators_get_pages_and_grpc_from_one_port() {
    let pages = |path: &str| {
        (path == "/metrics").then(|| Page { status: 200, content_type: "text/plain", body: "one 1\n".into() })
    };
    let world = World::with(Door::Admin(Pages::new(pages))).await;
    assert!(get(&world.address, "/metrics").await.ends_with("one 1\n"));
    assert!(get(&world.address, "/other").await.starts_with("HTTP/1.1 404"));
    assert_eq!(world.call(ECHO, "grpc").await.expect("an answer").map, "grpc");
}

#[tokio::test]
async fn health_says_what_the_node_says() {
    use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
    const CHECK: Unary<HealthCheckRequest, HealthCheckResponse> = Unary::new("/grpc.health.v1.Health/Check");
    let world = World::with(Door::Internal).await;
    let check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        world.network.call(&world.peer(), CHECK, &request, soon()).await.map(|answer| answer.status)
    };
    assert_eq!((check("").await.ok(), check("test.Service").await.ok()), (Some(1), Some(1)));
    assert_eq!(check("other.Service").await.expect_err("unknown").code(), Code::NotFound);
    world.healthy.store(false, Ordering::Relaxed);
    assert_eq!(check("").await.ok(), Some(2));
}

#[tokio::test]
async fn reflection_is_for_clients_only() {
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
    for (version, door, known) in [
        ("v1", Door::Clients { calls_max: 10 }, true),
        ("v1alpha", Door::Clients { calls_max: 10 }, true),
        ("v1", Door::Internal, false),
    ] {
        let world = World::with(door).await;
        let path: &'static str =
            format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo").leak();
        let ask: Streaming<ServerReflectionRequest, ServerReflectionResponse> = Streaming::new(path);
        let (sender, mut receiver) = world.network.open(&world.peer(), ask, soon()).await.expect("open");
        let list = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { message_request: list, ..ServerReflectionRequest::default() };
        sender.send(&request).await.expect("open");
        let answer = receiver.next().await;
        let unknown = answer.as_ref().is_err_and(|error| error.code() == Code::Unimplemented);
        assert_eq!(unknown, !known, "{version} {answer:?}");
    }
}

#[tokio::test]
async fn a_wan_delays_calls_by_its_round_trip_and_a_cut_ends_them() {
    let round_trip = Duration::from_millis(60);
    let wan = Arc::new(Wan::new([("nyc".into(), "sea".into(), round_trip)], None));
    let world = World::behind(Door::Internal, Some(wan.clone())).await;
    world.call(ECHO, "connect").await.expect("an answer");
    let began = Instant::now();
    world.call(ECHO, "x").await.expect("an answer");
    assert!(began.elapsed() >= round_trip, "{:?}", began.elapsed());
    assert!(wan.bytes().iter().all(|way| way.bytes > 0));
    wan.cut(&"sea".into());
    let error = world.network.call(&world.peer(), ECHO, &frame("x"), CallOptions::default()).await;
    assert_eq!(status::reason_of(&error.expect_err("cut")).as_deref(), Some(reason::UNREACHABLE));
    assert!(began.elapsed() < Duration::from_secs(5), "keepalive ends the connection");
    wan.heal(&"sea".into());
    let found = async {
        while world.call(ECHO, "x").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), found).await.expect("found again");
}
