//! Payloads in chunks.

use std::time::Duration;

use tokio::time::timeout;
use trunkline_ports::{CallOptions, Receiver, Sender};
use trunkline_types::{ByteSize, checksum};
use trunkline_wire::internal::{AppendRecord, RecordBody};
use trunkline_wire::status::{disk_full, from_message, is_not_stored};
use trunkline_wire::v1::{
    AckLevel, LargeMessage, Message, PayloadChunk, PushStreamRequest, PushStreamResponse, PushStreamResult,
    TopicOptions, push_service,
};
use trunkline_wire::{Code, Message as _, Status};

use super::Cluster;
use super::fakes::{Conduct, FakeStore};
use crate::Options;

const CHUNK: usize = 64;

async fn cluster() -> Cluster {
    let (inline_bytes_max, chunk_bytes) = (ByteSize(100), ByteSize(CHUNK as u64));
    Cluster::with(Options { inline_bytes_max, chunk_bytes, ..Options::default() }).await
}

/// One PushStream to `orders`.
struct Stream {
    sender: Sender<PushStreamRequest>,
    receiver: Receiver<PushStreamResponse>,
}

impl Stream {
    async fn open(cluster: &Cluster) -> Self {
        let options = CallOptions::default();
        let opened = cluster.client.open(&cluster.peer(), push_service::PUSH_STREAM, options).await;
        let (sender, receiver) = opened.expect("open");
        Self { sender, receiver }
    }

    async fn send(&self, request: PushStreamRequest) {
        let (topic, ack_level) = ("orders".to_owned(), AckLevel::Ordered.into());
        self.sender.send(&PushStreamRequest { topic, ack_level, ..request }).await.expect("it is open");
    }

    async fn small(&self, payload: &'static str) {
        let messages = vec![Message { payload: payload.into(), ..Message::default() }];
        self.send(PushStreamRequest { messages, ..PushStreamRequest::default() }).await;
    }

    async fn begin(&self, payload_bytes: u64) {
        let message = Some(Message { key: "k".to_owned(), ..Message::default() });
        let large = Some(LargeMessage { message, payload_bytes });
        self.send(PushStreamRequest { large, ..PushStreamRequest::default() }).await;
    }

    async fn chunk(&self, data: &[u8]) {
        let chunk = PayloadChunk { data: data.to_vec().into(), ..PayloadChunk::default() };
        self.say(chunk).await;
    }

    async fn say(&self, chunk: PayloadChunk) {
        let request = PushStreamRequest { chunk: Some(chunk), ..PushStreamRequest::default() };
        self.sender.send(&request).await.expect("it is open");
    }

    async fn large(&self, payload: &[u8]) {
        self.begin(payload.len() as u64).await;
        for chunk in payload.chunks(CHUNK) {
            self.chunk(chunk).await;
        }
    }

    async fn results(&mut self, count: usize) -> Vec<PushStreamResult> {
        let mut all = Vec::new();
        while all.len() < count {
            let next = timeout(Duration::from_secs(90), self.receiver.next()).await.expect("a result");
            all.extend(next.expect("no error").expect("not the end").results);
        }
        all
    }

    /// The one result that comes next: a failure.
    async fn refusal(&mut self, index: u64) -> Status {
        let results = self.results(1).await;
        let [result] = &results[..] else { panic!("one result: {results:?}") };
        assert_eq!(result.index, index);
        let error = result.result.as_ref().and_then(|result| result.error.as_ref());
        let error = from_message(error.expect("an error"));
        assert!(is_not_stored(&error), "{error:?}");
        error
    }
}

fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at % 251).expect("small")).collect()
}

/// What a store was given, one word each.
fn words(store: &FakeStore) -> Vec<&'static str> {
    let word = |append: &AppendRecord| match (&append.barrier, append.upload) {
        (Some(barrier), _) if barrier.lane == 0 => "after small",
        (Some(_), _) => "after large",
        (None, 0) => "small",
        (None, _) => "large",
    };
    store.appends().iter().map(word).collect()
}

#[tokio::test(start_paused = true)]
async fn a_large_message_goes_in_chunks_and_lanes_change_once_all_before_is_ordered() {
    let cluster = cluster().await;
    let mut stream = Stream::open(&cluster).await;
    stream.small("a").await;
    stream.small("b").await;
    let payload = payload(5 * CHUNK + 7);
    stream.large(&payload).await;
    stream.large(&payload).await;
    stream.small("c").await;
    let results = stream.results(5).await;
    assert!(results.iter().all(|one| one.result.as_ref().is_some_and(|result| result.error.is_none())));
    let store = cluster.ranked("orders")[0];
    let expected = ["small", "small", "after small", "large", "large", "after large", "small"];
    assert_eq!(words(store), expected);
    let appends = store.appends();
    let record = appends[3].record.as_ref().expect("a record");
    let body = RecordBody::decode(record.body.clone()).expect("a body");
    let large = body.large.expect("a reference");
    assert_eq!((body.payload.len(), body.key.as_str(), large.bytes), (0, "k", payload.len() as u64));
    assert_eq!(large.checksum, checksum(&payload));
    assert_eq!(large.chunks, payload.chunks(CHUNK).map(checksum).collect::<Vec<_>>());
    assert_eq!(store.uploaded(appends[3].upload), payload);
    drop(stream);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.uploads_open(), 0, "a store keeps no stream of what is answered");
}

#[tokio::test(start_paused = true)]
async fn what_is_announced_beyond_a_limit_is_refused_before_it_is_read() {
    let cluster = cluster().await;
    let mut stream = Stream::open(&cluster).await;
    for (index, bytes) in (0..).zip([100_000_001, 100, 0]) {
        stream.begin(bytes).await;
        let refused = stream.refusal(index).await;
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with("large.payload_bytes is "), "{refused}");
        // What its sender had under way is passed over.
        stream.chunk(&[1; CHUNK]).await;
        stream.chunk(&[1; CHUNK]).await;
    }
    stream.small("a").await;
    assert_eq!(stream.results(1).await[0].index, 3);
    assert_eq!(words(cluster.ranked("orders")[0]), ["small"]);
    stream.chunk(&[1; CHUNK]).await;
    let end = stream.receiver.next().await.expect_err("a chunk of no message");
    assert_eq!((end.code(), end.message()), (Code::InvalidArgument, "chunk belongs to no message"));
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_does_not_fit_or_ends_half_way_is_certainly_not_stored() {
    let cluster = cluster().await;
    let mut stream = Stream::open(&cluster).await;
    stream.begin(3 * CHUNK as u64).await;
    stream.chunk(&[1; CHUNK - 1]).await;
    let refused = stream.refusal(0).await;
    assert_eq!(refused.message(), "chunk.data is 63 bytes long, chunk 0 has 64");
    stream.begin(2 * CHUNK as u64).await;
    let wrong =
        |sum, whole| PayloadChunk { data: vec![1; CHUNK].into(), checksum: sum, payload_checksum: whole };
    stream.say(wrong(Some(7), None)).await;
    assert_eq!(stream.refusal(1).await.message(), "chunk.checksum does not fit the data");
    stream.begin(2 * CHUNK as u64).await;
    stream.say(wrong(Some(checksum(&[1; CHUNK])), Some(9))).await;
    stream.say(wrong(None, Some(9))).await;
    assert_eq!(stream.refusal(2).await.message(), "chunk.payload_checksum does not fit the payload");
    // Another message before its last chunk.
    stream.begin(2 * CHUNK as u64).await;
    stream.chunk(&[1; CHUNK]).await;
    stream.small("a").await;
    assert_eq!(stream.refusal(3).await.code(), Code::Unavailable);
    assert_eq!(stream.results(1).await[0].index, 4);
    // Nothing for too long.
    stream.begin(2 * CHUNK as u64).await;
    stream.chunk(&[1; CHUNK]).await;
    assert_eq!(stream.refusal(5).await.code(), Code::Unavailable);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let store = cluster.ranked("orders")[0];
    assert_eq!((words(store), store.uploads_open()), (vec!["small"], 0));
}

#[tokio::test(start_paused = true)]
async fn a_large_message_waits_for_the_order_of_what_came_before_and_gives_up_with_certainty() {
    let cluster = cluster().await;
    let mut stream = Stream::open(&cluster).await;
    stream.small("a").await;
    stream.results(1).await;
    let store = cluster.ranked("orders")[0];
    store.conduct(Conduct::Reach(AckLevel::Local));
    stream.large(&payload(2 * CHUNK)).await;
    stream.refusal(1).await;
    assert_eq!(words(store), ["small", "after small"]);
    store.conduct(Conduct::Reach(AckLevel::Everywhere));
    stream.large(&payload(2 * CHUNK)).await;
    assert_eq!(stream.results(1).await[0].index, 2);
    assert_eq!(words(store), ["small", "after small", "after small", "large"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_store_passes_a_large_message_to_its_sibling() {
    let cluster = cluster().await;
    let [first, second] = cluster.ranked("orders");
    first.refuses_uploads(Some(disk_full("full")));
    let mut stream = Stream::open(&cluster).await;
    stream.large(&payload(200)).await;
    let results = stream.results(1).await;
    assert!(results[0].result.as_ref().is_some_and(|result| result.error.is_none()), "{results:?}");
    assert_eq!((words(first).len(), words(second)), (0, vec!["large"]));
    second.refuses_uploads(Some(disk_full("full")));
    stream.large(&payload(200)).await;
    assert_eq!(stream.refusal(1).await.code(), Code::ResourceExhausted);
}

#[tokio::test(start_paused = true)]
async fn a_topics_own_limit_counts_what_is_announced() {
    let cluster = cluster().await;
    let options = Some(TopicOptions { message_bytes_max: 150, ..TopicOptions::default() });
    cluster.table.has_options(options);
    let mut stream = Stream::open(&cluster).await;
    stream.begin(151).await;
    let refused = stream.refusal(0).await;
    assert_eq!(refused.message(), "large.payload_bytes is 151, at most 150 are allowed in this topic");
    stream.large(&payload(150)).await;
    assert_eq!(stream.results(1).await[0].index, 1);
}
