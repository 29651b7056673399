//! The handle on one dispatched subscription.

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use trunkline_delivery::dispatcher::{Client, DeliveryToken};
use trunkline_wire::v1;

use crate::change::Change;
use crate::error;
use crate::reply::Reply;
use crate::trace;

/// Calls that wait for the worker's attention.
const COMMANDS_MAX: usize = 2_048;

/// A Pop, checked and decoded.
#[derive(Clone, Debug)]
pub(crate) struct PopCall {
    pub(crate) client: Client,
    pub(crate) previous: Vec<DeliveryToken>,
    pub(crate) messages_max: u64,
    pub(crate) bytes_max: u64,
    /// An empty answer is given from here on.
    pub(crate) wait_until: Instant,
    /// An answer must be given until here.
    pub(crate) deadline: Instant,
}

/// An Ack, checked and decoded.
#[derive(Clone, Debug)]
pub(crate) struct AckCall {
    pub(crate) tokens: Vec<DeliveryToken>,
    pub(crate) deadline: Instant,
}

/// What a dispatcher knows beyond what is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    pub(crate) position: u64,
    pub(crate) outstanding: u64,
    /// Which both are of.
    pub(crate) instance: u64,
    pub(crate) generation: u64,
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
    Changed {
        change: Change,
        reply: oneshot::Sender<()>,
    },
    Release,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
}

impl Handle {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        (Self { commands }, receiver)
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

    /// Resolves when nothing is handed out any more but by what the subscription is now.
    pub(crate) async fn changed(&self, change: Change) {
        let (reply, done) = oneshot::channel();
        // It has ended already where nobody listens.
        let _ = self.commands.send(Command::Changed { change, reply }).await;
        let _ = done.await;
    }

    /// Commit what there is and end.
    pub(crate) async fn release(&self) {
        // It has ended already where nobody listens.
        let _ = self.commands.send(Command::Release).await;
    }

    async fn ask<A>(&self, command: impl FnOnce(oneshot::Sender<Reply<A>>) -> Command) -> Reply<A> {
        let (reply, answer) = oneshot::channel();
        match self.commands.try_send(command(reply)) {
            Ok(()) => answer.await.unwrap_or(Reply::Elsewhere(None)),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Reply::Refused(error::overloaded("too many calls wait at this subscription"))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Reply::Elsewhere(None),
        }
    }
}
