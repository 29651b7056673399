//! The one test that installs a process's telemetry, in a process of its own: it can be done once.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};

use trunkline_telemetry::{Beginning, Options, init, span_from};

const NAME: &str = "a span to be found on the wire";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_go_to_the_endpoint_and_the_guard_flushes_them() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let options = Options { otlp_endpoint: Some(endpoint), ..Options::default() };
    options.validate().unwrap();
    let guard = init(&options, "trunkline-test").unwrap();
    assert!(init(&Options::default(), "trunkline-test").is_err(), "a second call is refused");
    span_from(None, Beginning::Here, NAME, "nyc-push").in_scope(|| tracing::info!("a line for people"));

    let received =
        std::thread::Builder::new().spawn(move || read_until(collector.accept().unwrap().0, NAME)).unwrap();
    drop(guard);
    let received = received.join().unwrap();
    assert!(received.contains(NAME) && received.contains("trunkline-test"));
}

/// Span and service stand in the gRPC frames as plain text.
fn read_until(mut connection: TcpStream, text: &str) -> String {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&received).contains(text) {
        match connection.read(&mut buffer).expect("the exporter is there") {
            0 => break,
            length => received.extend_from_slice(&buffer[..length]),
        }
    }
    String::from_utf8_lossy(&received).into_owned()
}
