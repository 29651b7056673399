//! The spans that nodes begin, kept for a test to look at.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trunkline_ports::Traces;
use trunkline_ports::traces::{Span, SpanPort, TracesPort};

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RecordedTraces(Arc<Mutex<Vec<RecordedSpan>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedSpan {
    pub node: String,
    pub name: &'static str,
    pub parent: String,
    pub traceparent: String,
    pub events: Vec<&'static str>,
    pub ended: bool,
}

impl RecordedTraces {
    /// What a host of this name is given.
    pub fn at(&self, node: &str) -> Traces {
        Traces::new(Node { all: self.clone(), name: node.to_owned() })
    }

    /// In the order in which they began.
    pub fn spans(&self) -> Vec<RecordedSpan> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RecordedSpan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Node {
    all: RecordedTraces,
    name: String,
}

impl TracesPort for Node {
    fn under(&self, traceparent: &str, name: &'static str) -> Option<Span> {
        let (rest, flags) = traceparent.rsplit_once('-')?;
        let (trace, _) = rest.rsplit_once('-').filter(|_| flags == "01")?;
        let mut all = self.all.lock();
        let index = all.len();
        all.push(RecordedSpan {
            node: self.name.clone(),
            name,
            parent: traceparent.to_owned(),
            traceparent: format!("{trace}-{:016x}-01", index + 1),
            events: Vec::new(),
            ended: false,
        });
        Some(Arc::new(Begun { all: self.all.clone(), index }))
    }
}

#[derive(Debug)]
struct Begun {
    all: RecordedTraces,
    index: usize,
}

impl SpanPort for Begun {
    fn traceparent(&self) -> String {
        self.all.lock()[self.index].traceparent.clone()
    }

    fn attribute(&self, _name: &'static str, _value: String) {}

    fn event(&self, name: &'static str) {
        self.all.lock()[self.index].events.push(name);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.all.lock()[self.index].ended = true;
    }
}
