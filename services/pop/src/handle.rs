//! The handle on one dispatched subscription.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use trunkline_delivery::dispatcher::{Client, Share, Token};
use trunkline_wire::v1;

use crate::error;
use crate::reply::Reply;
use crate::trace;

/// Calls that wait for the worker's attention.
const COMMANDS_MAX: usize = 2_048;

/// A Pop, checked and decoded.
#[derive(Clone, Debug)]
pub(crate) struct PopCall {
    pub(crate) client: Client,
    pub(crate) previous: Vec<Token>,
    pub(crate) share: Option<Share>,
    /// Of a Consume stream: counts its pops from 1. 0: of a client's own Pop.
    pub(crate) round: u64,
    pub(crate) messages_max: u64,
    pub(crate) bytes_max: u64,
    /// An empty answer is given from here on.
    pub(crate) wait_until: Instant,
    /// An answer must be given until here.
    pub(crate) deadline: Instant,
}

/// What is done to deliveries, checked and decoded.
#[derive(Clone, Debug)]
pub(crate) struct AckCall {
    pub(crate) what: What,
    pub(crate) deadline: Instant,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Ack(Vec<Token>),
    /// Each with its delay in milliseconds, else the subscription's.
    Nack(Vec<(Token, Option<u32>)>),
    /// Each with the milliseconds that it gets, else the subscription's ack deadline.
    Extend(Vec<(Token, Option<u32>)>),
    /// The Consume stream of this name has ended.
    Left(Arc<str>),
}

/// What a dispatcher knows beyond what is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    pub(crate) position: u64,
    pub(crate) outstanding: u64,
}

#[derive(Debug)]
pub(crate) enum Command {
    Pop {
        call: PopCall,
        from_here: bool,
        trace: Option<String>,
        reply: oneshot::Sender<Reply<v1::PopResponse>>,
    },
    Ack {
        call: AckCall,
        reply: oneshot::Sender<Reply<v1::AckResponse>>,
    },
    Describe {
        reply: oneshot::Sender<Situation>,
    },
    Release,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    gone: Arc<Notify>,
}

/// Where the worker hears of calls.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Told when a caller is gone before its answer.
    pub(crate) gone: Arc<Notify>,
}

/// Tells the worker when its call is dropped.
struct Caller<'a>(Option<&'a Notify>);

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if let Some(gone) = self.0 {
            gone.notify_one();
        }
    }
}

impl Handle {
    pub(crate) fn new() -> (Self, Inbox) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let gone = Arc::new(Notify::new());
        (Self { commands, gone: gone.clone() }, Inbox { commands: receiver, gone })
    }

    /// `from_here`: the caller is in this datacenter.
    pub(crate) async fn pop(&self, call: PopCall, from_here: bool) -> Reply<v1::PopResponse> {
        self.ask(|reply| Command::Pop { call, from_here, trace: trace::current(), reply }).await
    }

    pub(crate) async fn ack(&self, call: AckCall) -> Reply<v1::AckResponse> {
        self.ask(|reply| Command::Ack { call, reply }).await
    }

    /// `None` when it has ended or is too busy to say.
    pub(crate) async fn describe(&self) -> Option<Situation> {
        let (reply, situation) = oneshot::channel();
        self.commands.try_send(Command::Describe { reply }).ok()?;
        situation.await.ok()
    }

    /// Commit what there is and end.
    pub(crate) async fn release(&self) {
        // It has ended already where nobody listens.
        let _ = self.commands.send(Command::Release).await;
    }

    async fn ask<A>(&self, command: impl FnOnce(oneshot::Sender<Reply<A>>) -> Command) -> Reply<A> {
        let (reply, answer) = oneshot::channel();
        match self.commands.try_send(command(reply)) {
            Ok(()) => {
                let mut caller = Caller(Some(&self.gone));
                let answer = answer.await;
                caller.0 = None;
                answer.unwrap_or(Reply::Elsewhere(None))
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                Reply::Refused(error::overloaded("too many calls wait at this subscription"))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Reply::Elsewhere(None),
        }
    }
}
