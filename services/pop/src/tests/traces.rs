//! What a trace has of a pop.

use std::time::Duration;

use tokio::time::Instant;
use trunkline_ports::{CallOptions, Class, Peer};
use trunkline_wire::v1::{self, pop_service};

use super::EARLIEST;
use super::world::World;

const RECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test(start_paused = true)]
async fn a_read_that_a_pop_gives_rise_to_is_part_of_its_trace() {
    let world = World::new().await;
    world.subscribe("nyc", "t", "c", EARLIEST).await.unwrap();
    world.push("t", 1);
    assert_eq!(world.traced_reads(), Vec::<String>::new());
    let request = v1::PopRequest {
        topic: "t".to_owned(),
        consumer: "c".to_owned(),
        client_id: "a".to_owned(),
        ..v1::PopRequest::default()
    };
    let deadline = Some(Instant::now() + Duration::from_secs(10));
    let options = CallOptions { deadline, trace: Some(RECORDED.to_owned()) };
    let to = Peer::new(world.pops["nyc"].node.host.identity.address.as_str(), Class::Calls);
    let popped = world.caller.call(&to, pop_service::POP, &request, options).await.unwrap();
    assert_eq!(popped.deliveries.len(), 1);
    assert_eq!(world.traced_reads(), [RECORDED]);
}
