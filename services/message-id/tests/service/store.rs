use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use trunkline_ports::{CallOptions, Class, Peer, Receiver, Sender, Task};
use trunkline_testkit::fixture::{SimulatedNode, node};
use trunkline_types::{Boot, Lane, LogName, Ordinal, Role};
use trunkline_wire::Status;
use trunkline_wire::internal::order_service::SESSION;
use trunkline_wire::internal::session_request::What as Says;
use trunkline_wire::internal::session_response::What;
use trunkline_wire::internal::{
    Digest, Fact, FactsAt, GroupCursor, Heartbeat, Held, LogHeld, LogReport, Report, Run, SessionHello,
    SessionRequest, SessionRequests, SessionResponses, fact,
};

use crate::cluster::Cluster;

/// A store as far as a voter sees it, in one session.
pub struct Store {
    pub node: SimulatedNode,
    pub group: u32,
    session: u64,
    sender: Sender<SessionRequests>,
    receiver: Receiver<SessionResponses>,
    heard: VecDeque<What>,
    heartbeats: Option<Task>,
    /// Facts so far, index 0 first where they are of the session's start.
    pub facts: Vec<(u64, Fact)>,
    pub applied: u64,
}

impl Store {
    /// Opens a session with the voter of `voter`, as the first store of `datacenter`.
    pub async fn open(cluster: &Cluster, datacenter: &str, voter: &str, facts_from: u64) -> Self {
        let node = node(Role::MessageStore, &datacenter.into(), 1);
        let node = SimulatedNode::start(&cluster.network, &cluster.map, &node, 1);
        Self::open_on(node, cluster, voter, facts_from, 1).await.unwrap()
    }

    pub async fn open_on(
        node: SimulatedNode,
        cluster: &Cluster,
        voter: &str,
        facts_from: u64,
        session: u64,
    ) -> Result<Self, Status> {
        let peer = Peer::new(cluster.address(voter), Class::Calls);
        let (sender, mut receiver) = node.host.network.open(&peer, SESSION, CallOptions::default()).await?;
        let group = cluster.group().to_u32();
        let hello = SessionHello {
            envelope: Some(node.host.envelope()),
            groups: vec![GroupCursor { group, facts_from }],
        };
        sender.send(&one(Says::Hello(hello))).await.unwrap();
        let mut heard = VecDeque::new();
        take(receiver.next().await?, &mut heard);
        assert!(matches!(heard.pop_front(), Some(What::Welcome(_))));
        let beating = sender.clone();
        let heartbeats = node.host.process.spawn("heartbeat", async move {
            while beating.send(&one(Says::Heartbeat(Heartbeat {}))).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        let heartbeats = Some(heartbeats);
        Ok(Self { node, group, session, sender, receiver, heard, heartbeats, facts: Vec::new(), applied: 0 })
    }

    /// Says nothing more.
    pub fn fall_silent(&mut self) {
        if let Some(heartbeats) = self.heartbeats.take() {
            heartbeats.abort();
        }
    }

    async fn say(&self, what: Says) {
        self.sender.send(&one(what)).await.unwrap();
    }

    pub async fn report(&mut self, first: bool, logs: Vec<LogReport>) {
        self.say(Says::Report(Report { group: self.group, session: self.session, first, logs })).await;
    }

    pub async fn report_anew(&mut self, logs: Vec<LogReport>) {
        self.session += 1;
        self.report(true, logs).await;
    }

    pub async fn held(&self, facts_index: u64) {
        self.lacks(facts_index, &[]).await;
    }

    /// The same, and of these closed logs it has only the beginning.
    pub async fn lacks(&self, facts_index: u64, logs: &[LogName]) {
        let lacking = logs.iter().map(|&log| LogHeld { log: Some(log.into()), held: 2 }).collect();
        self.say(Says::Held(Held { group: self.group, facts_index, lacking, ended: Vec::new() })).await;
    }

    pub async fn digest(&self, logs: &[(LogName, u64)]) {
        let digest = trunkline_ordering::group::digest(logs.iter().copied());
        let logs = u32::try_from(logs.len()).unwrap();
        self.say(Says::Digest(Digest { group: self.group, session: self.session, digest, logs })).await;
    }

    /// The next message that is neither a heartbeat nor facts.
    pub async fn next(&mut self) -> Result<What, Status> {
        loop {
            match self.receive().await? {
                Some(What::Facts(_) | What::Heartbeat(_)) => {}
                Some(what) => return Ok(what),
                None => return Err(Status::ok("the session has ended")),
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<What>, Status> {
        while self.heard.is_empty() {
            let Some(message) = self.receiver.next().await? else { return Ok(None) };
            take(Some(message), &mut self.heard);
        }
        let what = self.heard.pop_front();
        if let Some(What::Facts(facts)) = &what {
            assert_eq!(facts.group, self.group);
            for FactsAt { index, facts, .. } in facts.at.clone() {
                self.facts.extend(facts.into_iter().map(|fact| (index, fact)));
            }
            self.applied = facts.applied;
        }
        Ok(what)
    }

    /// Takes facts until so many records of each topic are ordered: topic → IDs in order of the log.
    pub async fn ordered(&mut self, records: u64) -> BTreeMap<u64, Vec<u64>> {
        let taking = async {
            while self.ids().values().map(|ids| ids.len() as u64).sum::<u64>() < records {
                self.receive().await.unwrap().unwrap();
            }
        };
        let taken = tokio::time::timeout(Duration::from_secs(30), taking).await;
        taken.unwrap_or_else(|_| panic!("{:?} of {records}", self.ids()));
        self.ids()
    }

    pub fn ids(&self) -> BTreeMap<u64, Vec<u64>> {
        let mut ids: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (_, fact) in &self.facts {
            if let Some(fact::What::Ordered(ordered)) = &fact.what {
                for run in &ordered.runs {
                    ids.entry(run.topic_id).or_default().extend(run.first_id..run.first_id + run.count);
                }
            }
        }
        ids
    }

    /// Waits until facts up to `index` have come.
    pub async fn told(&mut self, index: u64) {
        let taking = async {
            while self.applied < index {
                self.receive().await.unwrap().unwrap();
            }
        };
        let taken = tokio::time::timeout(Duration::from_secs(30), taking).await;
        taken.unwrap_or_else(|_| panic!("{} of {index}", self.applied));
    }

    /// This store's first log of the bucket of "orders".
    pub fn log(&self, cluster: &Cluster) -> LogName {
        log(cluster, &self.node)
    }
}

fn one(what: Says) -> SessionRequests {
    SessionRequests { requests: vec![SessionRequest { what: Some(what) }] }
}

fn take(message: Option<SessionResponses>, heard: &mut VecDeque<What>) {
    let responses = message.unwrap_or_default().responses;
    heard.extend(responses.into_iter().filter_map(|response| response.what));
}

pub fn log(cluster: &Cluster, node: &SimulatedNode) -> LogName {
    let Boot { counter, random } = node.host.identity.boot;
    LogName {
        bucket: cluster.bucket_of("orders"),
        node: node.host.identity.node,
        boot: Boot { counter, random },
        lane: Lane(0),
        ordinal: Ordinal(1),
    }
}

/// All of a log that is not ordered: `runs` of (topic id, count) from `from` on.
pub fn holds(log: LogName, from: u64, runs: &[(u64, u64)]) -> LogReport {
    let held = from + runs.iter().map(|run| run.1).sum::<u64>();
    let runs = runs.iter().map(|&(topic_id, count)| Run { topic_id, count }).collect();
    LogReport { log: Some(log.into()), from, held, runs, predecessor: None }
}
