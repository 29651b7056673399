//! The public API at one datacenter, call by call: no retries, no fail-over, so that a test sees each answer.

use std::time::Duration;

use prost_types::Duration as WireDuration;
use tokio::time::Instant;
use trunkline_ports::{CallOptions, Class, Network, Peer, Receiver, Sender};
use trunkline_wire::method::Unary;
use trunkline_wire::v1::{
    AckLevel, CreateTopicRequest, FetchRequest, GetReceiptRequest, GetReceiptResponse, ListTopicsRequest,
    Message, PopRequest, PopResponse, PushRequest, PushResult, PushStreamRequest, PushStreamResponse,
    ReadRequest, ReadResponse, Start, SubscribeRequest, SubscriptionOptions, pop_service, push_service,
    start, topic_service,
};
use trunkline_wire::{Message as Frame, Status, status};

/// `grpc.health.v1`: a string in field 1 goes in, a number in field 1 comes out, as in the wrapper types.
const HEALTH: Unary<String, u32> = Unary::new("/grpc.health.v1.Health/Check");
const SERVING: u32 = 1;
const CALL: Duration = Duration::from_secs(20);

/// A datacenter's client address. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    name: String,
    peer: Peer,
    pop_peer: Peer,
    network: Network,
}

impl Client {
    /// `push` answers PushService and TopicService, `pop` PopService: the same, or not where nothing stands before them.
    pub fn new(name: &str, network: Network, push: &str, pop: &str) -> Self {
        let (peer, pop_peer) = (Peer::new(push, Class::Calls), Peer::new(pop, Class::Calls));
        Self { name: name.to_owned(), peer, pop_peer, network }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn address(&self) -> &str {
        &self.peer.address
    }

    /// # Errors
    /// As the server says, or the way to it.
    pub async fn call<Q: Frame, A: Frame + Default>(
        &self,
        method: Unary<Q, A>,
        request: &Q,
    ) -> Result<A, Status> {
        self.call_within(CALL, method, request).await
    }

    /// As [`Client::call`], with a deadline of the caller's.
    ///
    /// # Errors
    /// As the server says, or the way to it.
    pub async fn call_within<Q: Frame, A: Frame + Default>(
        &self,
        within: Duration,
        method: Unary<Q, A>,
        request: &Q,
    ) -> Result<A, Status> {
        let peer = if method.path().contains(".PopService/") { &self.pop_peer } else { &self.peer };
        self.network.call(peer, method, request, CallOptions::until(Instant::now() + within)).await
    }

    pub async fn is_healthy(&self) -> bool {
        let asked = self.call_within(Duration::from_secs(2), HEALTH, &String::new()).await;
        asked.is_ok_and(|status| status == SERVING)
    }

    /// # Errors
    /// As the call, or the message's own result, says.
    pub async fn push(
        &self,
        topic: &str,
        payload: &str,
        level: AckLevel,
        within: Duration,
    ) -> Result<PushResult, Status> {
        let message = Message { payload: payload.to_owned().into(), ..Message::default() };
        let request =
            PushRequest { topic: topic.to_owned(), messages: vec![message], ack_level: level.into() };
        let mut response = self.call_within(within, push_service::PUSH, &request).await?;
        let result = response.results.pop().ok_or_else(|| Status::internal("a push without a result"))?;
        match &result.error {
            Some(error) => Err(status::from_message(error)),
            None => Ok(result),
        }
    }

    /// # Errors
    /// As the server says.
    pub async fn push_stream(
        &self,
    ) -> Result<(Sender<PushStreamRequest>, Receiver<PushStreamResponse>), Status> {
        self.network.open(&self.peer, push_service::PUSH_STREAM, CallOptions::default()).await
    }

    /// # Errors
    /// As the server says.
    pub async fn receipt(&self, receipt: &str) -> Result<GetReceiptResponse, Status> {
        self.call(push_service::GET_RECEIPT, &GetReceiptRequest { receipt: receipt.to_owned() }).await
    }

    /// # Errors
    /// As the server says.
    pub async fn create_topic(&self, topic: &str) -> Result<(), Status> {
        let request = CreateTopicRequest { topic: topic.to_owned(), options: None };
        self.call(topic_service::CREATE_TOPIC, &request).await.map(drop)
    }

    /// # Errors
    /// As the server says.
    pub async fn list_topics(&self) -> Result<Vec<String>, Status> {
        let response = self.call(topic_service::LIST_TOPICS, &ListTopicsRequest::default()).await?;
        Ok(response.topics.into_iter().map(|topic| topic.name).collect())
    }

    /// From the first message on.
    ///
    /// # Errors
    /// As the server says.
    pub async fn subscribe(&self, topic: &str, consumer: &str) -> Result<(), Status> {
        let earliest = Start { at: Some(start::At::Earliest(trunkline_wire::v1::Earliest {})) };
        let options = SubscriptionOptions { start: Some(earliest), ack_deadline: None };
        let (topic, consumer) = (topic.to_owned(), consumer.to_owned());
        let request = SubscribeRequest { topic, consumer, options: Some(options) };
        self.call(pop_service::SUBSCRIBE, &request).await.map(drop)
    }

    /// Waits up to a second for a first message; `previous` are the tokens that it acknowledges.
    ///
    /// # Errors
    /// As the server says.
    pub async fn pop(
        &self,
        topic: &str,
        consumer: &str,
        previous: Vec<bytes::Bytes>,
    ) -> Result<PopResponse, Status> {
        let request = PopRequest {
            topic: topic.to_owned(),
            consumer: consumer.to_owned(),
            client_id: format!("{consumer}-1"),
            previous,
            max_messages: 1_000,
            max_bytes: 0,
            wait: Some(WireDuration { seconds: 1, nanos: 0 }),
        };
        self.call(pop_service::POP, &request).await
    }

    /// The payload of a large message; given up after a call's time.
    ///
    /// # Errors
    /// As the server says.
    pub async fn fetch(&self, topic: &str, message_id: u64) -> Result<Vec<u8>, Status> {
        let fetching = async {
            let opening = self.network.open(&self.pop_peer, pop_service::FETCH, CallOptions::default());
            let (sender, mut receiver) = opening.await?;
            let request = FetchRequest { topic: topic.to_owned(), message_id, first_chunk: 0 };
            sender.send(&request).await.map_err(|_| Status::unknown("the stream has ended"))?;
            let (mut bytes, mut expected) = (Vec::new(), None);
            while let Some(response) = receiver.next().await? {
                bytes.extend_from_slice(&response.data);
                expected = expected.or(response.payload.map(|payload| payload.bytes));
                if Some(bytes.len() as u64) == expected {
                    return Ok(bytes);
                }
            }
            Err(Status::unknown("the payload has ended early"))
        };
        let fetched = tokio::time::timeout(CALL, fetching).await;
        fetched.unwrap_or_else(|_| Err(Status::deadline_exceeded("no payload")))
    }

    /// # Errors
    /// As the server says.
    pub async fn read(&self, topic: &str, from: u64) -> Result<ReadResponse, Status> {
        let request = ReadRequest { topic: topic.to_owned(), from, ..ReadRequest::default() };
        self.call(pop_service::READ, &request).await
    }
}
