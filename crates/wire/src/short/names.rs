//! Which logs a message names.

use crate::convert::Malformed;
use crate::internal::{
    FollowRequest, FollowResponse, Held, LogName, RelayedFrame, Report, SessionRequest, follow_refused,
    relayed_frame, session_request,
};

type Visited = Result<(), Malformed>;

/// A message of a stream in which logs have short numbers.
pub trait NamesLogs {
    /// Every log that is named, in one order.
    ///
    /// # Errors
    /// The first that `visit` has.
    fn each_log(&mut self, visit: impl FnMut(&mut LogName) -> Visited) -> Visited;
}

impl NamesLogs for Report {
    fn each_log(&mut self, visit: impl FnMut(&mut LogName) -> Visited) -> Visited {
        self.logs.iter_mut().filter_map(|said| said.log.as_mut()).try_for_each(visit)
    }
}

impl NamesLogs for Held {
    fn each_log(&mut self, visit: impl FnMut(&mut LogName) -> Visited) -> Visited {
        let said = self.lacking.iter_mut().chain(&mut self.ended);
        said.filter_map(|said| said.log.as_mut()).try_for_each(visit)
    }
}

impl NamesLogs for SessionRequest {
    fn each_log(&mut self, visit: impl FnMut(&mut LogName) -> Visited) -> Visited {
        match &mut self.what {
            Some(session_request::What::Report(report)) => report.each_log(visit),
            Some(session_request::What::Held(held)) => held.each_log(visit),
            Some(
                session_request::What::Hello(_)
                | session_request::What::Digest(_)
                | session_request::What::Heartbeat(_),
            )
            | None => Ok(()),
        }
    }
}

impl NamesLogs for RelayedFrame {
    fn each_log(&mut self, visit: impl FnMut(&mut LogName) -> Visited) -> Visited {
        match &mut self.what {
            Some(relayed_frame::What::Report(report)) => report.each_log(visit),
            Some(relayed_frame::What::Held(held)) => held.each_log(visit),
            Some(relayed_frame::What::Digest(_) | relayed_frame::What::Gone(_)) | None => Ok(()),
        }
    }
}

impl NamesLogs for FollowRequest {
    fn each_log(&mut self, mut visit: impl FnMut(&mut LogName) -> Visited) -> Visited {
        self.cursors.iter_mut().filter_map(|cursor| cursor.log.as_mut()).try_for_each(&mut visit)?;
        self.wants.iter_mut().filter_map(|want| want.log.as_mut()).try_for_each(&mut visit)?;
        self.on_disk.iter_mut().filter_map(|on_disk| on_disk.log.as_mut()).try_for_each(&mut visit)
    }
}

impl NamesLogs for FollowResponse {
    fn each_log(&mut self, mut visit: impl FnMut(&mut LogName) -> Visited) -> Visited {
        self.ends.iter_mut().filter_map(|end| end.log.as_mut()).try_for_each(&mut visit)?;
        self.records.iter_mut().filter_map(|records| records.log.as_mut()).try_for_each(&mut visit)?;
        self.skips.iter_mut().filter_map(|skip| skip.log.as_mut()).try_for_each(&mut visit)?;
        match self.refused.as_mut().and_then(|refused| refused.why.as_mut()) {
            Some(follow_refused::Why::DiskBehind(behind)) => behind.log.iter_mut().try_for_each(visit),
            Some(follow_refused::Why::OtherBoot(_)) | None => Ok(()),
        }
    }
}
