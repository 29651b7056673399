//! Who dispatches what, as far as this server has heard.

use std::sync::Mutex;

use rustc_hash::FxHashMap;
use trunkline_wire::internal::{Dispatcher, NotDispatcher, StoredSubscription};

use crate::positions::Key;

const REMEMBERED_MAX: usize = 200_000;

/// A fencing token and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) token: u64,
    /// Nobody yet, or not known.
    pub(crate) dispatcher: Option<Dispatcher>,
}

impl From<StoredSubscription> for Route {
    fn from(subscription: StoredSubscription) -> Self {
        Self { token: subscription.fencing_token, dispatcher: subscription.dispatcher }
    }
}

impl Route {
    pub(crate) fn to_message(&self) -> NotDispatcher {
        NotDispatcher { dispatcher: self.dispatcher.clone(), fencing_token: self.token }
    }

    /// What a server says that does not dispatch: the newer route, if it knows one.
    pub(crate) fn from_message(message: NotDispatcher) -> Option<Self> {
        message
            .dispatcher
            .is_some()
            .then_some(Self { token: message.fencing_token, dispatcher: message.dispatcher })
    }
}

/// Routes that have worked. Wrong ones are found out where they lead.
#[derive(Debug, Default)]
pub(crate) struct Routes(Mutex<FxHashMap<Key, Route>>);

impl Routes {
    pub(crate) fn get(&self, key: &Key) -> Option<Route> {
        self.0.lock().expect("nobody panics while holding it").get(key).cloned()
    }

    pub(crate) fn put(&self, key: &Key, route: &Route) {
        let mut routes = self.0.lock().expect("nobody panics while holding it");
        if routes.len() >= REMEMBERED_MAX {
            routes.clear();
        }
        routes.insert(key.clone(), route.clone());
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.0.lock().expect("nobody panics while holding it").remove(key);
    }
}
