//! Seeks, other options, ends: each says what its proposer has seen, so that one that comes late does nothing.

use super::{Answer, Delete, Key, Positions, Seek, Update};

impl Positions {
    pub(super) fn seek(&mut self, seek: Seek) -> Answer {
        let Some(subscription) = self.subscriptions.get_mut(&(seek.topic_id, seek.consumer)) else {
            return Answer::NotFound;
        };
        let is_same = subscription.instance == seek.instance;
        if is_same && seek.number != 0 && subscription.last_seek == seek.number {
            return Answer::Sought { subscription: Box::new(subscription.clone()), deposed: None };
        }
        // One that was overtaken by another seek must not take the consumer back to where nobody wants it any more.
        if !is_same || subscription.generation != seek.generation_seen {
            return Answer::Changed(Box::new(subscription.clone()));
        }
        let deposed = subscription.begin_again(seek.start_id, seek.number);
        Answer::Sought { subscription: Box::new(subscription.clone()), deposed }
    }

    pub(super) fn update(&mut self, update: Update) -> Answer {
        let Some(subscription) = self.subscriptions.get_mut(&(update.topic_id, update.consumer)) else {
            return Answer::NotFound;
        };
        let mut options = update.options;
        options.start = subscription.options.start;
        let is_same = subscription.instance == update.instance;
        if is_same && subscription.options == options {
            return Answer::Updated(Box::new(subscription.clone()));
        }
        if !is_same || subscription.options != update.seen {
            return Answer::Changed(Box::new(subscription.clone()));
        }
        subscription.options = options;
        subscription.revision += 1;
        Answer::Updated(Box::new(subscription.clone()))
    }

    pub(super) fn delete(&mut self, delete: Delete) -> Answer {
        let key: Key = (delete.topic_id, delete.consumer);
        if self.subscriptions.get(&key).is_none_or(|present| present.instance != delete.instance) {
            return Answer::NotFound;
        }
        let Some(gone) = self.subscriptions.remove(&key) else { return Answer::NotFound };
        self.by_name.remove(&(gone.topic, gone.consumer, gone.topic_id));
        Answer::Deleted { deposed: gone.dispatcher }
    }
}
