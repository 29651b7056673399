//! Payloads in chunks.

use std::io;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use trunkline_wire::status::{disk_full, is_not_stored, not_stored};
use trunkline_wire::v1::{AckLevel, Message};
use trunkline_wire::{Code, status};

use super::World;
use crate::{PayloadSource, StreamOptions};

fn payload(bytes: usize) -> Bytes {
    (0..bytes).map(|at| u8::try_from(at % 251).expect("small")).collect::<Vec<_>>().into()
}

fn of(payload: &Bytes) -> Message {
    Message { payload: payload.clone(), ..Message::default() }
}

#[tokio::test(start_paused = true)]
async fn a_large_message_goes_in_chunks_in_its_place_among_the_others() {
    let world = World::new();
    let large = payload(3_000_001);
    let stream = world.client.push_stream("t", StreamOptions::default());
    let mut pending = Vec::new();
    for message in [of(&payload(5)), of(&large), of(&large), of(&payload(6))] {
        pending.push(stream.send(message).await.expect("open"));
    }
    for pending in pending {
        pending.outcome().await.expect("stored");
    }
    assert_eq!(world.taken(), [4, 0, 0]);
    assert_eq!(world.server("nyc").last(), payload(6));
    world.client.push_one("t", of(&large), AckLevel::Local).await.expect("stored");
    assert_eq!(world.server("nyc").last(), large);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_sent_again_from_its_first_byte_and_the_stream_goes_on() {
    let world = World::new();
    let large = payload(5_000_000);
    let unfit = status::overloaded("later", std::time::Duration::from_millis(50));
    world.server("nyc").refuses([unfit]);
    world.client.push_one("t", of(&large), AckLevel::Local).await.expect("stored in the end");
    assert_eq!(world.server("nyc").last(), large);
    // Without leave to send it again, the refusal is the answer.
    world.server("nyc").refuses([not_stored(&disk_full("full"))]);
    let stream = world.client.push_stream("t", StreamOptions::default());
    let refused = stream.send(of(&large)).await.expect("open");
    let small = stream.send(of(&payload(7))).await.expect("open");
    let failure = refused.outcome().await.expect_err("refused");
    assert!(is_not_stored(&failure.status));
    small.outcome().await.expect("stored");
    assert_eq!(world.server("nyc").last(), payload(7));
}

#[tokio::test(start_paused = true)]
async fn what_exceeds_the_limit_or_cannot_be_read_is_not_stored() {
    struct Unreadable(u64);
    impl PayloadSource for Unreadable {
        fn bytes(&self) -> u64 {
            self.0
        }
        fn read(&self, at: u64, length: usize) -> BoxFuture<'static, io::Result<Bytes>> {
            let readable = at < 1_000_000;
            async move {
                if readable { Ok(vec![0; length].into()) } else { Err(io::Error::other("the disk is gone")) }
            }
            .boxed()
        }
    }
    let world = World::new();
    let push = |bytes| world.client.push_large("t", Message::default(), Unreadable(bytes), AckLevel::Local);
    let beyond = push(100_000_001).await.expect_err("too large").status;
    assert_eq!(beyond.message(), "large.payload_bytes is 100000001, at most 100000000 are allowed");
    let unread = push(2_000_000).await.expect_err("unreadable").status;
    assert_eq!(unread.message(), "the payload cannot be read: the disk is gone");
    assert!(is_not_stored(&beyond) && is_not_stored(&unread));
    assert_eq!(world.taken(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_elsewhere_where_a_server_fails_and_takes_no_other_bytes() {
    let world = World::new();
    let large = payload(20_500);
    world.server("nyc").gives(&large, 4);
    world.server("mci").gives(&large, 9);
    world.server("sea").gives(&large, u32::MAX);
    assert_eq!(world.client.fetch("t", 1).all().await.expect("all of it"), large);
    world.server("sea").spoils_a_chunk();
    let here = world.client.only("sea").expect("known");
    assert_eq!(here.fetch("t", 1).all().await.expect("asked again"), large);
    world.server("sea").gives(&large, 0);
    let failed = here.fetch("t", 1).all().await.expect_err("nothing comes");
    assert_eq!(failed.code(), Code::Unavailable);
}
