//! The policy, read and checked as `tollgate check` does it.

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tollgate_core::policy::{self, StoreMode, Token};
use tollgate_lint::Kind;

create_exception!(
    tollgate,
    PolicyError,
    PyValueError,
    "A policy that cannot work: one line for each mistake, as `tollgate check` prints them."
);

/// A policy that can work.
#[pyclass(frozen, module = "tollgate._tollgate")]
#[derive(Debug)]
pub struct Policy(pub policy::Policy);

#[pymethods]
impl Policy {
    /// The one policy in `text`, which is YAML or JSON: a bare policy, or a configuration of Kong or Envoy. Messages call the
    /// text `name`.
    #[staticmethod]
    fn read(text: &[u8], name: &str) -> PyResult<Self> {
        let found = tollgate_lint::policies(text).map_err(|lines| {
            let wrong = lines.iter().filter(|line| line.kind == Kind::Wrong);
            let lines: Vec<String> = wrong.map(|line| format!("{name}:{line}")).collect();
            PolicyError::new_err(lines.join("\n"))
        })?;
        match <[_; 1]>::try_from(found) {
            Ok([(_, policy)]) => Ok(Self(policy)),
            Err(found) => {
                let count = found.len();
                Err(PolicyError::new_err(format!(
                    "{name}:1: there are {count} policies here; an application has one, so write it into a file of its own"
                )))
            }
        }
    }

    /// The same policy without its store.
    fn without_store(&self) -> Self {
        Self(policy::Policy { store: None, ..self.0.clone() })
    }

    /// The same policy with a store: the one that it has, or one with a policy's defaults.
    fn with_store(&self, upstream: &str) -> PyResult<Self> {
        /// A policy that names nothing but a store.
        const DEFAULTS: &[u8] = br#"{"tiers": {"a": {"rate": "1/second"}}, "default_tier": "a",
            "anonymous": {"rate": "1/second"}, "store": {"upstream": "127.0.0.1:7600"}}"#;
        let mut policy = self.0.clone();
        if policy.store.is_none() {
            let defaults = policy::Policy::from_json(DEFAULTS);
            policy.store = defaults.map_err(|_| PyValueError::new_err("no defaults of a store"))?.store;
        }
        if let Some(store) = &mut policy.store {
            upstream.clone_into(&mut store.upstream);
        }
        Ok(Self(policy))
    }

    /// The same policy, in which responses with these statuses, too, make their requests cost nothing.
    fn with_refund(&self, statuses: Vec<String>) -> PyResult<Self> {
        let mut policy = self.0.clone();
        match statuses.iter().find(|status| !policy.refund.add(status)) {
            None => Ok(Self(policy)),
            Some(wrong) => Err(PyValueError::new_err(format!(
                "{wrong:?} is not a status or a class of statuses; write 422, or \"5xx\""
            ))),
        }
    }

    /// Whether any response may say what its request costs, and whether any status makes its request cost nothing.
    #[getter]
    fn settles(&self) -> (bool, bool) {
        (self.0.endpoints.iter().any(|rule| rule.price.settles), !self.0.refund.is_empty())
    }

    /// Whether a response with this status makes its request cost nothing.
    fn refunds(&self, status: u16) -> bool {
        self.0.refund.covers(status)
    }

    /// `local`, `leased` or `strict`.
    #[getter]
    const fn mode(&self) -> &'static str {
        match &self.0.store {
            None => "local",
            Some(policy::Store { mode: StoreMode::Leased, .. }) => "leased",
            Some(policy::Store { mode: StoreMode::Strict, .. }) => "strict",
        }
    }

    /// The policy's namespace.
    #[getter]
    fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Where the store is, as the policy says it.
    #[getter]
    fn upstream(&self) -> Option<&str> {
        self.0.store.as_ref().map(|store| store.upstream.as_str())
    }

    /// The store's token, if the policy has it written out.
    #[getter]
    fn token(&self) -> Option<&str> {
        match self.0.store.as_ref()?.token.as_ref()? {
            Token::Literal(token) => Some(token),
            Token::Env(_) => None,
        }
    }

    /// The environment variable that has the store's token.
    #[getter]
    fn token_env(&self) -> Option<&str> {
        match self.0.store.as_ref()?.token.as_ref()? {
            Token::Literal(_) => None,
            Token::Env(name) => Some(name),
        }
    }
}
