use trunkline_types::{Boot, Bucket, Lane, LogName, NodeId, Ordinal};

use super::Malformed;
use crate::internal;

impl From<Boot> for internal::Boot {
    fn from(boot: Boot) -> Self {
        Self { counter: boot.counter, random: boot.random }
    }
}

impl From<internal::Boot> for Boot {
    fn from(boot: internal::Boot) -> Self {
        Self { counter: boot.counter, random: boot.random }
    }
}

impl From<LogName> for internal::LogName {
    fn from(log: LogName) -> Self {
        Self {
            bucket: log.bucket.0.into(),
            node: log.node.0,
            boot: Some(log.boot.into()),
            lane: log.lane.0.into(),
            ordinal: log.ordinal.0,
            number: 0,
        }
    }
}

impl TryFrom<internal::LogName> for LogName {
    type Error = Malformed;

    fn try_from(log: internal::LogName) -> Result<Self, Malformed> {
        Ok(Self {
            bucket: Bucket(u16::try_from(log.bucket).map_err(|_| Malformed("log.bucket"))?),
            node: NodeId(log.node),
            boot: log.boot.ok_or(Malformed("log.boot"))?.into(),
            lane: Lane(u8::try_from(log.lane).map_err(|_| Malformed("log.lane"))?),
            ordinal: Ordinal(log.ordinal),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_name_survives_the_wire_and_a_broken_one_is_refused() {
        let boot = Boot { counter: 3, random: 4 };
        let log = LogName { bucket: Bucket(1), node: NodeId(2), boot, lane: Lane(0), ordinal: Ordinal(5) };
        assert_eq!(LogName::try_from(internal::LogName::from(log)), Ok(log));
        let broken = internal::LogName { bucket: 70_000, ..log.into() };
        assert_eq!(LogName::try_from(broken), Err(Malformed("log.bucket")));
    }
}
