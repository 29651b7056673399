//! Where the datacenters' client addresses are.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One datacenter's client address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub datacenter: String,
    /// `HOST:PORT`.
    pub address: String,
}

/// The client addresses of all datacenters, written `nyc=HOST:PORT,mci=HOST:PORT,…`. Where measured round trips are
/// alike, those named first are preferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints(Vec<Endpoint>);

/// The text does not say endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidEndpoints {
    #[error("no endpoint is named; write for example nyc=127.0.0.1:7101,sea=127.0.0.1:7301")]
    None,
    #[error("{0:?} is not DATACENTER=HOST:PORT")]
    Form(String),
    #[error("datacenter {0:?} is named twice")]
    Twice(String),
}

impl Endpoints {
    /// # Errors
    /// [`InvalidEndpoints`] where there is none, or a datacenter is named twice.
    pub fn new(endpoints: Vec<Endpoint>) -> Result<Self, InvalidEndpoints> {
        if endpoints.is_empty() {
            return Err(InvalidEndpoints::None);
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            if endpoints[..index].iter().any(|before| before.datacenter == endpoint.datacenter) {
                return Err(InvalidEndpoints::Twice(endpoint.datacenter.clone()));
            }
        }
        Ok(Self(endpoints))
    }

    /// Those of `trunkline dev` on its default ports.
    pub fn of_dev() -> Self {
        let endpoint = |(datacenter, port): (&str, u16)| Endpoint {
            datacenter: datacenter.to_owned(),
            address: format!("127.0.0.1:{port}"),
        };
        Self([("nyc", 7_101), ("mci", 7_201), ("sea", 7_301)].map(endpoint).to_vec())
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Endpoint> {
        self.0.iter()
    }

    pub fn datacenters(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|endpoint| endpoint.datacenter.as_str())
    }
}

impl FromStr for Endpoints {
    type Err = InvalidEndpoints;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoints> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let endpoints: Result<Vec<_>, _> = parts.map(endpoint).collect();
        Self::new(endpoints?)
    }
}

fn endpoint(text: &str) -> Result<Endpoint, InvalidEndpoints> {
    let form = || InvalidEndpoints::Form(text.to_owned());
    let (datacenter, address) = text.split_once('=').ok_or_else(form)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(form)?;
    if datacenter.is_empty() || host.is_empty() || port.parse::<u16>().is_err() {
        return Err(form());
    }
    Ok(Endpoint { datacenter: datacenter.to_owned(), address: address.to_owned() })
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, endpoint) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}={}", endpoint.datacenter, endpoint.address)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_they_are_written() {
        let text = "nyc=127.0.0.1:7101,mci=127.0.0.1:7201,sea=127.0.0.1:7301";
        assert_eq!(text.parse(), Ok(Endpoints::of_dev()));
        assert_eq!(Endpoints::of_dev().to_string(), text);
        assert_eq!(
            "a=[::1]:1, ".parse::<Endpoints>().expect("one").iter().next().expect("one").address,
            "[::1]:1"
        );
    }

    #[test]
    fn what_is_no_endpoint_is_refused_in_words() {
        let refused = |text: &str| text.parse::<Endpoints>().expect_err(text).to_string();
        assert_eq!(refused("nyc"), "\"nyc\" is not DATACENTER=HOST:PORT");
        assert_eq!(refused("nyc=host"), "\"nyc=host\" is not DATACENTER=HOST:PORT");
        assert_eq!(refused("nyc=host:x"), "\"nyc=host:x\" is not DATACENTER=HOST:PORT");
        assert_eq!(refused("a=h:1,a=h:2"), "datacenter \"a\" is named twice");
        assert!(refused(" ,").starts_with("no endpoint is named"));
    }
}
