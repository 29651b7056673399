//! Callers that vanish without a word, at any moment: a listener gets rid of all of them.

use tokio::time::{Instant, sleep};
use trunkline_ports::{CallOptions, Class, Network, Peer};
use trunkline_simulation::{Simulation, World};
use trunkline_transport::GrpcTransport;
use trunkline_types::limits::{LISTENER_KEEPALIVE_INTERVAL, LISTENER_KEEPALIVE_TIMEOUT};

use crate::bed::Task;
use crate::bed::{ADDRESS, Bed, SERVER, WORK, millis};

const CALLERS: usize = 12;

/// A caller of its own host, that vanishes `after` it began.
async fn comes_and_vanishes(bed: &Bed, name: String, after: u64) {
    let process = bed.world.network.process(&name, &"elsewhere".into());
    let network = Network::new(GrpcTransport::over(process.process(), bed.pipes.dialer(&name)));
    let call = async move {
        let task = Task { id: 1, work_ms: 30_000, request_bytes: 100_000, answer_bytes: 10 };
        let peer = Peer::new(ADDRESS, Class::Calls);
        let until = CallOptions::until(Instant::now() + millis(50_000));
        let _ = network.call(&peer, WORK, &task.frame(), until).await;
    };
    process.process().spawn("call", call);
    sleep(millis(after)).await;
    bed.pipes.vanish(&name);
    process.crash();
}

async fn callers_vanish(world: World) {
    let bed = Bed::new(&world);
    let server = bed.start_server();
    let mut names = Vec::new();
    for number in 0..CALLERS {
        let name = format!("caller-{number}");
        for (from, to) in [(name.as_str(), SERVER), (SERVER, name.as_str())] {
            let delay = millis(world.random.below(10));
            bed.pipes.set_way(from, to, trunkline_simulation::pipes::Way { delay, ..Default::default() });
        }
        comes_and_vanishes(&bed, name.clone(), world.random.below(60)).await;
        names.push(name);
    }
    // One that lives, and never says a word.
    let mute = bed.pipes.dialer("mute").dial(ADDRESS).await.expect("the server listens");
    let most = LISTENER_KEEPALIVE_INTERVAL * 2 + LISTENER_KEEPALIVE_TIMEOUT;
    sleep(most).await;
    assert_eq!(bed.service.seen().under_way.len(), 0, "handlers of callers that are gone");
    let began = Instant::now();
    server.listener.drain(began + millis(5_000)).await;
    let took = began.elapsed();
    assert!(took < millis(5_000), "the listener still has connections of callers that vanished");
    let began = bed.service.seen().began.get(&1).copied().unwrap_or_default();
    drop(mute);
    bed.sum_up(format_args!("half-open: {CALLERS} callers vanished, {began} of them in a call"));
}

#[test]
fn a_listener_gets_rid_of_callers_that_vanished() {
    Simulation::check(40, callers_vanish);
}
