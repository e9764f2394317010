//! What an admin does, by the store's API, until it is done.

use std::rc::Rc;

use axum::http::Method;
use serde_json::{Value, json};

use super::{Cluster, Event};
use crate::plan::{MILLISECOND, NAMESPACE, SECOND, Tier};

/// A call of an admin's.
#[derive(Debug)]
pub struct Errand {
    /// The method.
    pub method: Method,
    /// The path and the query.
    pub path: String,
    /// The body, where there is one.
    pub body: Value,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a call is for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// From when it is done, and everywhere soon after, this client has these limits.
    Limits(u32, Box<Tier>),
    /// It makes a client's bucket, or its month, whole.
    Reset {
        /// Whose.
        client: u32,
        /// The bucket.
        bucket: bool,
        /// The month.
        month: bool,
    },
    /// What a client has used in a month.
    Usage(u32, u16),
}

impl Cluster {
    /// Gives a client limits of its own, or takes them away.
    pub fn set_limits(&self, client: usize, limits: Option<&Tier>) {
        let Some(name) = self.plan.clients[client].name.clone() else { return };
        let base = self.tier_of(client, 0);
        let path = format!("/v1/overrides/{NAMESPACE}/{name}");
        let (method, body) = match limits {
            Some(limits) => {
                let mut body = limits.json();
                body["reason"] = "because".into();
                body["tier"] = base.name.clone().into();
                // Whoever has no month of its own would have the tier's.
                body["monthly"] = limits.monthly.map_or_else(|| "unlimited".into(), Value::from);
                body.as_object_mut().map(|body| body.remove("on_failure"));
                (Method::PUT, body)
            }
            None => (Method::DELETE, Value::Null),
        };
        let new = limits.cloned().unwrap_or(base);
        self.log.limits_change(client as u32, self.stamp(), new.clone());
        let purpose = Purpose::Limits(client as u32, Box::new(new));
        self.send_errand(&Rc::new(Errand { method, path, body, purpose }));
    }

    /// Makes a client's bucket, or its month, whole.
    pub fn reset(&self, client: usize, bucket: bool, month: bool) {
        let Some(name) = &self.plan.clients[client].name else { return };
        let path = format!("/v1/reset/{NAMESPACE}/{name}");
        let body = json!({ "bucket": bucket, "month": month, "reason": "because" });
        let purpose = Purpose::Reset { client: client as u32, bucket, month };
        self.send_errand(&Rc::new(Errand { method: Method::POST, path, body, purpose }));
    }

    /// Asks what a client has used.
    pub fn ask_usage(&self, client: u32, month: u16) {
        let Some(name) = &self.plan.clients[client as usize].name else { return };
        let of = tollgate_core::limit::Month(month);
        let path = format!("/v1/usage/{NAMESPACE}/{name}?month={of}");
        let purpose = Purpose::Usage(client, month);
        self.send_errand(&Rc::new(Errand { method: Method::GET, path, body: Value::Null, purpose }));
    }

    /// It is tried again a little later.
    pub fn errand_failed(&self, errand: &Rc<Errand>) {
        if let Purpose::Reset { client, bucket, month } = errand.purpose {
            // It may have been done all the same.
            self.log.was_reset(client, self.stamp(), bucket, month);
        }
        self.queue.push(self.now() + 100 * MILLISECOND, Event::Errand(Rc::clone(errand)));
    }

    /// It has an answer.
    pub fn errand_ended(&self, errand: &Rc<Errand>, status: u16, body: &Value) {
        self.trace(None, || format!("{} {}: {status} {body}", errand.method, errand.path));
        match (&errand.purpose, status) {
            (_, 503) => self.errand_failed(errand),
            (Purpose::Limits(client, tier), 200 | 204) => {
                if status == 200 {
                    self.overridden.borrow_mut().insert(*client);
                } else {
                    self.overridden.borrow_mut().remove(client);
                }
                // Of two that wait for the end of one trouble, what was done later holds later.
                let order = (self.now() - self.plan.start) / 1_000_000;
                let everywhere = self.now().max(self.trouble.get()) + 3 * SECOND + order;
                self.queue.push(everywhere, Event::LimitsHold(*client, tier.clone()));
            }
            // It has none already, or its tier is not known yet: it stays as it was.
            (Purpose::Limits(client, _), 404 | 422) => {
                self.queue.push(self.now(), Event::LimitsStay(*client));
            }
            (Purpose::Reset { client, bucket, month }, 200) => {
                self.log.was_reset(*client, self.stamp(), *bucket, *month);
            }
            (Purpose::Usage(client, month), 200) => {
                let used = body["used"].as_f64().map_or(0, |units| (units * 1_000.0).round() as u64);
                self.log.store_says(*client, *month, used);
            }
            (Purpose::Usage(client, month), 404) => self.log.store_says(*client, *month, 0),
            other => panic!("{} {}: {other:?} {body}", errand.method, errand.path),
        }
    }
}
