//! The figures of all nodes of a process, as one Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// A registry per node: it goes when the node is stopped.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    registries: Mutex<BTreeMap<String, Registry>>,
}

impl Metrics {
    pub(crate) fn put(&self, node: String, registry: Registry) {
        self.registries.lock().unwrap_or_else(PoisonError::into_inner).insert(node, registry);
    }

    pub(crate) fn remove(&self, node: &str) {
        self.registries.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }

    /// OpenMetrics text, and `more` families of the process itself.
    pub(crate) fn text(&self, more: Registry) -> String {
        let registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = registries.values().chain([&more]).filter_map(|registry| {
            let mut text = String::new();
            encode(&mut text, registry).ok().map(|()| text)
        });
        merge(texts)
    }
}

/// One text of several: each family stands once, with the samples of all.
fn merge(texts: impl Iterator<Item = String>) -> String {
    let mut families: BTreeMap<String, (String, String)> = BTreeMap::new();
    for text in texts {
        let mut family = String::new();
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(described) = line.strip_prefix("# ") {
                let name = described.split(' ').nth(1).unwrap_or_default();
                if name != family {
                    name.clone_into(&mut family);
                }
                let (header, _) = families.entry(family.clone()).or_default();
                if !header.lines().any(|known| known == line) {
                    let _ = writeln!(header, "{line}");
                }
            } else {
                let _ = writeln!(families.entry(family.clone()).or_default().1, "{line}");
            }
        }
    }
    let mut merged = String::new();
    for (header, samples) in families.values() {
        merged.push_str(header);
        merged.push_str(samples);
    }
    merged.push_str("# EOF\n");
    merged
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn a_family_of_several_nodes_stands_once() {
        let metrics = Metrics::default();
        for (node, count) in [("a", 1), ("b", 2)] {
            let labels = [("node".into(), node.into())];
            let mut registry = Registry::with_prefix_and_labels("trunkline", labels.into_iter());
            let counter: Counter = Counter::default();
            counter.inc_by(count);
            registry.register("appends", "Records appended", counter);
            metrics.put(node.to_owned(), registry);
        }
        let text = metrics.text(Registry::default());
        assert_eq!(
            text,
            "# HELP trunkline_appends Records appended.\n# TYPE trunkline_appends counter\n\
             trunkline_appends_total{node=\"a\"} 1\ntrunkline_appends_total{node=\"b\"} 2\n# EOF\n"
        );
        metrics.remove("a");
        assert!(!metrics.text(Registry::default()).contains("node=\"a\""));
    }
}
