//! A stream whose peer cannot be heard ends, though nobody says a word on it; and is resumed where it was.

use tokio::time::{Instant, sleep, timeout};
use trunkline_ports::process::TaskGuard;
use trunkline_ports::{CallOptions, Class, Peer, Receiver};
use trunkline_simulation::{Simulation, World};
use trunkline_types::limits::{CONNECT_TIMEOUT, REDIAL_MAX, SILENCE_MAX};
use trunkline_wire::Code;
use trunkline_wire::internal::BootstrapResponse as Answer;
use trunkline_wire::status::{reason, reason_of};

use crate::bed::{ADDRESS, Bed, CLIENT, SERVER, SILENT, Task, millis, numbers};

const FRAME_BYTES: usize = 500;
const PACE_MS: u64 = 40;

/// Opens the source from `from` on; again and again until it can be reached.
async fn open(bed: &Bed, from: u64) -> (TaskGuard, Receiver<Answer>) {
    loop {
        let opened = timeout(CONNECT_TIMEOUT, bed.source(from, FRAME_BYTES as u64, PACE_MS)).await;
        if let Ok(Ok(stream)) = opened {
            return stream;
        }
        sleep(millis(50)).await;
    }
}

/// Reads until `until`, opening the stream again where it ends or is silent; the number of the last frame.
async fn follow(bed: &Bed, mut last: u64, until: Instant, reopened: &mut u32) -> u64 {
    let mut stream = open(bed, last + 1).await;
    while Instant::now() < until {
        match timeout(SILENCE_MAX, stream.1.next()).await {
            Ok(Ok(Some(frame))) => {
                last += 1;
                assert_eq!(frame, Task::answer(last, FRAME_BYTES), "each once, in order");
            }
            Ok(Ok(None)) => panic!("the source has no end"),
            ended => {
                if let Ok(Err(status)) = ended {
                    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                }
                *reopened += 1;
                stream = open(bed, last + 1).await;
            }
        }
    }
    last
}

/// A stream on which nobody speaks: what ends it is the connection's own keepalive.
async fn hears_of_a_cut(bed: &Bed) -> u128 {
    let peer = Peer::new(ADDRESS, Class::Records);
    let (sender, mut receiver) =
        bed.network.open(&peer, SILENT, CallOptions::default()).await.expect("all is well");
    sender.send(&numbers(&[1])).await.expect("all is well");
    receiver.next().await.expect("all is well").expect("the first word");
    let kept = timeout(millis(20_000), receiver.next()).await;
    assert!(kept.is_err(), "a stream may be silent for as long as it likes: {kept:?}");
    match bed.world.random.below(4) {
        0 => bed.pipes.stall(SERVER, CLIENT),
        1 => {
            bed.pipes.stall(SERVER, CLIENT);
            bed.pipes.stall(CLIENT, SERVER);
        }
        2 => bed.pipes.stall(CLIENT, SERVER),
        _ => bed.pipes.forget(CLIENT, SERVER),
    }
    let began = Instant::now();
    let most = SILENCE_MAX + bed.round_trip + millis(10);
    let ended =
        timeout(most, receiver.next()).await.unwrap_or_else(|_| panic!("open after {most:?} of silence"));
    let status = ended.expect_err("it cannot have gone well");
    assert_eq!(reason_of(&status).as_deref(), Some(reason::UNREACHABLE), "{status:?}");
    timeout(millis(10), sender.closed()).await.expect("the sender learns it");
    let took = began.elapsed().as_millis();
    bed.pipes.heal(SERVER, CLIENT);
    bed.pipes.heal(CLIENT, SERVER);
    took
}

async fn silence(world: World) {
    let bed = Bed::new(&world);
    let _server = bed.start_server();
    let took = hears_of_a_cut(&bed).await;
    let (mut last, mut reopened) = (0, 0);
    for _ in 0..4 {
        // A cut somewhere in the middle, and enough time after it.
        let lasts = millis(100 + world.random.below(6_000));
        let way = *world.random.pick(&[(CLIENT, SERVER), (SERVER, CLIENT)]).expect("two");
        let pipes = bed.pipes.clone();
        let one_way = world.random.one_in(2);
        let forgets = world.random.one_in(4);
        let cutting = bed.client.process().spawn("cuts", async move {
            sleep(millis(1_000)).await;
            if forgets {
                pipes.forget(way.0, way.1);
                return;
            }
            pipes.stall(way.0, way.1);
            if !one_way {
                pipes.stall(way.1, way.0);
            }
            sleep(lasts).await;
            pipes.heal(way.0, way.1);
            pipes.heal(way.1, way.0);
        });
        let _cutting = cutting.abort_on_drop();
        let recovered = Instant::now() + millis(1_000) + lasts + SILENCE_MAX + CONNECT_TIMEOUT + REDIAL_MAX;
        let so_far = follow(&bed, last, recovered + millis(500), &mut reopened).await;
        // It flows again: as much as comes in time, and a little less for what was under way.
        let then = follow(&bed, so_far, Instant::now() + millis(2_000), &mut reopened).await;
        assert!(then >= so_far + 2_000 / PACE_MS / 2, "from {so_far} to {then} in two seconds after a cut");
        last = then;
    }
    bed.sum_up(format_args!(
        "silence: noticed after {took} ms, {last} frames, stream opened {reopened} times more"
    ));
}

#[test]
fn a_stream_that_hears_nothing_ends_and_is_resumed_at_its_cursor() {
    Simulation::check(40, silence);
}
