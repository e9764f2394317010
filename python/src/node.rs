//! A node, as Python has it.
//!
//! A node works in the thread that made it. Python may let go of it in any thread, so what Python has is a number.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFrozenSet};
use tollgate_core::units::{Cost, Millis, UnixNanos};
use tollgate_core::wire;
use tollgate_node::clock::NodeNanos;

use crate::decision::{Client, Decision};
use crate::host::{Asked, Decided, Host, Introduction};
use crate::policy::Policy;

thread_local! {
    /// The nodes of this thread, by their numbers.
    static NODES: RefCell<HashMap<u64, Rc<Host>>> = RefCell::default();
}

/// A call to the store that Python is to make.
#[pyclass(frozen, get_all, module = "tollgate._tollgate")]
#[derive(Debug)]
pub struct StoreCall {
    /// Its number, by which [`Node::replied`] knows it.
    number: u32,
    /// Where to at the store, by POST.
    path: &'static str,
    /// The body's media type.
    content_type: &'static str,
    /// The body.
    body: Py<PyBytes>,
    /// The longest that the call may take, all in all, in seconds.
    timeout: f64,
}

/// A node, for the thread that made it.
#[pyclass(frozen, module = "tollgate._tollgate")]
pub struct Node(u64);

impl Node {
    fn host(&self) -> PyResult<Rc<Host>> {
        let host = NODES.with(|nodes| nodes.borrow().get(&self.0).cloned());
        host.ok_or_else(|| PyRuntimeError::new_err("the gate was started in another thread"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // In another thread there is nothing to be found, and the node goes when its own thread ends.
        let node = NODES.try_with(|nodes| nodes.try_borrow_mut().ok()?.remove(&self.0));
        drop(node);
    }
}

#[pymethods]
impl Node {
    #[new]
    fn new(py: Python<'_>, policy: &Policy) -> PyResult<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // The standard library's random state is the same in all children of a fork, and they would be one node.
        let random = |count: usize| py.import("os")?.call_method1("urandom", (count,));
        let (key, seed) = (random(16)?.extract()?, u64::from_le_bytes(random(8)?.extract()?));
        let host = Host::new(policy.0.clone(), key, seed)
            .ok_or_else(|| PyRuntimeError::new_err("the table of clients cannot be made"))?;
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        NODES.with(|nodes| nodes.borrow_mut().insert(number, Rc::new(host)));
        Ok(Self(number))
    }

    /// Decides about a request. `client` is its consumer and tier where the caller knows them, and nothing then contradicts
    /// it; without it, the policy reads `headers`. `price`, in thousandths, is charged instead of the policy's.
    #[pyo3(signature = (method, path, headers, peer, client=None, price=None))]
    fn decide(
        &self,
        method: &[u8],
        path: &[u8],
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        peer: Option<&str>,
        client: Option<Introduction>,
        price: Option<u64>,
    ) -> PyResult<Decided> {
        Ok(self.host()?.decide(Asked {
            method: method.to_vec(),
            path: path.to_vec(),
            headers,
            peer: peer.map(|peer| peer.as_bytes().to_vec()),
            introduced: client,
            price: price.map(Cost),
        }))
    }

    /// Charges `price`, in thousandths, to the client of an earlier decision.
    fn charge(&self, decision: &Decision, price: u64) -> PyResult<Decided> {
        let Client { consumer, tier, peer } = decision.client.clone();
        let introduced = Some((consumer, tier));
        Ok(self.host()?.decide(Asked { peer, introduced, price: Some(Cost(price)), ..Asked::default() }))
    }

    /// Settles what `decision` has charged: it is `cost`, in thousandths, in the end. None: there is nothing to settle.
    fn settle(&self, decision: &Decision, cost: u64) -> PyResult<Option<Decision>> {
        Ok(self.host()?.settle(decision, Cost(cost)))
    }

    /// What the response to `decision`'s request says that it costs, in thousandths: its status, or its header
    /// `X-Quota-Cost`. None: nothing.
    #[pyo3(signature = (decision, status, cost=None))]
    fn said(&self, decision: &Decision, status: u16, cost: Option<Vec<u8>>) -> PyResult<Option<u64>> {
        Ok(self.host()?.said(decision, status, cost).map(|cost| cost.0))
    }

    /// What the policy charges for a request, in thousandths.
    fn price(&self, method: &[u8], path: &[u8]) -> PyResult<u64> {
        let asked = Asked { method: method.to_vec(), path: path.to_vec(), ..Asked::default() };
        Ok(self.host()?.price(&asked).0)
    }

    /// A request that waits is no more.
    fn forget(&self, request: u32) -> PyResult<()> {
        self.host()?.forget(request);
        Ok(())
    }

    /// Seconds between two ticks; none without a store.
    #[getter]
    fn interval(&self) -> PyResult<Option<f64>> {
        Ok(self.host()?.interval().map(seconds))
    }

    /// The names of the response headers that only Tollgate may set, in lower case.
    #[getter]
    fn announced<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyFrozenSet>> {
        let names = self.host()?.announced();
        PyFrozenSet::new(py, names.iter().map(|name| PyBytes::new(py, name.as_bytes())))
    }

    /// Sets the time: nanoseconds since 1970, and nanoseconds of a clock that nobody sets. From then on it stands still.
    fn set_clock(&self, unix: u64, node: u64) -> PyResult<()> {
        self.host()?.set_clock(UnixNanos(unix), NodeNanos(node));
        Ok(())
    }

    /// What has to be done when [`Node::interval`] has passed.
    fn tick(&self) -> PyResult<()> {
        self.host()?.tick();
        Ok(())
    }

    /// Makes the next of a node's last calls; false if nothing is left to report.
    fn drain(&self) -> PyResult<bool> {
        Ok(self.host()?.drain())
    }

    /// A call has ended: `body` is the store's reply, none if there was none.
    fn replied(&self, call: u32, body: Option<Vec<u8>>) -> PyResult<()> {
        self.host()?.replied(call, body);
        Ok(())
    }

    /// The calls that are to be made.
    fn take_calls(&self, py: Python<'_>) -> PyResult<Vec<StoreCall>> {
        let call = |(number, body, timeout): (u32, Vec<u8>, Millis)| StoreCall {
            number,
            path: "/v1/leases",
            content_type: wire::CONTENT_TYPE,
            body: PyBytes::new(py, &body).unbind(),
            timeout: seconds(timeout),
        };
        Ok(self.host()?.take_messages().into_iter().map(call).collect())
    }

    /// Decisions about requests that have waited.
    fn take_decisions(&self) -> PyResult<Vec<(u32, Decision)>> {
        Ok(self.host()?.take_decisions())
    }

    /// `away` when the store was given up, `back` when it answered again.
    fn take_events(&self) -> PyResult<Vec<&'static str>> {
        Ok(self.host()?.take_events())
    }
}

fn seconds(time: Millis) -> f64 {
    std::time::Duration::from_millis(time.0).as_secs_f64()
}
