//! What several commands take.

use std::time::Duration;

use clap::{Args, ValueEnum};
use trunkline_client::Endpoints;
use trunkline_client::api::{AckLevel, Start, start};
use trunkline_wire::convert::timestamp;

use crate::failure::Failure;

/// How to reach the cluster.
#[derive(Clone, Debug, Args)]
pub struct Connection {
    /// Client addresses of the datacenters [default: those of `trunkline dev`]
    #[arg(long, env = "TRUNKLINE_ENDPOINTS", value_name = "nyc=HOST:PORT,…", default_value_t = Endpoints::of_dev(), hide_default_value = true)]
    pub endpoints: Endpoints,
    /// Only this datacenter, never another
    #[arg(long = "dc", value_name = "DATACENTER")]
    pub datacenter: Option<String>,
    /// One JSON object per line
    #[arg(long)]
    pub json: bool,
}

/// How to reach the operators' side.
#[derive(Clone, Debug, Args)]
pub(crate) struct AdminConnection {
    #[command(flatten)]
    pub(crate) admin: Admin,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// The cluster that client commands talk to: whoever names one names its admin addresses too
    #[arg(long, env = "TRUNKLINE_ENDPOINTS", hide = true)]
    endpoints: Option<String>,
}

impl AdminConnection {
    /// # Errors
    /// Endpoints of another cluster than that of `dev` without their admin addresses: the default would be another
    /// cluster's.
    pub(crate) fn addresses(&self) -> Result<Vec<String>, Failure> {
        self.admin.addresses(self.endpoints.is_some()).ok_or_else(|| {
            let problem = "TRUNKLINE_ENDPOINTS names a cluster, and nothing names its admin addresses";
            Failure::Usage(format!("{problem}: use --admin or TRUNKLINE_ADMIN"))
        })
    }
}

/// Where the admin listeners are.
#[derive(Clone, Debug, Args)]
pub(crate) struct Admin {
    /// Admin addresses; the first that answers is asked [default: those of `trunkline dev`]
    #[arg(long, env = "TRUNKLINE_ADMIN", value_name = "HOST:PORT,…", value_delimiter = ',')]
    admin: Vec<String>,
}

impl Admin {
    /// Those named, or those of `trunkline dev` unless the command was told of another cluster.
    pub(crate) fn addresses(&self, is_elsewhere: bool) -> Option<Vec<String>> {
        match (self.admin.is_empty(), is_elsewhere) {
            (false, _) => Some(self.admin.clone()),
            (true, false) => Some(["7120", "7220", "7320"].map(|port| format!("127.0.0.1:{port}")).to_vec()),
            (true, true) => None,
        }
    }
}

/// When a push is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// In the memory of one store: survives nothing
    None,
    /// On disk on two stores: survives any machine
    Local,
    /// Ordered, so on disk in two datacenters: survives any datacenter
    Ordered,
    /// On disk in every datacenter
    Everywhere,
}

impl From<Level> for AckLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::None => Self::None,
            Level::Local => Self::Local,
            Level::Ordered => Self::Ordered,
            Level::Everywhere => Self::Everywhere,
        }
    }
}

/// The ack level of a command that pushes.
#[derive(Clone, Copy, Debug, Args)]
pub struct Acks {
    /// What each push must have reached [default: what the topic says, else local]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub ack: Option<Level>,
}

impl Acks {
    pub(crate) fn level(self) -> AckLevel {
        self.ack.map_or(AckLevel::Unspecified, AckLevel::from)
    }
}

/// `NAME=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `5s`, `200ms`, `1m`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Where to begin in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartAt {
    Earliest,
    Latest,
    MessageId(u64),
    /// Milliseconds since 1970.
    Time(u64),
    /// So long before now.
    Ago(Duration),
}

impl std::str::FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => match text.parse() {
                Ok(id) if id > 0 => Ok(Self::MessageId(id)),
                Ok(_) => Err("message IDs begin at 1".to_owned()),
                Err(_) => time(text).ok_or_else(|| {
                    "write earliest, latest, a message ID from 1, a time like 2027-01-15T08:00:00Z, or how long ago \
                     like 10m"
                        .to_owned()
                }),
            },
        }
    }
}

/// In UTC, where it does not say; a day is its first moment.
fn time(text: &str) -> Option<StartAt> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Some(StartAt::Ago(ago));
    }
    let day = format!("{text}T00:00:00Z");
    let at = humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339(&day)).ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(StartAt::Time(u64::try_from(since.as_millis()).ok()?))
}

impl StartAt {
    /// The time that it names, if it names one.
    pub(crate) fn at_ms(self, now_ms: u64) -> Option<u64> {
        match self {
            Self::Time(ms) => Some(ms),
            Self::Ago(ago) => Some(now_ms.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))),
            Self::Earliest | Self::Latest | Self::MessageId(_) => None,
        }
    }

    pub(crate) fn start(self, now_ms: u64) -> Start {
        let at = match self {
            Self::Time(_) | Self::Ago(_) => {
                start::At::Time(timestamp::from_ms(self.at_ms(now_ms).unwrap_or_default()))
            }
            Self::Earliest => start::At::Earliest(trunkline_client::api::Earliest {}),
            Self::Latest => start::At::Latest(trunkline_client::api::Latest {}),
            Self::MessageId(id) => start::At::MessageId(id),
        };
        Start { at: Some(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert!(duration("soon").is_err());
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("a").is_err());
        assert_eq!("7".parse(), Ok(StartAt::MessageId(7)));
        assert!("0".parse::<StartAt>().is_err());
        assert_eq!("10m".parse(), Ok(StartAt::Ago(Duration::from_secs(600))));
        for text in ["2027-01-15T08:00:00.250Z", "2027-01-15 08:00:00.250"] {
            assert_eq!(text.parse(), Ok(StartAt::Time(1_800_000_000_250)), "{text}");
        }
        assert_eq!("2027-01-15".parse(), Ok(StartAt::Time(1_799_971_200_000)));
        for text in ["yesterday", "-5", "2027-13-01", "1969-12-31T00:00:00Z"] {
            assert!(text.parse::<StartAt>().is_err(), "{text}");
        }
        assert_eq!(StartAt::Ago(Duration::from_secs(2)).at_ms(5_000), Some(3_000));
    }
}
