//! The section `[telemetry]` of a node's file.

use serde::{Deserialize, Serialize};

/// Only what is wrong. To openraft each peer that does not answer is a warning, and whatever still arrives after an
/// orderly stop an error (`raft_inner`, `heartbeat`), and so is a change of members that another leader has overtaken
/// (`raft::api`); to us all are ordinary. Its other errors are of the disk or its own, and end a group.
pub const WARNINGS: &str = "warn,openraft=error,openraft::raft::raft_inner=off,openraft::raft::api=off,\
                            openraft::core::heartbeat=off";

/// What the libraries below us say at `info` is for their authors.
const FILTER: &str = "info,openraft=error,openraft::raft::raft_inner=off,openraft::raft::api=off,\
                      openraft::core::heartbeat=off,h2=warn,hyper=warn,tower=warn,tonic=warn,opentelemetry=warn";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people; in color where standard error is a terminal.
    #[default]
    Text,
    /// One object a line.
    Json,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    pub log_format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`, for example `info,trunkline_push=debug`. The environment
    /// variable `RUST_LOG` goes before it.
    pub log_filter: String,
    /// Where spans go, by OTLP over gRPC: `http://HOST:4317`. None: no traces.
    pub otlp_endpoint: Option<String>,
    /// The share of traces begun here that are recorded, from 0 to 1. A trace begun elsewhere is recorded if its
    /// beginning was.
    pub trace_share: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log_format: LogFormat::default(),
            log_filter: FILTER.into(),
            otlp_endpoint: None,
            trace_share: 1.0,
        }
    }
}

impl Options {
    /// # Errors
    /// A sentence in the words of the file.
    pub fn validate(&self) -> Result<(), String> {
        crate::setup::filter(&self.log_filter)?;
        if !(0.0..=1.0).contains(&self.trace_share) {
            return Err("telemetry.trace-share must lie between 0 and 1".into());
        }
        match &self.otlp_endpoint {
            Some(endpoint) if !endpoint.starts_with("http://") => {
                Err(format!("telemetry.otlp-endpoint must begin with http://, and is {endpoint:?}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Options::default().validate(), Ok(()));
    }

    #[test]
    fn what_cannot_work_is_refused_in_the_words_of_the_file() {
        let cases = [
            (Options { log_filter: "info,=".into(), ..Options::default() }, "telemetry.log-filter"),
            (Options { trace_share: 1.5, ..Options::default() }, "telemetry.trace-share"),
            (Options { trace_share: f64::NAN, ..Options::default() }, "telemetry.trace-share"),
            (
                Options { otlp_endpoint: Some("host:4317".into()), ..Options::default() },
                "telemetry.otlp-endpoint",
            ),
        ];
        for (options, word) in cases {
            assert!(options.validate().unwrap_err().starts_with(word), "{word}");
        }
    }
}
