//! A call that belongs to a subscription's dispatcher: done here, or forwarded to where it is.

use std::future::Future;

use tokio::time::Instant;
use trunkline_ports::{CallOptions, Host, Peer};
use trunkline_wire::internal::pop_peer_service::{DESCRIBE_DISPATCH, FORWARD_ACK, FORWARD_POP};
use trunkline_wire::internal::{
    self, DescribeDispatchRequest, DispatchTarget, ForwardAckRequest, ForwardPopRequest,
    describe_dispatch_response,
};
use trunkline_wire::{Status, v1};

use crate::handle::{AckCall, Handle, PopCall, Situation};
use crate::reply::Reply;
use crate::trace;

pub(crate) trait Errand: Send + Sync {
    type Answer: Send;

    /// Done by this server's dispatcher.
    fn here(&self, handle: &Handle) -> impl Future<Output = Reply<Self::Answer>> + Send;

    /// Done by another server's, which answers within `patience_ms`. Errors are of the way to it.
    fn there(
        &self,
        host: &Host,
        peer: &Peer,
        target: DispatchTarget,
        patience_ms: u32,
    ) -> impl Future<Output = Result<Reply<Self::Answer>, Status>> + Send;

    fn deadline(&self) -> Instant;

    /// Whether it may be done twice by the same dispatcher. A bare Pop may not: the second would acknowledge what the
    /// first was given.
    fn may_repeat(&self) -> bool;
}

/// A Pop, as the client sent it and as this server understood it.
pub(crate) struct PopErrand<'a> {
    pub(crate) call: PopCall,
    pub(crate) request: &'a v1::PopRequest,
}

impl Errand for PopErrand<'_> {
    type Answer = v1::PopResponse;

    async fn here(&self, handle: &Handle) -> Reply<v1::PopResponse> {
        handle.pop(self.call.clone(), true).await
    }

    async fn there(
        &self,
        host: &Host,
        peer: &Peer,
        target: DispatchTarget,
        patience_ms: u32,
    ) -> Result<Reply<v1::PopResponse>, Status> {
        let request = ForwardPopRequest {
            envelope: Some(host.envelope()),
            target: Some(target),
            datacenter: host.identity.datacenter.0.clone(),
            pop: Some(self.request.clone()),
            patience_ms,
        };
        let response = host.network.call(peer, FORWARD_POP, &request, trace::until(self.deadline())).await?;
        Ok(response.outcome.into())
    }

    fn deadline(&self) -> Instant {
        self.call.deadline
    }

    fn may_repeat(&self) -> bool {
        self.call.client != trunkline_delivery::dispatcher::Client::Bare
    }
}

/// An Ack, as the client sent it and as this server understood it.
pub(crate) struct AckErrand<'a> {
    pub(crate) call: AckCall,
    pub(crate) request: &'a v1::AckRequest,
}

impl Errand for AckErrand<'_> {
    type Answer = v1::AckResponse;

    async fn here(&self, handle: &Handle) -> Reply<v1::AckResponse> {
        handle.ack(self.call.clone()).await
    }

    async fn there(
        &self,
        host: &Host,
        peer: &Peer,
        target: DispatchTarget,
        patience_ms: u32,
    ) -> Result<Reply<v1::AckResponse>, Status> {
        let request = ForwardAckRequest {
            envelope: Some(host.envelope()),
            target: Some(target),
            ack: Some(self.request.clone()),
            patience_ms,
        };
        let response = host.network.call(peer, FORWARD_ACK, &request, trace::until(self.deadline())).await?;
        Ok(response.outcome.into())
    }

    fn deadline(&self) -> Instant {
        self.call.deadline
    }

    fn may_repeat(&self) -> bool {
        true
    }
}

/// Asks another server's dispatcher how far it is; `None` if it does not say.
pub(crate) async fn describe_there(
    host: &Host,
    peer: &Peer,
    target: DispatchTarget,
    options: CallOptions,
) -> Option<Situation> {
    let request = DescribeDispatchRequest { envelope: Some(host.envelope()), target: Some(target) };
    let response = host.network.call(peer, DESCRIBE_DISPATCH, &request, options).await.ok()?;
    match response.outcome {
        Some(describe_dispatch_response::Outcome::Status(status)) => {
            let internal::DispatchStatus { position, outstanding, instance, generation } = status;
            Some(Situation { position, outstanding, instance, generation })
        }
        _ => None,
    }
}
