//! The response headers of a decision, and their way into a response.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyTuple};
use tollgate_core::headers::{IETF, UPSTREAM_COST, X_QUOTA, X_RATELIMIT};

use crate::asked::bytes;
use crate::decision::Decision;

/// After how many seconds to ask again.
pub const RETRY_AFTER: &str = "Retry-After";
/// That nobody keeps a refusal.
pub const CACHE_CONTROL: &str = "Cache-Control";
/// The body's media type.
pub const CONTENT_TYPE: &str = "Content-Type";

/// The most headers that a decision has.
const MOST: usize = 12;

/// Response headers: their values lie in one text, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Announced {
    text: Vec<u8>,
    /// The names, each with the end of its value.
    parts: [(&'static str, usize); MOST],
    count: usize,
}

impl Announced {
    /// Adds a header.
    pub fn push(&mut self, name: &'static str, value: &[u8]) {
        if let Some(part) = self.parts.get_mut(self.count) {
            self.text.reserve(if self.count == 0 { 224 } else { value.len() });
            self.text.extend_from_slice(value);
            *part = (name, self.text.len());
            self.count = self.count.saturating_add(1);
        }
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.parts.iter().take(self.count).scan(0, |start, (name, end)| {
            let value = self.text.get(*start..*end)?;
            *start = *end;
            Some((*name, value))
        })
    }

    /// The number in the header called `name`.
    pub fn number(&self, name: &str) -> Option<u64> {
        let (_, value) = self.iter().find(|(key, _)| *key == name)?;
        std::str::from_utf8(value).ok()?.parse().ok()
    }

    /// As ASGI has them.
    pub fn pairs<'py>(&self, py: Python<'py>) -> impl Iterator<Item = PyResult<Bound<'py, PyTuple>>> {
        self.iter().map(move |(name, value)| PyTuple::new(py, [lower(py, name), PyBytes::new(py, value)]))
    }
}

/// The name in lower case. Those that all responses have are made once.
fn lower<'py>(py: Python<'py>, name: &'static str) -> Bound<'py, PyBytes> {
    static NAMES: PyOnceLock<Vec<(&'static str, Py<PyBytes>)>> = PyOnceLock::new();
    let make = |name: &str| PyBytes::new(py, name.to_ascii_lowercase().as_bytes());
    let known = NAMES.get_or_init(py, || {
        let all = X_RATELIMIT.into_iter().chain(X_QUOTA).chain(IETF);
        let all = all.chain([RETRY_AFTER, CACHE_CONTROL, CONTENT_TYPE]);
        all.map(|name| (name, make(name).unbind())).collect()
    });
    let found = known.iter().find(|(key, _)| *key == name);
    found.map_or_else(|| make(name), |(_, made)| made.bind(py).clone())
}

/// The response headers that are Tollgate's alone.
#[pyclass(frozen, module = "tollgate._tollgate")]
#[derive(Debug)]
pub struct ResponseHeaders(pub Vec<&'static str>);

#[pymethods]
impl ResponseHeaders {
    /// An application's response headers, with those of `decision` and no others of their names. None: they stay as they are.
    /// What the application says that its request costs is for a gateway alone, and goes unless the request `is_of_gateway`.
    fn replace<'py>(
        &self,
        py: Python<'py>,
        headers: &Bound<'py, PyAny>,
        decision: &Decision,
        is_of_gateway: bool,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        if decision.outcome == "off" || (decision.outcome == "free" && is_of_gateway) {
            return Ok(None);
        }
        let all = PyList::empty(py);
        for pair in headers.try_iter()? {
            let pair = pair?;
            let name = pair.get_item(0)?;
            let is_ours = match name.cast::<PyBytes>() {
                Ok(name) => self.is_ours(name.as_bytes(), is_of_gateway),
                Err(_) => bytes(&name).is_some_and(|name| self.is_ours(&name, is_of_gateway)),
            };
            if !is_ours {
                all.append(pair)?;
            }
        }
        for pair in decision.headers.pairs(py) {
            all.append(pair?)?;
        }
        Ok(Some(all))
    }
}

impl ResponseHeaders {
    fn is_ours(&self, name: &[u8], keeps_cost: bool) -> bool {
        let is = |other: &str| name.len() == other.len() && name.eq_ignore_ascii_case(other.as_bytes());
        self.0.iter().any(|other| is(other)) || (!keeps_cost && is(UPSTREAM_COST))
    }
}

/// Request headers without those that only Tollgate may send to an application.
#[pyfunction]
pub fn without_reserved<'py>(headers: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // Most requests have none. What is no list might be read only once.
    if let Ok(list) = headers.cast::<PyList>() {
        let mut has_any = false;
        for pair in list {
            has_any |= is_reserved(&pair)?;
        }
        if !has_any {
            return Ok(headers.clone());
        }
    }
    let kept = PyList::empty(headers.py());
    for pair in headers.try_iter()? {
        let pair = pair?;
        if !is_reserved(&pair)? {
            kept.append(pair)?;
        }
    }
    Ok(kept.into_any())
}

fn is_reserved(pair: &Bound<'_, PyAny>) -> PyResult<bool> {
    let name = pair.get_item(0)?;
    Ok(match name.cast::<PyBytes>() {
        Ok(name) => tollgate_core::headers::is_reserved(name.as_bytes()),
        Err(_) => bytes(&name).is_some_and(|name| tollgate_core::headers::is_reserved(&name)),
    })
}
