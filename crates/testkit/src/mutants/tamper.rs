//! Changes what a node is asked and what it answers, as a broken service would have understood and said it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use trunkline_ports::{Handler, Router};
use trunkline_wire::{Message, Status};

const QUEUE_MAX: usize = 64;

type Frames = BoxStream<'static, Result<Bytes, Status>>;

/// What passes between a node and others. Calls and streams that it does not care for go by as they are.
pub(super) trait Tamper: Send + Sync + 'static {
    fn request(&self, _path: &'static str, request: Bytes) -> Bytes {
        request
    }

    fn answer(
        &self,
        _path: &'static str,
        _request: &Bytes,
        answer: Result<Bytes, Status>,
    ) -> Result<Bytes, Status> {
        answer
    }

    /// Who changes the frames of one stream that begins.
    fn stream(&self, _path: &'static str) -> Option<Box<dyn TamperStream>> {
        None
    }
}

/// What passes on one stream.
pub(super) trait TamperStream: Send + 'static {
    fn request(&mut self, frame: Bytes) -> Bytes {
        frame
    }

    fn response(&mut self, frame: Bytes) -> Bytes {
        frame
    }

    /// Each response is so much later.
    fn response_delay(&self) -> Duration {
        Duration::ZERO
    }

    /// Each request is so much later.
    fn request_delay(&self) -> Duration {
        Duration::ZERO
    }
}

/// A message changed where it lies.
pub(super) fn edit<M: Message + Default>(bytes: Bytes, change: impl FnOnce(&mut M)) -> Bytes {
    let Ok(mut message) = M::decode(bytes.clone()) else { return bytes };
    change(&mut message);
    message.encode_to_vec().into()
}

type Shared = Arc<Mutex<Box<dyn TamperStream>>>;

#[derive(Clone, Copy, Debug)]
enum Direction {
    Requests,
    Responses,
}

struct Passing {
    frames: Frames,
    tamper: Shared,
    direction: Direction,
    delay: Duration,
    waiting: VecDeque<(Instant, Result<Bytes, Status>)>,
    ended: bool,
}

/// The frames of one direction as `tamper` wants them.
fn passing(frames: Frames, tamper: &Shared, direction: Direction) -> Frames {
    let delay = {
        let tamper = tamper.lock().unwrap_or_else(PoisonError::into_inner);
        match direction {
            Direction::Requests => tamper.request_delay(),
            Direction::Responses => tamper.response_delay(),
        }
    };
    let waiting = VecDeque::new();
    let passing = Passing { frames, tamper: tamper.clone(), direction, delay, waiting, ended: false };
    stream::unfold(passing, |mut passing| async move { passing.next().await.map(|frame| (frame, passing)) })
        .boxed()
}

impl Passing {
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            let due = self.waiting.front().map(|(due, _)| *due);
            if due.is_none() && self.ended {
                return None;
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                return self.waiting.pop_front().map(|(_, frame)| frame);
            }
            let wakes = async move {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                frame = self.frames.next(), if !self.ended => match frame {
                    Some(frame) => {
                        let frame = frame.map(|frame| self.changed(frame));
                        self.waiting.push_back((Instant::now() + self.delay, frame));
                    }
                    None => self.ended = true,
                },
                () = wakes => {}
            }
        }
    }

    fn changed(&self, frame: Bytes) -> Bytes {
        let mut tamper = self.tamper.lock().unwrap_or_else(PoisonError::into_inner);
        match self.direction {
            Direction::Requests => tamper.request(frame),
            Direction::Responses => tamper.response(frame),
        }
    }
}

fn received(receiver: mpsc::Receiver<Bytes>) -> Frames {
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|frame| (Ok(frame), receiver))
    })
    .boxed()
}

/// What a node answers, with `tamper` at its door.
pub(super) fn at_the_door(router: Router, tamper: &Arc<dyn Tamper>) -> Router {
    router.map(|path, handler| match handler {
        Handler::Unary(handler) => {
            let tamper = tamper.clone();
            Handler::Unary(Arc::new(move |context, request| {
                let (tamper, request) = (tamper.clone(), tamper.request(path, request));
                let answered = handler(context, request.clone());
                async move { tamper.answer(path, &request, answered.await) }.boxed()
            }))
        }
        Handler::Streaming(handler) => {
            let tamper = tamper.clone();
            Handler::Streaming(Arc::new(move |context, requests, responder| {
                let Some(tamper) = tamper.stream(path) else { return handler(context, requests, responder) };
                let tamper: Shared = Arc::new(Mutex::new(tamper));
                let (sender, responses) = mpsc::channel(QUEUE_MAX);
                let handled = handler(context, passing(requests, &tamper, Direction::Requests), sender);
                let mut responses = passing(received(responses), &tamper, Direction::Responses);
                let pump = async move {
                    while let Some(Ok(frame)) = responses.next().await {
                        if responder.send(frame).await.is_err() {
                            return;
                        }
                    }
                };
                join(handled, pump).map(|(outcome, ())| outcome).boxed()
            }))
        }
    })
}
