//! A registry as the text that Prometheus reads.

use prometheus_client::registry::Registry;

/// The `content-type` of what [`encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a registry, in the OpenMetrics text format.
///
/// # Errors
/// Of a collector that cannot write its own values.
pub fn encode(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let mut registry = Registry::with_prefix("trunkline");
        let pushes = Counter::<u64>::default();
        registry.register("pushes", "Messages pushed", pushes.clone());
        pushes.inc_by(3);
        let text = encode(&registry).unwrap();
        assert!(text.contains("# TYPE trunkline_pushes counter"), "{text}");
        assert!(text.contains("trunkline_pushes_total 3"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
