//! One check per invariant, named after the constants in `crates/types/src/invariants.rs`. Each looks at a finished
//! record, and each has a test that shows that it can fail.

mod i10_nothing_is_deleted_on_absence;
mod i1_acked_is_durable;
mod i2_ordered_survives_a_datacenter;
mod i3_one_order;
mod i4_acked_is_eventually_ordered;
mod i5_nothing_hides_behind_a_position;
mod i6_once_per_producer_sequence;
mod i7_push_is_local;
mod i8_producer_order;
mod i8b_real_time;
mod i9_honest_errors;
#[cfg(test)]
mod small;

use std::fmt;

use trunkline_types::invariants::{self, Invariant};

use crate::oracle::Record;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What a check says, one sentence per finding.
type Findings = Vec<String>;
type Check = fn(&Record) -> Findings;

const CHECKS: [(Invariant, Check); 11] = [
    (invariants::ACKED_IS_DURABLE, i1_acked_is_durable::check),
    (invariants::ORDERED_SURVIVES_A_DATACENTER, i2_ordered_survives_a_datacenter::check),
    (invariants::ONE_ORDER, i3_one_order::check),
    (invariants::ACKED_IS_ORDERED, i4_acked_is_eventually_ordered::check),
    (invariants::NOTHING_HIDES, i5_nothing_hides_behind_a_position::check),
    (invariants::ONCE_PER_SEQUENCE, i6_once_per_producer_sequence::check),
    (invariants::PUSH_IS_LOCAL, i7_push_is_local::check),
    (invariants::PRODUCER_ORDER, i8_producer_order::check),
    (invariants::REAL_TIME, i8b_real_time::check),
    (invariants::HONEST_ERRORS, i9_honest_errors::check),
    (invariants::NO_DELETION_ON_ABSENCE, i10_nothing_is_deleted_on_absence::check),
];

/// All that is wrong with a record.
pub fn all(record: &Record) -> Vec<Violation> {
    let found = CHECKS.iter().flat_map(|(invariant, check)| {
        check(record).into_iter().map(|what| Violation { invariant: *invariant, what })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_has_a_check() {
        let checked: Vec<&str> = CHECKS.iter().map(|(invariant, _)| invariant.id).collect();
        let promised: Vec<&str> = invariants::ALL.iter().map(|invariant| invariant.id).collect();
        assert_eq!(checked, promised);
    }
}
