//! What has become of a subscription, for its dispatcher.

use trunkline_wire::internal::{StoredSubscription, SubscriptionChangedRequest};

use crate::positions::Tenure;

#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// It is committed like this now.
    Is(Box<StoredSubscription>),
    /// This instance is no more.
    Deleted(u64),
}

/// What a dispatcher does about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Bearing {
    /// It is of before its tenure.
    Old,
    /// Its tenure goes on, perhaps under other options.
    Options,
    /// Its tenure is over.
    Over,
}

impl Change {
    pub(crate) fn bearing_on(&self, tenure: Tenure) -> Bearing {
        let Tenure { instance, generation, token } = tenure;
        match self {
            Self::Deleted(deleted) if *deleted < instance => Bearing::Old,
            Self::Deleted(_) => Bearing::Over,
            Self::Is(stored) => {
                let present = (stored.instance, stored.generation, stored.fencing_token);
                match present.cmp(&(instance, generation, token)) {
                    std::cmp::Ordering::Less => Bearing::Old,
                    std::cmp::Ordering::Equal => Bearing::Options,
                    std::cmp::Ordering::Greater => Bearing::Over,
                }
            }
        }
    }

    /// Its part of a request to another server.
    pub(crate) fn to_message(&self) -> SubscriptionChangedRequest {
        let (subscription, deleted) = match self {
            Self::Is(stored) => (Some(StoredSubscription::clone(stored)), 0),
            Self::Deleted(instance) => (None, *instance),
        };
        SubscriptionChangedRequest { subscription, deleted, ..SubscriptionChangedRequest::default() }
    }

    pub(crate) fn from_message(request: SubscriptionChangedRequest) -> Self {
        request.subscription.map_or(Self::Deleted(request.deleted), |present| Self::Is(Box::new(present)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_ends_a_tenure_and_what_is_old_does_not() {
        let tenure = Tenure { instance: 9, generation: 1, token: 4 };
        let is = |instance, generation, fencing_token| {
            let stored = StoredSubscription { instance, generation, fencing_token, ..Default::default() };
            Change::Is(Box::new(stored))
        };
        let cases = [
            (is(9, 1, 4), Bearing::Options),
            (is(9, 2, 5), Bearing::Over),
            (is(9, 1, 5), Bearing::Over),
            (is(12, 0, 0), Bearing::Over),
            (is(9, 0, 3), Bearing::Old),
            (is(8, 7, 7), Bearing::Old),
            (Change::Deleted(9), Bearing::Over),
            (Change::Deleted(12), Bearing::Over),
            (Change::Deleted(8), Bearing::Old),
        ];
        for (change, expected) in cases {
            assert_eq!(change.bearing_on(tenure), expected, "{change:?}");
            assert_eq!(Change::from_message(change.to_message()).bearing_on(tenure), expected);
        }
    }
}
