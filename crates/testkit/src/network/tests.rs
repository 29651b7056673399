//! The network as services see it: through typed methods and routers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_ports::{CallOptions, Class, Peer, Responder, Router, Sender};
use trunkline_types::Role;
use trunkline_wire::method::{Streaming, Unary};
use trunkline_wire::status::{is_not_stored, reason, reason_of};
use trunkline_wire::{Code, Status};

use super::{Side, SimulatedNetwork};
use crate::fixture::{MapBuilder, SimulatedNode, node};
use crate::random::Random;

const ECHO: Unary<String, String> = Unary::new("/test.Test/Echo");
const NEVER: Unary<String, String> = Unary::new("/test.Test/Never");
const DOUBLE: Streaming<u64, u64> = Streaming::new("/test.Test/Double");

struct Two {
    network: SimulatedNetwork,
    nyc: SimulatedNode,
    sea: SimulatedNode,
    peer: Peer,
    running: Arc<AtomicU32>,
}

/// Counts what runs.
struct Running(Arc<AtomicU32>);

impl Running {
    fn new(counter: &Arc<AtomicU32>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn router(running: &Arc<AtomicU32>) -> Router {
    let (never, double) = (running.clone(), running.clone());
    Router::new()
        .unary(ECHO, |_, text: String| async move { Ok(text + "!") })
        .unary(NEVER, move |_, _| {
            let running = Running::new(&never);
            async move {
                std::future::pending::<()>().await;
                drop(running);
                Ok(String::new())
            }
        })
        .streaming(DOUBLE, move |_, mut requests, responses: Responder<u64>| {
            let running = Running::new(&double);
            async move {
                while let Some(number) = requests.next().await? {
                    if responses.send(&(number * 2)).await.is_err() {
                        break;
                    }
                }
                drop(running);
                Err(Status::out_of_range("no more"))
            }
        })
}

/// nyc and sea, 35 ms apart; sea answers.
fn two() -> Two {
    let map = MapBuilder::three_datacenters().build();
    let network = SimulatedNetwork::new(&Random::new(1));
    network.follow(&map);
    let start = |datacenter: &str| {
        SimulatedNode::start(&network, &map, &node(Role::MessageStore, &datacenter.into(), 1), 1)
    };
    let (nyc, sea) = (start("nyc"), start("sea"));
    let running = Arc::new(AtomicU32::new(0));
    sea.listen(router(&running));
    let peer = Peer::new(sea.host.identity.address.clone(), Class::Calls);
    Two { network, nyc, sea, peer, running }
}

impl Two {
    async fn echo(&self, within_ms: u64) -> Result<String, Status> {
        let options = CallOptions::until(Instant::now() + Duration::from_millis(within_ms));
        self.nyc.host.network.call(&self.peer, ECHO, &"hello".to_owned(), options).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_one_round_trip() {
    let two = two();
    let start = Instant::now();
    assert_eq!(two.echo(1_000).await.unwrap(), "hello!");
    assert_eq!(start.elapsed(), Duration::from_millis(70));
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_takes_longer_one_way_until_it_is_healed() {
    let two = two();
    let (nyc, sea) = (Side::datacenter("nyc"), Side::datacenter("sea"));
    two.network.slow_one_way(&nyc, &sea, Duration::from_millis(200));
    for expected in [270, 70] {
        let start = Instant::now();
        assert_eq!(two.echo(1_000).await.unwrap(), "hello!");
        assert_eq!(start.elapsed(), Duration::from_millis(expected));
        two.network.heal(&nyc, &sea);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_cut_has_held_comes_before_what_was_sent_later() {
    let two = two();
    let (sender, mut receiver) =
        two.nyc.host.network.open(&two.peer, DOUBLE, CallOptions::default()).await.unwrap();
    let (nyc, sea) = (Side::datacenter("nyc"), Side::datacenter("sea"));
    two.network.cut_one_way(&nyc, &sea);
    for number in 0..100 {
        sender.send(&number).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The last 35 are under way, and would arrive after the heal.
    two.network.heal(&nyc, &sea);
    for number in 0..100 {
        assert_eq!(receiver.next().await.unwrap(), Some(number * 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_message_ends_its_call_and_says_not_that_nothing_was_done() {
    let two = two();
    two.network.lose_one_way(&Side::datacenter("sea"), &Side::Others, 2);
    let mut lost = 0;
    for _ in 0..40 {
        match two.echo(1_000).await {
            Ok(echo) => assert_eq!(echo, "hello!"),
            Err(status) => {
                assert!(
                    reason_of(&status).as_deref() == Some(reason::UNREACHABLE) && !is_not_stored(&status)
                );
                lost += 1;
            }
        }
    }
    assert!((10..30).contains(&lost), "{lost} of 40");
    two.network.heal_all();
    for _ in 0..20 {
        assert!(two.echo(1_000).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call_on_both_sides() {
    let two = two();
    let start = Instant::now();
    let options = CallOptions::until(start + Duration::from_millis(500));
    let request = String::new();
    let call = two.nyc.host.network.call(&two.peer, NEVER, &request, options);
    assert_eq!(call.await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(start.elapsed(), Duration::from_millis(500));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(two.running.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_takes_its_handler_along() {
    let two = two();
    {
        let request = String::new();
        let call = two.nyc.host.network.call(&two.peer, NEVER, &request, CallOptions::default());
        let result = tokio::time::timeout(Duration::from_millis(50), call).await;
        assert!(result.is_err());
        assert_eq!(two.running.load(Ordering::Relaxed), 1);
    }
    tokio::time::sleep(Duration::from_millis(36)).await;
    assert_eq!(two.running.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_listening_is_a_refusal() {
    let two = two();
    two.sea.process.crash();
    let start = Instant::now();
    let refused = two.echo(1_000).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason_of(&refused).as_deref()),
        (Code::Unavailable, Some(reason::UNREACHABLE))
    );
    assert_eq!(start.elapsed(), Duration::from_millis(70));
    let map = MapBuilder::three_datacenters().build();
    let again = SimulatedNode::start(&two.network, &map, &node(Role::MessageStore, &"sea".into(), 1), 2);
    again.listen(router(&two.running));
    assert_eq!(two.echo(1_000).await.unwrap(), "hello!");
}

#[tokio::test(start_paused = true)]
async fn a_method_that_is_not_served_says_so() {
    let two = two();
    two.network.listen(&two.sea.process, &two.peer.address, Router::new());
    assert_eq!(two.echo(1_000).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test(start_paused = true)]
async fn a_short_cut_only_delays() {
    let two = two();
    two.network.cut(&Side::datacenter("sea"), &Side::Others);
    let heal = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        two.network.heal_all();
    };
    let start = Instant::now();
    let (answer, ()) = tokio::join!(two.echo(3_000), heal);
    assert_eq!(answer.unwrap(), "hello!");
    assert_eq!(start.elapsed(), Duration::from_millis(770));
}

#[tokio::test(start_paused = true)]
async fn a_long_cut_resets_calls_and_streams_and_new_ones_work_after_it() {
    let two = two();
    let (sender, mut receiver) = open(&two).await;
    two.network.cut_one_way(&Side::datacenter("sea"), &Side::datacenter("nyc"));
    let start = Instant::now();
    let lost = two.echo(9_000).await.unwrap_err();
    assert_eq!((lost.code(), start.elapsed()), (Code::Unavailable, Duration::from_secs(2)));
    assert_eq!(receiver.next().await.unwrap_err().code(), Code::Unavailable);
    sender.closed().await;
    assert_eq!(two.running.load(Ordering::Relaxed), 0, "reset on the other side too");
    let late = two.echo(9_000).await.unwrap_err();
    assert_eq!((late.code(), start.elapsed()), (Code::Unavailable, Duration::from_secs(4)));
    two.network.heal(&Side::datacenter("nyc"), &Side::datacenter("sea"));
    assert_eq!(two.echo(1_000).await.unwrap(), "hello!");
}

async fn open(two: &Two) -> (Sender<u64>, trunkline_ports::Receiver<u64>) {
    two.nyc.host.network.open(&two.peer, DOUBLE, CallOptions::default()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn frames_arrive_in_order_and_the_stream_ends_with_its_status() {
    let two = two();
    two.network.set_jitter(Duration::from_millis(20));
    let (sender, mut receiver) = open(&two).await;
    let send = async move {
        for number in 0..5_000_u64 {
            sender.send(&number).await.unwrap();
        }
    };
    let receive = async {
        for number in 0..5_000_u64 {
            assert_eq!(receiver.next().await.unwrap(), Some(number * 2));
        }
        assert_eq!(receiver.next().await.unwrap_err().code(), Code::OutOfRange);
        assert_eq!(receiver.next().await.unwrap(), None);
    };
    tokio::join!(send, receive);
    assert_eq!(two.running.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sender_waits_for_a_peer_that_does_not_read() {
    let two = two();
    let (sender, receiver) = open(&two).await;
    two.sea.process.pause();
    let mut sent = 0_u64;
    while let Ok(done) = tokio::time::timeout(Duration::from_secs(1), sender.send(&sent)).await {
        done.unwrap();
        sent += 1;
    }
    assert!((1_024..1_200).contains(&sent), "{sent} frames were taken");
    drop(receiver);
}

#[tokio::test(start_paused = true)]
async fn a_crash_resets_the_streams_of_both_sides() {
    let two = two();
    let (sender, mut receiver) = open(&two).await;
    sender.send(&1).await.unwrap();
    assert_eq!(receiver.next().await.unwrap(), Some(2));
    two.sea.process.crash();
    assert_eq!(receiver.next().await.unwrap_err().code(), Code::Unavailable);
    sender.closed().await;

    let map = MapBuilder::three_datacenters().build();
    let again = SimulatedNode::start(&two.network, &map, &node(Role::MessageStore, &"sea".into(), 1), 2);
    again.listen(router(&two.running));
    let (_sender, _receiver) = open(&two).await;
    assert_eq!(two.running.load(Ordering::Relaxed), 1);
    two.nyc.process.crash();
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert_eq!(two.running.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_both_halves_resets_the_stream() {
    let two = two();
    let (sender, receiver) = open(&two).await;
    assert_eq!(two.running.load(Ordering::Relaxed), 1);
    drop(receiver);
    drop(sender);
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert_eq!(two.running.load(Ordering::Relaxed), 0);
    assert_eq!(two.network.fabric.with(|state| state.exchanges.len()), 0, "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_history() {
    let run = || async {
        let two = two();
        two.network.set_jitter(Duration::from_millis(30));
        let calls = (0..50).map(|_| two.echo(2_000));
        futures::future::join_all(calls).await;
        (two.network.fingerprint(), two.network.deliveries(), two.network.elapsed())
    };
    let first = run().await;
    assert_eq!(first, run().await);
    assert_eq!(first.1, 100);
}
