//! A client that calls the gateway.

use std::net::IpAddr;
use std::sync::MutexGuard;

use tollgate_testkit::http::{Client, Request, Response};
use tollgate_testkit::sample;

/// How the gateway identifies a caller.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A sample consumer's API key.
    Key(String),
    /// A signed token.
    Token(String),
    /// No credential.
    None,
}

/// A caller with a connection of its own.
#[derive(Debug)]
pub struct Caller<'a> {
    client: Client,
    credential: Credential,
    _alone: Option<MutexGuard<'a, ()>>,
}

impl<'a> Caller<'a> {
    /// A caller over a client.
    #[must_use]
    pub fn new(client: Client, credential: Credential) -> Self {
        Self { client, credential, _alone: None }
    }

    /// Makes it call from an address of this machine.
    #[must_use]
    pub fn from(self, address: IpAddr) -> Self {
        Self { client: self.client.from(address), ..self }
    }

    /// Makes it the only anonymous client that calls.
    #[must_use]
    pub fn alone(self, guard: MutexGuard<'a, ()>) -> Self {
        Self { _alone: Some(guard), ..self }
    }

    /// Sends a request with the caller's credential.
    ///
    /// # Panics
    /// If no answer comes.
    pub fn send(&mut self, request: &Request) -> Response {
        let request = match &self.credential {
            Credential::Key(consumer) => request.clone().of(consumer),
            Credential::Token(token) => request.clone().header("Authorization", format!("Bearer {token}")),
            Credential::None => request.clone(),
        };
        self.client.send(&request).unwrap_or_else(|error| panic!("{error} after {request:?}"))
    }

    /// [`Caller::send`] of a GET request.
    ///
    /// # Panics
    /// As [`Caller::send`].
    pub fn get(&mut self, target: &str) -> Response {
        self.send(&Request::get(target))
    }
}

/// The request that a sample consumer's parallel connections send.
#[must_use]
pub fn as_consumer(consumer: &str, target: &str) -> Request {
    Request::get(target).header("apikey", sample::key(consumer))
}
