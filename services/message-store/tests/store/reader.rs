//! One Reads stream, as a pop server has one to each store.

use std::collections::VecDeque;

use trunkline_ports::{CallOptions, Class, Host, Peer, Receiver, Sender, Task};
use trunkline_types::TopicId;
use trunkline_types::limits::HEARTBEAT_INTERVAL;
use trunkline_wire::Status;
use trunkline_wire::internal::store_service::READS;
use trunkline_wire::internal::{
    ReadAnswered, ReadAsked, ReadRequest, ReadResponse, ReadsRequest, ReadsResponse, read_answered,
};
use trunkline_wire::status;

use crate::cluster::LONG;

pub(crate) struct Reader {
    sender: Sender<ReadsRequest>,
    receiver: Receiver<ReadsResponse>,
    answers: VecDeque<ReadAnswered>,
    /// What the answers took of the window.
    pub(crate) counted_bytes: u64,
    heartbeats: Task,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.heartbeats.abort();
    }
}

impl Reader {
    pub(crate) async fn open(host: &Host, address: &str) -> Self {
        let peer = Peer::new(address, Class::Records);
        let (sender, mut receiver) = host.network.open(&peer, READS, CallOptions::default()).await.unwrap();
        sender.send(&ReadsRequest { hello: Some(host.envelope()), ..ReadsRequest::default() }).await.unwrap();
        let welcome: ReadsResponse = receiver.next().await.unwrap().unwrap();
        assert!(welcome.hello.is_some());
        let beating = sender.clone();
        let heartbeats = host.process.spawn("heartbeat", async move {
            while beating.send(&ReadsRequest::default()).await.is_ok() {
                tokio::time::sleep(HEARTBEAT_INTERVAL).await;
            }
        });
        Self { sender, receiver, answers: VecDeque::new(), counted_bytes: 0, heartbeats }
    }

    pub(crate) async fn ask(&self, tag: u64, topic: TopicId, from: u64, wait: bool) {
        self.ask_all(vec![asked(tag, topic, from, wait)]).await;
    }

    pub(crate) async fn ask_all(&self, asked: Vec<ReadAsked>) {
        self.sender.send(&ReadsRequest { asked, ..ReadsRequest::default() }).await.unwrap();
    }

    pub(crate) async fn abandon(&self, tag: u64) {
        self.sender.send(&ReadsRequest { abandoned: vec![tag], ..ReadsRequest::default() }).await.unwrap();
    }

    pub(crate) fn fall_silent(&self) {
        self.heartbeats.abort();
    }

    /// Tells of all that has come.
    pub(crate) async fn take(&self) {
        let taken_bytes = self.counted_bytes;
        self.sender.send(&ReadsRequest { taken_bytes, ..ReadsRequest::default() }).await.unwrap();
    }

    /// The next message that is no heartbeat; the status the stream ends with.
    pub(crate) async fn message(&mut self) -> Result<Vec<ReadAnswered>, Status> {
        loop {
            let next = tokio::time::timeout(LONG, self.receiver.next()).await.expect("a message")?;
            let Some(next) = next else { return Err(Status::ok("the stream has ended")) };
            if !next.answers.is_empty() {
                self.counted_bytes += next.answers.iter().map(|answer| answer.counted_bytes).sum::<u64>();
                return Ok(next.answers);
            }
        }
    }

    /// The next answer. Cancel safe.
    pub(crate) async fn answer(&mut self) -> (u64, Result<ReadResponse, Status>) {
        while self.answers.is_empty() {
            let next = self.message().await.unwrap();
            self.answers.extend(next);
        }
        let answer = self.answers.pop_front().unwrap();
        match answer.what.unwrap() {
            read_answered::What::Read(found) => (answer.tag, Ok(found)),
            read_answered::What::Failed(failed) => (answer.tag, Err(status::from_message(&failed))),
        }
    }
}

pub(crate) fn asked(tag: u64, topic: TopicId, from: u64, wait: bool) -> ReadAsked {
    let read =
        ReadRequest { topic_id: topic.0, from, max_messages: 1_000, max_bytes: 0, ..ReadRequest::default() };
    ReadAsked { tag, read: Some(read), wait, traceparent: String::new() }
}
