//! What must be true whatever fails. Each has a name here; ARCHITECTURE.md tells how it is kept, and the checks of
//! the simulator carry these names.

use std::fmt;

/// One promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invariant {
    pub id: &'static str,
    pub name: &'static str,
    pub says: &'static str,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.name)
    }
}

macro_rules! invariants {
    ($($constant:ident = $id:literal, $name:literal, $says:literal;)*) => {
        $(#[doc = $says] pub const $constant: Invariant = Invariant { id: $id, name: $name, says: $says };)*
        /// All of them, in order.
        pub const ALL: &[Invariant] = &[$($constant),*];
    };
}

invariants! {
    ACKED_IS_DURABLE = "I1", "acked is durable",
        "A push acknowledged at LOCAL or above is on disk (fsync) on two stores; on one where a deployment has one.";
    ORDERED_SURVIVES_A_DATACENTER = "I2", "ordered survives a datacenter",
        "A message with an ID is on disk in two datacenters: losing any one neither loses, moves nor renumbers it.";
    ONE_ORDER = "I3", "one order",
        "(topic, ID) names the same bytes in every datacenter for ever; IDs are dense and never reused.";
    ACKED_IS_ORDERED = "I4", "acked is eventually ordered",
        "Every acknowledged push gets an ID, exactly once, when two datacenters have it on disk and a quorum can talk.";
    NOTHING_HIDES = "I5", "nothing hides behind a position",
        "A position never passes an ID that was not delivered, skipped by its owner, or expired and said so.";
    ONCE_PER_SEQUENCE = "I6", "once per producer sequence",
        "Of all pushes of one (topic, producer, sequence) exactly one gets an ID, wherever they were made.";
    PUSH_IS_LOCAL = "I7", "push is local",
        "LOCAL pushes to an existing topic succeed while two stores of its bucket, one of them local, can talk.";
    PRODUCER_ORDER = "I8", "producer order",
        "What one PushStream sends is ordered as sent while its coordinator lives and its datacenter is not cut off.";
    REAL_TIME = "I8b", "real time",
        "m1 acknowledged at ORDERED before m2's push began, anywhere: ID(m1) < ID(m2).";
    HONEST_ERRORS = "I9", "honest errors",
        "Every error says whether the push was certainly not stored; a push that failed for certain is never delivered.";
    NO_DELETION_ON_ABSENCE = "I10", "nothing is deleted on absence",
        "Data goes only by committed trim or committed deletion, never because metadata for it is missing.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_stands_in_the_architecture() {
        let text = include_str!("../../../ARCHITECTURE.md");
        for invariant in ALL {
            let line = format!("**{}** {}", invariant.id, invariant.name);
            assert!(text.contains(&line), "ARCHITECTURE.md has no {line:?}");
        }
    }
}
