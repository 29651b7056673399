//! Two hosts, what lies between them, and what one answers the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::time::{Instant, sleep, timeout};
use trunkline_ports::process::TaskGuard;
use trunkline_ports::{CallContext, CallOptions, Class, Network, Peer, Receiver, Responder, Router, Sender};
use trunkline_simulation::World;
use trunkline_simulation::pipes::{Pipes, Way};
use trunkline_testkit::SimulatedProcess;
use trunkline_transport::{Door, GrpcTransport, Listener, Routes};
use trunkline_types::limits::{HEARTBEAT_INTERVAL, SILENCE_MAX};
use trunkline_wire::Status;
use trunkline_wire::internal::{BootstrapRequest as Frame, BootstrapResponse as Answer};
use trunkline_wire::method::{Streaming, Unary};

/// Works for as long as it is told and answers with as much as it is told.
pub(crate) const WORK: Unary<Frame, Answer> = Unary::new("/test.Service/Work");
/// Answers nothing to what it reads, a frame at a time; `slowly`, see [`Server::set_pace`].
pub(crate) const SINK: Streaming<Frame, Answer> = Streaming::new("/test.Service/Sink");
/// Sends frames of as many bytes as it is told, numbered from where it is told.
pub(crate) const SOURCE: Streaming<Frame, Answer> = Streaming::new("/test.Service/Source");
/// Says one thing and waits.
pub(crate) const SILENT: Streaming<Frame, Answer> = Streaming::new("/test.Service/Silent");

pub(crate) const CLIENT: &str = "client";
pub(crate) const SERVER: &str = "server";
pub(crate) const ADDRESS: &str = "server:7000";

pub(crate) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a call asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    pub(crate) id: u64,
    pub(crate) work_ms: u64,
    pub(crate) request_bytes: usize,
    pub(crate) answer_bytes: usize,
}

impl Task {
    pub(crate) fn frame(self) -> Frame {
        let mut bytes = BytesMut::new();
        bytes.put_u64(self.id);
        bytes.put_u64(self.work_ms);
        bytes.put_u64(self.answer_bytes as u64);
        bytes.put_bytes(7, self.request_bytes);
        Frame { map: bytes.freeze() }
    }

    /// What it is answered with.
    pub(crate) fn answer(id: u64, answer_bytes: usize) -> Answer {
        let mut bytes = BytesMut::new();
        bytes.put_u64(id);
        bytes.put_bytes(9, answer_bytes);
        Answer { map: bytes.freeze() }
    }
}

pub(crate) fn numbers(numbers: &[u64]) -> Frame {
    let mut bytes = BytesMut::new();
    numbers.iter().for_each(|number| bytes.put_u64(*number));
    Frame { map: bytes.freeze() }
}

/// What a server has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Calls by id, how often each.
    pub(crate) began: BTreeMap<u64, u32>,
    pub(crate) under_way: BTreeSet<u64>,
    /// When handlers were dropped before they had ended.
    pub(crate) dropped: BTreeMap<u64, Instant>,
    pub(crate) streams: usize,
    /// Bytes that streams read, and sent.
    pub(crate) read: u64,
    pub(crate) sent: u64,
    /// How long [`SINK`] takes over a frame.
    pub(crate) pace: Duration,
}

/// The server's side of everything; it outlives the server's starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Service(Arc<Mutex<Seen>>);

/// Notes that a handler ends, however it does.
struct Handling {
    service: Service,
    id: u64,
    done: bool,
}

impl Drop for Handling {
    fn drop(&mut self) {
        let mut seen = self.service.seen();
        seen.under_way.remove(&self.id);
        if !self.done {
            seen.dropped.insert(self.id, Instant::now());
        }
    }
}

struct OpenStream(Service);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.seen().streams -= 1;
    }
}

impl Service {
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handling(&self, id: u64) -> Handling {
        let mut seen = self.seen();
        *seen.began.entry(id).or_default() += 1;
        seen.under_way.insert(id);
        Handling { service: self.clone(), id, done: false }
    }

    fn stream(&self) -> OpenStream {
        self.seen().streams += 1;
        OpenStream(self.clone())
    }

    async fn work(self, _: CallContext, request: Frame) -> Result<Answer, Status> {
        let mut bytes = request.map;
        let (id, work_ms, answer_bytes) = (bytes.get_u64(), bytes.get_u64(), bytes.get_u64());
        let mut handling = self.handling(id);
        sleep(millis(work_ms)).await;
        handling.done = true;
        Ok(Task::answer(id, usize::try_from(answer_bytes).expect("small")))
    }

    pub(crate) fn router(&self) -> Router {
        let [work, sink, source, silent] = std::array::from_fn(|_| self.clone());
        Router::new()
            .unary(WORK, move |context, request| work.clone().work(context, request))
            .streaming(SINK, move |_, mut requests, _responses: Responder<Answer>| {
                let service = sink.clone();
                async move {
                    let _stream = service.stream();
                    while let Some(frame) = requests.next().await? {
                        let pace = service.seen().pace;
                        sleep(pace).await;
                        service.seen().read += frame.map.len() as u64;
                    }
                    Ok(())
                }
            })
            .streaming(SOURCE, move |_, mut requests, responses: Responder<Answer>| {
                let service = source.clone();
                async move {
                    let _stream = service.stream();
                    let Some(ask) = requests.next().await? else { return Ok(()) };
                    let mut bytes: Bytes = ask.map;
                    let (mut number, size, pace) = (bytes.get_u64(), bytes.get_u64(), bytes.get_u64());
                    let size = usize::try_from(size).expect("small");
                    let speaks = async {
                        loop {
                            let frame = Task::answer(number, size);
                            responses.send(&frame).await.map_err(|_| Status::cancelled("gone"))?;
                            service.seen().sent += frame.map.len() as u64;
                            number += 1;
                            sleep(millis(pace)).await;
                        }
                    };
                    // As every stream between nodes: silence of the other side ends it.
                    let hears = async {
                        while let Ok(heard) = timeout(SILENCE_MAX, requests.next()).await {
                            if heard?.is_none() {
                                return Ok(());
                            }
                        }
                        Err(Status::unavailable("the caller is silent"))
                    };
                    tokio::select! {
                        spoken = speaks => spoken,
                        heard = hears => heard,
                    }
                }
            })
            .streaming(SILENT, move |_, mut requests, responses: Responder<Answer>| {
                let service = silent.clone();
                async move {
                    let Some(ask) = requests.next().await? else { return Ok(()) };
                    let _stream = service.stream();
                    let mut bytes: Bytes = ask.map;
                    let mut handling = service.handling(bytes.get_u64());
                    responses.send(&Answer::default()).await.map_err(|_| Status::cancelled("gone"))?;
                    // Until the caller has nothing more to say.
                    while requests.next().await?.is_some() {}
                    handling.done = true;
                    Ok(())
                }
            })
    }
}

/// One start of the server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: SimulatedProcess,
    pub(crate) listener: Listener,
}

/// Two hosts, `client` and `server`.
#[derive(Clone, Debug)]
pub(crate) struct Bed {
    pub(crate) world: World,
    pub(crate) pipes: Pipes,
    pub(crate) service: Service,
    pub(crate) client: SimulatedProcess,
    pub(crate) network: Network,
    pub(crate) round_trip: Duration,
}

impl Bed {
    /// The seed says how far they are from each other, and by how much that varies.
    pub(crate) fn new(world: &World) -> Self {
        let pipes = Pipes::new(&world.random);
        let random = world.random.fork("ways");
        let jitter = millis(random.below(10));
        let mut round_trip = Duration::ZERO;
        for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
            let way = Way { delay: millis(random.below(76)), jitter, bytes_per_second: None };
            round_trip += way.delay + jitter;
            pipes.set_way(from, to, way);
        }
        let middlebox = random.one_in(3);
        pipes.set_middlebox(middlebox);
        world.tell(format_args!("round trip {} ms, middlebox {middlebox}", round_trip.as_millis()));
        let client = world.network.process(CLIENT, &CLIENT.into());
        let network = Network::new(GrpcTransport::over(client.process(), pipes.dialer(CLIENT)));
        let (world, service) = (world.clone(), Service::default());
        Self { world, pipes, service, client, network, round_trip }
    }

    pub(crate) fn start_server(&self) -> Server {
        let process = self.world.network.process(SERVER, &SERVER.into());
        let routes = Routes::default();
        routes.replace(self.service.router());
        let accept = self.pipes.listen(ADDRESS);
        let listener = Listener::serve(accept, Door::Internal, routes, Arc::new(|| true), &process.process());
        Server { process, listener }
    }

    pub(crate) async fn work(&self, task: Task, within: Duration) -> Result<Answer, Status> {
        self.work_as(Class::Calls, task, within).await
    }

    pub(crate) async fn work_as(&self, class: Class, task: Task, within: Duration) -> Result<Answer, Status> {
        let until = CallOptions::until(Instant::now() + within);
        self.network.call(&Peer::new(ADDRESS, class), WORK, &task.frame(), until).await
    }

    /// One call that must be answered: a connection is there after it.
    pub(crate) async fn connect(&self, class: Class) {
        let task = Task { id: 0, work_ms: 0, request_bytes: 0, answer_bytes: 0 };
        self.work_as(class, task, millis(5_000)).await.expect("all is well");
    }

    /// Opens [`SOURCE`]; heartbeats go out for as long as the guard lives.
    pub(crate) async fn source(
        &self,
        from: u64,
        frame_bytes: u64,
        pace_ms: u64,
    ) -> Result<(TaskGuard, Receiver<Answer>), Status> {
        let peer = Peer::new(ADDRESS, Class::Follow);
        let (sender, receiver) = self.network.open(&peer, SOURCE, CallOptions::default()).await?;
        sender
            .send(&numbers(&[from, frame_bytes, pace_ms]))
            .await
            .map_err(|_| Status::unavailable("closed"))?;
        Ok((self.heartbeats(sender), receiver))
    }

    fn heartbeats(&self, sender: Sender<Frame>) -> TaskGuard {
        let beating = async move {
            while sender.send(&Frame::default()).await.is_ok() {
                sleep(HEARTBEAT_INTERVAL).await;
            }
        };
        self.client.process().spawn("heartbeats", beating).abort_on_drop()
    }

    /// The last lines of the history: a sentence about this seed, and a hash of every byte that was delivered.
    pub(crate) fn sum_up(&self, sentence: std::fmt::Arguments<'_>) {
        let (bytes, hash) = self.pipes.delivered();
        let scenario = std::thread::current().name().unwrap_or_default().to_owned();
        eprintln!("{scenario} seed {}: {sentence}, {bytes} bytes", self.world.seed);
        self.world.tell(sentence);
        self.world.tell(format_args!("{bytes} bytes were delivered, hash {hash:016x}"));
    }
}
