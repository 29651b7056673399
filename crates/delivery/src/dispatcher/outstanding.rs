//! What was handed out and is not acknowledged: who has it, until when; and what below that must come yet, be it again
//! or, for its key was with somebody else, for the first time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::effect::Pop;
use super::keys::{Head, Key, Keys, Share};
use super::policy::Policy;
use super::ready::Ready;
use crate::position::Counts;

/// Who pops.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// Neither client id nor tokens: its next Pop acknowledges all that the bare form was last given.
    Bare,
    /// Tokens without a client id: only the ack deadline brings back what it does not echo.
    Nameless,
    Named(Arc<str>),
    /// A Consume stream: what it is given is its own until it is acknowledged or given back, its deadline passes, or the
    /// stream ends.
    Stream(Arc<str>),
}

/// What became of one message so far.
#[derive(Clone, Debug)]
pub(super) struct Tale {
    pub(super) key: Option<Key>,
    /// Under earlier dispatchers.
    before: Counts,
    last: Option<Client>,
    /// Of the attempts, the first from which on it was always this client's.
    since: u32,
    /// How often it was handed out by this dispatcher.
    attempt: u32,
    /// Of those, taken back for the sake of a lower one of its key.
    spared: u32,
    nacks: u32,
}

impl Tale {
    pub(super) fn new(key: Option<Key>, before: Counts) -> Self {
        Self { key, before, last: None, since: 1, attempt: 0, spared: 0, nacks: 0 }
    }

    /// Deliveries that were in vain, if the present one is.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            deliveries: self.before.deliveries.saturating_add(self.attempt - self.spared),
            nacks: self.before.nacks.saturating_add(self.nacks),
        }
    }
}

#[derive(Clone, Debug)]
struct Given {
    tale: Tale,
    to: Client,
    /// The pop of its client that it was the answer of.
    round: u64,
    due_ms: u64,
}

#[derive(Clone, Debug)]
struct Pending {
    tale: Tale,
    /// It is not handed out before; [`HELD`] until something else happens.
    not_before_ms: u64,
    is_delayed: bool,
}

/// Until [`Outstanding::release`].
const HELD: u64 = u64::MAX;

/// What is handed out now, as it is told to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Of this dispatcher.
    pub(super) number: u32,
    /// Of all dispatchers, as far as they are counted.
    pub(super) told: u32,
    pub(super) nacks: u32,
}

/// Whether a token of this dispatcher still speaks for its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does. `is_with_client`: and the client has it still, under this very token.
    Valid { is_with_client: bool },
    /// Somebody else has it now.
    Overtaken,
    /// It was never handed out like this.
    Never,
}

#[derive(Debug, Default)]
pub(super) struct Outstanding {
    given: BTreeMap<u64, Given>,
    by_client: BTreeMap<Client, BTreeSet<u64>>,
    due: BTreeSet<(u64, u64)>,
    pending: BTreeMap<u64, Pending>,
    delayed: BTreeSet<(u64, u64)>,
    /// On the way to the dead letter topic.
    moving: BTreeMap<u64, Tale>,
    keys: Keys,
    ready: Ready,
}

impl Outstanding {
    /// With clients.
    pub(super) fn len(&self) -> usize {
        self.given.len()
    }

    /// Nobody has anything and nothing is being moved. What must come again is nobody's.
    pub(super) fn is_empty(&self) -> bool {
        self.given.is_empty() && self.moving.is_empty()
    }

    /// Handed out by this dispatcher, whether or not somebody has it now.
    pub(super) fn was_handed_out(&self, id: u64) -> bool {
        let pending = self.pending.get(&id).is_some_and(|pending| pending.tale.attempt > 0);
        pending || self.given.contains_key(&id) || self.moving.contains_key(&id)
    }

    /// Its message may be needed.
    pub(super) fn knows(&self, id: u64) -> bool {
        self.given.contains_key(&id) || self.pending.contains_key(&id)
    }

    /// What a client has, ascending.
    pub(super) fn of<'a>(&'a self, client: &Client) -> impl Iterator<Item = u64> + 'a {
        self.by_client.get(client).into_iter().flatten().copied()
    }

    pub(super) fn has_any(&self, client: &Client) -> bool {
        self.by_client.contains_key(client)
    }

    /// What a client was given by its pops of this round, ascending.
    pub(super) fn of_round<'a>(&'a self, client: &Client, round: u64) -> impl Iterator<Item = u64> + 'a {
        self.of(client).filter(move |id| self.given[id].round == round)
    }

    /// Whether there is something that only `client` may be given.
    pub(super) fn has_own(&self, client: &Client) -> bool {
        self.ready.has_own(client)
    }

    /// The lowest that must come yet and may go to `client` now.
    pub(super) fn next_for(&self, client: &Client, share: Option<Share>) -> Option<u64> {
        let fits = |id: u64| share.is_none_or(|share| share.has(self.pending[&id].tale.key));
        self.ready.next(client, fits)
    }

    /// Whether a message that nobody was given yet may go to `client`.
    pub(super) fn is_free(&self, key: Option<Key>, client: &Client) -> bool {
        self.keys.is_free(key, client)
    }

    /// Those that must come yet, ascending.
    pub(super) fn pending(&self) -> impl Iterator<Item = u64> + '_ {
        self.pending.keys().copied()
    }

    pub(super) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Those with clients, or to come yet.
    pub(super) fn within(&self, range: Range<u64>) -> Vec<u64> {
        let given = self.given.range(range.clone()).map(|(&id, _)| id);
        given.chain(self.pending.range(range).map(|(&id, _)| id)).collect()
    }

    pub(super) fn moving(&self) -> usize {
        self.moving.len()
    }

    pub(super) fn tale(&self, id: u64) -> Option<&Tale> {
        let pending = self.pending.get(&id).map(|pending| &pending.tale);
        pending.or_else(|| self.given.get(&id).map(|given| &given.tale))
    }

    /// It comes later: its key, or its turn, is somebody else's. `is_held`: not before [`Outstanding::release`].
    pub(super) fn pass_over(&mut self, id: u64, tale: Tale, is_held: bool) {
        self.wait(id, tale, if is_held { HELD } else { 0 }, is_held);
    }

    /// It is held no more.
    pub(super) fn release(&mut self, id: u64) {
        if let Some(tale) = self.forget_pending(id) {
            self.wait(id, tale, 0, false);
        }
    }

    /// Hands `id` to the client of a pop. `new`: if it is not known yet.
    pub(super) fn give(&mut self, id: u64, new: Tale, pop: &Pop, due_ms: u64) -> Attempt {
        let to = &pop.client;
        let known = self.forget_given(id).or_else(|| self.forget_pending(id));
        let mut tale = known.unwrap_or(new);
        tale.attempt += 1;
        let keeps = matches!(to, Client::Named(_) | Client::Stream(_)) && tale.last.as_ref() == Some(to);
        if !keeps {
            tale.since = tale.attempt;
        }
        tale.last = Some(to.clone());
        let counts = tale.counts();
        let attempt = Attempt {
            number: tale.attempt,
            told: tale.before.deliveries.saturating_add(tale.attempt),
            nacks: counts.nacks,
        };
        self.due.insert((due_ms, id));
        if *to != Client::Nameless {
            self.by_client.entry(to.clone()).or_default().insert(id);
        }
        let key = tale.key;
        self.given.insert(id, Given { tale, to: to.clone(), round: pop.round, due_ms });
        if let Some(key) = key {
            self.keys.change(key, |lane| {
                lane.given.insert(id);
                lane.holder = Some(to.clone());
            });
            self.refresh(key);
        }
        attempt
    }

    /// Acknowledged, expired or moved for good. Whose attempts still speak for it: from which on.
    pub(super) fn remove(&mut self, id: u64) -> u32 {
        let given = self.forget_given(id);
        let pending = self.forget_pending(id);
        let moved = self.forget_moving(id);
        given.or(pending).or(moved).map_or(1, |tale| tale.since)
    }

    /// An answer that could not be given: nobody has seen this attempt.
    pub(super) fn take_back(&mut self, id: u64, attempt: u32) {
        if self.given.get(&id).is_none_or(|given| given.tale.attempt != attempt) {
            return;
        }
        let mut tale = self.forget_given(id).expect("it was just there");
        tale.attempt -= 1;
        tale.spared = tale.spared.min(tale.attempt);
        self.spare_above(id, tale.key);
        self.wait(id, tale, 0, false);
    }

    /// A client gives it back: it comes again after `delay_ms`, or as `policy` says. Its counts, if the client had it.
    pub(super) fn nack(
        &mut self,
        id: u64,
        now_ms: u64,
        delay_ms: Option<u64>,
        policy: &Policy,
    ) -> Option<Counts> {
        let mut tale = self.forget_given(id)?;
        tale.nacks = tale.nacks.saturating_add(1);
        Some(self.comes_again(id, tale, now_ms, delay_ms, policy))
    }

    /// What a client leaves behind when it is gone comes again; what it had of it, with counts.
    pub(super) fn leave(&mut self, client: &Client, now_ms: u64, policy: &Policy) -> Vec<(u64, Counts)> {
        let had: Vec<u64> = self.of(client).collect();
        had.into_iter().filter_map(|id| self.fails(id, now_ms, policy)).collect()
    }

    /// What is past its ack deadline comes again, and what was delayed may be handed out.
    pub(super) fn expire(&mut self, now_ms: u64, policy: &Policy) -> Vec<(u64, Counts)> {
        let mut expired = Vec::new();
        while let Some(&(_, id)) = self.due.first().filter(|(due_ms, _)| *due_ms <= now_ms) {
            expired.extend(self.fails(id, now_ms, policy));
        }
        while let Some(&(_, id)) = self.delayed.first().filter(|(due_ms, _)| *due_ms <= now_ms) {
            self.release(id);
        }
        expired
    }

    /// A later ack deadline, for who has it. False if that is not this token's client.
    pub(super) fn extend(&mut self, id: u64, attempt: u32, due_ms: u64) -> bool {
        let Some(given) = self.given.get_mut(&id) else { return false };
        if !(given.tale.since..=given.tale.attempt).contains(&attempt) {
            return false;
        }
        self.due.remove(&(given.due_ms, id));
        given.due_ms = due_ms;
        self.due.insert((due_ms, id));
        true
    }

    /// On its way to the dead letter topic: nobody's any more.
    pub(super) fn begin_to_move(&mut self, id: u64, new: Tale) -> Counts {
        let known = self.forget_given(id).or_else(|| self.forget_pending(id));
        let tale = known.unwrap_or(new);
        let (key, counts) = (tale.key, tale.counts());
        self.moving.insert(id, tale);
        if let Some(key) = key {
            self.keys.change(key, |lane| lane.moving.insert(id));
            self.refresh(key);
        }
        counts
    }

    /// Not now: there is too much to be done with others.
    pub(super) fn postpone(&mut self, id: u64, new: Tale, not_before_ms: u64) {
        let known = self.forget_given(id).or_else(|| self.forget_pending(id));
        self.wait(id, known.unwrap_or(new), not_before_ms, true);
    }

    /// It could not be moved: again after a while.
    pub(super) fn move_failed(&mut self, id: u64, not_before_ms: u64) {
        if let Some(tale) = self.forget_moving(id) {
            self.wait(id, tale, not_before_ms, true);
        }
    }

    /// When [`Outstanding::expire`] has something to do.
    pub(super) fn next_due(&self) -> Option<u64> {
        let delayed = self.delayed.first().filter(|(due_ms, _)| *due_ms != HELD);
        self.due.first().into_iter().chain(delayed).map(|&(due_ms, _)| due_ms).min()
    }

    /// Of a token of this dispatcher, for a message that is not acknowledged.
    pub(super) fn standing(&self, id: u64, attempt: u32) -> Standing {
        if let Some(Given { tale, .. }) = self.given.get(&id) {
            return match attempt {
                0 => Standing::Never,
                _ if attempt > tale.attempt => Standing::Never,
                _ if attempt < tale.since => Standing::Overtaken,
                _ => Standing::Valid { is_with_client: attempt == tale.attempt },
            };
        }
        let pending = self.pending.get(&id).map(|pending| &pending.tale);
        match pending {
            Some(tale) if (1..=tale.attempt).contains(&attempt) => Standing::Valid { is_with_client: false },
            None if self.moving.contains_key(&id) => Standing::Overtaken,
            _ => Standing::Never,
        }
    }

    /// Delivered in vain.
    fn fails(&mut self, id: u64, now_ms: u64, policy: &Policy) -> Option<(u64, Counts)> {
        let tale = self.forget_given(id)?;
        Some((id, self.comes_again(id, tale, now_ms, None, policy)))
    }

    fn comes_again(
        &mut self,
        id: u64,
        tale: Tale,
        now_ms: u64,
        delay_ms: Option<u64>,
        policy: &Policy,
    ) -> Counts {
        let counts = tale.counts();
        let delay_ms = delay_ms.filter(|_| !policy.is_spent(counts));
        let delay_ms = delay_ms.unwrap_or_else(|| policy.retry_delay_ms(counts));
        self.spare_above(id, tale.key);
        self.wait(id, tale, now_ms.saturating_add(delay_ms), delay_ms > 0);
        counts
    }

    /// The later ones of its key, which its client has, come again after it: it is no fault of theirs.
    fn spare_above(&mut self, id: u64, key: Option<Key>) {
        let Some(key) = key else { return };
        for above in self.keys.given_above(key, id) {
            if let Some(mut tale) = self.forget_given(above) {
                tale.spared += 1;
                self.wait(above, tale, 0, false);
            }
        }
    }

    fn wait(&mut self, id: u64, tale: Tale, not_before_ms: u64, is_delayed: bool) {
        let key = tale.key;
        self.pending.insert(id, Pending { tale, not_before_ms, is_delayed });
        if is_delayed {
            self.delayed.insert((not_before_ms, id));
        }
        match key {
            Some(key) => {
                self.keys.change(key, |lane| lane.waiting.insert(id));
                self.refresh(key);
            }
            None if !is_delayed => self.ready.add(id),
            None => {}
        }
    }

    /// Whom the first of a key that waits may be given to has changed, perhaps.
    fn refresh(&mut self, key: Key) {
        let head = match self.keys.head(key) {
            Head::Anyone(id) | Head::Only(_, id) if self.pending[&id].is_delayed => Head::Nobody,
            head => head,
        };
        self.ready.set_head(key, head);
    }

    fn forget_given(&mut self, id: u64) -> Option<Tale> {
        let given = self.given.remove(&id)?;
        self.due.remove(&(given.due_ms, id));
        if let Some(ids) = self.by_client.get_mut(&given.to) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_client.remove(&given.to);
            }
        }
        if let Some(key) = given.tale.key {
            self.keys.change(key, |lane| lane.given.remove(&id));
            self.refresh(key);
        }
        Some(given.tale)
    }

    fn forget_pending(&mut self, id: u64) -> Option<Tale> {
        let pending = self.pending.remove(&id)?;
        if pending.is_delayed {
            self.delayed.remove(&(pending.not_before_ms, id));
        }
        match pending.tale.key {
            Some(key) => {
                self.keys.change(key, |lane| lane.waiting.remove(&id));
                self.refresh(key);
            }
            None => self.ready.remove(id),
        }
        Some(pending.tale)
    }

    fn forget_moving(&mut self, id: u64) -> Option<Tale> {
        let tale = self.moving.remove(&id)?;
        if let Some(key) = tale.key {
            self.keys.change(key, |lane| lane.moving.remove(&id));
            self.refresh(key);
        }
        Some(tale)
    }
}
