//! What was decided about one request, ready for a response.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use tollgate_core::headers::{X_QUOTA, X_RATELIMIT};
use tollgate_core::units::Cost;
use tollgate_node::clock::NodeNanos;
use tollgate_node::engine::{Outcome, Ruling};

use crate::announced::Announced;

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

/// What was decided about a request or a charge.
#[pyclass(frozen, module = "tollgate")]
#[derive(Debug)]
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
    /// When it was made, if there is a store.
    pub at: NodeNanos,
    /// The charge, until it is settled.
    pub open: Mutex<Option<Ruling>>,
    /// The response headers to set.
    pub headers: Announced,
    /// The problem document of a refusal.
    pub body: Option<String>,
    /// Seconds after which this very request would be allowed; none if it was, or never is.
    #[pyo3(get)]
    pub retry_after: Option<u64>,
}

impl Decision {
    /// The ruling with the charge, which nobody else can settle any more.
    pub fn take_open(&self) -> Option<Ruling> {
        self.open().take()
    }

    /// The ruling with the charge, while that can be settled.
    pub fn open(&self) -> MutexGuard<'_, Option<Ruling>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same of a request that goes on and costs `cost`, before its headers are known.
    pub fn settled(&self, cost: Cost) -> Self {
        let (status, outcome) =
            if self.allowed { (self.status, self.outcome) } else { (200, Outcome::Allowed.name()) };
        Self {
            client: self.client.clone(),
            allowed: true,
            status,
            outcome,
            tier: self.tier.clone(),
            cost,
            at: self.at,
            open: Mutex::default(),
            headers: Announced::default(),
            body: None,
            retry_after: None,
        }
    }
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

    /// The same in thousandths of a cost unit.
    #[getter]
    const fn thousandths(&self) -> u64 {
        self.cost.0
    }

    /// The response headers to set, names in lower case.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.headers.pairs(py).collect::<PyResult<Vec<_>>>()?)
    }

    /// N of the rate, as `X-RateLimit-Limit` says it.
    #[getter]
    fn limit(&self) -> Option<u64> {
        self.headers.number(X_RATELIMIT[0])
    }

    /// Whole cost units left now, as `X-RateLimit-Remaining` says it.
    #[getter]
    fn remaining(&self) -> Option<u64> {
        self.headers.number(X_RATELIMIT[1])
    }

    /// When the bucket is full again, Unix seconds, as `X-RateLimit-Reset` says it.
    #[getter]
    fn reset(&self) -> Option<u64> {
        self.headers.number(X_RATELIMIT[2])
    }

    /// Whole cost units left of the month, as `X-Quota-Monthly-Remaining` says it.
    #[getter]
    fn monthly_remaining(&self) -> Option<u64> {
        self.headers.number(X_QUOTA[1])
    }

    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.body.as_ref().map(|body| PyBytes::new(py, body.as_bytes()))
    }

    /// Whether the charge can still be settled.
    #[getter]
    fn is_open(&self) -> bool {
        self.allowed && self.open().is_some()
    }

    fn __repr__(&self) -> String {
        let Self { outcome, tier, cost, .. } = self;
        format!("<Decision {outcome} tier={tier} cost={cost}>")
    }
}
