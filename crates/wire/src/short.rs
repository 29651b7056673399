//! Short numbers for what a stream names again and again: a log's name takes 30 bytes, and each message to be ordered
//! is named a dozen times on its way. The sender gives a name its number where it first says it; from then on the number
//! stands alone.
//!
//! A number means something in that direction of that stream and nowhere else. Whoever passes a name on, says it whole
//! or under a number of its own; a stream that begins anew begins with none; and a number that was not given ends the
//! stream. So no number is ever older than the stream that it is in. (gRPC brings the messages of a stream in order.)

mod names;

use std::collections::BTreeMap;

use trunkline_types::limits::SHORT_NUMBERS_MAX;
use trunkline_types::{Boot, LogName, NodeId};

use crate::convert::Malformed;
use crate::internal::{self, RelayedFrame};
pub use names::NamesLogs;

/// Names that have a number, on the side that gives them.
#[derive(Debug)]
struct Given<K> {
    numbers: BTreeMap<K, u32>,
    /// By number, from 1.
    names: Vec<K>,
    max: u32,
    last: u32,
}

impl<K: Ord + Copy> Given<K> {
    fn new(max: u32) -> Self {
        Self { numbers: BTreeMap::new(), names: Vec::new(), max, last: 0 }
    }

    /// The number of a name, and whether it is given only now.
    fn number(&mut self, name: K) -> (u32, bool) {
        if let Some(&number) = self.numbers.get(&name) {
            return (number, false);
        }
        self.last = self.last % self.max + 1;
        match self.names.get_mut(self.last as usize - 1) {
            Some(oldest) => drop(self.numbers.remove(&std::mem::replace(oldest, name))),
            None => self.names.push(name),
        }
        self.numbers.insert(name, self.last);
        (self.last, true)
    }
}

/// The other side.
#[derive(Debug)]
struct Heard<K>(BTreeMap<u32, K>);

impl<K: Copy> Heard<K> {
    fn give(&mut self, number: u32, name: K) -> Result<(), Malformed> {
        if number > SHORT_NUMBERS_MAX {
            return Err(Malformed("number"));
        }
        self.0.insert(number, name);
        Ok(())
    }

    fn name(&self, number: u32) -> Result<K, Malformed> {
        self.0.get(&number).copied().ok_or(Malformed("number"))
    }
}

/// A store in one of its boots.
type Source = (NodeId, Boot);

/// Of one direction of one stream, where it is sent.
#[derive(Debug)]
pub struct Shortening {
    logs: Given<LogName>,
    sources: Given<Source>,
}

impl Default for Shortening {
    fn default() -> Self {
        Self::up_to(SHORT_NUMBERS_MAX)
    }
}

impl Shortening {
    fn up_to(max: u32) -> Self {
        Self { logs: Given::new(max), sources: Given::new(max) }
    }

    /// To be called with each message of the stream, in the order in which they are sent.
    pub fn shorten(&mut self, message: &mut impl NamesLogs) {
        let shorten = |log: &mut internal::LogName| {
            if let Ok(name) = LogName::try_from(*log) {
                let (number, is_new) = self.logs.number(name);
                let whole = if is_new { *log } else { internal::LogName::default() };
                *log = internal::LogName { number, ..whole };
            }
            Ok(())
        };
        // Only what is heard can be malformed.
        let _ = message.each_log(shorten);
    }

    /// The same for a frame of a Relay stream.
    pub fn shorten_frame(&mut self, frame: &mut RelayedFrame) {
        if let Some(boot) = frame.boot {
            let (number, is_new) = self.sources.number((NodeId(frame.store), boot.into()));
            frame.number = number;
            if !is_new {
                (frame.store, frame.boot) = (0, None);
            }
        }
        self.shorten(frame);
    }
}

/// Of one direction of one stream, where it is received.
#[derive(Debug)]
pub struct Restoring {
    logs: Heard<LogName>,
    sources: Heard<Source>,
}

impl Default for Restoring {
    fn default() -> Self {
        Self { logs: Heard(BTreeMap::new()), sources: Heard(BTreeMap::new()) }
    }
}

impl Restoring {
    /// Every name whole again, without a number. To be called with each message of the stream, in order.
    ///
    /// # Errors
    /// [`Malformed`]: a number that was not given, or a name that is none. The stream must end.
    pub fn restore(&mut self, message: &mut impl NamesLogs) -> Result<(), Malformed> {
        message.each_log(|log| {
            let number = std::mem::take(&mut log.number);
            if number > 0 && log.boot.is_some() {
                self.logs.give(number, LogName::try_from(*log)?)?;
            } else if number > 0 {
                *log = self.logs.name(number)?.into();
            }
            Ok(())
        })
    }

    /// The same for a frame of a Relay stream.
    ///
    /// # Errors
    /// As for [`Restoring::restore`].
    pub fn restore_frame(&mut self, frame: &mut RelayedFrame) -> Result<(), Malformed> {
        let number = std::mem::take(&mut frame.number);
        match frame.boot {
            Some(boot) if number > 0 => self.sources.give(number, (NodeId(frame.store), boot.into()))?,
            None if number > 0 => {
                let (NodeId(store), boot) = self.sources.name(number)?;
                (frame.store, frame.boot) = (store, Some(boot.into()));
            }
            Some(_) => {}
            None => return Err(Malformed("frame.boot")),
        }
        self.restore(frame)
    }
}

#[cfg(test)]
mod tests;
