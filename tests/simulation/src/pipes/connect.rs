//! How a connection comes to be: a packet there and one back, and a queue of those who wait to be accepted.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use trunkline_transport::{Accept, Dial, Socket};

use super::end::End;
use super::half::Half;
use super::{Connection, Pipes, host_of};

/// A first packet that is lost is sent again after so long, counted from the first (Linux: 1 s, doubling).
const FIRST_PACKET_AGAIN: [u64; 4] = [0, 1_000, 3_000, 7_000];

#[derive(Debug)]
pub(super) struct Dialer {
    pipes: Pipes,
    from: String,
}

impl Dialer {
    pub(super) fn new(pipes: Pipes, from: &str) -> Self {
        Self { pipes, from: from.to_owned() }
    }
}

impl Dial for Dialer {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Socket>>> {
        self.pipes.clone().connect(self.from.clone(), address.to_owned()).boxed()
    }
}

pub(super) struct Waiting(mpsc::Receiver<Box<dyn Socket>>);

impl Waiting {
    pub(super) fn new(waiting: mpsc::Receiver<Box<dyn Socket>>) -> Self {
        Self(waiting)
    }
}

impl Accept for Waiting {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Socket>>> {
        async {
            match self.0.recv().await {
                Some(socket) => Ok(socket),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }
}

impl Pipes {
    async fn connect(self, from: String, address: String) -> io::Result<Box<dyn Socket>> {
        let to = host_of(&address).to_owned();
        self.pass(&from, &to).await;
        let back = self.state().way(&to, &from).delay;
        let listener = self.state().listeners.get(&address).cloned();
        sleep(back).await;
        let Some(listener) = listener.filter(|listener| !listener.is_closed()) else {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        };
        let (near, far) = self.join(&from, &to);
        match listener.try_send(Box::new(far)) {
            Ok(()) => Ok(Box::new(near)),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(io::ErrorKind::ConnectionRefused.into()),
            // The queue of those who wait is full: the first packet is dropped, and in the end nobody waits.
            Err(mpsc::error::TrySendError::Full(_)) => std::future::pending().await,
        }
    }

    /// The first packet and its answer: for ever where each of its repetitions is lost.
    async fn pass(&self, from: &str, to: &str) {
        let began = Instant::now();
        for at in FIRST_PACKET_AGAIN {
            sleep_until(began + Duration::from_millis(at)).await;
            let (delay, passes) = {
                let state = self.state();
                (state.way(from, to).delay, state.passes(from, to) && state.passes(to, from))
            };
            if passes {
                return sleep(delay).await;
            }
        }
        std::future::pending().await
    }

    fn join(&self, from: &str, to: &str) -> (End, End) {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        let halves: [Arc<Mutex<Half>>; 2] = std::array::from_fn(|_| Arc::default());
        let connection = Connection {
            hosts: [from.to_owned(), to.to_owned()],
            halves: halves.clone(),
            forgotten: [false; 2],
            lost_by: None,
            ends: 2,
        };
        state.connections.insert(number, connection);
        let end = |side| End::new(self.clone(), number, side, halves[side].clone(), halves[1 - side].clone());
        (end(0), end(1))
    }
}
