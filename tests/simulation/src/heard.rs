//! What services tell through tracing: warnings and errors into the history, and every event at debug level, with
//! its fields, to who listens (`rare`, and those who want to know who leads).

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::{EnvFilter, registry};
use trunkline_testkit::process;

use crate::history::History;

/// One event that a service has told.
#[derive(Clone, Debug)]
pub struct Said {
    /// After the start.
    pub at: Duration,
    /// The node's name; empty outside of every node.
    pub node: String,
    pub level: Level,
    pub message: String,
    pub fields: BTreeMap<&'static str, String>,
}

impl Said {
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub fn number(&self, name: &str) -> u64 {
        self.field(name).parse().unwrap_or(0)
    }
}

/// Events that nobody has taken yet. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<Vec<Said>>>);

impl Heard {
    /// What was told since the last call.
    pub fn take(&self) -> Vec<Said> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// From now on, until the guard is dropped, this thread's events are heard. `TRUNKLINE_LOG` (`debug`,
/// `trunkline_pop=trace`, …) writes what it asks for to standard error, with simulated times.
pub(crate) fn listen(start: Instant, history: &History, heard: &Heard) -> DefaultGuard {
    let ears = Ears { start, heard: heard.clone() };
    let ears = ears.with_filter(Targets::new().with_targets(SERVICES.map(|name| (name, LevelFilter::DEBUG))));
    let lines = tracing_subscriber::fmt::layer().with_ansi(false);
    if let Ok(filter) = env::var("TRUNKLINE_LOG") {
        let lines = lines.with_timer(Elapsed(start)).with_writer(std::io::stderr);
        set_default(registry().with(ears).with(lines.with_filter(EnvFilter::new(filter))))
    } else {
        let history = history.clone();
        let lines = lines.without_time().with_writer(move || Told { start, history: history.clone() });
        set_default(registry().with(ears).with(lines.with_filter(EnvFilter::new("warn,openraft=off"))))
    }
}

const SERVICES: [&str; 6] = [
    "trunkline_consensus",
    "trunkline_message_id",
    "trunkline_message_store",
    "trunkline_pop",
    "trunkline_push",
    "trunkline_subscription_position",
];

struct Ears {
    start: Instant,
    heard: Heard,
}

impl<S: Subscriber> Layer<S> for Ears {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut said = Said {
            at: self.start.elapsed(),
            node: process::running().unwrap_or_default(),
            level: *event.metadata().level(),
            message: String::new(),
            fields: BTreeMap::new(),
        };
        event.record(&mut said);
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields.insert(field.name(), format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

struct Elapsed(Instant);

impl FormatTime for Elapsed {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let node = process::running().unwrap_or_default();
        write!(writer, "{:>8} ms {node}", self.0.elapsed().as_millis())
    }
}

/// Each event is written at once.
struct Told {
    start: Instant,
    history: History,
}

impl Write for Told {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let node = process::running().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        self.history.tell(self.start.elapsed(), format_args!("{node}: {}", line.trim()));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
