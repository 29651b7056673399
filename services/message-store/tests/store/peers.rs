//! What a store makes of peers that say what no peer should.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use trunkline_message_store::Options;
use trunkline_ports::{CallOptions, Class, Peer, Receiver, Responder, Router, Sender};
use trunkline_testkit::{MapBuilder, SimulatedNode, eventually};
use trunkline_types::limits::{PEER_NUMBER_MAX, SILENCE_MAX};
use trunkline_types::{LogName, TopicId, checksum};
use trunkline_wire::Status;
use trunkline_wire::internal::follow_service::FOLLOW;
use trunkline_wire::internal::{
    DatacenterEnd, DiskBehind, FollowRequest, FollowResponse, LogCursor, LogEnd, LogRecords, OnDisk, Record,
    Want, follow_refused,
};
use trunkline_wire::short::Restoring;
use trunkline_wire::v1::AckLevel;

use crate::cluster::{Cluster, LONG, bodies};

const ONE: &str = "nyc-message-store-1";
const TWO: &str = "nyc-message-store-2";
const BEYOND: [u64; 2] = [PEER_NUMBER_MAX + 1, u64::MAX];

/// A stream to `ONE` of a follower that is not what it should be.
struct Follower {
    sender: Sender<FollowRequest>,
    receiver: Receiver<FollowResponse>,
    names: Restoring,
}

impl Follower {
    async fn open(cluster: &Cluster, node: &SimulatedNode) -> Self {
        let peer = Peer::new(cluster.node(ONE).address.clone(), Class::Follow);
        let opening = node.host.network.open(&peer, FOLLOW, CallOptions::default());
        let (sender, receiver) = opening.await.unwrap();
        let mut follower = Self { sender, receiver, names: Restoring::default() };
        let hello = Some(node.host.envelope());
        follower.say(FollowRequest { hello, ..FollowRequest::default() }).await;
        assert!(follower.hear().await.unwrap().hello.is_some());
        follower
    }

    async fn say(&self, request: FollowRequest) {
        self.sender.send(&request).await.unwrap();
    }

    /// The next message, `None` once the stream has ended.
    async fn hear(&mut self) -> Option<FollowResponse> {
        let next = tokio::time::timeout(LONG, self.receiver.next()).await.expect("a message");
        let mut next = next.unwrap_or_default()?;
        self.names.restore(&mut next).unwrap();
        Some(next)
    }

    /// The next records: their first sequence and how many they are.
    async fn records(&mut self) -> (u64, usize) {
        loop {
            let next = self.hear().await.expect("records");
            if let Some(sent) = next.records.first() {
                return (sent.from, sent.records.len());
            }
        }
    }
}

/// A store in place of `TWO` that `ONE` follows, and that is not what it should be.
struct Holder {
    node: SimulatedNode,
    streams: mpsc::Receiver<Held>,
}

/// One stream of it, until it is dropped.
struct Held {
    requests: Receiver<FollowRequest>,
    responses: Responder<FollowResponse>,
    names: Restoring,
    _open: oneshot::Sender<()>,
}

impl Holder {
    fn listen(cluster: &Cluster, starts: u32) -> Self {
        let node = SimulatedNode::start(&cluster.network, &cluster.map, cluster.node(TWO), starts);
        let (sender, streams) = mpsc::channel(16);
        node.listen(Router::new().streaming(FOLLOW, move |_, requests, responses| {
            let sender = sender.clone();
            async move {
                let (open, ended) = oneshot::channel();
                let _ =
                    sender.send(Held { requests, responses, names: Restoring::default(), _open: open }).await;
                let _ = ended.await;
                Ok::<(), Status>(())
            }
        }));
        Self { node, streams }
    }

    /// The next stream, both sides of which have said who they are.
    async fn stream(&mut self) -> Held {
        let mut stream = self.streams.recv().await.expect("it listens");
        assert!(stream.requests.next().await.unwrap().unwrap().hello.is_some());
        let hello = Some(self.node.host.envelope());
        say(&stream.responses, FollowResponse { hello, ..FollowResponse::default() }).await;
        stream
    }
}

impl Held {
    /// Hears requests up to the one of which this is true.
    async fn until(&mut self, enough: impl Fn(&FollowRequest) -> bool) {
        let heard = async {
            loop {
                let mut request = self.requests.next().await.unwrap().expect("a request");
                self.names.restore(&mut request).unwrap();
                if enough(&request) {
                    return;
                }
            }
        };
        tokio::time::timeout(LONG, heard).await.expect("it is said");
    }
}

/// The first record of a log.
fn one_record(topic: TopicId, log: LogName) -> FollowResponse {
    let body = b"x".to_vec();
    let record =
        Record { topic_id: topic.0, checksum: checksum(&body), body: body.into(), ..Record::default() };
    let sent = LogRecords { log: Some(log.into()), predecessor: None, from: 1, records: vec![record] };
    FollowResponse { records: vec![sent], ..FollowResponse::default() }
}

async fn with_ten() -> (Cluster, TopicId, LogName) {
    let mut cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let stored = cluster.pusher(ONE).await.push(topic, &bodies("a", 0..10)).await;
    cluster.all(ONE, topic, 10).await;
    cluster.crash(TWO);
    (cluster, topic, stored[0].log)
}

#[tokio::test(start_paused = true)]
async fn a_follower_is_sent_what_it_asks_for_whatever_it_said_before() {
    let (cluster, _, log) = with_ten().await;
    let log = Some(log.into());
    let node = SimulatedNode::start(&cluster.network, &cluster.map, cluster.node(TWO), 2);
    let mut follower = Follower::open(&cluster, &node).await;
    let cursors = vec![LogCursor { log, next: 11, on_disk: 11 }];
    follower.say(FollowRequest { cursors, cursors_done: true, ..FollowRequest::default() }).await;
    for from in [4, 1] {
        let wants = vec![Want { log, from, stop: false }];
        follower.say(FollowRequest { wants, ..FollowRequest::default() }).await;
        assert_eq!(follower.records().await, (from, 11 - usize::try_from(from).unwrap()));
    }
}

#[tokio::test(start_paused = true)]
async fn less_than_was_told_of_a_log_is_a_loss_unless_the_log_has_an_end() {
    let (cluster, _, log) = with_ten().await;
    let node = SimulatedNode::start(&cluster.network, &cluster.map, cluster.node(TWO), 2);
    for closed in [true, false] {
        let mut follower = Follower::open(&cluster, &node).await;
        let on_disk = vec![OnDisk { log: Some(log.into()), end: 5, closed, ..OnDisk::default() }];
        let wants = vec![Want { log: Some(log.into()), from: 5, stop: false }];
        follower.say(FollowRequest { on_disk, wants, cursors_done: true, ..FollowRequest::default() }).await;
        if closed {
            assert_eq!(follower.records().await, (5, 6));
        } else {
            let refused = follower.hear().await.unwrap().refused.and_then(|refused| refused.why);
            let behind = DiskBehind { log: Some(log.into()), told: 11, now: 5 };
            assert_eq!(refused, Some(follow_refused::Why::DiskBehind(behind)));
            assert!(follower.hear().await.is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_closed_there_is_not_on_disk_there_for_that() {
    let (cluster, topic, log) = with_ten().await;
    let node = SimulatedNode::start(&cluster.network, &cluster.map, cluster.node(TWO), 2);
    let mut pusher = cluster.pusher(ONE).await;
    pusher.send(topic, &bodies("b", 0..1), AckLevel::Local).await;
    let follower = Follower::open(&cluster, &node).await;
    for closed in [true, false] {
        let on_disk = vec![OnDisk { log: Some(log.into()), end: 12, closed, ..OnDisk::default() }];
        follower.say(FollowRequest { on_disk, ..FollowRequest::default() }).await;
        let stored = tokio::time::timeout(SILENCE_MAX / 4, pusher.answers(1)).await;
        assert_eq!(stored.is_err(), closed, "{stored:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_boot_sends_does_not_count_as_there_for_the_next() {
    let (cluster, topic, log) = with_ten().await;
    let mut holder = Holder::listen(&cluster, 2);
    let mut stream = holder.stream().await;
    let node = SimulatedNode::start(&cluster.network, &cluster.map, cluster.node(TWO), 3);
    let mut follower = Follower::open(&cluster, &node).await;
    let log = LogName { node: cluster.id(TWO), boot: holder.node.host.identity.boot, ..log };
    say(&stream.responses, one_record(topic, log)).await;
    stream.until(|said| said.on_disk.iter().any(|on_disk| on_disk.end == 2)).await;
    follower.say(FollowRequest { cursors_done: true, ..FollowRequest::default() }).await;
    let sent = |next: &FollowResponse| next.records.iter().any(|sent| sent.log == Some(log.into()));
    while !sent(&follower.hear().await.expect("records")) {}
}

#[tokio::test(start_paused = true)]
async fn what_comes_to_disk_after_its_stream_has_ended_is_told_on_the_next() {
    let slow = Duration::from_millis(900);
    let mut cluster = Cluster::with(MapBuilder::of(&["nyc"]), Options::default(), slow).await;
    let topic = cluster.orderer.create_topic("t");
    let stored = cluster.pusher(ONE).await.push(topic, &bodies("a", 0..10)).await;
    cluster.crash(TWO);
    let mut holder = Holder::listen(&cluster, 2);
    let log = LogName { node: cluster.id(TWO), boot: holder.node.host.identity.boot, ..stored[0].log };
    let mut stream = holder.stream().await;
    say(&stream.responses, one_record(topic, log)).await;
    // Before the write: the record has come.
    stream.until(|said| said.on_disk.iter().any(|on_disk| on_disk.log == Some(log.into()))).await;
    drop(stream);
    let mut stream = holder.stream().await;
    let cursor = LogCursor { log: Some(log.into()), next: 2, on_disk: 1 };
    stream.until(|said| said.cursors.contains(&cursor)).await;
    stream.until(|said| said.on_disk.iter().any(|on_disk| on_disk.end == 2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_boot_is_not_the_newest_is_not_followed() {
    // (starts of the store, whether only the facts remember them, the boot that speaks now, whether it is followed)
    for (starts, facts_only, speaks, followed) in
        [(1, false, 1, false), (1, false, 2, true), (3, true, 2, false), (3, true, 4, true)]
    {
        let (mut cluster, _, _) = with_ten().await;
        for _ in 1..starts {
            cluster.start(TWO).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            cluster.crash(TWO);
        }
        if facts_only {
            cluster.crash(ONE);
            cluster.start(ONE).await;
        }
        let mut holder = Holder::listen(&cluster, speaks);
        let stream = holder.stream().await;
        let again = tokio::time::timeout(SILENCE_MAX * 3 / 4, holder.stream()).await;
        assert_eq!(again.is_err(), followed, "boot {speaks} after {starts}");
        drop(stream);
        assert!(cluster.is_alive(ONE));
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_that_no_store_can_have_reached_end_a_followers_stream_and_no_more() {
    let (cluster, topic, log) = with_ten().await;
    let log = Some(log.into());
    let node = SimulatedNode::start(&cluster.network, &cluster.map, cluster.node(TWO), 2);
    let elsewhere = |end| vec![DatacenterEnd { datacenter: "nyc".to_owned(), end }];
    for beyond in BEYOND {
        for said in [
            FollowRequest {
                cursors: vec![LogCursor { log, next: beyond, on_disk: 11 }],
                ..FollowRequest::default()
            },
            FollowRequest {
                cursors: vec![LogCursor { log, next: 11, on_disk: beyond }],
                ..FollowRequest::default()
            },
            FollowRequest {
                wants: vec![Want { log, from: beyond, stop: false }],
                ..FollowRequest::default()
            },
            FollowRequest {
                on_disk: vec![OnDisk { log, end: beyond, ..OnDisk::default() }],
                ..FollowRequest::default()
            },
            FollowRequest {
                on_disk: vec![OnDisk { log, end: 11, elsewhere: elsewhere(beyond), closed: false }],
                ..FollowRequest::default()
            },
        ] {
            let mut follower = Follower::open(&cluster, &node).await;
            let began = Instant::now();
            follower.say(FollowRequest { cursors_done: true, ..said }).await;
            while follower.hear().await.is_some() {}
            assert!(began.elapsed() < SILENCE_MAX / 2, "it ended for no other reason");
        }
    }
    assert_eq!(cluster.all(ONE, topic, 10).await, bodies("a", 0..10));
    assert!(cluster.is_alive(ONE));
}

#[tokio::test(start_paused = true)]
async fn numbers_that_no_store_can_have_reached_end_a_holders_stream_and_no_more() {
    for beyond in [BEYOND[0], BEYOND[1], 0] {
        let (cluster, topic, log) = with_ten().await;
        let boot = trunkline_types::Boot { counter: 7, random: 7 };
        let log = LogName { node: cluster.id(TWO), boot, ..log };
        let body = b"x".to_vec();
        let record =
            Record { topic_id: topic.0, checksum: checksum(&body), body: body.into(), ..Record::default() };
        let records = vec![LogRecords {
            log: Some(log.into()),
            predecessor: None,
            from: beyond,
            records: vec![record],
        }];
        let ends = vec![LogEnd { log: Some(log.into()), predecessor: None, end: beyond }];
        for said in [
            FollowResponse { records, ..FollowResponse::default() },
            FollowResponse { ends, ..FollowResponse::default() },
        ] {
            if said.records.is_empty() && beyond == 0 {
                continue; // It has nothing: no harm.
            }
            let holder = SimulatedNode::start(&cluster.network, &cluster.map, cluster.node(TWO), 7);
            let (host, opened) = (holder.host.clone(), tokio::sync::watch::channel(0).0);
            let told = opened.clone();
            holder.listen(Router::new().streaming(FOLLOW, move |_, mut requests: Receiver<_>, responses| {
                let (said, told, host) = (said.clone(), told.clone(), host.clone());
                async move {
                    told.send_modify(|opened| *opened += 1);
                    let hello = Some(host.envelope());
                    say(&responses, FollowResponse { hello, ..FollowResponse::default() }).await;
                    say(&responses, said).await;
                    while let Ok(Some(_)) = requests.next().await {}
                    Ok::<(), Status>(())
                }
            }));
            eventually(SILENCE_MAX * 3 / 4, "another stream", async || (*opened.borrow() > 1).then_some(()))
                .await;
            holder.process.crash();
        }
        assert_eq!(cluster.all(ONE, topic, 10).await, bodies("a", 0..10));
        assert!(cluster.is_alive(ONE));
    }
}

async fn say(responses: &Responder<FollowResponse>, response: FollowResponse) {
    responses.send(&response).await.unwrap();
}
