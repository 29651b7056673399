//! A server of one datacenter.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use trunkline_ports::{Receiver, Responder, Router};
use trunkline_testkit::{SimulatedNetwork, SimulatedProcess};
use trunkline_wire::Status;
use trunkline_wire::status::{invalid, to_message};
use trunkline_wire::v1::{
    AckLevel, AckResponse, Delivery, GetReceiptResponse, ListTopicsResponse, PopResponse, PushResponse,
    PushResult, PushStreamRequest, PushStreamResponse, PushStreamResult, SeekResponse, Subscription,
    pop_service, push_service, topic_service,
};

#[derive(Debug, Default)]
struct State {
    /// Answered to the next calls, the first first; then all goes well.
    failures: VecDeque<Status>,
    /// Answered to the next messages of streams.
    refusals: VecDeque<Status>,
    taken: Vec<Vec<u8>>,
    previous: Vec<Vec<Bytes>>,
    acked: Vec<Bytes>,
    next_token: u8,
    /// A stream answers so many messages and then ends with this.
    stream_end: Option<(u64, Status)>,
    /// Before each response of a stream, and before its end.
    pause: Duration,
    /// What came with each ping.
    pings: Vec<Option<String>>,
    /// Names of the seeks that came.
    seeks: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) datacenter: String,
    pub(super) address: String,
    pub(super) process: SimulatedProcess,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(super) fn start(network: &SimulatedNetwork, datacenter: &str) -> Self {
        let process = network.process(&format!("{datacenter}-server"), &datacenter.into());
        let server = Self {
            datacenter: datacenter.to_owned(),
            address: format!("{datacenter}-server:7001"),
            process,
            state: Arc::default(),
        };
        network.listen(&server.process, &server.address, server.router());
        server
    }

    pub(super) fn fails_with(&self, failures: impl IntoIterator<Item = Status>) {
        self.state().failures.extend(failures);
    }

    pub(super) fn ends_streams(&self, after: u64, end: Option<Status>) {
        self.state().stream_end = end.map(|end| (after, end));
    }

    pub(super) fn takes_its_time(&self, pause: Duration) {
        self.state().pause = pause;
    }

    pub(super) fn refuses(&self, messages: impl IntoIterator<Item = Status>) {
        self.state().refusals.extend(messages);
    }

    pub(super) fn taken(&self) -> usize {
        self.state().taken.len()
    }

    pub(super) fn payloads(&self) -> Vec<String> {
        self.state().taken.iter().map(|payload| String::from_utf8_lossy(payload).into_owned()).collect()
    }

    pub(super) fn previous(&self) -> Vec<Vec<Bytes>> {
        self.state().previous.clone()
    }

    pub(super) fn acked(&self) -> Vec<Bytes> {
        self.state().acked.clone()
    }

    pub(super) fn seeks(&self) -> Vec<String> {
        self.state().seeks.clone()
    }

    pub(super) fn pings(&self) -> Vec<Option<String>> {
        self.state().pings.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    fn router(&self) -> Router {
        let states: [_; 7] = std::array::from_fn(|_| self.state.clone());
        let [push, stream, pop, ack, list, ping, seek] = states;
        Router::new()
            .unary(push_service::GET_RECEIPT, move |context, request| {
                let is_ping = request.receipt.is_empty();
                if is_ping {
                    ping.lock().expect("not poisoned").pings.push(context.trace);
                }
                async move {
                    if is_ping {
                        return Err(invalid("receipt", "is not a receipt"));
                    }
                    Ok(GetReceiptResponse::default())
                }
            })
            .unary(push_service::PUSH, move |_, request| {
                let mut state = push.lock().expect("not poisoned");
                let answer = state.failures.pop_front().map_or(Ok(()), Err).map(|()| {
                    state.taken.extend(request.messages.iter().map(|one| one.payload.to_vec()));
                    PushResponse { results: request.messages.iter().map(|_| stored()).collect() }
                });
                async move { answer }
            })
            .streaming(push_service::PUSH_STREAM, move |_, requests, responses| {
                streams(stream.clone(), requests, responses)
            })
            .unary(pop_service::POP, move |_, request| {
                let mut state = pop.lock().expect("not poisoned");
                state.previous.push(request.previous);
                state.next_token += 1;
                let delivery = Delivery { token: vec![state.next_token].into(), ..Delivery::default() };
                let answer = state.failures.pop_front().map_or(Ok(()), Err);
                async move { answer.map(|()| PopResponse { deliveries: vec![delivery], expired: vec![] }) }
            })
            .unary(pop_service::ACK, move |_, request| {
                let mut state = ack.lock().expect("not poisoned");
                let answer = state.failures.pop_front().map_or(Ok(()), Err);
                state.acked.extend(request.tokens);
                async move { answer.map(|()| AckResponse {}) }
            })
            .unary(pop_service::SEEK, move |_, request| {
                let mut state = seek.lock().expect("not poisoned");
                state.seeks.push(request.seek_id);
                let answer = state.failures.pop_front().map_or(Ok(()), Err);
                async move { answer.map(|()| SeekResponse { subscription: Some(Subscription::default()) }) }
            })
            .unary(topic_service::LIST_TOPICS, move |_, _| {
                let answer = list.lock().expect("not poisoned").failures.pop_front().map_or(Ok(()), Err);
                async move { answer.map(|()| ListTopicsResponse::default()) }
            })
    }
}

async fn streams(
    state: Arc<Mutex<State>>,
    mut requests: Receiver<PushStreamRequest>,
    responses: Responder<PushStreamResponse>,
) -> Result<(), Status> {
    let refused = state.lock().expect("not poisoned").failures.pop_front();
    if let Some(refused) = refused {
        return Err(refused);
    }
    let pause = state.lock().expect("not poisoned").pause;
    let mut index = 0;
    while let Some(request) = requests.next().await? {
        let mut results = Vec::new();
        let mut ended = None;
        for message in request.messages {
            let mut state = state.lock().expect("not poisoned");
            if let Some((_, end)) = state.stream_end.clone().filter(|(after, _)| index >= *after) {
                ended = Some(end);
                break;
            }
            let refused = state.refusals.pop_front();
            if refused.is_none() {
                state.taken.push(message.payload.to_vec());
            }
            let result = refused.map_or_else(stored, |why| PushResult {
                error: Some(to_message(&why)),
                ..PushResult::default()
            });
            results.push(PushStreamResult { index, result: Some(result) });
            index += 1;
        }
        tokio::time::sleep(pause).await;
        if responses.send(&PushStreamResponse { results }).await.is_err() {
            break;
        }
        if let Some(ended) = ended {
            return Err(ended);
        }
    }
    tokio::time::sleep(pause).await;
    Ok(())
}

fn stored() -> PushResult {
    PushResult { receipt: "r".to_owned(), reached: AckLevel::Local.into(), ..PushResult::default() }
}
