//! What was decided about one request, ready for a response.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use tollgate_core::units::Cost;
use tollgate_node::engine::Ruling;

/// Who a request is from, as far as a further charge has to know it.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// The consumer's name; none for an anonymous client.
    pub consumer: Option<Vec<u8>>,
    /// The consumer's tier.
    pub tier: Option<Vec<u8>>,
    /// The address that the request comes from.
    pub peer: Option<Vec<u8>>,
}

impl Decision {
    /// The ruling with the charge, which nobody else can settle any more.
    pub fn take_open(&self) -> Option<Ruling> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What the ruling's `said` of a response with this `status` is, while the charge is open.
    pub fn with_open<T>(&self, look: impl FnOnce(&Ruling) -> T) -> Option<T> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }
}

/// What was decided about a request or a charge.
#[pyclass(frozen, module = "tollgate")]
#[derive(Clone, Debug)]
pub struct Decision {
    /// Whom it is about.
    pub client: Client,
    /// Whether the request may go on.
    #[pyo3(get)]
    pub allowed: bool,
    /// The HTTP status: 200 where the request may go on.
    #[pyo3(get)]
    pub status: u16,
    /// `allowed`, `refused_rate`, `refused_month`, `shadow_refused`, `fallback`, `error`; `free` for what costs nothing, and
    /// `off` where the policy is off.
    #[pyo3(get)]
    pub outcome: &'static str,
    /// The tier's name, `anonymous` for anonymous clients.
    #[pyo3(get)]
    pub tier: String,
    /// What was charged, or was to be.
    pub cost: Cost,
    /// The charge, until it is settled. All copies of a decision have one.
    pub open: Arc<Mutex<Option<Ruling>>>,
    /// The response headers to set, names in lower case.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The problem document of a refusal.
    pub body: Option<String>,
    /// N of the rate, as `X-RateLimit-Limit` says it.
    #[pyo3(get)]
    pub limit: Option<u64>,
    /// Whole cost units left now, as `X-RateLimit-Remaining` says it.
    #[pyo3(get)]
    pub remaining: Option<u64>,
    /// When the bucket is full again, Unix seconds, as `X-RateLimit-Reset` says it.
    #[pyo3(get)]
    pub reset: Option<u64>,
    /// Whole cost units left of the month, as `X-Quota-Monthly-Remaining` says it.
    #[pyo3(get)]
    pub monthly_remaining: Option<u64>,
    /// Seconds after which this very request would be allowed; none if it was, or never is.
    #[pyo3(get)]
    pub retry_after: Option<u64>,
}

#[pymethods]
impl Decision {
    #[getter]
    fn consumer(&self) -> Option<String> {
        self.client.consumer.as_ref().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    #[getter]
    fn cost<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("decimal")?.getattr("Decimal")?.call1((self.cost.to_string(),))
    }

    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let pair = |(name, value): &(Vec<u8>, Vec<u8>)| {
            PyTuple::new(py, [PyBytes::new(py, name), PyBytes::new(py, value)])
        };
        PyList::new(py, self.headers.iter().map(pair).collect::<PyResult<Vec<_>>>()?)
    }

    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.body.as_ref().map(|body| PyBytes::new(py, body.as_bytes()))
    }

    /// Whether the charge can still be settled.
    #[getter]
    fn is_open(&self) -> bool {
        self.allowed && self.open.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn __repr__(&self) -> String {
        let Self { outcome, tier, cost, .. } = self;
        format!("<Decision {outcome} tier={tier} cost={cost}>")
    }
}
