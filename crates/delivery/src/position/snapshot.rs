//! The whole state as bytes.

use super::Positions;
use super::format::{self, Unreadable};
use super::subscription::Subscription;

/// All subscriptions, in the order of their keys.
pub fn encode(positions: &Positions) -> Vec<u8> {
    format::encode(&positions.subscriptions.values().collect::<Vec<&Subscription>>())
}

/// Replaces the state by what [`encode`] has written.
///
/// # Errors
/// [`Unreadable`] for what this version has not written; the state is then as before.
pub fn restore(positions: &mut Positions, bytes: &[u8]) -> Result<(), Unreadable> {
    let subscriptions: Vec<Subscription> = format::decode(bytes)?;
    let mut restored = Positions::new(positions.subscriptions_max);
    for subscription in subscriptions {
        restored.insert(subscription);
    }
    *positions = restored;
    Ok(())
}
