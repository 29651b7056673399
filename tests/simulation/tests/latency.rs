//! The time budgets of ARCHITECTURE.md in simulated time, where no machine is slow: how often a message waits for the
//! WAN before it can be read. What a real machine adds to it, `make bench` measures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, interval, sleep};
use trunkline_simulation::cluster::Cluster;
use trunkline_simulation::{Simulation, World};
use trunkline_testkit::{Client, MapBuilder};
use trunkline_types::ClusterMap;
use trunkline_wire::v1::{AckLevel, ReadRequest, pop_service};

/// So many that each group has some.
const TOPICS: u32 = 8;
/// Between two pushes of one publisher, of which each topic has one in each datacenter.
const PACE: Duration = Duration::from_millis(97);
/// Until every session is with the nearest voter.
const WARM: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(5);
const PUSH: Duration = Duration::from_secs(5);
/// What disks, ticks and hops within a datacenter may add.
const LOCAL_MS: u128 = 25;

/// In milliseconds, by what took them.
#[derive(Clone, Default)]
struct Figures(Arc<Mutex<BTreeMap<String, Vec<u128>>>>);

impl Figures {
    fn add(&self, what: String, took: Duration) {
        self.0.lock().expect("nobody panicked").entry(what).or_default().push(took.as_millis());
    }

    /// Checks that all figures whose name begins with `what` lie within bounds.
    fn check(&self, what: &str, least: u128, most: u128) {
        let figures = self.0.lock().expect("nobody panicked");
        let mut found = 0;
        for (name, all) in figures.iter().filter(|(name, _)| name.starts_with(what)) {
            let (low, high) = (all.iter().min().expect("one"), all.iter().max().expect("one"));
            assert!(*low >= least && *high <= most, "{name}: {low} to {high} ms, allowed {least} to {most}");
            found += 1;
        }
        assert!(found >= 3, "{what} was measured in every datacenter");
    }
}

/// The payload says from where and when.
async fn publish(client: Client, topic: String, level: AckLevel, begun: Instant, figures: Figures) {
    let mut ticks = interval(PACE);
    loop {
        ticks.tick().await;
        let at = begun.elapsed();
        let payload = format!("{} {}", client.name(), at.as_micros());
        client.push(&topic, &payload, level, PUSH).await.expect("all is well");
        if at > WARM {
            figures.add(format!("{level:?} at {}", client.name()), begun.elapsed() - at);
        }
    }
}

async fn read(client: Client, topic: String, begun: Instant, figures: Figures) {
    let mut from = 1;
    loop {
        let wait = PUSH.try_into().ok();
        let request = ReadRequest { topic: topic.clone(), from, wait, ..ReadRequest::default() };
        let response = client.call(pop_service::READ, &request).await.expect("all is well");
        from = response.next;
        for received in response.messages {
            let payload = received.message.unwrap_or_default().payload;
            let text = String::from_utf8_lossy(&payload).into_owned();
            let (origin, sent) = text.split_once(' ').expect("as it was pushed");
            let sent = Duration::from_micros(sent.parse().expect("a number"));
            if sent > WARM {
                figures.add(format!("{origin} to {}", client.name()), begun.elapsed() - sent);
            }
        }
    }
}

async fn measure(world: &World, map: &ClusterMap) -> Figures {
    let cluster = Cluster::start(world, map).await;
    let clients = cluster.clients_everywhere();
    let (begun, figures) = (Instant::now(), Figures::default());
    let process = cluster.clients().process();
    let mut tasks = Vec::new();
    for number in 0..TOPICS {
        let topic = format!("topic-{number}");
        clients[0].create_topic(&topic).await.expect("all is well");
        // Spread over the pace, so that no two of them wait for the same.
        sleep(PACE / TOPICS).await;
        let level = if number % 2 == 0 { AckLevel::Local } else { AckLevel::Ordered };
        for client in &clients {
            let publish = publish(client.clone(), topic.clone(), level, begun, figures.clone());
            tasks.push(process.spawn("publish", publish).abort_on_drop());
            let read = read(client.clone(), topic.clone(), begun, figures.clone());
            tasks.push(process.spawn("read", read).abort_on_drop());
        }
    }
    sleep(WARM + MEASURED).await;
    figures
}

/// Round trips of 150 ms: 2 r after the push where the leader is elsewhere than the origin, 2.5 r where it is there, and
/// half a round trip less in the leader's own datacenter.
async fn pessimistic(world: World) {
    let map = MapBuilder::three_datacenters().round_trips(150).groups(4, 2).build();
    let figures = measure(&world, &map).await;
    figures.check("Local", 0, LOCAL_MS);
    figures.check("Ordered", 300, 300 + LOCAL_MS);
    for datacenter in ["nyc", "mci", "sea"] {
        figures.check(&format!("{datacenter} to"), 225, 375 + LOCAL_MS);
    }
}

#[test]
fn a_message_waits_for_the_wan_no_more_often_than_it_must_at_150_ms() {
    Simulation::check(1, pessimistic);
}

/// The measured round trips, 33, 70 and 72 ms, and leaders in New York and Kansas City: at most a report and a commit
/// between those two (66 ms), and what has the longest way to Seattle.
async fn measured(world: World) {
    let map = MapBuilder::three_datacenters().groups(4, 2).build();
    let figures = measure(&world, &map).await;
    figures.check("Local", 0, LOCAL_MS);
    for datacenter in ["nyc", "mci", "sea"] {
        figures.check(&format!("{datacenter} to"), 33, 105 + LOCAL_MS);
    }
}

#[test]
fn a_message_waits_for_the_wan_no_more_often_than_it_must_at_the_measured_round_trips() {
    Simulation::check(1, measured);
}
