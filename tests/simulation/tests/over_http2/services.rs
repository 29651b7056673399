//! A push server, a pop server, two stores and their voters, all over the real transport: what was acknowledged comes,
//! once and in order, although connections stall, are forgotten half-way and end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use trunkline_ports::{Host, Identity, Network, Router};
use trunkline_simulation::cluster::Cluster;
use trunkline_simulation::parts::{Options, Parts};
use trunkline_simulation::pipes::{Pipes, Way};
use trunkline_simulation::{Simulation, World};
use trunkline_testkit::{Client, Load, MapBuilder};
use trunkline_transport::{Door, GrpcTransport, Listener, Routes};

use crate::bed::millis;

const CLIENT: &str = "somebody";
const STORES: [&str; 2] = ["nyc-message-store-1", "nyc-message-store-2"];
const OTHERS: [&str; 4] = ["nyc-push-1", "nyc-pop-1", "nyc-message-id-1", "nyc-subscription-position-1"];
const CALLS_MAX: usize = 1_000;
/// Everything acknowledged is ordered and popped so soon after the last fault.
const SETTLES: Duration = Duration::from_secs(20);

/// Puts the real transport over pipes in the place of the simulated network.
#[derive(Debug)]
struct OverPipes {
    pipes: Pipes,
    hosts: Mutex<BTreeMap<String, Host>>,
    listeners: Mutex<BTreeMap<String, Listener>>,
}

impl Parts for OverPipes {
    fn host(&self, mut host: Host) -> Host {
        let name = host.identity.name.clone();
        let transport = GrpcTransport::over(host.process.clone(), self.pipes.dialer(&name));
        host.network = Network::new(transport);
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).insert(name, host.clone());
        host
    }

    fn router(&self, of: &Identity, router: Router) -> Router {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let process = &hosts[&of.name].process;
        let routes = Routes::default();
        routes.replace(router.clone());
        let door = Door::Clients { calls_max: CALLS_MAX };
        let accept = self.pipes.listen(&of.address);
        let listener = Listener::serve(accept, door, routes, Arc::new(|| true), process);
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).insert(of.name.clone(), listener);
        router
    }
}

/// One thing goes wrong between two of them, or with a store, and is over.
async fn goes_wrong(world: &World, pipes: &Pipes, cluster: &mut Cluster) {
    let store = *world.random.pick(&STORES).expect("two");
    let others: Vec<&str> = STORES.into_iter().chain(OTHERS).filter(|name| *name != store).collect();
    let other = *world.random.pick(&others).expect("five");
    let lasts = millis(100 + world.random.below(5_000));
    let kind = world.random.below(5);
    world.tell(format_args!("fault {kind} between {store} and {other} for {} ms", lasts.as_millis()));
    match kind {
        0 | 1 => {
            pipes.stall(store, other);
            if kind == 1 {
                pipes.stall(other, store);
            }
            sleep(lasts).await;
            pipes.heal(store, other);
            pipes.heal(other, store);
        }
        2 => pipes.forget(store, other),
        3 => pipes.forget(other, store),
        _ => {
            pipes.vanish(store);
            cluster.crash(store);
            sleep(lasts).await;
            pipes.come_back(store);
            cluster.begin(store);
        }
    }
}

async fn services(world: World) {
    let map = MapBuilder::of(&["nyc"]).build();
    let pipes = Pipes::new(&world.random);
    let names = || STORES.iter().chain(&OTHERS).chain([&CLIENT]);
    for (from, to) in names().flat_map(|from| names().map(move |to| (from, to))) {
        let delay = millis(world.random.below(3));
        pipes.set_way(from, to, Way { delay, jitter: millis(1), bytes_per_second: Some(20_000_000) });
    }
    let parts = OverPipes { pipes: pipes.clone(), hosts: Mutex::default(), listeners: Mutex::default() };
    let mut cluster = Cluster::of(&world, &map, Arc::new(parts), Options::default());
    cluster.begin_all().await;
    let process = world.network.process(CLIENT, &"nyc".into());
    let network = Network::new(GrpcTransport::over(process.process(), pipes.dialer(CLIENT)));
    let client = Client::new(CLIENT, network, "nyc-push-1:7000", "nyc-pop-1:7000");
    let teller = world.clone();
    let tell = Arc::new(move |line: String| teller.tell(line));
    let load = Load::start(&process.process(), "topic", &[client], millis(20), tell).await;
    load.wait_for_acks(20).await;
    for _ in 0..5 {
        goes_wrong(&world, &pipes, &mut cluster).await;
        cluster.wait_until_ready().await;
        load.wait_for_acks(20).await;
    }
    let (acked, began) = (load.acked(), Instant::now());
    load.settle().await;
    let took = began.elapsed();
    assert!(took <= SETTLES, "settled after {took:?}");
    cluster.assert_alive();
    let (bytes, hash) = pipes.delivered();
    eprintln!(
        "services seed {}: {acked} acked, settled in {} ms, {bytes} bytes",
        world.seed,
        took.as_millis()
    );
    world.tell(format_args!("{bytes} bytes were delivered, hash {hash:016x}"));
}

#[test]
fn services_keep_their_promises_over_connections_that_break_in_every_manner() {
    Simulation::check(30, services);
}
