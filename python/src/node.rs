//! A node, as Python has it.
//!
//! A node works in the thread that made it. Python may let go of it in any thread, so what Python has is a number.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tollgate_core::units::{Cost, Millis, UnixNanos};
use tollgate_core::wire;
use tollgate_node::clock::NodeNanos;
use tollgate_node::request::Introduced;

use crate::announced::ResponseHeaders;
use crate::asked::Asked;
use crate::decision::{Client, Decision};
use crate::host::{Decided, Host};
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

    /// Decides about a request. Without `headers`, its client is `consumer` in `tier`, or an anonymous one if there is none, and
    /// nothing contradicts that; otherwise the policy reads them. `price`, in thousandths, is charged instead of the policy's.
    #[pyo3(signature = (method, path, peer, headers=None, consumer=None, tier=None, price=None))]
    #[allow(
        clippy::too_many_arguments,
        reason = "to Python they are one request, and an object for them would cost it more"
    )]
    fn decide(
        &self,
        method: &[u8],
        path: &[u8],
        peer: Option<&str>,
        headers: Option<&Bound<'_, PyAny>>,
        consumer: Option<&[u8]>,
        tier: Option<&[u8]>,
        price: Option<u64>,
    ) -> PyResult<Decided> {
        let introduced = headers.is_none().then_some(Introduced { consumer, tier });
        let (peer, price) = (peer.map(str::as_bytes), price.map(Cost));
        Ok(self.host()?.decide(&Asked { method, path, headers, peer, introduced, price }))
    }

    /// Charges `price`, in thousandths, to the client of an earlier decision.
    fn charge(&self, decision: &Decision, price: u64) -> PyResult<Decided> {
        let Client { consumer, tier, peer } = &decision.client;
        let introduced = Some(Introduced { consumer: consumer.as_deref(), tier: tier.as_deref() });
        let (peer, price) = (peer.as_deref(), Some(Cost(price)));
        Ok(self.host()?.decide(&Asked { peer, introduced, price, ..Asked::default() }))
    }

    /// Settles what `decision` has charged: it is `cost`, in thousandths, in the end. None: there is nothing to settle.
    fn settle(&self, decision: &Decision, cost: u64) -> PyResult<Option<Decision>> {
        Ok(self.host()?.settle(decision, Cost(cost)))
    }

    /// Where the client would stand if each of these charges were settled at that cost. Nothing is settled. None: no charge
    /// would change.
    fn preview(&self, settled: Vec<(Py<Decision>, u64)>) -> PyResult<Option<Decision>> {
        Ok(self.host()?.preview(settled.iter().map(|(decision, cost)| (decision.get(), Cost(*cost)))))
    }

    /// What the response to `decision`'s request says that it costs, in thousandths: its status, or its header
    /// `X-Quota-Cost`. None: nothing.
    #[pyo3(signature = (decision, status, cost=None))]
    fn said(&self, decision: &Decision, status: u16, cost: Option<Vec<u8>>) -> PyResult<Option<u64>> {
        Ok(self.host()?.said(decision, status, cost).map(|cost| cost.0))
    }

    /// What the policy charges for a request, in thousandths.
    fn price(&self, method: &[u8], path: &[u8]) -> PyResult<u64> {
        Ok(self.host()?.price(&Asked { method, path, ..Asked::default() }).0)
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

    /// The response headers that only Tollgate may set.
    #[getter]
    fn response_headers(&self) -> PyResult<ResponseHeaders> {
        Ok(ResponseHeaders(self.host()?.announced()))
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
