//! A stand-in for the Message ID service: one orderer, in memory, behind the sessions of every datacenter's voter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use trunkline_ports::{Receiver, Responder, Router};
use trunkline_types::{ClusterMap, GroupId, LogName, NodeId, TopicId, TopicName};
use trunkline_wire::Status;
use trunkline_wire::internal::{
    Behind, BootEnded, Fact, Facts, FactsAt, Heartbeat, Held, LogClosed, LogOpened, OrderedRun, Predecessor,
    RecordsOrdered, Report, SessionRequest, SessionRequests, SessionResponse, SessionResponses,
    SessionWelcome, TopicCreated, fact, order_service, session_request, session_response,
};
use trunkline_wire::short::Restoring;
use trunkline_wire::v1::Topic;

#[derive(Debug, Default)]
struct Log {
    number: u32,
    ordered: u64,
    predecessor: Option<Predecessor>,
    held: BTreeMap<NodeId, u64>,
    topics: BTreeMap<u64, u64>,
}

#[derive(Debug, Default)]
struct Group {
    facts: Vec<FactsAt>,
    /// Facts below this index are gone.
    kept_from: u64,
    logs: BTreeMap<LogName, Log>,
    next_id: BTreeMap<u64, u64>,
    counter: u64,
    numbers: u32,
    closed: BTreeSet<LogName>,
    helds: BTreeMap<NodeId, Held>,
    /// Boots below this counter have ended, by the facts of this index.
    ended: BTreeMap<NodeId, (u32, u64)>,
}

#[derive(Debug)]
struct State {
    map: ClusterMap,
    groups: BTreeMap<u16, Group>,
    sessions: u64,
    stopped: bool,
    closing: bool,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Orderer {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl Orderer {
    pub(crate) fn new(map: &ClusterMap) -> Self {
        let state =
            State { map: map.clone(), groups: BTreeMap::new(), sessions: 0, stopped: false, closing: false };
        Self { state: Arc::new(Mutex::new(state)), changed: watch::channel(0).0 }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let answer = act(&mut self.state.lock().unwrap());
        self.changed.send_modify(|version| *version += 1);
        answer
    }

    pub(crate) fn create_topic(&self, name: &str) -> TopicId {
        let name = TopicName::new(name).unwrap();
        self.with(|state| {
            let bucket = name.bucket(state.map.buckets);
            let group = state.groups.entry(state.map.ordering_group(bucket).number).or_default();
            group.counter += 1;
            let id = TopicId::new(group.counter, bucket);
            let topic = Topic { name: name.to_string(), topic_id: id.0, options: None };
            group.tell(vec![fact::What::TopicCreated(TopicCreated { topic: Some(topic) })]);
            id
        })
    }

    /// Orders nothing until it is started again.
    pub(crate) fn stop(&self, stopped: bool) {
        self.with(|state| {
            state.stopped = stopped;
            state.order_all();
        });
    }

    /// Forgets all facts: whoever lacks them must copy the index.
    pub(crate) fn forget_facts(&self) {
        self.with(|state| {
            for group in state.groups.values_mut() {
                group.kept_from = group.facts.len() as u64 + 1;
            }
        });
    }

    /// Has all facts again: a voter that lags, and has not forgotten them yet.
    pub(crate) fn remember_facts(&self) {
        self.with(|state| state.groups.values_mut().for_each(|group| group.kept_from = 0));
    }

    /// Forgets the facts that stores of two datacenters have on disk.
    pub(crate) fn forget_settled_facts(&self) {
        self.with(|state| {
            for group in state.groups.values_mut() {
                let mut ends: Vec<u64> = state
                    .map
                    .datacenters
                    .iter()
                    .map(|datacenter| {
                        let here =
                            |node: &NodeId| state.map.node(*node).unwrap().datacenter == datacenter.name;
                        let said = group.helds.iter().filter(|(node, _)| here(node));
                        said.map(|(_, held)| held.facts_index).max().unwrap_or(0)
                    })
                    .collect();
                ends.sort_unstable_by_key(|end| std::cmp::Reverse(*end));
                group.kept_from = group.kept_from.max(ends[1] + 1);
            }
        });
    }

    /// Closes every log at its ordered end.
    pub(crate) fn close_all(&self) {
        self.with(|state| {
            for group in state.groups.values_mut() {
                let closed: Vec<_> = group.logs.values().map(|log| (log.number, log.ordered)).collect();
                group.closed.extend(std::mem::take(&mut group.logs).into_keys());
                for (number, end) in closed {
                    group.tell(vec![fact::What::LogClosed(LogClosed { number, end })]);
                }
            }
        });
    }

    /// From now on closes each log that has ended and of which every replica says that it has exactly what is ordered.
    pub(crate) fn close_ended(&self) {
        self.with(|state| state.closing = true);
    }

    /// How many logs were closed.
    pub(crate) fn closed(&self) -> usize {
        self.with(|state| state.groups.values().map(|group| group.closed.len()).sum())
    }

    /// Names of the logs that were ordered, with their ordered ends.
    pub(crate) fn logs(&self) -> Vec<(LogName, u64)> {
        self.with(|state| {
            let logs = state.groups.values().flat_map(|group| group.logs.iter());
            logs.map(|(name, log)| (*name, log.ordered)).collect()
        })
    }

    /// What stores said of facts and ended logs last.
    pub(crate) fn held(&self, store: NodeId) -> Vec<Held> {
        self.with(|state| {
            state.groups.values().filter_map(|group| group.helds.get(&store).cloned()).collect()
        })
    }

    pub(crate) fn router(&self) -> Router {
        let orderer = self.clone();
        Router::new().streaming(order_service::SESSION, move |_, requests, responses| {
            orderer.clone().session(requests, responses)
        })
    }

    async fn session(
        self,
        mut requests: Receiver<SessionRequests>,
        responses: Responder<SessionResponses>,
    ) -> Result<(), Status> {
        let mut first = requests.next().await?.unwrap_or_default().requests.into_iter();
        let Some(SessionRequest { what: Some(session_request::What::Hello(hello)) }) = first.next() else {
            return Err(Status::invalid_argument("hello"));
        };
        let (store, boot) = (NodeId(hello.envelope.unwrap().node), hello.envelope.unwrap().boot());
        let welcome = session_response::What::Welcome(SessionWelcome { envelope: hello.envelope });
        send(&responses, welcome).await?;
        let mut next: BTreeMap<u16, u64> =
            hello.groups.iter().map(|g| (GroupId::from_u32(g.group).unwrap().number, g.facts_from)).collect();
        self.with(|state| {
            state.sessions += 1;
            for group in next.keys() {
                state.groups.entry(*group).or_default().end_boots(store, boot.counter);
            }
        });
        let mut names = Restoring::default();
        self.said(store, first, &mut names)?;
        let mut behind = BTreeSet::new();
        let mut changed = self.changed.subscribe();
        for (&group, &from) in &next {
            self.tell_numbers(group, from, &responses).await?;
        }
        loop {
            for (&group, next) in &mut next {
                self.tell_facts(group, next, &mut behind, &responses).await?;
            }
            tokio::select! {
                biased;
                message = requests.next() => match message? {
                    Some(message) => self.said(store, message.requests.into_iter(), &mut names)?,
                    None => return Ok(()),
                },
                waited = timeout(Duration::from_millis(500), changed.changed()) => if waited.is_err() {
                    send(&responses, session_response::What::Heartbeat(Heartbeat {})).await?;
                }
            }
        }
    }

    fn said(
        &self,
        store: NodeId,
        requests: impl Iterator<Item = SessionRequest>,
        names: &mut Restoring,
    ) -> Result<(), Status> {
        for mut request in requests {
            names.restore(&mut request)?;
            match request.what {
                Some(session_request::What::Report(report)) => self.report(store, report),
                Some(session_request::What::Held(held)) => self.take_held(store, held),
                _ => {}
            }
        }
        Ok(())
    }

    /// What numbers stand for, where the fact that said so is below the store's first.
    async fn tell_numbers(
        &self,
        group: u16,
        from: u64,
        to: &Responder<SessionResponses>,
    ) -> Result<(), Status> {
        let facts = self.state.lock().unwrap().groups.get(&group).map_or(Vec::new(), |known| {
            let early = known.facts.iter().filter(|at| at.index < from.max(known.kept_from));
            let before = known.facts.iter().filter(|at| at.index < from).flat_map(|at| &at.facts);
            let closed: BTreeSet<u32> = before
                .filter_map(|fact| match &fact.what {
                    Some(fact::What::LogClosed(closed)) => Some(closed.number),
                    _ => None,
                })
                .collect();
            let opened = |fact: &&Fact| match &fact.what {
                Some(fact::What::LogOpened(opened)) => !closed.contains(&opened.number),
                _ => false,
            };
            early.flat_map(|at| at.facts.iter().filter(opened).cloned()).collect()
        });
        let facts = Facts {
            group: packed(group),
            at: vec![FactsAt { index: 0, facts, order_time_ms: 0 }],
            applied: from - 1,
        };
        send(to, session_response::What::Facts(facts)).await
    }

    async fn tell_facts(
        &self,
        group: u16,
        next: &mut u64,
        behind: &mut BTreeSet<u16>,
        to: &Responder<SessionResponses>,
    ) -> Result<(), Status> {
        let (at, kept_from) =
            self.state.lock().unwrap().groups.get(&group).map_or((Vec::new(), 0), |known| {
                let told = usize::try_from(*next - 1).unwrap().min(known.facts.len());
                (known.facts[told..].to_vec(), known.kept_from)
            });
        if *next < kept_from {
            if behind.insert(group) {
                let told = Behind { group: packed(group), facts_from: kept_from };
                send(to, session_response::What::Behind(told)).await?;
            }
            return Ok(());
        }
        let Some(last) = at.last().map(|at| at.index) else { return Ok(()) };
        *next = last + 1;
        send(to, session_response::What::Facts(Facts { group: packed(group), at, applied: last })).await
    }

    fn report(&self, store: NodeId, report: Report) {
        let number = GroupId::from_u32(report.group).unwrap().number;
        self.with(|state| {
            let group = state.groups.entry(number).or_default();
            let named: Vec<LogName> =
                report.logs.iter().map(|said| LogName::try_from(said.log.unwrap()).unwrap()).collect();
            if report.first {
                group.logs.values_mut().for_each(|log| log.held.retain(|&other, _| other != store));
            }
            for said in report.logs {
                let name = LogName::try_from(said.log.unwrap()).unwrap();
                if group.closed.contains(&name) {
                    continue;
                }
                let log = group.logs.entry(name).or_insert(Log { ordered: 1, ..Log::default() });
                log.predecessor = log.predecessor.or(said.predecessor);
                log.held.insert(store, said.held);
                let mut seq = said.from;
                for run in said.runs {
                    for _ in 0..run.count {
                        log.topics.insert(seq, run.topic_id);
                        seq += 1;
                    }
                }
                assert!(seq <= said.held, "a run reaches beyond what is on disk");
            }
            if !state.stopped {
                group.order(&state.map, named);
            }
        });
    }

    fn take_held(&self, store: NodeId, held: Held) {
        let number = GroupId::from_u32(held.group).unwrap().number;
        let closed = {
            let mut state = self.state.lock().unwrap();
            let State { map, groups, closing, .. } = &mut *state;
            let group = groups.entry(number).or_default();
            group.helds.insert(store, held);
            *closing && group.close(map)
        };
        if closed {
            self.changed.send_modify(|version| *version += 1);
        }
    }
}

impl Group {
    fn tell(&mut self, facts: Vec<fact::What>) {
        let facts = facts.into_iter().map(|what| Fact { what: Some(what) }).collect();
        let index = self.facts.len() as u64 + 1;
        // A second from each entry to the next.
        self.facts.push(FactsAt { index, facts, order_time_ms: index * 1_000 });
    }

    fn end_boots(&mut self, store: NodeId, counter: u32) {
        let known = self.ended.get(&store).map_or(1, |(counter, _)| *counter);
        if counter > known {
            self.tell(vec![fact::What::BootEnded(BootEnded { node: store.0, counter })]);
            self.ended.insert(store, (counter, self.facts.len() as u64));
        }
    }

    fn close(&mut self, map: &ClusterMap) -> bool {
        let exact = |name: &LogName, log: &Log, store: NodeId, index: u64| {
            let held = self.helds.get(&store).filter(|held| held.facts_index >= index);
            held.is_some_and(|held| {
                let said = held.ended.iter().find(|said| LogName::try_from(said.log.unwrap()) == Ok(*name));
                said.is_some_and(|said| said.held == log.ordered)
            })
        };
        let closable = |(name, log): &(&LogName, &Log)| {
            let ended = self.ended.get(&name.node).filter(|(counter, _)| name.boot.counter < *counter);
            let replicas = trunkline_placement::replicas(map, name.bucket);
            let all = |index: u64| replicas.iter().all(|node| exact(name, log, node.id, index));
            log.number != 0 && ended.is_some_and(|(_, index)| all(*index))
        };
        let closable: Vec<LogName> = self.logs.iter().filter(closable).map(|(name, _)| *name).collect();
        for name in &closable {
            let log = self.logs.remove(name).unwrap();
            self.closed.insert(*name);
            self.tell(vec![fact::What::LogClosed(LogClosed { number: log.number, end: log.ordered })]);
        }
        !closable.is_empty()
    }

    /// Orders what can be of the logs named, and of those that come after them.
    fn order(&mut self, map: &ClusterMap, mut named: Vec<LogName>) {
        while let Some(name) = named.pop() {
            let ready = self.logs.get(&name).and_then(|log| {
                let end = evidence(map, log).min(log.topics.last_key_value().map_or(1, |(seq, _)| seq + 1));
                let before = log.predecessor.filter(|before| !before.overtaking).is_none_or(|before| {
                    let name = LogName { ordinal: before.ordinal.into(), ..name };
                    self.logs.get(&name).is_some_and(|log| log.ordered >= before.end)
                });
                (end > log.ordered && before).then_some((name, end))
            });
            if let Some((name, end)) = ready {
                self.assign(name, end);
                named.push(LogName { ordinal: trunkline_types::Ordinal(name.ordinal.0 + 1), ..name });
            }
        }
    }

    fn assign(&mut self, name: LogName, end: u64) {
        self.numbers += 1;
        let fresh = self.numbers;
        let log = self.logs.get_mut(&name).unwrap();
        let mut facts = Vec::new();
        if log.number == 0 {
            log.number = fresh;
            let (number, predecessor) = (log.number, log.predecessor);
            facts.push(fact::What::LogOpened(LogOpened { number, log: Some(name.into()), predecessor }));
        }
        let (from, number) = (log.ordered, log.number);
        log.ordered = end;
        let mut runs: Vec<OrderedRun> = Vec::new();
        for seq in from..end {
            let topic_id = log.topics.remove(&seq).expect("the runs are dense");
            let next = self.next_id.entry(topic_id).or_insert(1);
            match runs.last_mut().filter(|run| run.topic_id == topic_id) {
                Some(run) => run.count += 1,
                None => runs.push(OrderedRun { topic_id, first_id: *next, count: 1 }),
            }
            *next += 1;
        }
        facts.push(fact::What::Ordered(RecordsOrdered { number, from, runs }));
        self.tell(facts);
    }
}

impl State {
    fn order_all(&mut self) {
        if !self.stopped {
            for group in self.groups.values_mut() {
                let all = group.logs.keys().copied().collect();
                group.order(&self.map, all);
            }
        }
    }
}

/// Up to where stores in two datacenters have a log on disk.
fn evidence(map: &ClusterMap, log: &Log) -> u64 {
    let mut ends: Vec<u64> = map
        .datacenters
        .iter()
        .map(|datacenter| {
            let here =
                log.held.iter().filter(|(node, _)| map.node(**node).unwrap().datacenter == datacenter.name);
            here.map(|(_, &held)| held).max().unwrap_or(1)
        })
        .collect();
    ends.sort_unstable_by_key(|end| std::cmp::Reverse(*end));
    let mut stores: Vec<u64> = log.held.values().copied().collect();
    stores.sort_unstable_by_key(|end| std::cmp::Reverse(*end));
    ends[map.datacenters_needed() - 1].min(stores.get(1).copied().unwrap_or(1))
}

fn packed(group: u16) -> u32 {
    GroupId::ordering(group).to_u32()
}

async fn send(to: &Responder<SessionResponses>, what: session_response::What) -> Result<(), Status> {
    to.send(&SessionResponses { responses: vec![SessionResponse { what: Some(what) }] })
        .await
        .map_err(|_| Status::unavailable("gone"))
}
