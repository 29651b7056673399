//! What tokens do: acknowledge, give back, take longer. A token of this dispatcher speaks for its delivery unless
//! somebody else was given the message since; one of another dispatcher does unless this one has handed it out.

use std::ops::Range;

use trunkline_types::limits::{DELIVERY_WINDOW_MAX, HANDED_OUT_MAX};

use super::Dispatcher;
use super::effect::{AckRefusal, Effect, Expired};
use super::ledger::WaitingAck;
use super::outstanding::{Client, Standing, Tale};
use super::shelf::Payload;
use super::token::{DeliveryToken, NoticeToken, Token};
use crate::position::{AckMode, Counts};

/// What a token says of a delivery.
enum Judgment {
    /// It is the client's. `is_with_client`: it has it still, under this very token.
    Valid {
        is_with_client: bool,
    },
    /// It was acknowledged, by this client as far as is known.
    Already,
    Refuse,
}

impl<M: Payload> Dispatcher<M> {
    pub(super) fn ack(
        &mut self,
        now_ms: u64,
        ack: u64,
        tokens: &[Token],
        deadline_ms: u64,
        effects: &mut Vec<Effect<M>>,
    ) {
        if self.ended {
            effects.push(Effect::AckRefused { ack, why: AckRefusal::Elsewhere });
            return;
        }
        let mut ids = Vec::with_capacity(tokens.len());
        let mut refused = Refused::default();
        for (index, token) in tokens.iter().enumerate() {
            let id = self.accept_one(token, now_ms);
            match id {
                Ok(id) => ids.push(id),
                Err(id) => refused.note(index, id),
            }
        }
        let waiting = WaitingAck { number: ack, deadline_ms, expired: refused.0 };
        self.ledger.answer_when_committed(waiting, &ids, effects);
    }

    pub(super) fn nack(
        &mut self,
        now_ms: u64,
        ack: u64,
        tokens: &[(Token, Option<u64>)],
        effects: &mut Vec<Effect<M>>,
    ) {
        self.answer_each(ack, tokens, effects, |this, token, delay_ms| match token {
            Token::Notice(notice) if this.is_mine(notice) => {
                this.notices.take_back(notice.range());
                Ok(())
            }
            Token::Notice(notice) => Err(notice.from),
            Token::Delivery(token) => match this.judge(token) {
                // What is not with its client comes again anyway.
                Judgment::Valid { is_with_client: false } => Ok(()),
                Judgment::Valid { is_with_client: true } => {
                    let counts = this.outstanding.nack(token.id, now_ms, *delay_ms, &this.policy);
                    this.ledger.count(counts.map(|counts| (token.id, counts)), now_ms);
                    Ok(())
                }
                Judgment::Already | Judgment::Refuse => Err(token.id),
            },
        });
    }

    /// Later ack deadlines, each with the time from when on it comes again.
    pub(super) fn extend(&mut self, ack: u64, tokens: &[(Token, u64)], effects: &mut Vec<Effect<M>>) {
        self.answer_each(ack, tokens, effects, |this, token, due_ms| match token {
            Token::Notice(notice) if this.is_mine(notice) => Ok(()),
            Token::Notice(notice) => Err(notice.from),
            Token::Delivery(token) => {
                let is_own = token.token == this.token && !matches!(this.judge(token), Judgment::Refuse);
                let extended = is_own && this.outstanding.extend(token.id, token.attempt, *due_ms);
                if extended { Ok(()) } else { Err(token.id) }
            }
        });
    }

    /// Does something for each token, and answers at once. `Err` names the message of one that could not.
    fn answer_each<T>(
        &mut self,
        ack: u64,
        tokens: &[(Token, T)],
        effects: &mut Vec<Effect<M>>,
        act: impl Fn(&mut Self, &Token, &T) -> Result<(), u64>,
    ) {
        if self.ended {
            effects.push(Effect::AckRefused { ack, why: AckRefusal::Elsewhere });
            return;
        }
        let mut refused = Refused::default();
        for (index, (token, how)) in tokens.iter().enumerate() {
            if let Err(id) = act(self, token, how) {
                refused.note(index, id);
            }
        }
        effects.push(match refused.0 {
            None => Effect::Acked { ack },
            Some(expired) => Effect::AckRefused { ack, why: AckRefusal::Expired(expired) },
        });
    }

    /// A Pop's echo: what cannot be acknowledged any more is nobody's concern.
    pub(super) fn accept(&mut self, tokens: &[Token], now_ms: u64) {
        for token in tokens {
            let _ = self.accept_one(token, now_ms);
        }
    }

    /// Acknowledges; the message's ID, as an error if it was not its client's to acknowledge.
    fn accept_one(&mut self, token: &Token, now_ms: u64) -> Result<u64, u64> {
        match token {
            Token::Notice(notice) => {
                if !self.is_mine(notice) {
                    return Err(notice.from);
                }
                self.acknowledge_notice(notice, now_ms);
                Ok(notice.from)
            }
            Token::Delivery(token) => match self.judge(token) {
                Judgment::Valid { .. } => {
                    let attempt = Some(token.attempt).filter(|_| token.token == self.token);
                    self.acknowledge(token.id, attempt, now_ms);
                    Ok(token.id)
                }
                Judgment::Already => Ok(token.id),
                Judgment::Refuse => Err(token.id),
            },
        }
    }

    fn judge(&mut self, token: &DeliveryToken) -> Judgment {
        if (token.check, token.instance, token.generation) != (self.check, self.instance, self.generation) {
            return Judgment::Refuse;
        }
        let attempt = Some(token.attempt).filter(|_| token.token == self.token);
        if self.ledger.is_acknowledged(token.id) {
            let is_theirs = self.ledger.was_acknowledged_by(token.id, attempt);
            return if is_theirs { Judgment::Already } else { Judgment::Refuse };
        }
        if token.token > self.token {
            // There may be a newer dispatcher: a commit tells.
            self.ledger.hurry();
        }
        match attempt.map(|attempt| self.outstanding.standing(token.id, attempt)) {
            Some(Standing::Valid { is_with_client }) => Judgment::Valid { is_with_client },
            Some(Standing::Overtaken | Standing::Never) => Judgment::Refuse,
            None => {
                // An earlier dispatcher's window may have begun above what it had committed.
                let reach = DELIVERY_WINDOW_MAX + HANDED_OUT_MAX;
                let is_near = token.id - self.ledger.lowest() < reach;
                if is_near && !self.outstanding.was_handed_out(token.id) {
                    Judgment::Valid { is_with_client: false }
                } else {
                    Judgment::Refuse
                }
            }
        }
    }

    fn is_mine(&self, notice: &NoticeToken) -> bool {
        (notice.check, notice.instance, notice.generation) == (self.check, self.instance, self.generation)
    }

    /// `attempt`: of this dispatcher's token, if it was by one.
    fn acknowledge(&mut self, id: u64, attempt: Option<u32>, now_ms: u64) {
        let since = self.outstanding.remove(id);
        match attempt {
            Some(attempt) if attempt < since => self.ledger.acknowledge_by(id, attempt..=attempt, now_ms),
            Some(_) => self.ledger.acknowledge_by(id, since..=u32::MAX, now_ms),
            None => self.ledger.acknowledge(id..id + 1, now_ms),
        }
        self.forget(id);
    }

    pub(super) fn acknowledge_all_of(&mut self, client: &Client, now_ms: u64) {
        let given: Vec<u64> = self.outstanding.of(client).collect();
        given.into_iter().for_each(|id| self.acknowledge(id, Some(u32::MAX), now_ms));
        for range in self.notices.of(client) {
            self.acknowledge_notice(&self.notice(range), now_ms);
        }
    }

    pub(super) fn acknowledge_notice(&mut self, notice: &NoticeToken, now_ms: u64) {
        for id in self.outstanding.within(notice.range()) {
            self.outstanding.remove(id);
        }
        self.ledger.acknowledge(notice.range(), now_ms);
        self.notices.acknowledged(&notice.range());
    }

    pub(super) fn notice(&self, range: Range<u64>) -> NoticeToken {
        let (check, instance, generation) = (self.check, self.instance, self.generation);
        NoticeToken { check, instance, generation, from: range.start, to: range.end }
    }

    /// A Consume stream ended.
    pub(super) fn left(&mut self, client: &Client, now_ms: u64) {
        self.waiting.retain(|waiting| waiting.pop.client != *client);
        let counts = self.outstanding.leave(client, now_ms, &self.policy);
        self.ledger.count(counts, now_ms);
        self.notices.leave(client);
    }

    /// In the order opposite to that in which they were handed out.
    pub(super) fn take_back(&mut self, deliveries: &[DeliveryToken], expired: &[NoticeToken]) {
        for token in deliveries.iter().rev().filter(|token| token.token == self.token) {
            if self.policy.ack_mode == AckMode::Immediate {
                let key = self.shelf.get(token.id).and_then(Payload::key);
                self.outstanding.pass_over(token.id, Tale::new(key, Counts::default()), false);
            } else {
                self.outstanding.take_back(token.id, token.attempt);
            }
        }
        expired.iter().for_each(|notice| self.notices.take_back(notice.range()));
    }

    /// It is in the dead letter topic: no token speaks for it any more.
    pub(super) fn moved(&mut self, id: u64, now_ms: u64) {
        self.outstanding.remove(id);
        self.ledger.acknowledge_by(id, 0..=0, now_ms);
        self.forget(id);
    }

    fn forget(&mut self, id: u64) {
        self.shelf.remove(id);
        self.counts.remove(&id);
    }
}

/// The tokens of one call that do not speak for their deliveries.
#[derive(Default)]
struct Refused(Option<Expired>);

impl Refused {
    fn note(&mut self, index: usize, id: u64) {
        self.0.get_or_insert(Expired { indexes: Vec::new(), id }).indexes.push(index);
    }
}
