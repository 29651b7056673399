//! Traces over OTLP: a push and a pop, followed from node to node.

use std::time::Duration;

use trunkline_client::{Client, Endpoint, Endpoints, Options};
use trunkline_integration::collector::{Collector, Span};
use trunkline_integration::{Dev, eventually};
use trunkline_ports::Network;
use trunkline_runtime::OsProcess;
use trunkline_transport::GrpcTransport;
use trunkline_wire::v1::{AckLevel, Message};

const WAIT: Duration = Duration::from_secs(60);
const PUSH: &str = "/trunkline.v1.PushService/Push";
const POP: &str = "/trunkline.v1.PopService/Pop";
const FORWARD: &str = "/trunkline.internal.v1.PopPeerService/ForwardPop";
/// On the stream of reads that the pop server has to the store.
const READ: &str = "read";

/// The only span of this name at this node, under this parent.
fn under<'a>(spans: &'a [Span], parent: Option<&Span>, node: &str, name: &str) -> &'a Span {
    let id = parent.map_or(&[][..], |parent| &parent.id);
    let is_it = |span: &&Span| span.parent == id && span.node.starts_with(node) && span.name == name;
    let found: Vec<&Span> = spans.iter().filter(is_it).collect();
    let [span] = found[..] else { panic!("{name} at {node}: {found:?}, of {spans:#?}") };
    assert!(parent.is_none_or(|parent| parent.trace == span.trace), "{span:?}");
    span
}

/// The client of people, which pings.
fn client_of(at: &trunkline_integration::Client) -> Client {
    let endpoint = Endpoint { datacenter: at.name().into(), address: at.address().into() };
    let endpoints = Endpoints::new(vec![endpoint]).expect("one");
    let process = OsProcess::new(|why| panic!("the client's process ends: {why}")).process();
    let network = Network::new(GrpcTransport::new(process.clone(), at.name().into(), None));
    Client::new(network, process, &endpoints, Options::default())
}

#[tokio::test]
async fn a_push_and_a_pop_are_followed_from_node_to_node() {
    let collector = Collector::start().await;
    let mut dev = Dev::start_with("none", &["--otlp-endpoint", &collector.endpoint()]).await;
    let (nyc, sea) = (dev.at("nyc"), dev.at("sea"));
    nyc.subscribe("orders", "billing").await.expect("subscribed");
    let message = Message { payload: "hello".into(), ..Message::default() };
    client_of(nyc).push_one("orders", message, AckLevel::Ordered).await.expect("ordered");
    let popped = nyc.pop("orders", "billing", Vec::new()).await.expect("popped");
    assert_eq!(popped.deliveries.len(), 1);
    let token = popped.deliveries[0].token.clone();
    // nyc dispatches the subscription: sea brings the call there.
    let nothing = sea.pop("orders", "billing", vec![token]).await.expect("popped");
    assert!(nothing.deliveries.is_empty());
    // What is left of the traces goes out at the end.
    dev.stop().await;
    let spans = eventually(WAIT, "the spans of both pops", async || {
        let spans = collector.spans();
        (spans.iter().filter(|span| span.name == POP).count() == 2).then_some(spans)
    })
    .await;

    let push = under(&spans, None, "nyc-push", PUSH);
    let append = under(&spans, Some(push), "nyc-push", "append");
    let stored = under(&spans, Some(append), "nyc-store-", "append");
    assert_eq!(stored.events, ["stored", "ordered"]);
    let pop = under(&spans, None, "nyc-pop", POP);
    under(&spans, Some(pop), "nyc-store-", READ);
    let far = under(&spans, None, "sea-pop", POP);
    under(&spans, Some(far), "nyc-pop", FORWARD);

    let begun = spans.iter().filter(|span| span.parent.is_empty());
    let noise: Vec<&Span> = begun
        .filter(|span| !span.name.starts_with("/trunkline.v1.") || span.name.ends_with("/GetReceipt"))
        .collect();
    assert!(noise.is_empty(), "nobody's push or pop: {noise:?}");
}
