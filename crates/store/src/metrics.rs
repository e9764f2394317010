//! The metrics for Prometheus. Clients control no label, and labels that gateways control are bounded.

use prometheus::{
    CounterVec, Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// The bounds of the histograms in seconds, from an answer of the memory backend to the longest request.
const SECONDS: [f64; 12] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics of this process.
pub struct Metrics {
    registry: Registry,
    /// `tollgate_store_requests_total{call,outcome}`
    pub requests: IntCounterVec,
    /// `tollgate_store_request_seconds{call}`
    pub request_seconds: HistogramVec,
    /// `tollgate_store_backend_up`
    pub backend_up: IntGauge,
    /// `tollgate_store_backend_seconds{call}`
    pub backend_seconds: HistogramVec,
    /// `tollgate_leased_tokens`
    pub leased_tokens: Gauge,
    /// `tollgate_usage_units_total{namespace,tier}`
    pub usage_units: CounterVec,
    /// `tollgate_quota_consumers{namespace,tier,used}`
    pub quota_consumers: IntGaugeVec,
}

impl Metrics {
    /// All metrics, at zero.
    ///
    /// # Errors
    /// Two metrics have the same name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let histogram = |name, help| HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let metrics = Self {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                Opts::new("tollgate_store_requests_total", "Requests by call and outcome."),
                &["call", "outcome"],
            )?,
            request_seconds: HistogramVec::new(
                histogram("tollgate_store_request_seconds", "Time to response headers, in seconds."),
                &["call"],
            )?,
            backend_up: IntGauge::new(
                "tollgate_store_backend_up",
                "1 if the backend takes writes, else 0. At 0 every charge fails.",
            )?,
            backend_seconds: HistogramVec::new(
                histogram("tollgate_store_backend_seconds", "Time of calls to the backend, in seconds."),
                &["call"],
            )?,
            leased_tokens: Gauge::new(
                "tollgate_leased_tokens",
                "Cost units lent and not reported as spent, as far as this replica knows.",
            )?,
            usage_units: CounterVec::new(
                Opts::new("tollgate_usage_units_total", "Cost units reported to this replica as spent."),
                &["namespace", "tier"],
            )?,
            quota_consumers: IntGaugeVec::new(
                Opts::new(
                    "tollgate_quota_consumers",
                    "Consumers that have used at least this percentage of their month, as far as this replica knows.",
                ),
                &["namespace", "tier", "used"],
            )?,
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.request_seconds.clone()))?;
        registry.register(Box::new(metrics.backend_up.clone()))?;
        registry.register(Box::new(metrics.backend_seconds.clone()))?;
        registry.register(Box::new(metrics.leased_tokens.clone()))?;
        registry.register(Box::new(metrics.usage_units.clone()))?;
        registry.register(Box::new(metrics.quota_consumers.clone()))?;
        Ok(metrics)
    }

    /// The metrics as Prometheus text.
    ///
    /// # Errors
    /// A metric cannot be written.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
