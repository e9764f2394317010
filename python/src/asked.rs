//! One request or charge, as Python asks about it.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tollgate_core::price::Price;
use tollgate_core::units::Cost;
use tollgate_node::request::{Gateway, Headers, Introduced, Request};

/// One request or charge. It borrows from Python's objects.
#[derive(Default)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The path, as the client sent it.
    pub path: &'a [u8],
    /// Pairs of names and values that are to be believed. They are read where the policy asks for one of them.
    pub headers: Option<&'a Bound<'a, PyAny>>,
    /// The address that the request comes from.
    pub peer: Option<&'a [u8]>,
    /// The client, where Python knows it.
    pub introduced: Option<Introduced<'a>>,
    /// What is charged instead of the policy's price.
    pub price: Option<Cost>,
}

impl Asked<'_> {
    /// As the engine takes it.
    pub fn request(&self) -> Request<'_, Self> {
        // All headers are to be asked for by name: few policies read more than two.
        Request { method: self.method, path: self.path, headers: Headers::part(&[]), gateway: self }
    }

    fn lines(&self, name: &str) -> Vec<Vec<u8>> {
        let pairs = self.headers.and_then(|headers| headers.try_iter().ok());
        pairs.into_iter().flatten().flatten().filter_map(|pair| line(&pair, name.as_bytes())).collect()
    }
}

/// The value in `pair`, if its name is `name` in any case.
fn line(pair: &Bound<'_, PyAny>, name: &[u8]) -> Option<Vec<u8>> {
    let key = pair.get_item(0).ok()?;
    is_called(&key, name).then(|| bytes(&pair.get_item(1).ok()?)).flatten()
}

fn is_called(key: &Bound<'_, PyAny>, name: &[u8]) -> bool {
    match key.cast::<PyBytes>() {
        Ok(key) => key.as_bytes().eq_ignore_ascii_case(name),
        Err(_) => bytes(key).is_some_and(|key| key.eq_ignore_ascii_case(name)),
    }
}

/// The bytes in whatever Python takes for some.
pub fn bytes(value: &Bound<'_, PyAny>) -> Option<Vec<u8>> {
    match value.cast::<PyBytes>() {
        Ok(value) => Some(value.as_bytes().to_vec()),
        Err(_) => value.extract().ok(),
    }
}

impl Gateway for Asked<'_> {
    fn property(&self, path: &str) -> Option<Vec<u8>> {
        if path == "source\0address" { self.peer.map(Into::into) } else { None }
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.lines(name).pop()
    }

    fn header_lines(&self, name: &str) -> Option<Vec<u8>> {
        let lines = self.lines(name);
        (!lines.is_empty()).then(|| lines.join(b",".as_slice()))
    }

    fn introduced(&self) -> Option<Introduced<'_>> {
        self.introduced
    }

    fn price(&self) -> Option<Price> {
        self.price.map(|cost| Price { cost, settles: false })
    }
}
