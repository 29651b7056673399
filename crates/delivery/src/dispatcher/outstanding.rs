//! What was handed out and is not acknowledged: who has it, until when, and what must come again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who pops.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// Neither client id nor tokens: its next Pop acknowledges all that the bare form was last given.
    Bare,
    /// Tokens without a client id: only the ack deadline brings back what it does not echo.
    Nameless,
    Named(Arc<str>),
}

#[derive(Clone, Debug)]
struct Given {
    to: Client,
    /// Of the attempts, the first from which on it was always this client's.
    since: u32,
    attempt: u32,
    due_ms: u64,
}

#[derive(Clone, Debug)]
struct Again {
    last: Client,
    since: u32,
    /// How often it was handed out so far; 0 if the only time was taken back.
    attempts: u32,
}

/// Whether a token of this dispatcher still speaks for its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does, or nobody has been given the message since.
    Valid,
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
    /// To be handed out again, to anyone.
    again: BTreeMap<u64, Again>,
}

impl Outstanding {
    /// Handed out and neither acknowledged nor expired.
    pub(super) fn len(&self) -> usize {
        self.given.len()
    }

    /// Nobody has anything. What must come again is nobody's.
    pub(super) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Handed out by this dispatcher, whether or not somebody has it now.
    pub(super) fn contains(&self, id: u64) -> bool {
        self.given.contains_key(&id) || self.again.contains_key(&id)
    }

    /// What a client has, ascending.
    pub(super) fn of<'a>(&'a self, client: &Client) -> impl Iterator<Item = u64> + 'a {
        self.by_client.get(client).into_iter().flatten().copied()
    }

    pub(super) fn has_any(&self, client: &Client) -> bool {
        self.by_client.contains_key(client)
    }

    /// What must come again to anyone, ascending.
    pub(super) fn again(&self) -> impl Iterator<Item = u64> + '_ {
        self.again.keys().copied()
    }

    pub(super) fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// Hands `id` to `to`; returns the attempt.
    pub(super) fn give(&mut self, id: u64, to: &Client, due_ms: u64) -> u32 {
        let (last, since, attempts) = match (self.given.get(&id), self.again.remove(&id)) {
            (Some(given), _) => (Some(given.to.clone()), given.since, given.attempt),
            (None, Some(again)) => (Some(again.last), again.since, again.attempts),
            (None, None) => (None, 1, 0),
        };
        self.forget_given(id);
        let attempt = attempts + 1;
        let same = matches!(to, Client::Named(_)) && last.as_ref() == Some(to);
        let since = if same { since } else { attempt };
        self.given.insert(id, Given { to: to.clone(), since, attempt, due_ms });
        self.due.insert((due_ms, id));
        if *to != Client::Nameless {
            self.by_client.entry(to.clone()).or_default().insert(id);
        }
        attempt
    }

    /// Acknowledged or expired for good.
    pub(super) fn remove(&mut self, id: u64) {
        self.forget_given(id);
        self.again.remove(&id);
    }

    /// An answer that could not be given: nobody has seen this attempt.
    pub(super) fn take_back(&mut self, id: u64, attempt: u32) {
        if self.given.get(&id).is_some_and(|given| given.attempt == attempt) {
            let given = self.forget_given(id).expect("it was just there");
            self.again.insert(id, Again { last: given.to, since: given.since, attempts: attempt - 1 });
        }
    }

    /// What is past its ack deadline comes again.
    pub(super) fn expire(&mut self, now_ms: u64) {
        while let Some(&(due_ms, id)) = self.due.first() {
            if due_ms > now_ms {
                return;
            }
            match self.forget_given(id) {
                Some(given) => {
                    let again = Again { last: given.to, since: given.since, attempts: given.attempt };
                    self.again.insert(id, again);
                }
                None => {
                    self.due.pop_first();
                }
            }
        }
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.first().map(|&(due_ms, _)| due_ms)
    }

    /// Of a token of this dispatcher, for a message that is not acknowledged.
    pub(super) fn standing(&self, id: u64, attempt: u32) -> Standing {
        match (self.given.get(&id), self.again.get(&id)) {
            (Some(given), _) if (given.since..=given.attempt).contains(&attempt) => Standing::Valid,
            (Some(given), _) if (1..given.since).contains(&attempt) => Standing::Overtaken,
            (None, Some(again)) if (1..=again.attempts).contains(&attempt) => Standing::Valid,
            _ => Standing::Never,
        }
    }

    fn forget_given(&mut self, id: u64) -> Option<Given> {
        let given = self.given.remove(&id)?;
        self.due.remove(&(given.due_ms, id));
        if let Some(ids) = self.by_client.get_mut(&given.to) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_client.remove(&given.to);
            }
        }
        Some(given)
    }
}
