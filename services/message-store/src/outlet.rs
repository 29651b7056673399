//! A bounded queue from the worker to one stream. The worker never waits: it asks for room first, and is woken when
//! there is some again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc};

/// The worker's end.
#[derive(Debug)]
pub(crate) struct Outlet<T> {
    sender: mpsc::Sender<T>,
    blocked: Arc<AtomicBool>,
}

/// The stream's end.
#[derive(Debug)]
pub(crate) struct Inlet<T> {
    receiver: mpsc::Receiver<T>,
    blocked: Arc<AtomicBool>,
    wake: Arc<Notify>,
}

pub(crate) fn outlet<T>(capacity: usize, wake: Arc<Notify>) -> (Outlet<T>, Inlet<T>) {
    let (sender, receiver) = mpsc::channel(capacity);
    let blocked = Arc::new(AtomicBool::new(false));
    (Outlet { sender, blocked: blocked.clone() }, Inlet { receiver, blocked, wake })
}

impl<T> Outlet<T> {
    /// Whether one more fits. If not, the worker is woken once it does.
    pub(crate) fn has_room(&self) -> bool {
        if self.sender.capacity() > 0 {
            return true;
        }
        self.blocked.store(true, Ordering::SeqCst);
        self.sender.capacity() > 0
    }

    /// To be called only after [`Outlet::has_room`] was true; else, or when the stream is gone, it is dropped.
    pub(crate) fn send(&self, message: T) {
        let _ = self.sender.try_send(message);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl<T> Inlet<T> {
    /// The next message, `None` once the worker has let go of the stream. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<T> {
        let message = self.receiver.recv().await;
        if self.blocked.swap(false, Ordering::SeqCst) {
            self.wake.notify_one();
        }
        message
    }
}
