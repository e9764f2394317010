//! Reads the section about the store.

use serde_json::Value;

use super::value::{Word, visible};
use super::{Checker, ON_FAILURE, ON_FAILURES};
use crate::limit::Limit;
use crate::policy::place::Place;
use crate::policy::{Policy, Store, StoreMode, Token, raw};
use crate::terms::{Bucket, Rate};
use crate::tier::ANONYMOUS;

const UPSTREAM: Word = Word {
    name: "an upstream",
    longest: 255,
    first: visible,
    rest: visible,
    advice: "host:port (Kong), or the name of a cluster (Envoy)",
};

const VARIABLE: Word = Word {
    name: "the name of an environment variable",
    longest: 128,
    first: |byte| byte.is_ascii_alphabetic() || byte == b'_',
    rest: |byte| byte.is_ascii_alphanumeric() || byte == b'_',
    advice: "one like TOLLGATE_TOKEN: letters, digits and _",
};

impl Checker {
    /// Reads how a node uses the store.
    pub fn store(&mut self, store: &raw::Store) -> Store {
        let place = Place::Root.field("store");
        Store {
            upstream: self
                .word(&place.field("upstream"), &store.upstream, &UPSTREAM)
                .unwrap_or_default()
                .to_owned(),
            mode: self
                .choice(
                    &place.field("mode"),
                    &store.mode,
                    &["leased", "strict"],
                    &[StoreMode::Leased, StoreMode::Strict],
                )
                .unwrap_or_default(),
            timeout: self.milliseconds(&place.field("timeout"), &store.timeout, 1, 50),
            sync_interval: self.milliseconds(&place.field("sync_interval"), &store.sync_interval, 10, 100),
            token: store.token.0.as_ref().and_then(|token| self.token(&place.field("token"), token)),
            on_failure: self
                .choice(&place.field("on_failure"), &store.on_failure, &ON_FAILURE, &ON_FAILURES)
                .unwrap_or_default(),
        }
    }

    /// Reads a token or where it is; a problem never shows the token.
    fn token(&mut self, place: &Place<'_>, value: &Value) -> Option<Token> {
        const ADVICE: &str = "write 16 to 512 printable ASCII characters without spaces, or { env: NAME }";
        match value {
            Value::String(text) if Token::fits(text) => Some(Token::Literal(text.clone())),
            Value::Object(fields) if fields.len() == 1 && fields.contains_key("env") => {
                let name = fields.get("env")?;
                self.word(&place.field("env"), name, &VARIABLE).map(|name| Token::Env(name.to_owned()))
            }
            Value::String(text) => {
                let problem = if text.bytes().all(visible) {
                    format!("a token of {} characters cannot be used", text.len())
                } else {
                    "a token with spaces, control or other characters cannot be sent".to_owned()
                };
                self.add(place, format!("{problem}; {ADVICE}"));
                None
            }
            _ => {
                self.add(place, format!("this is not a token; {ADVICE}"));
                None
            }
        }
    }

    /// Checks that all backends can keep every limit exactly, which a policy with a store needs.
    pub fn fits_store(&mut self, policy: &Policy) {
        let tiers = policy.tiers.iter().map(|tier| ("tiers", Some(tier)));
        for (name, tier) in tiers.chain([(ANONYMOUS, None)]) {
            let limits = tier.map_or(&policy.anonymous.limits, |tier| &tier.limits);
            let fits = |limit: &Limit| Rate::of(limit).is_some_and(|rate| Bucket::of(&rate).is_ok());
            if limits.iter().all(fits) {
                continue;
            }
            let message = "is too fine for a store to keep exactly; write a rounder number, a smaller burst, or a rate a \
                           shorter period";
            let top = Place::Root.field(name);
            match tier {
                Some(tier) => self.add(&top.field(&tier.name).field("rate"), message.to_owned()),
                None => self.add(&top.field("rate"), message.to_owned()),
            }
        }
    }
}
