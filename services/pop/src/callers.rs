//! Who waits for an answer of one worker. A caller may be gone at any time.

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use trunkline_wire::v1;

use crate::reply::Reply;

#[derive(Debug, Default)]
pub(crate) struct Callers {
    calls: u64,
    pops: FxHashMap<u64, oneshot::Sender<Reply<v1::PopResponse>>>,
    acks: FxHashMap<u64, oneshot::Sender<Reply<v1::AckResponse>>>,
}

impl Callers {
    /// Returns the call's number.
    pub(crate) fn pop(&mut self, reply: oneshot::Sender<Reply<v1::PopResponse>>) -> u64 {
        self.calls += 1;
        self.pops.insert(self.calls, reply);
        self.calls
    }

    /// Returns the call's number.
    pub(crate) fn ack(&mut self, reply: oneshot::Sender<Reply<v1::AckResponse>>) -> u64 {
        self.calls += 1;
        self.acks.insert(self.calls, reply);
        self.calls
    }

    /// Pops whose callers are gone; they are forgotten.
    pub(crate) fn abandoned(&mut self) -> Vec<u64> {
        self.pops.extract_if(|_, reply| reply.is_closed()).map(|(pop, _)| pop).collect()
    }

    /// False when the caller is gone; then nothing is made for it.
    pub(crate) fn answer_pop(&mut self, pop: u64, reply: impl FnOnce() -> Reply<v1::PopResponse>) -> bool {
        let caller = self.pops.remove(&pop).filter(|caller| !caller.is_closed());
        caller.is_some_and(|caller| caller.send(reply()).is_ok())
    }

    pub(crate) fn answer_ack(&mut self, ack: u64, reply: Reply<v1::AckResponse>) {
        drop(self.acks.remove(&ack).map(|caller| caller.send(reply)));
    }

    /// Each is told the same.
    pub(crate) fn dismiss(
        self,
        pop: impl Fn() -> Reply<v1::PopResponse>,
        ack: impl Fn() -> Reply<v1::AckResponse>,
    ) {
        self.pops.into_values().for_each(|caller| drop(caller.send(pop())));
        self.acks.into_values().for_each(|caller| drop(caller.send(ack())));
    }
}
