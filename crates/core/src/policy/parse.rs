//! Reads text into a [`Policy`], and finds everything that is wrong with it in one run.

mod document;
mod identity;
mod price;
mod shape;
mod store;
mod tier;
mod value;

use serde_json::Value;

use self::value::{Kind, Word};
use super::place::Place;
use super::protobuf::read_struct;
use super::{Enforcement, HeaderFamilies, OnFailure, Policy, Problem, TierId, raw};

/// The smallest policy, for messages to users who have none yet.
const MINIMAL: &str = r#"{"tiers": {"free": {"rate": "100/minute"}}, "default_tier": "free", "anonymous": {"rate": "30/minute"}}"#;

/// The most problems that are reported for one policy: each names a place, which may be as long as the policy itself.
const MAX_PROBLEMS: usize = 100;

const ON_FAILURE: [&str; 4] = ["local", "ip", "open", "closed"];
const ON_FAILURES: [OnFailure; 4] = [OnFailure::Local, OnFailure::Ip, OnFailure::Open, OnFailure::Closed];

const DEFAULT_NAMESPACE: &str = "default";

const NAMESPACE: Word = Word {
    name: "a namespace",
    longest: 64,
    first: |byte| byte.is_ascii_alphanumeric(),
    rest: |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'),
    advice: "letters, digits, ., _ or -, 64 at most, the first a letter or digit",
};

const CLIENTS: Kind = Kind {
    name: "a number of client records",
    parts: 1,
    least: 64,
    greatest: 1_048_576,
    advice: "a whole number from 64 to 1048576",
};

impl Policy {
    /// Reads the configuration that a gateway passes to a filter: JSON, or a Struct in protobuf's binary form, which is how
    /// Envoy passes one that was written as `google.protobuf.Struct`.
    ///
    /// # Errors
    /// Everything that is wrong with it; of wrong fields only the first.
    #[inline(never)]
    pub fn from_configuration(bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        // Every Struct that is not empty starts with this byte, which is a newline in JSON. So JSON is tried first.
        const FIELD_1: &[u8] = b"\x0a";
        let text = document::read(bytes);
        let structure = if text.is_err() && bytes.starts_with(FIELD_1) { read_struct(bytes) } else { None };
        match structure {
            Some(value) => Self::from_value(&value),
            None => Self::from_value(&text?),
        }
    }

    /// The namespace that a JSON configuration names, whatever else is wrong with it.
    #[must_use]
    pub fn namespace_in(configuration: &[u8]) -> Option<String> {
        match document::read(configuration).ok()?.as_object()?.get("namespace") {
            None => Some(DEFAULT_NAMESPACE.to_owned()),
            Some(Value::String(text)) if NAMESPACE.is(text) => Some(text.clone()),
            Some(_) => None,
        }
    }

    /// Reads a policy from JSON in UTF-8.
    ///
    /// # Errors
    /// Everything that is wrong with it; of wrong fields only the first.
    pub fn from_json(text: &[u8]) -> Result<Self, Vec<Problem>> {
        Self::from_value(&document::read(text)?)
    }

    /// Reads a policy from a document in which no key is repeated.
    ///
    /// # Errors
    /// Everything that is wrong with it; of wrong fields only the first.
    pub fn from_value(document: &Value) -> Result<Self, Vec<Problem>> {
        let raw = shape::read(document).map_err(|problem| vec![problem])?;
        let mut checker = Checker { problems: Vec::new() };
        let policy = checker.policy(&raw);
        if checker.problems.is_empty() { Ok(policy) } else { Err(checker.problems) }
    }
}

/// Reads JSON text in which no key is repeated.
///
/// # Errors
/// What is wrong with it as JSON, and which keys are repeated.
pub fn read_json(text: &[u8]) -> Result<Value, Vec<Problem>> {
    document::read(text)
}

/// Reads values and collects what is wrong with them. A wrong value is read as a harmless one, so that the rest can still
/// be checked; if there is any problem, no policy gets out.
struct Checker {
    problems: Vec<Problem>,
}

impl Checker {
    #[inline(never)]
    fn add(&mut self, place: &Place<'_>, message: String) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        self.problems.push(Problem::new(place.to_string(), message));
    }

    fn policy(&mut self, raw: &raw::Policy) -> Policy {
        let at = |name| Place::Root.field(name);
        let namespace = match &raw.namespace.0 {
            Some(value) => self.word(&at("namespace"), value, &NAMESPACE).unwrap_or_default(),
            None => DEFAULT_NAMESPACE,
        };
        let enforcement = match &raw.enforcement.0 {
            // The YAML readers of Kong and Envoy turn an unquoted `off` into this.
            Some(Value::Bool(false)) => Some(Enforcement::Off),
            _ => self.choice(
                &at("enforcement"),
                &raw.enforcement,
                &["enforce", "shadow", "off"],
                &[Enforcement::Enforce, Enforcement::Shadow, Enforcement::Off],
            ),
        };
        let (endpoints, default_cost, dearest) = self.prices(&raw.endpoints.0, &raw.default_cost);
        let tiers = self.tiers(&raw.tiers, &dearest);
        let default_tier = self.tier_called(&at("default_tier"), &raw.default_tier, &tiers);
        let anonymous = self.anonymous(&raw.anonymous, &dearest);
        let headers = at("headers");
        let clients = match &raw.memory.clients.0 {
            Some(value) => self.number(&at("memory").field("clients"), value, &CLIENTS),
            None => Some(Policy::DEFAULT_CLIENTS.into()),
        };
        let policy = Policy {
            namespace: namespace.to_owned(),
            enforcement: enforcement.unwrap_or_default(),
            default_tier: default_tier.unwrap_or(TierId(0)),
            anonymous,
            identity: self.identity(&raw.identity),
            endpoints,
            default_cost,
            refund: self.refund(&at("refund"), &raw.refund.0),
            overrides: self.overrides(&raw.overrides, &tiers),
            tiers,
            headers: HeaderFamilies {
                x_ratelimit: self.switch(&headers.field("x_ratelimit"), &raw.headers.x_ratelimit),
                ietf: self.switch(&headers.field("ietf"), &raw.headers.ietf),
            },
            tells_upstream: self.switch(&headers.field("upstream"), &raw.headers.upstream),
            store: raw.store.as_ref().map(|store| self.store(store)),
            clients: clients.and_then(|clients| u32::try_from(clients).ok()).unwrap_or_default(),
        };
        if policy.store.is_some() {
            self.fits_store(&policy);
        }
        policy
    }
}

#[cfg(test)]
mod tests;
