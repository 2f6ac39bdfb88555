//! The counters as Prometheus reads them.

mod collect;
mod edges;
mod labels;
mod text;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding;
use prometheus_client::registry::Registry;

use self::collect::ProxyCollector;
use self::edges::EdgeCollector;
use crate::runtime::shared::Shared;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics text 1.0.0.
    OpenMetrics,
    /// Prometheus text 0.0.4, which everything reads.
    Text,
}

impl Format {
    /// The format to answer a request with: OpenMetrics only to who says that it understands it.
    pub fn accepted(accept: Option<&str>) -> Self {
        let understood = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let named =
                parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            named
                && parts.all(|part| !matches!(part.strip_prefix("q="), Some("0" | "0.0" | "0.00" | "0.000")))
        };
        if accept.is_some_and(|accept| accept.split(',').any(understood)) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The value of `content-type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes the metrics of a proxy.
#[derive(Debug)]
pub struct Exposition(Registry);

impl Exposition {
    /// The metrics of a proxy; `connected` says whether discovery is connected.
    pub fn new(shared: &Arc<Shared>, connected: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(EdgeCollector(Arc::clone(shared))));
        registry.register_collector(Box::new(ProxyCollector::new(shared, connected)));
        Self(registry)
    }

    /// All metrics now.
    pub fn write(&self, format: Format) -> Result<String, fmt::Error> {
        let mut open = String::new();
        encoding::text::encode(&mut open, &self.0)?;
        Ok(match format {
            Format::OpenMetrics => open,
            Format::Text => text::from_open_metrics(&open),
        })
    }
}

#[cfg(test)]
mod tests;
