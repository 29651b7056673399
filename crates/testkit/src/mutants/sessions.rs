//! Broken ways to hear what stores say of their logs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use trunkline_ports::Host;
use trunkline_types::limits::{HEARTBEAT_INTERVAL, SILENCE_MAX};
use trunkline_types::{ClusterMap, LogName, NodeId, Role};
use trunkline_wire::internal::{
    Digest, Heartbeat, LogReport, Predecessor, Report, Run, SessionRequest, SessionRequests, SessionResponse,
    SessionResponses, fact, order_service, session_request, session_response,
};
use trunkline_wire::short::Restoring;

use super::tamper::{Tamper, TamperStream, edit};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes each of the requests that come together.
fn requests(frame: Bytes, change: impl FnMut(&mut SessionRequest)) -> Bytes {
    edit(frame, |message: &mut SessionRequests| message.requests.iter_mut().for_each(change))
}

/// A digest over what was tampered with would only have it said again.
fn no_digest(what: &mut Option<session_request::What>) {
    if let Some(session_request::What::Digest(Digest { .. })) = what {
        *what = Some(session_request::What::Heartbeat(Heartbeat {}));
    }
}

/// Reads the logs of a session's requests by name.
struct ByName<T> {
    names: Restoring,
    reads: T,
}

impl<T: TamperStream> ByName<T> {
    fn boxed(reads: T) -> Box<dyn TamperStream> {
        Box::new(Self { names: Restoring::default(), reads })
    }
}

impl<T: TamperStream> TamperStream for ByName<T> {
    fn request(&mut self, frame: Bytes) -> Bytes {
        let whole = requests(frame, |request| self.names.restore(request).expect("what a store says itself"));
        self.reads.request(whole)
    }

    fn response(&mut self, frame: Bytes) -> Bytes {
        self.reads.response(frame)
    }
}

/// Stragglers are forgotten: once a node has started again, what was written in its earlier boots is not heard any more.
#[derive(Clone, Debug, Default)]
pub(super) struct ForgetsStragglers {
    newest: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Tamper for ForgetsStragglers {
    fn stream(&self, path: &'static str) -> Option<Box<dyn TamperStream>> {
        (path == order_service::SESSION.path()).then(|| ByName::boxed(self.clone()))
    }
}

impl TamperStream for ForgetsStragglers {
    fn request(&mut self, frame: Bytes) -> Bytes {
        requests(frame, |request| {
            let mut newest = lock(&self.newest);
            match &mut request.what {
                Some(session_request::What::Hello(hello)) => {
                    let envelope = hello.envelope.unwrap_or_default();
                    let known = newest.entry(envelope.node).or_default();
                    *known = envelope.boot().counter.max(*known);
                }
                Some(session_request::What::Report(report)) => report.logs.retain(|said| {
                    let log = said.log.unwrap_or_default();
                    let counter = log.boot.unwrap_or_default().counter;
                    newest.get(&log.node).is_none_or(|newest| counter >= *newest)
                }),
                what => no_digest(what),
            }
        })
    }
}

/// Records of a topic that their store has not been told of are taken for those of a deleted one.
#[derive(Clone, Debug, Default)]
pub(super) struct TakesUnknownForDeleted {
    /// By store, the topics that it was told of.
    told: Arc<Mutex<BTreeMap<u64, BTreeSet<u64>>>>,
    /// Whose session this is.
    store: u64,
}

impl Tamper for TakesUnknownForDeleted {
    fn stream(&self, path: &'static str) -> Option<Box<dyn TamperStream>> {
        (path == order_service::SESSION.path()).then(|| Box::new(self.clone()) as Box<dyn TamperStream>)
    }
}

impl TamperStream for TakesUnknownForDeleted {
    fn request(&mut self, frame: Bytes) -> Bytes {
        edit(frame, |request: &mut SessionRequest| match &mut request.what {
            Some(session_request::What::Hello(hello)) => self.store = hello.envelope.unwrap_or_default().node,
            Some(session_request::What::Report(report)) => {
                let mut told = lock(&self.told);
                let told = told.entry(self.store).or_default();
                let runs = report.logs.iter_mut().flat_map(|log| &mut log.runs);
                for run in runs.filter(|run| !told.contains(&run.topic_id)) {
                    // No topic of the bucket ever had this id, and it is below the counter.
                    run.topic_id &= u64::from(u16::MAX);
                }
            }
            _ => {}
        })
    }

    fn response(&mut self, frame: Bytes) -> Bytes {
        edit(frame, |response: &mut SessionResponse| {
            let Some(session_response::What::Facts(facts)) = &response.what else { return };
            let mut told = lock(&self.told);
            for fact in facts.at.iter().flat_map(|at| &at.facts) {
                if let Some(fact::What::TopicCreated(created)) = &fact.what {
                    let topic = created.topic.as_ref().map_or(0, |topic| topic.topic_id);
                    told.entry(self.store).or_default().insert(topic);
                }
            }
        })
    }
}

/// A closed log leaves no trace: stores that lag report it from 1, and a new leader orders it again. (To the state, it
/// is a log of another lane; to stores, it is the closed one.)
#[derive(Clone, Debug, Default)]
pub(super) struct OrdersClosedLogsAgain(Arc<Mutex<Logs>>);

/// No production log has a lane as high.
const AGAIN: u32 = 200;

#[derive(Debug, Default)]
struct Logs {
    /// (group, short number) → log.
    numbers: BTreeMap<(u32, u32), LogName>,
    /// What the records of each log are: sequence → topic.
    records: BTreeMap<LogName, BTreeMap<u64, u64>>,
    /// Closed logs with their ends, by group.
    closed: BTreeMap<u32, BTreeMap<LogName, u64>>,
}

impl Tamper for OrdersClosedLogsAgain {
    fn stream(&self, path: &'static str) -> Option<Box<dyn TamperStream>> {
        (path == order_service::SESSION.path()).then(|| ByName::boxed(self.clone()))
    }
}

impl TamperStream for OrdersClosedLogsAgain {
    fn request(&mut self, frame: Bytes) -> Bytes {
        requests(frame, |request| match &mut request.what {
            Some(session_request::What::Report(report)) => {
                let mut logs = lock(&self.0);
                report.logs.iter().for_each(|said| logs.note(said));
                if report.first {
                    logs.report_closed(report);
                }
            }
            what => no_digest(what),
        })
    }

    fn response(&mut self, frame: Bytes) -> Bytes {
        edit(frame, |message: &mut SessionResponses| {
            message.responses.iter_mut().for_each(|response| lock(&self.0).hear(response));
        })
    }
}

impl Logs {
    /// Learns of logs by the facts; those ordered again come to stores under their own names.
    fn hear(&mut self, response: &mut SessionResponse) {
        let Some(session_response::What::Facts(facts)) = &mut response.what else { return };
        for fact in facts.at.iter_mut().flat_map(|at| &mut at.facts) {
            match &mut fact.what {
                Some(fact::What::LogOpened(opened)) => {
                    let Some(log) = &mut opened.log else { continue };
                    if log.lane >= AGAIN {
                        log.lane -= AGAIN;
                    } else if let Ok(name) = LogName::try_from(*log) {
                        self.numbers.insert((facts.group, opened.number), name);
                    }
                }
                Some(fact::What::LogClosed(closed)) => {
                    if let Some(name) = self.numbers.get(&(facts.group, closed.number)).copied() {
                        self.closed.entry(facts.group).or_default().insert(name, closed.end);
                    }
                }
                _ => {}
            }
        }
    }

    fn note(&mut self, said: &LogReport) {
        let Some(Ok(name)) = said.log.map(LogName::try_from) else { return };
        let records = self.records.entry(name).or_default();
        let mut sequence = said.from;
        for run in &said.runs {
            for _ in 0..run.count {
                records.insert(sequence, run.topic_id);
                sequence += 1;
            }
        }
    }

    fn report_closed(&self, report: &mut Report) {
        for (name, end) in self.closed.get(&report.group).into_iter().flatten() {
            let topics = self.records.get(name).into_iter().flatten();
            let runs: Vec<Run> = topics
                .take_while(|(sequence, _)| *sequence < end)
                .map(|(_, topic_id)| Run { topic_id: *topic_id, count: 1, ..Run::default() })
                .collect();
            let mut log = trunkline_wire::internal::LogName::from(*name);
            log.lane += AGAIN;
            let before = (name.ordinal.0 > 1).then_some(Predecessor { ordinal: 1, end: 1, overtaking: true });
            report.logs.push(LogReport { log: Some(log), from: 1, held: *end, runs, predecessor: before });
        }
    }
}

/// Silence of a store is taken for "held": replicas that are not heard are not asked.
#[derive(Clone, Debug, Default)]
pub(super) struct TakesSilenceForHeld(Arc<Mutex<Stores>>);

#[derive(Debug, Default)]
struct Stores {
    /// Store → open sessions, and since when there are none.
    heard: BTreeMap<u64, (usize, Instant)>,
    maps: Vec<Voter>,
}

#[derive(Debug)]
struct Voter {
    whole: watch::Receiver<Arc<ClusterMap>>,
    heard: watch::Sender<Arc<ClusterMap>>,
}

impl TakesSilenceForHeld {
    /// A voter's map holds only the stores that are heard.
    pub(super) fn host(&self, mut host: Host) -> Host {
        if host.identity.role != Role::MessageId {
            return host;
        }
        let (heard, map) = watch::channel(host.map.borrow().clone());
        lock(&self.0).maps.push(Voter { whole: host.map.clone(), heard });
        host.map = map;
        let stores = self.0.clone();
        host.process.spawn("silence", async move {
            loop {
                sleep(HEARTBEAT_INTERVAL).await;
                lock(&stores).tell();
            }
        });
        host
    }
}

impl Stores {
    fn tell(&self) {
        let silent = |node: &NodeId| {
            self.heard.get(&node.0).is_some_and(|(open, since)| *open == 0 && since.elapsed() >= SILENCE_MAX)
        };
        for Voter { whole, heard } in &self.maps {
            let mut map = ClusterMap::clone(&whole.borrow());
            map.nodes.retain(|node| !silent(&node.id));
            let map = Arc::new(map);
            heard.send_if_modified(|was| {
                let changed = **was != *map;
                *was = map;
                changed
            });
        }
    }
}

impl Tamper for TakesSilenceForHeld {
    fn stream(&self, path: &'static str) -> Option<Box<dyn TamperStream>> {
        let listens = || Box::new(Listens { stores: self.0.clone(), store: None }) as Box<dyn TamperStream>;
        (path == order_service::SESSION.path()).then(listens)
    }
}

struct Listens {
    stores: Arc<Mutex<Stores>>,
    store: Option<u64>,
}

impl TamperStream for Listens {
    fn request(&mut self, frame: Bytes) -> Bytes {
        requests(frame, |request| {
            if let Some(session_request::What::Hello(hello)) = &request.what {
                let store = hello.envelope.unwrap_or_default().node;
                let mut stores = lock(&self.stores);
                stores.heard.entry(store).or_insert((0, Instant::now())).0 += 1;
                stores.tell();
                self.store = Some(store);
            }
        })
    }
}

impl Drop for Listens {
    fn drop(&mut self) {
        if let Some(store) = self.store {
            let mut stores = lock(&self.stores);
            if let Some((open, since)) = stores.heard.get_mut(&store) {
                (*open, *since) = (*open - 1, Instant::now());
            }
        }
    }
}

/// Only late reports: what a store says of its logs and of the index comes so much later.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReportsLate(pub(super) Duration);

impl Tamper for ReportsLate {
    fn stream(&self, path: &'static str) -> Option<Box<dyn TamperStream>> {
        (path == order_service::SESSION.path()).then(|| Box::new(*self) as Box<dyn TamperStream>)
    }
}

impl TamperStream for ReportsLate {
    fn request_delay(&self) -> Duration {
        self.0
    }
}
