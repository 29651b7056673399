//! Large payloads: complete before their record counts, the same everywhere, and gone where no record names them.

use std::collections::BTreeMap;
use std::time::Duration;

use trunkline_message_store::{Options, SPACES};
use trunkline_ports::{CallOptions, Class, Peer, Receiver, Sender, Space};
use trunkline_testkit::storage::Damage;
use trunkline_testkit::{MapBuilder, eventually};
use trunkline_types::{Lane, LogName, TopicId, checksum};
use trunkline_wire::internal::appended::What;
use trunkline_wire::internal::store_service::{READ_PAYLOAD, UPLOAD};
use trunkline_wire::internal::{
    Barrier, ChunkedPayload, MessagePlace, ReadPayloadRequest, RecordBody, UploadRequest, UploadResponse,
    read_payload_request,
};
use trunkline_wire::v1::AckLevel;
use trunkline_wire::{Code, Message as _, Status};

use crate::cluster::{Cluster, LONG, Pusher, bodies};

const ONE: &str = "nyc-message-store-1";
const TWO: &str = "nyc-message-store-2";
const MCI: &str = "mci-message-store-1";
const CHUNK: usize = 100;

fn space(name: &str) -> Space {
    *SPACES.iter().find(|space| space.name == name).unwrap()
}

/// Bytes that tell which payload they are of, and where they stand in it.
fn payload(name: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| name.wrapping_mul(31).wrapping_add((at % 251) as u8)).collect()
}

fn what(payload: &[u8]) -> ChunkedPayload {
    let chunks = payload.chunks(CHUNK).map(checksum).collect();
    let (bytes, chunk_bytes) = (payload.len() as u64, CHUNK as u32);
    ChunkedPayload { bytes, chunk_bytes, checksum: checksum(payload), chunks }
}

fn body(payload: &[u8]) -> Vec<u8> {
    RecordBody { key: "k".to_owned(), large: Some(what(payload)), ..RecordBody::default() }.encode_to_vec()
}

/// A push server's stream of one payload.
struct Upload {
    sender: Sender<UploadRequest>,
    receiver: Receiver<UploadResponse>,
    number: u64,
}

impl Upload {
    async fn begin(cluster: &Cluster, store: &str, topic: TopicId, bytes: usize) -> Result<Self, Status> {
        let (host, address) = cluster.host(store);
        let peer = Peer::new(address, Class::Payloads);
        let (sender, mut receiver) = host.network.open(&peer, UPLOAD, CallOptions::default()).await?;
        let (hello, bytes, chunk_bytes) = (Some(host.envelope()), bytes as u64, CHUNK as u32);
        let first =
            UploadRequest { hello, topic_id: topic.0, bytes, chunk_bytes, ..UploadRequest::default() };
        sender.send(&first).await.unwrap();
        let number = receiver.next().await?.unwrap().upload;
        Ok(Self { sender, receiver, number })
    }

    async fn send(&self, payload: &[u8]) {
        for chunk in payload.chunks(CHUNK) {
            let (checksum, chunk) = (checksum(chunk), chunk.to_vec().into());
            let request = UploadRequest { chunk, checksum, ..UploadRequest::default() };
            self.sender.send(&request).await.unwrap();
        }
    }

    async fn written(&mut self, chunks: usize) {
        let heard = async { while self.receiver.next().await.unwrap().unwrap().written < chunks as u32 {} };
        tokio::time::timeout(LONG, heard).await.expect("chunks are written");
    }

    async fn all(cluster: &Cluster, store: &str, topic: TopicId, payload: &[u8]) -> Self {
        let mut upload = Self::begin(cluster, store, topic, payload.len()).await.unwrap();
        upload.send(payload).await;
        upload.written(payload.len().div_ceil(CHUNK)).await;
        upload
    }
}

/// Uploads and appends; the stream stays open with what is returned.
async fn push(
    cluster: &Cluster,
    store: &str,
    pusher: &mut Pusher,
    topic: TopicId,
    payload: &[u8],
    level: AckLevel,
) -> Upload {
    let upload = Upload::all(cluster, store, topic, payload).await;
    pusher.send_uploaded(topic, body(payload), upload.number, level).await;
    upload
}

/// A message's payload as a pop server reads it.
async fn read(cluster: &Cluster, store: &str, topic: TopicId, id: u64) -> Result<Vec<u8>, Status> {
    let (host, address) = cluster.host(store);
    let peer = Peer::new(address, Class::Payloads);
    let (sender, mut receiver) = host.network.open(&peer, READ_PAYLOAD, CallOptions::default()).await?;
    let of = Some(read_payload_request::Of::Message(MessagePlace { topic_id: topic.0, message_id: id }));
    let first = ReadPayloadRequest { hello: Some(host.envelope()), of, first_chunk: 0, credit: 1 };
    sender.send(&first).await.unwrap();
    let (mut payload, mut expected) = (Vec::new(), None);
    while let Some(response) = receiver.next().await? {
        expected = expected.or(response.payload);
        if !response.chunk.is_empty() {
            payload.extend_from_slice(&response.chunk);
            let _ = sender.send(&ReadPayloadRequest { credit: 1, ..ReadPayloadRequest::default() }).await;
        }
    }
    assert_eq!(expected.unwrap(), what(&payload), "the whole of it, as its record says");
    Ok(payload)
}

async fn readable(cluster: &Cluster, store: &str, topic: TopicId, id: u64) -> Vec<u8> {
    let what = format!("payload {id} at {store}");
    eventually(LONG, &what, async || read(cluster, store, topic, id).await.ok()).await
}

/// Rows of chunks on a store's disk.
fn chunks(cluster: &Cluster, store: &str) -> usize {
    cluster.disk(store).settle();
    cluster.disk(store).len(space("chunks"))
}

async fn nothing_left(cluster: &Cluster, store: &str) {
    let begun = |store| cluster.disk(store).len(space("payloads"));
    eventually(LONG, "nothing of it is left", async || {
        (chunks(cluster, store) == 0 && begun(store) == 0).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_large_payload_is_the_same_everywhere_and_crosses_each_link_once() {
    let cluster = Cluster::of(MapBuilder::three_datacenters()).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    let mut open = Vec::new();
    for (name, bytes) in [(1, 1), (2, CHUNK), (3, 7 * CHUNK + 3), (4, 40 * CHUNK)] {
        let payload = payload(name, bytes);
        open.push(push(&cluster, ONE, &mut pusher, topic, &payload, AckLevel::Everywhere).await);
    }
    let answers = pusher.answers(12).await;
    let everywhere = answers.iter().filter(|(_, what)| matches!(what, What::Everywhere(_))).count();
    assert_eq!(everywhere, 4, "{answers:?}");
    for store in cluster.stores() {
        for (id, (name, bytes)) in (1..).zip([(1, 1), (2, CHUNK), (3, 7 * CHUNK + 3), (4, 40 * CHUNK)]) {
            assert_eq!(readable(&cluster, &store, topic, id).await, payload(name, bytes), "{id} at {store}");
        }
        assert_eq!(chunks(&cluster, &store), 1 + 1 + 8 + 40, "{store}");
    }
    let total = (1 + CHUNK + 7 * CHUNK + 3 + 40 * CHUNK) as f64;
    // Beside each payload that was read above: one to the sibling, one into each other datacenter, there one more.
    let sent: f64 = cluster.stores().iter().map(|store| cluster.figure(store, "payload_bytes_sent")).sum();
    assert!((sent / total - 11.0).abs() < 0.01, "{}", sent / total);
    let (_, logs): (Vec<_>, Vec<LogName>) =
        cluster.orderer.logs().into_iter().map(|(log, end)| (end, log)).unzip();
    assert!(logs.iter().all(|log| log.lane == Lane::LARGE), "{logs:?}");
    cluster.assert_nobody_gave_up();
}

#[tokio::test(start_paused = true)]
async fn a_record_counts_as_stored_only_with_its_payload_and_delays_nobody() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    let large = payload(1, 9 * CHUNK);
    let upload = Upload::all(&cluster, ONE, topic, &large).await;
    // Of the one copy there is, the last chunk cannot be read.
    assert_eq!(cluster.disk(ONE).damage(space("chunks"), &large[8 * CHUNK..], Damage::Unreadable), 1);
    pusher.send_uploaded(topic, body(&large), upload.number, AckLevel::Local).await;
    pusher.send(topic, &bodies("a", 0..3), AckLevel::Local).await;
    let mut stored: Vec<u64> = pusher.answers(3).await.into_iter().map(|(tag, _)| tag).collect();
    stored.sort_unstable();
    assert_eq!(stored, [2, 3, 4], "small ones do not wait");
    let more = tokio::time::timeout(Duration::from_secs(10), pusher.answers(1)).await;
    assert!(more.is_err(), "answered without its payload: {more:?}");
    let held = cluster.orderer.logs();
    assert!(held.iter().all(|(log, _)| log.lane == Lane::SMALL), "ordered without its payload: {held:?}");
}

#[tokio::test(start_paused = true)]
async fn what_no_record_names_is_gone_with_its_stream() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let half = payload(1, 5 * CHUNK);
    let mut upload = Upload::begin(&cluster, ONE, topic, 10 * CHUNK).await.unwrap();
    upload.send(&half).await;
    upload.written(5).await;
    assert_eq!(chunks(&cluster, ONE), 5);
    drop(upload);
    nothing_left(&cluster, ONE).await;
    drop(Upload::all(&cluster, ONE, topic, &half).await);
    nothing_left(&cluster, ONE).await;
    // A record that comes too late is refused: nothing of it is stored.
    let mut pusher = cluster.pusher(ONE).await;
    pusher.send_uploaded(topic, body(&half), 1 << 32 | 2, AckLevel::Local).await;
    let answers = pusher.answers(1).await;
    assert!(matches!(&answers[..], [(1, What::Refused(_))]), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn a_chunk_or_a_record_that_does_not_fit_is_refused() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    for (bytes, chunk) in [(10 * CHUNK, &payload(1, CHUNK - 1)[..]), (CHUNK, &payload(1, CHUNK + 1)[..])] {
        let mut upload = Upload::begin(&cluster, ONE, topic, bytes).await.unwrap();
        let (checksum, chunk) = (checksum(chunk), chunk.to_vec().into());
        upload.sender.send(&UploadRequest { chunk, checksum, ..UploadRequest::default() }).await.unwrap();
        assert_eq!(upload.receiver.next().await.unwrap_err().code(), Code::InvalidArgument);
    }
    let mut upload = Upload::begin(&cluster, ONE, topic, CHUNK).await.unwrap();
    let chunk = payload(1, CHUNK).into();
    upload.sender.send(&UploadRequest { chunk, checksum: 7, ..UploadRequest::default() }).await.unwrap();
    assert_eq!(upload.receiver.next().await.unwrap_err().code(), Code::InvalidArgument);
    assert!(Upload::begin(&cluster, ONE, topic, 0).await.is_err());
    assert!(Upload::begin(&cluster, ONE, topic, 100_000_001).await.is_err());
    cluster.disk(ONE).set_has_room(false);
    let full = Upload::begin(&cluster, ONE, topic, CHUNK).await.err().unwrap();
    assert_eq!(full.code(), Code::ResourceExhausted);
    cluster.disk(ONE).set_has_room(true);
    let upload = Upload::all(&cluster, ONE, topic, &payload(1, 3 * CHUNK)).await;
    let mut pusher = cluster.pusher(ONE).await;
    pusher.send_uploaded(topic, body(&payload(2, 3 * CHUNK)), upload.number, AckLevel::Local).await;
    assert!(matches!(&pusher.answers(1).await[..], [(1, What::Refused(_))]), "another payload");
    drop(upload);
    nothing_left(&cluster, ONE).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_leaves_of_a_payload_goes_at_the_next_start_and_comes_again_where_there_is_a_record() {
    let sync = Duration::from_millis(20);
    let mut cluster = Cluster::with(MapBuilder::of(&["nyc"]), Options::default(), sync).await;
    let topic = cluster.orderer.create_topic("t");
    let mut half = Upload::begin(&cluster, ONE, topic, 10 * CHUNK).await.unwrap();
    half.send(&payload(1, 5 * CHUNK)).await;
    half.written(5).await;
    let large = payload(2, 60 * CHUNK);
    let mut pusher = cluster.pusher(ONE).await;
    let _upload = push(&cluster, ONE, &mut pusher, topic, &large, AckLevel::Local).await;
    // The follower dies in the midst of it.
    eventually(LONG, "chunks at the follower", async || (chunks(&cluster, TWO) > 5).then_some(())).await;
    cluster.crash(TWO);
    let left = chunks(&cluster, TWO);
    assert!(left < 60, "it had all of it already");
    cluster.crash(ONE);
    cluster.start(ONE).await;
    assert_eq!(chunks(&cluster, ONE), 60, "of the other one nothing is left");
    cluster.start(TWO).await;
    assert_eq!(readable(&cluster, TWO, topic, 1).await, large);
    assert_eq!((chunks(&cluster, ONE), chunks(&cluster, TWO)), (60, 60));
    cluster.assert_nobody_gave_up();
}

#[tokio::test(start_paused = true)]
async fn a_payload_whose_source_dies_half_way_comes_from_another_that_has_it() {
    let sync = Duration::from_millis(5);
    let builder = MapBuilder::of(&["nyc", "mci"]);
    let mut cluster = Cluster::with(builder, Options::default(), sync).await;
    let topic = cluster.orderer.create_topic("t");
    let others: Vec<String> = cluster.stores().into_iter().filter(|name| name.starts_with("mci")).collect();
    others.iter().for_each(|store| cluster.crash(store));
    let large = payload(3, 300 * CHUNK);
    let mut pusher = cluster.pusher(ONE).await;
    let _upload = push(&cluster, ONE, &mut pusher, topic, &large, AckLevel::Local).await;
    assert!(matches!(&pusher.answers(1).await[..], [(1, What::Stored(_))]));
    cluster.start(&others[0]).await;
    eventually(LONG, "half of it", async || (chunks(&cluster, &others[0]) > 20).then_some(())).await;
    cluster.crash(ONE);
    assert!(chunks(&cluster, &others[0]) < 300, "it had all of it already");
    assert_eq!(readable(&cluster, &others[0], topic, 1).await, large);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_cannot_be_read_is_fetched_anew_and_only_one_that_nobody_has_is_lost() {
    for damage in [Damage::Flipped, Damage::Unreadable, Damage::Lost] {
        let mut cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
        let topic = cluster.orderer.create_topic("t");
        let mut large = payload(1, 9 * CHUNK);
        large[4 * CHUNK..5 * CHUNK].fill(b'!');
        let mut pusher = cluster.pusher(ONE).await;
        let _upload = push(&cluster, ONE, &mut pusher, topic, &large, AckLevel::Ordered).await;
        pusher.answers(2).await;
        assert_eq!(readable(&cluster, TWO, topic, 1).await, large);
        assert_eq!(cluster.disk(TWO).damage(space("chunks"), b"!!!!", damage), 1);
        assert_eq!(readable(&cluster, TWO, topic, 1).await, large, "{damage:?}");
        assert_eq!(chunks(&cluster, TWO), 9);
        for store in [ONE, TWO] {
            assert_eq!(cluster.disk(store).damage(space("chunks"), b"!!!!", damage), 1, "it was mended");
        }
        let lost = read(&cluster, TWO, topic, 1).await.unwrap_err();
        assert_eq!(lost.code(), Code::DataLoss, "{lost}");
        cluster.crash(ONE);
        let unknown = eventually(LONG, "its sibling is gone", async || {
            let error = read(&cluster, TWO, topic, 1).await.unwrap_err();
            (error.code() != Code::DataLoss).then_some(error)
        })
        .await;
        assert_eq!(unknown.code(), Code::Unavailable, "{unknown}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_lies_beyond_a_logs_end_takes_its_chunks_with_it() {
    for restarted in [false, true] {
        let mut cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
        let topic = cluster.orderer.create_topic("t");
        let mut pusher = cluster.pusher(ONE).await;
        let _first = push(&cluster, ONE, &mut pusher, topic, &payload(1, 3 * CHUNK), AckLevel::Ordered).await;
        pusher.answers(2).await;
        cluster.orderer.stop(true);
        let _second = push(&cluster, ONE, &mut pusher, topic, &payload(2, 5 * CHUNK), AckLevel::Local).await;
        pusher.answers(1).await;
        if restarted {
            cluster.crash(TWO);
            cluster.start(TWO).await;
        }
        assert_eq!((chunks(&cluster, ONE), chunks(&cluster, TWO)), (8, 8));
        cluster.orderer.close_all();
        cluster.orderer.stop(false);
        for store in [ONE, TWO] {
            eventually(LONG, "its chunks go", async || (chunks(&cluster, store) == 3).then_some(())).await;
            assert_eq!(readable(&cluster, store, topic, 1).await, payload(1, 3 * CHUNK));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_barrier_is_answered_once_all_that_was_taken_before_it_is_ordered() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    let barrier = |lane: Lane| Barrier { bucket: topic.bucket().0.into(), lane: lane.0.into() };
    pusher.send_barrier(barrier(Lane::SMALL)).await;
    assert!(matches!(&pusher.answers(1).await[..], [(1, What::Ordered(_))]), "nothing was taken");
    for lane in [Lane::SMALL, Lane::LARGE] {
        cluster.orderer.stop(true);
        let before = pusher.next();
        let _upload = if lane == Lane::SMALL {
            pusher.send(topic, &bodies("a", 0..1), AckLevel::Local).await;
            None
        } else {
            Some(push(&cluster, ONE, &mut pusher, topic, &payload(1, CHUNK), AckLevel::Local).await)
        };
        pusher.answers(1).await;
        pusher.send_barrier(barrier(lane)).await;
        let early = tokio::time::timeout(Duration::from_secs(5), async {
            loop {
                let answers = pusher.answers(1).await;
                if answers.iter().any(|(_, what)| matches!(what, What::Ordered(_))) {
                    return answers;
                }
            }
        })
        .await;
        assert!(early.is_err(), "{lane:?}: {early:?}");
        cluster.orderer.stop(false);
        let mut heard: BTreeMap<u64, What> = BTreeMap::new();
        while !matches!(heard.get(&(before + 1)), Some(What::Ordered(_))) {
            heard.extend(pusher.answers(1).await);
        }
        // Of the other lane nothing is under way.
        let other = if lane == Lane::SMALL { Lane::LARGE } else { Lane::SMALL };
        pusher.send_barrier(barrier(other)).await;
        assert!(matches!(&pusher.answers(1).await[..], [(_, What::Ordered(_))]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_small_or_not_there_is_not_fetched() {
    let cluster = Cluster::of(MapBuilder::of(&["nyc"])).await;
    let topic = cluster.orderer.create_topic("t");
    let mut pusher = cluster.pusher(ONE).await;
    pusher.send(topic, &bodies("a", 0..1), AckLevel::Ordered).await;
    pusher.answers(2).await;
    cluster.all(ONE, topic, 1).await;
    for (id, code) in [(1, Code::FailedPrecondition), (2, Code::NotFound), (0, Code::NotFound)] {
        assert_eq!(read(&cluster, ONE, topic, id).await.unwrap_err().code(), code, "{id}");
    }
    assert_eq!(
        read(&cluster, ONE, TopicId(topic.0 + (1 << 16)), 1).await.unwrap_err().code(),
        Code::NotFound
    );
}
