//! Commands from their words to what they print, against a server that does as it is told.

mod positions;

use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use trunkline_ports::{Receiver, Responder, Router};
use trunkline_testkit::{Random, SimulatedNetwork};
use trunkline_wire::Status;
use trunkline_wire::internal::{CutResponse, admin_service};
use trunkline_wire::status::{failed_precondition, invalid, not_found, reason, to_message, unavailable};
use trunkline_wire::v1::{
    AckLevel, AckResponse, Delivery, GetSubscriptionResponse, GetTopicResponse, ListSubscriptionsResponse,
    ListTopicsResponse, Message, PopResponse, PushResponse, PushResult, PushStreamRequest,
    PushStreamResponse, PushStreamResult, ReceivedMessage, Topic, TopicOptions, pop_service, push_service,
    topic_service,
};

use crate::context::testing::{Buffer, on, text};
use crate::{Command, Context, Exit, run};

#[derive(Debug, Parser)]
struct Words {
    #[command(subcommand)]
    command: Command,
}

fn parse(words: &str) -> Result<Command, clap::Error> {
    let words = std::iter::once("trunkline").chain(words.split_whitespace());
    Words::try_parse_from(words).map(|words| words.command)
}

#[derive(Debug, Default)]
struct State {
    pushed: Vec<Message>,
    acked: Vec<Bytes>,
    pops: u64,
}

/// nyc of the embedded cluster, and its admin listener.
struct World {
    network: SimulatedNetwork,
    state: Arc<Mutex<State>>,
}

impl World {
    fn new() -> Self {
        let network = SimulatedNetwork::new(&Random::new(5));
        let process = network.process("server", &"nyc".into());
        let state = Arc::new(Mutex::new(State::default()));
        network.listen(&process, "127.0.0.1:7101", router(&state));
        let admin = Router::new().unary(admin_service::CUT, |_, request| async move {
            if request.datacenter == "sea" {
                Ok(CutResponse {})
            } else {
                Err(invalid("datacenter", "is not known"))
            }
        });
        network.listen(&process, "127.0.0.1:7220", admin);
        Self { network, state }
    }

    async fn run(&self, words: &str) -> (Exit, String, String) {
        self.run_with(words, |_| {}).await
    }

    async fn run_with(&self, words: &str, prepare: impl FnOnce(&mut Context)) -> (Exit, String, String) {
        let (mut context, out, err): (_, Buffer, Buffer) = on(&self.network);
        prepare(&mut context);
        let exit = run(parse(words).expect(words), context).await;
        (exit, text(&out), text(&err))
    }
}

fn result(index: u64) -> PushResult {
    PushResult {
        receipt: format!("r{index}"),
        message_id: index + 1,
        reached: AckLevel::Ordered.into(),
        ..PushResult::default()
    }
}

fn router(state: &Arc<Mutex<State>>) -> Router {
    let [push, stream, pop, ack] = std::array::from_fn(|_| state.clone());
    Router::new()
        .unary(push_service::GET_RECEIPT, |_, _| async { Err(invalid("receipt", "is not a receipt")) })
        .unary(push_service::PUSH, move |_, request| {
            let answer = match request.topic.as_str() {
                "a b" => Err(invalid("topic", "contains ' '")),
                "late" => {
                    let why = unavailable(reason::LEVEL_NOT_REACHED, "ORDERED was not reached");
                    let result = PushResult { error: Some(to_message(&why)), message_id: 0, ..result(0) };
                    Ok(PushResponse { results: vec![result] })
                }
                _ => {
                    push.lock().expect("not poisoned").pushed.extend(request.messages);
                    Ok(PushResponse { results: vec![result(6)] })
                }
            };
            async move { answer }
        })
        .streaming(push_service::PUSH_STREAM, move |_, requests, responses| {
            stream_of(stream.clone(), requests, responses)
        })
        .unary(pop_service::POP, move |_, request| {
            let mut state = pop.lock().expect("not poisoned");
            if request.consumer == "stuck" && !request.previous.is_empty() {
                return futures::future::Either::Left(std::future::pending());
            }
            let answer = if request.consumer == "nobody" {
                Err(failed_precondition(reason::NOT_SUBSCRIBED, "call Subscribe first"))
            } else {
                let count = if state.pops < 5 { request.max_messages.min(2) } else { 0 };
                let deliveries = (0..count).map(|_| {
                    state.pops += 1;
                    delivery(state.pops)
                });
                Ok(PopResponse { deliveries: deliveries.collect(), expired: vec![] })
            };
            state.acked.extend(request.previous);
            futures::future::Either::Right(async move { answer })
        })
        .unary(pop_service::ACK, move |_, request| {
            let acked = ack.clone();
            async move {
                if request.consumer == "slow" {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
                acked.lock().expect("not poisoned").acked.extend(request.tokens);
                Ok(AckResponse {})
            }
        })
        .unary(pop_service::LIST_SUBSCRIPTIONS, |_, _| async { Ok(ListSubscriptionsResponse::default()) })
        .unary(pop_service::GET_SUBSCRIPTION, |_, _| async {
            Err::<GetSubscriptionResponse, _>(not_found("there is no subscription of nobody to a"))
        })
        .unary(topic_service::GET_TOPIC, |_, request| async move {
            match request.topic.as_str() {
                "a" => Ok(GetTopicResponse::default()),
                other => Err(not_found(format!("there is no topic {other}"))),
            }
        })
        .unary(topic_service::LIST_TOPICS, |_, _| async {
            let topic = |name: &str, topic_id| Topic {
                name: name.to_owned(),
                topic_id,
                options: Some(TopicOptions::default()),
            };
            Ok(ListTopicsResponse {
                topics: vec![topic("a", 7), topic("orders", 65_543)],
                ..Default::default()
            })
        })
}

fn delivery(id: u64) -> Delivery {
    let message = Message { payload: format!("m{id}").into(), ..Message::default() };
    let received = ReceivedMessage { message_id: id, message: Some(message), push_time: None };
    Delivery { message: Some(received), attempt: 1, token: vec![u8::try_from(id).expect("small")].into() }
}

async fn stream_of(
    state: Arc<Mutex<State>>,
    mut requests: Receiver<PushStreamRequest>,
    responses: Responder<PushStreamResponse>,
) -> Result<(), Status> {
    let mut index = 0;
    while let Some(request) = requests.next().await? {
        let mut results = Vec::new();
        for message in request.messages {
            let refused = message.payload == "bad";
            let why = invalid("messages[0].payload", "is bad");
            let error = refused.then(|| to_message(&why));
            let one = if refused { PushResult { error, ..PushResult::default() } } else { result(index) };
            results.push(PushStreamResult { index, result: Some(one) });
            index += 1;
            state.lock().expect("not poisoned").pushed.push(message);
        }
        if responses.send(&PushStreamResponse { results }).await.is_err() {
            break;
        }
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_the_words_is_found_before_anything_is_done() {
    for words in [
        "push orders",
        "push orders hello --lines",
        "push orders hello --ack sometimes",
        "push orders hello --attribute novalue",
        "push orders hello --endpoints nyc",
        "pop orders",
        "pop orders billing --max 0",
        "pop orders billing --wait soon",
        "tail orders --from yesterday",
        "seek orders billing",
        "seek orders billing --to soon",
        "oldest",
        "subscriptions update orders",
        "bench --size 5",
        "bench --size 2000000",
        "bench --rate 0",
        "bench --rate 5 suite",
        "bench suite --cases",
        "topics",
        "nonsense",
    ] {
        assert_eq!(parse(words).expect_err(words).exit_code(), 2, "{words}");
    }
    for words in [
        "push orders hello --key k --attribute a=b --attribute c=d --ack everywhere --dc sea --json",
        "push orders --file /dev/null",
        "push orders --lines",
        "pop orders billing --max 5000 --wait 200ms --no-ack",
        "tail orders --from 7 --max 3",
        "subscribe orders billing --from earliest --ack-deadline 1m",
        "topics create orders --ack ordered --label a=b",
        "topics list --prefix o",
        "subscriptions describe orders billing",
        "subscriptions update orders billing --ack-deadline 2m --json",
        "subscriptions delete orders billing",
        "seek orders billing --to 2027-01-15T08:00:00Z",
        "oldest orders billing",
        "lag orders",
        "status --admin 10.0.0.1:7120,10.0.0.2:7120 --json",
        "stop nyc-store-1",
        "bench suite --cases idle,start --duration 5s --figures f.json --readme README.md",
        "bench --rate 100 --size 5000 --duration 5s --ack ordered --topics 2 --subscribers 0",
    ] {
        parse(words).expect(words);
    }
}

#[test]
fn every_command_explains_itself_with_an_example() {
    use clap::CommandFactory as _;
    let mut words = Words::command();
    words.build();
    words.clone().debug_assert();
    let usage = words.find_subcommand_mut("push").expect("push").render_usage().to_string();
    assert!(usage.starts_with("Usage: trunkline push <TOPIC> [MESSAGE]"), "{usage}");
    let own = |command: &clap::Command| {
        command.get_subcommands().filter(|nested| nested.get_name() != "help").cloned().collect::<Vec<_>>()
    };
    let mut left = own(&words);
    while let Some(mut command) = left.pop() {
        let name = command.get_name().to_owned();
        left.extend(own(&command));
        let help = command.render_help().to_string();
        let only_leads_on = ["topics", "subscriptions"].contains(&name.as_str());
        assert!(only_leads_on || help.contains("Examples:\n  trunkline "), "{name}: {help}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_says_where_it_is() {
    let world = World::new();
    let (exit, out, err) = world.run("push orders hello --json --attribute kind=order --key k").await;
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    assert_eq!(out, "{\"topic\":\"orders\",\"receipt\":\"r6\",\"message_id\":7}\n");
    let pushed = world.state.lock().expect("not poisoned").pushed[0].clone();
    assert_eq!((&pushed.payload[..], pushed.key.as_str()), (&b"hello"[..], "k"));
    assert_eq!(pushed.attributes["kind"], "order");
    let (_, out, _) = world.run("push orders hello").await;
    assert_eq!(out, "pushed to orders as message 7\nreceipt r6\n");
}

#[tokio::test(start_paused = true)]
async fn exit_codes_tell_a_failure_from_a_mistake() {
    let world = World::new();
    let (exit, out, err) = world.run("push late hello --json").await;
    assert_eq!(exit, Exit::Failed);
    assert_eq!(
        out,
        "{\"topic\":\"late\",\"receipt\":\"r0\",\"message_id\":null,\"error\":\"ORDERED was not reached\",\
         \"code\":\"UNAVAILABLE\"}\n"
    );
    assert_eq!(err, "trunkline: ORDERED was not reached (UNAVAILABLE); stored\n");
    let (exit, _, err) = world.run("push orders hello --dc lax").await;
    assert_eq!(exit, Exit::Usage);
    assert_eq!(err, "trunkline: there is no endpoint of datacenter \"lax\"; there are nyc, mci, sea\n");
    let (exit, _, err) = world.run("pop orders nobody").await;
    assert_eq!(
        (exit, err.as_str()),
        (Exit::Failed, "trunkline: call Subscribe first (FAILED_PRECONDITION)\n")
    );
    let (exit, _, _) = world.run("push orders --file /nowhere/at/all").await;
    assert_eq!(exit, Exit::Usage);
    let (exit, _, err) = world.run("cut lax").await;
    assert_eq!(
        (exit, err.as_str()),
        (Exit::Usage, "trunkline: datacenter is not known (INVALID_ARGUMENT)\n")
    );
    let (exit, out, _) = world.run("cut sea").await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "sea is cut off from the others\n"));
}

#[tokio::test]
async fn lines_are_pushed_in_order_and_each_failure_is_told() {
    let world = World::new();
    let input =
        |context: &mut Context| context.stdin = Some(Box::new(Cursor::new(b"one\nbad\ntwo\n".to_vec())));
    let (exit, out, err) = world.run_with("push orders --lines --json", input).await;
    assert_eq!(exit, Exit::Failed);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], "{\"topic\":\"orders\",\"receipt\":\"r0\",\"message_id\":1}");
    assert!(
        lines[1].ends_with(
            "\"error\":\"messages[0].payload is bad\",\"code\":\"INVALID_ARGUMENT\",\"stored\":\"no\"}"
        ),
        "{}",
        lines[1]
    );
    assert_eq!(lines[2], "{\"topic\":\"orders\",\"receipt\":\"r2\",\"message_id\":3}");
    assert_eq!(
        err,
        "trunkline: line 2: messages[0].payload is bad (INVALID_ARGUMENT); not stored\ntrunkline: 1 of 3 messages failed\n"
    );
}

#[tokio::test]
async fn a_line_that_is_too_large_is_told_with_its_limit_and_the_others_are_pushed() {
    let world = World::new();
    let mut lines = b"one\n".to_vec();
    lines.resize(lines.len() + (9 << 20), b'x');
    lines.extend_from_slice(b"\ntwo\n");
    let input = |context: &mut Context| context.stdin = Some(Box::new(Cursor::new(lines)));
    let (exit, out, err) = world.run_with("push orders --lines", input).await;
    assert_eq!((exit, out.as_str()), (Exit::Failed, "pushed 2 messages to orders\n"));
    assert_eq!(
        err,
        "trunkline: line 2: messages[0].payload is 9437184 bytes long, at most 1048576 are allowed \
         (INVALID_ARGUMENT); not stored\ntrunkline: 1 of 3 messages failed\n"
    );
    assert_eq!(world.state.lock().expect("not poisoned").pushed.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_popped_is_acknowledged_before_the_end() {
    let world = World::new();
    let (exit, out, _) = world.run("pop orders billing --max 3 --json").await;
    assert_eq!(exit, Exit::Done);
    let first = "{\"topic\":\"orders\",\"message_id\":1,\"payload\":\"m1\",\"key\":\"\",\"attributes\":{},\
                 \"push_time\":\"1970-01-01T00:00:00Z\",\"attempt\":1}";
    assert_eq!(out.lines().next(), Some(first));
    assert_eq!(out.lines().count(), 3);
    let acked = world.state.lock().expect("not poisoned").acked.clone();
    assert_eq!(acked, [[1], [2], [3]].map(|token| Bytes::from(token.to_vec())));
    let (_, out, err) = world.run("pop orders billing --no-ack").await;
    assert_eq!((out.lines().count(), err.as_str()), (1, ""));
    assert_eq!(world.state.lock().expect("not poisoned").acked.len(), 3);
}

/// Ctrl-C after a second.
fn interrupt_soon(context: &mut Context) {
    context.interrupted = Box::new(|| Box::pin(tokio::time::sleep(Duration::from_secs(1))));
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_does_not_end_an_acknowledgement_under_way() {
    let world = World::new();
    let (exit, _, err) = world.run_with("pop orders slow --json", interrupt_soon).await;
    assert_eq!((exit, err.as_str()), (Exit::Interrupted, ""));
    assert_eq!(world.state.lock().expect("not poisoned").acked, [vec![1]]);
}

#[tokio::test(start_paused = true)]
async fn what_was_printed_before_ctrl_c_is_acknowledged() {
    let world = World::new();
    let (exit, out, err) = world.run_with("pop orders stuck --max 5 --json", interrupt_soon).await;
    assert_eq!((exit, exit.code(), out.lines().count(), err.as_str()), (Exit::Interrupted, 130, 2, ""));
    assert_eq!(world.state.lock().expect("not poisoned").acked, [vec![1], vec![2]]);
    let (exit, out, _) = world.run_with("pop orders stuck --max 5 --no-ack", interrupt_soon).await;
    assert_eq!(
        (exit, out.lines().count()),
        (Exit::Done, 2),
        "it left what it printed, and had ended by then"
    );
    assert_eq!(world.state.lock().expect("not poisoned").acked.len(), 2);
}

/// Standard output that somebody closes after some lines.
struct Closing(usize);

impl Write for Closing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
        if self.0 == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0 = self.0.saturating_sub(lines);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_away_is_no_error_and_loses_nothing() {
    let world = World::new();
    let (exit, _, err) =
        world.run_with("pop orders billing --max 2", |context| context.stdout = Box::new(Closing(1))).await;
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    assert_eq!(world.state.lock().expect("not poisoned").acked, [vec![1]], "only what was printed");
}

#[tokio::test(start_paused = true)]
async fn the_lag_of_what_is_not_there_is_not_an_empty_table() {
    let world = World::new();
    for (words, told) in [
        ("lag nope", "trunkline: there is no topic nope (NOT_FOUND)\n"),
        ("lag a nobody --json", "trunkline: there is no subscription of nobody to a (NOT_FOUND)\n"),
    ] {
        let (exit, out, err) = world.run(words).await;
        assert_eq!((exit, out.as_str(), err.as_str()), (Exit::Failed, "", told), "{words}");
    }
    let (exit, _, err) = world.run("lag a").await;
    assert_eq!((exit, err.as_str()), (Exit::Done, ""), "a topic without subscriptions");
}

#[tokio::test(start_paused = true)]
async fn tables_are_for_people_and_lines_for_programs() {
    let world = World::new();
    let (_, out, _) = world.run("topics list").await;
    assert_eq!(out, "TOPIC      ID  ACK\na           7  local\norders  65543  local\n");
    let (_, out, _) = world.run("topics list --json").await;
    assert_eq!(
        out.lines().next(),
        Some(
            "{\"topic\":\"a\",\"topic_id\":7,\"default_ack_level\":\"local\",\"message_bytes_max\":1048576,\
             \"labels\":{}}"
        )
    );
}
