//! What several commands take.

use std::time::Duration;

use clap::{Args, ValueEnum};
use trunkline_client::Endpoints;
use trunkline_client::api::{AckLevel, Start, start};
use trunkline_types::ProducerId;
use trunkline_types::limits::PRODUCER_ID_BYTES;

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

/// A UUID or 32 hexadecimal digits as they are, or the bytes of a short name, filled up with zeros.
pub(crate) fn producer(text: &str) -> Result<ProducerId, String> {
    let digits: String = text.chars().filter(|letter| *letter != '-').collect();
    if digits.len() == 2 * PRODUCER_ID_BYTES
        && let Ok(id) = u128::from_str_radix(&digits, 16)
    {
        return Ok(ProducerId(id.to_be_bytes()));
    }
    let mut id = [0; PRODUCER_ID_BYTES];
    match id.get_mut(..text.len()).filter(|_| !text.is_empty()) {
        Some(name) => name.copy_from_slice(text.as_bytes()),
        None => {
            return Err(format!(
                "write a UUID, 32 hexadecimal digits, or a name of 1 to {PRODUCER_ID_BYTES} bytes"
            ));
        }
    }
    Ok(ProducerId(id))
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
}

impl std::str::FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => match text.parse() {
                Ok(id) if id > 0 => Ok(Self::MessageId(id)),
                _ => Err("write earliest, latest or a message ID from 1".to_owned()),
            },
        }
    }
}

impl StartAt {
    pub(crate) fn start(self) -> Start {
        let at = match self {
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
        let id = ProducerId(*b"billing-1\0\0\0\0\0\0\0");
        assert_eq!(producer("billing-1"), Ok(id));
        for same in [id.to_string(), "62696c6c-696e-672d-3100-000000000000".to_owned()] {
            assert_eq!(producer(&same), Ok(id));
        }
        assert!(producer("").is_err() && producer("a name of 17 byte").is_err());
        assert_eq!("7".parse(), Ok(StartAt::MessageId(7)));
        assert!("0".parse::<StartAt>().is_err());
    }
}
