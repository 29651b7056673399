//! A call that belongs to a subscription's dispatcher: done here, or forwarded to where it is.

use std::future::Future;

use tokio::time::Instant;
use trunkline_delivery::dispatcher::Token;
use trunkline_ports::{CallOptions, Host, Peer};
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::pop_peer_service::{DESCRIBE_DISPATCH, FORWARD_ACK, FORWARD_POP};
use trunkline_wire::internal::{
    DescribeDispatchRequest, DispatchTarget, ForwardAckRequest, ForwardPopRequest, TimedToken, TimedTokens,
    describe_dispatch_response, forward_ack_request,
};
use trunkline_wire::{Status, v1};

use crate::handle::{AckCall, Handle, PopCall, Situation, What};
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

    /// Whether it is worth becoming the dispatcher for it.
    fn may_acquire(&self) -> bool {
        true
    }
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
            round: self.call.round,
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

/// What is done to deliveries.
pub(crate) struct AckErrand {
    pub(crate) call: AckCall,
}

impl Errand for AckErrand {
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
            patience_ms,
            what: Some(forwarded(&self.call.what)),
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

    fn may_acquire(&self) -> bool {
        // Whoever dispatches the subscription next knows nothing of the stream.
        !matches!(self.call.what, What::Left(_))
    }
}

fn forwarded(what: &What) -> forward_ack_request::What {
    let bytes = |token: &Token| match token {
        Token::Delivery(token) => token.encode().into(),
        Token::Notice(token) => token.encode().into(),
    };
    let timed = |tokens: &[(Token, Option<u32>)]| TimedTokens {
        tokens: tokens.iter().map(|(token, ms)| TimedToken { token: bytes(token), ms: *ms }).collect(),
    };
    match what {
        What::Ack(tokens) => forward_ack_request::What::Ack(v1::AckRequest {
            tokens: tokens.iter().map(bytes).collect(),
            ..v1::AckRequest::default()
        }),
        What::Nack(tokens) => forward_ack_request::What::Nack(timed(tokens)),
        What::Extend(tokens) => forward_ack_request::What::Extend(timed(tokens)),
        What::Left(stream) => forward_ack_request::What::Left(stream.to_string()),
    }
}

/// The reverse, at the dispatcher's server.
pub(crate) fn what(forwarded: Option<forward_ack_request::What>) -> Result<What, Malformed> {
    let token = |bytes: &[u8]| Token::decode(bytes).map_err(|_| Malformed("token"));
    let timed = |timed: TimedTokens| {
        let each = timed.tokens.iter();
        each.map(|one| Ok((token(&one.token)?, one.ms))).collect::<Result<Vec<_>, Malformed>>()
    };
    Ok(match forwarded.ok_or(Malformed("what"))? {
        forward_ack_request::What::Ack(ack) => {
            What::Ack(ack.tokens.iter().map(|bytes| token(bytes)).collect::<Result<Vec<_>, _>>()?)
        }
        forward_ack_request::What::Nack(tokens) => What::Nack(timed(tokens)?),
        forward_ack_request::What::Extend(tokens) => What::Extend(timed(tokens)?),
        forward_ack_request::What::Left(stream) => What::Left(stream.into()),
    })
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
            Some(Situation { position: status.position, outstanding: status.outstanding })
        }
        _ => None,
    }
}
