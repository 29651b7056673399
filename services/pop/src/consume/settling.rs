//! Acks, nacks and extensions of one request, and what is said to them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::Instant;
use trunkline_delivery::dispatcher::Token;
use trunkline_types::limits::TOKENS_MAX;
use trunkline_wire::status::{invalid, reason, reason_of, to_message};
use trunkline_wire::{Status, v1};

use super::source::Names;
use crate::error;
use crate::grpc::Calls;
use crate::handle::What;
use crate::validate;

/// What is not settled by then is said to be unsettled.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) type Settling = BoxFuture<'static, Settled>;

#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) acked: Vec<Bytes>,
    pub(super) errors: Vec<v1::ConsumeError>,
}

/// Begins to settle all that a request says.
pub(super) fn all(
    calls: &Arc<Calls>,
    names: Option<&Names>,
    request: v1::ConsumeRequest,
) -> Result<Vec<Settling>, Status> {
    let Some(names) = names else {
        let is_nothing = request.acks.is_empty() && request.nacks.is_empty() && request.extensions.is_empty();
        let problem = || invalid("acks", "have no meaning without a consumer");
        return if is_nothing { Ok(Vec::new()) } else { Err(problem()) };
    };
    let mut all = Vec::new();
    let mut begin = |parts: Parts, what: fn(Vec<(Token, Option<u32>)>) -> What, is_ack: bool| {
        if !parts.is_empty() {
            all.push(settle(calls.clone(), names.clone(), parts, what, is_ack));
        }
    };
    let acks = request.acks.into_iter().map(|token| (token, Ok(None)));
    begin(
        Parts::new("acks", acks)?,
        |tokens| What::Ack(tokens.into_iter().map(|(token, _)| token).collect()),
        true,
    );
    let nacks = request.nacks.into_iter();
    let nacks = nacks.map(|nack| (nack.token, validate::delay_ms("nacks.delay", nack.delay)));
    begin(Parts::new("nacks", nacks)?, What::Nack, false);
    let extensions = request.extensions.into_iter();
    let extensions =
        extensions.map(|one| (one.token, validate::extension_ms("extensions.deadline", one.deadline)));
    begin(Parts::new("extensions", extensions)?, What::Extend, false);
    Ok(all)
}

/// Tokens of one kind: those that can be understood, and what is wrong with the others.
struct Parts {
    bytes: Vec<Bytes>,
    tokens: Vec<(Token, Option<u32>)>,
    errors: Vec<v1::ConsumeError>,
}

impl Parts {
    fn new(
        field: &str,
        each: impl ExactSizeIterator<Item = (Bytes, Result<Option<u32>, Status>)>,
    ) -> Result<Self, Status> {
        validate::at_most(field, each.len(), TOKENS_MAX, "tokens")?;
        let mut parts = Self { bytes: Vec::new(), tokens: Vec::new(), errors: Vec::new() };
        for (index, (bytes, ms)) in each.enumerate() {
            let decoded = Token::decode(&bytes)
                .map_err(|problem| invalid(format!("{field}[{index}]"), problem.to_string()));
            match decoded.and_then(|token| ms.map(|ms| (token, ms))) {
                Ok(token) => {
                    parts.bytes.push(bytes);
                    parts.tokens.push(token);
                }
                Err(error) => parts.errors.push(wrong(bytes, &error)),
            }
        }
        Ok(parts)
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.errors.is_empty()
    }
}

fn settle(
    calls: Arc<Calls>,
    names: Names,
    parts: Parts,
    what: fn(Vec<(Token, Option<u32>)>) -> What,
    is_ack: bool,
) -> Settling {
    Box::pin(async move {
        let Parts { bytes, tokens, mut errors } = parts;
        let outcome = if tokens.is_empty() {
            Ok(v1::AckResponse {})
        } else {
            calls.settle(&names, Instant::now() + PATIENCE, |_| Ok(what(tokens.clone()))).await
        };
        let refused = match &outcome {
            Ok(_) => Vec::new(),
            Err(error) if reason_of(error).as_deref() == Some(reason::DELIVERY_EXPIRED) => {
                error::expired_tokens(error).unwrap_or_else(|| (0..bytes.len()).collect())
            }
            Err(_) => (0..bytes.len()).collect(),
        };
        let mut acked = Vec::new();
        for (index, token) in bytes.into_iter().enumerate() {
            match &outcome {
                Err(error) if refused.contains(&index) => errors.push(wrong(token, error)),
                _ if is_ack => acked.push(token),
                _ => {}
            }
        }
        Settled { acked, errors }
    })
}

fn wrong(token: Bytes, error: &Status) -> v1::ConsumeError {
    v1::ConsumeError { token, status: Some(to_message(error)) }
}
