//! Commands about where a consumer is.

use prost_types::Duration as Seconds;
use trunkline_wire::convert::timestamp;
use trunkline_wire::v1::start::At;
use trunkline_wire::v1::{
    DeleteSubscriptionResponse, ReadResponse, SeekResponse, Start, Subscription, SubscriptionOptions,
    SubscriptionStatus, UpdateSubscriptionResponse,
};

use super::*;

fn subscription(consumer: &str, position: u64) -> Subscription {
    let ack_deadline = Some(Seconds { seconds: 30, nanos: 0 });
    Subscription {
        topic: "orders".to_owned(),
        consumer: consumer.to_owned(),
        options: Some(SubscriptionOptions { ack_deadline, ..Default::default() }),
        position,
        generation: 2,
    }
}

fn status(lag_messages: u64) -> SubscriptionStatus {
    let lag_time = (lag_messages < 9).then_some(Seconds { seconds: 6, nanos: 250_000_000 });
    SubscriptionStatus {
        outstanding: 1,
        lag_messages,
        lag_time,
        oldest_unacknowledged: if lag_messages == 0 { 0 } else { 8 },
        dispatching_datacenter: "nyc".to_owned(),
        error: None,
    }
}

/// What it was asked for, in words.
type Asked = Arc<Mutex<Vec<String>>>;

/// nyc again, with subscriptions.
fn world() -> (World, Asked) {
    let network = SimulatedNetwork::new(&Random::new(5));
    let process = network.process("server", &"nyc".into());
    let asked = Asked::default();
    let note = |asked: &Asked, what: String| asked.lock().expect("not poisoned").push(what);
    let [seek, update, delete, read] = std::array::from_fn(|_| asked.clone());
    let router = Router::new()
        .unary(pop_service::SEEK, move |_, request| {
            note(&seek, format!("{:?}", request.to.and_then(|to: Start| to.at)));
            async move { Ok(SeekResponse { subscription: Some(subscription(&request.consumer, 41)) }) }
        })
        .unary(pop_service::UPDATE_SUBSCRIPTION, move |_, request| {
            let seconds = request.options.and_then(|options| options.ack_deadline).map(|after| after.seconds);
            note(&update, format!("{seconds:?}"));
            let mut updated = subscription(&request.consumer, 7);
            updated.options = request.options;
            async move { Ok(UpdateSubscriptionResponse { subscription: Some(updated) }) }
        })
        .unary(pop_service::DELETE_SUBSCRIPTION, move |_, request| {
            note(&delete, format!("{}/{}", request.topic, request.consumer));
            async move { Ok(DeleteSubscriptionResponse {}) }
        })
        .unary(pop_service::GET_SUBSCRIPTION, |_, request| async move {
            let behind = if request.consumer == "done" { 0 } else { 3 };
            Ok(GetSubscriptionResponse {
                subscription: Some(subscription(&request.consumer, 7)),
                status: Some(status(behind)),
            })
        })
        .unary(pop_service::LIST_SUBSCRIPTIONS, |_, request| async move {
            assert!(request.with_status, "lag is what is asked for");
            let failed = Some(to_message(&unavailable(reason::UNREACHABLE, "no store answers")));
            Ok(ListSubscriptionsResponse {
                subscriptions: ["a", "b", "c"].map(|consumer| subscription(consumer, 7)).into(),
                next_page_token: String::new(),
                statuses: vec![
                    status(3),
                    SubscriptionStatus { error: failed, ..Default::default() },
                    status(9),
                ],
            })
        })
        .unary(pop_service::READ, move |_, request| {
            note(&read, format!("{} {:?}", request.from, request.from_time));
            let messages =
                if request.topic == "empty" { vec![] } else { vec![received(request.from.max(1))] };
            let next = request.from.max(1) + messages.len() as u64;
            async move { Ok(ReadResponse { messages, next, watermark: 99, ..Default::default() }) }
        });
    network.listen(&process, "127.0.0.1:7101", router);
    (World { network, state: Arc::default() }, asked)
}

fn received(id: u64) -> ReceivedMessage {
    delivery(id).message.expect("it has one")
}

fn take(asked: &Asked) -> Vec<String> {
    std::mem::take(&mut *asked.lock().expect("not poisoned"))
}

#[tokio::test(start_paused = true)]
async fn a_seek_goes_where_the_words_say() {
    let (world, asked) = world();
    let time = |ms| format!("{:?}", Some(At::Time(timestamp::from_ms(ms))));
    for (to, expected) in [
        ("1000", format!("{:?}", Some(At::MessageId(1_000)))),
        ("earliest", format!("{:?}", Some(At::Earliest(Default::default())))),
        ("latest", format!("{:?}", Some(At::Latest(Default::default())))),
        ("2027-01-15T08:00:00.25Z", time(1_800_000_000_250)),
    ] {
        let (exit, out, err) = world.run(&format!("seek orders billing --to {to}")).await;
        assert_eq!((exit, err.as_str()), (Exit::Done, ""), "{to}");
        assert_eq!(out, "billing goes on in orders from message 42\n");
        assert_eq!(take(&asked), [expected], "{to}");
    }
    let (_, out, _) = world.run("seek orders billing --to 7 --json").await;
    assert_eq!(out, "{\"topic\":\"orders\",\"consumer\":\"billing\",\"position\":41,\"generation\":2}\n");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_is_of_the_topic_or_of_what_a_consumer_has_not_acknowledged() {
    let (world, asked) = world();
    for (words, from, out) in [
        ("oldest orders", "0 None", "       1  1970-01-01T00:00:00Z  m1\n"),
        ("oldest orders billing", "8 None", "       8  1970-01-01T00:00:00Z  m8\n"),
    ] {
        assert_eq!(world.run(words).await, (Exit::Done, out.to_owned(), String::new()), "{words}");
        assert_eq!(take(&asked), [from], "{words}");
    }
    let (exit, out, err) = world.run("oldest orders done").await;
    assert_eq!((exit, out.as_str()), (Exit::Done, ""));
    assert_eq!(err, "done has acknowledged every message of orders\n");
    let (_, _, err) = world.run("oldest empty").await;
    assert_eq!(err, "there is no message in empty\n");
}

#[tokio::test(start_paused = true)]
async fn tail_begins_at_a_time_once() {
    let (world, asked) = world();
    let (exit, out, _) = world.run("tail orders --from 2027-01-15 --max 2").await;
    assert_eq!((exit, out.lines().count()), (Exit::Done, 2));
    let first = format!("0 {:?}", Some(timestamp::from_ms(1_799_971_200_000)));
    assert_eq!(take(&asked), [first, "2 None".to_owned()]);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_changed_and_ended() {
    let (world, asked) = world();
    let (exit, out, _) = world.run("subscriptions update orders billing --ack-deadline 2m").await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "billing of orders: ack deadline 2m\n"));
    let (exit, out, _) = world.run("subscriptions delete orders billing").await;
    assert_eq!((exit, out.as_str()), (Exit::Done, "billing is not subscribed to orders any more\n"));
    let (_, out, _) = world.run("subscriptions delete orders billing --json").await;
    assert_eq!(out, "{\"topic\":\"orders\",\"consumer\":\"billing\",\"deleted\":true}\n");
    assert_eq!(take(&asked), ["Some(120)", "orders/billing", "orders/billing"]);
    let (exit, _, err) = world.run("subscriptions update orders billing").await;
    assert_eq!((exit, err.as_str()), (Exit::Usage, "trunkline: name what is to change: --ack-deadline\n"));
    let (_, out, _) = world.run("subscriptions describe orders billing").await;
    let ends =
        "dispatched in           nyc\nseeks                   2\noptions                 ack deadline 30s\n";
    assert!(out.ends_with(ends), "{out}");
}

#[tokio::test(start_paused = true)]
async fn lag_tells_what_it_can_and_says_what_it_cannot() {
    let (world, _) = world();
    let (exit, out, err) = world.run("lag --json").await;
    assert_eq!(exit, Exit::Failed, "one could not be told");
    assert_eq!(err, "trunkline: b of orders: no store answers (UNAVAILABLE)\n");
    let line = |consumer: &str, lag: u64, seconds: &str| {
        format!(
            "{{\"topic\":\"orders\",\"consumer\":\"{consumer}\",\"position\":7,\"generation\":2,\"outstanding\":1,\
             \"lag_messages\":{lag},\"lag_seconds\":{seconds},\"oldest_unacknowledged\":8,\
             \"dispatching_datacenter\":\"nyc\"}}\n"
        )
    };
    assert_eq!(out, line("a", 3, "6.25") + &line("c", 9, "null"));
    let (_, out, _) = world.run("lag").await;
    assert!(out.contains("6.250s") && out.contains(" ? "), "{out}");
}
