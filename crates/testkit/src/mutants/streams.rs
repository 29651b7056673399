//! Broken ways to take, to follow and to relay: what one frame says.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use trunkline_types::NodeId;
use trunkline_wire::Status;
use trunkline_wire::internal::{
    AppendRequest, AppendResponse, FollowResponse, RelayResponse, appended, follow_service, order_service,
    store_service,
};
use trunkline_wire::short::Restoring;
use trunkline_wire::status;
use trunkline_wire::v1::{AckLevel, PushResponse, push_service};

use super::tamper::{Tamper, TamperStream, edit};

/// A holder serves its own logs only.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServesOwnLogsOnly(pub(super) NodeId);

impl Tamper for ServesOwnLogsOnly {
    fn stream(&self, path: &'static str) -> Option<Box<dyn TamperStream>> {
        let of = |node| Box::new(OwnLogs { node, names: Restoring::default() }) as Box<dyn TamperStream>;
        (path == follow_service::FOLLOW.path()).then(|| of(self.0.0))
    }
}

struct OwnLogs {
    node: u64,
    names: Restoring,
}

impl TamperStream for OwnLogs {
    fn response(&mut self, frame: Bytes) -> Bytes {
        edit(frame, |response: &mut FollowResponse| {
            self.names.restore(response).expect("what a store says itself");
            response.ends.retain(|end| end.log.is_some_and(|log| log.node == self.node));
            response.records.retain(|records| records.log.is_some_and(|log| log.node == self.node));
        })
    }
}

/// Reports go from a store's voter to the leader and no other way.
#[derive(Clone, Copy, Debug)]
pub(super) struct RelaysForNobody;

impl Tamper for RelaysForNobody {
    fn stream(&self, path: &'static str) -> Option<Box<dyn TamperStream>> {
        (path == order_service::RELAY.path()).then(|| Box::new(*self) as Box<dyn TamperStream>)
    }
}

impl TamperStream for RelaysForNobody {
    fn response(&mut self, frame: Bytes) -> Bytes {
        edit(frame, |response: &mut RelayResponse| response.reaches.clear())
    }
}

/// A coordinator's answers come so much later.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswersLate(pub(super) Duration);

impl Tamper for AnswersLate {
    fn stream(&self, path: &'static str) -> Option<Box<dyn TamperStream>> {
        (path == store_service::APPEND.path()).then(|| Box::new(*self) as Box<dyn TamperStream>)
    }
}

impl TamperStream for AnswersLate {
    fn response_delay(&self) -> Duration {
        self.0
    }
}

/// A coordinator answers LOCAL only once the record is ordered.
#[derive(Clone, Debug, Default)]
pub(super) struct LocalWaitsForOrder;

impl Tamper for LocalWaitsForOrder {
    fn stream(&self, path: &'static str) -> Option<Box<dyn TamperStream>> {
        let holds_back = || Box::new(HoldsBack::default()) as Box<dyn TamperStream>;
        (path == store_service::APPEND.path()).then(holds_back)
    }
}

#[derive(Debug, Default)]
struct HoldsBack {
    /// By tag: what is said once the record is ordered.
    stored: BTreeMap<u64, appended::What>,
}

impl TamperStream for HoldsBack {
    fn request(&mut self, frame: Bytes) -> Bytes {
        edit(frame, |request: &mut AppendRequest| {
            for record in &mut request.records {
                if record.level == i32::from(AckLevel::Local) {
                    record.level = AckLevel::Ordered.into();
                }
            }
        })
    }

    fn response(&mut self, frame: Bytes) -> Bytes {
        edit(frame, |response: &mut AppendResponse| {
            let mut said = Vec::new();
            for result in std::mem::take(&mut response.results) {
                match &result.what {
                    Some(stored @ appended::What::Stored(_)) => {
                        self.stored.insert(result.tag, stored.clone());
                    }
                    Some(appended::What::Ordered(_)) => {
                        let mut first = result.clone();
                        first.what = self.stored.remove(&result.tag);
                        said.extend(first.what.is_some().then_some(first));
                        said.push(result);
                    }
                    _ => said.push(result),
                }
            }
            response.results = said;
        })
    }
}

/// A coordinator appends what comes in one message in the order of its own choosing.
#[derive(Clone, Copy, Debug)]
pub(super) struct AppendsBackwards;

impl Tamper for AppendsBackwards {
    fn stream(&self, path: &'static str) -> Option<Box<dyn TamperStream>> {
        (path == store_service::APPEND.path()).then(|| Box::new(*self) as Box<dyn TamperStream>)
    }
}

impl TamperStream for AppendsBackwards {
    fn request(&mut self, frame: Bytes) -> Bytes {
        edit(frame, |request: &mut AppendRequest| request.records.reverse())
    }
}

/// Every failure of a push is called certain.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallsFailuresCertain;

impl Tamper for CallsFailuresCertain {
    fn answer(
        &self,
        path: &'static str,
        _request: &Bytes,
        answer: Result<Bytes, Status>,
    ) -> Result<Bytes, Status> {
        if path != push_service::PUSH.path() {
            return answer;
        }
        let answer = answer.map_err(|error| status::not_stored(&error))?;
        Ok(edit(answer, |response: &mut PushResponse| {
            for result in &mut response.results {
                if let Some(error) = &mut result.error {
                    *error = status::to_message(&status::not_stored(&status::from_message(error)));
                }
            }
        }))
    }
}
