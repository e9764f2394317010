//! What an admin does by the store's API. Each call is repeated until it succeeds.

use std::rc::Rc;

use axum::http::Method;
use serde_json::{Value, json};

use super::{Cluster, Event};
use crate::checker::calendar;
use crate::plan::{MILLISECOND, NAMESPACE, SECOND, Tier};

/// An admin's call.
#[derive(Debug)]
pub struct Errand {
    /// The method.
    pub method: Method,
    /// The path and the query.
    pub path: String,
    /// The body, where there is one.
    pub body: Value,
    /// Its purpose.
    pub purpose: Purpose,
}

/// The purpose of a call.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// To give a client limits of its own.
    Limits(u32, Box<Tier>),
    /// To reset a client's bucket, its month or both.
    Reset {
        /// The client.
        client: u32,
        /// Whether the bucket is reset.
        bucket: bool,
        /// Whether the month is reset.
        month: bool,
    },
    /// To learn what a client has used in a month.
    Usage(u32, u16),
    /// The same, by day.
    Days(u32),
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
                // Without a month of its own, the override would have the tier's.
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

    /// Resets a client's bucket, its month or both.
    pub fn reset(&self, client: usize, bucket: bool, month: bool) {
        let Some(name) = &self.plan.clients[client].name else { return };
        let path = format!("/v1/reset/{NAMESPACE}/{name}");
        let body = json!({ "bucket": bucket, "month": month, "reason": "because" });
        let purpose = Purpose::Reset { client: client as u32, bucket, month };
        self.send_errand(&Rc::new(Errand { method: Method::POST, path, body, purpose }));
    }

    /// Asks the store what a client has used.
    pub fn ask_usage(&self, client: u32, month: u16) {
        let Some(name) = &self.plan.clients[client as usize].name else { return };
        let of = tollgate_core::limit::Month(month);
        let path = format!("/v1/usage/{NAMESPACE}/{name}?month={of}");
        let purpose = Purpose::Usage(client, month);
        self.send_errand(&Rc::new(Errand { method: Method::GET, path, body: Value::Null, purpose }));
        let path = format!("/v1/usage/{NAMESPACE}/{name}?by=day&month={of}");
        let purpose = Purpose::Days(client);
        self.send_errand(&Rc::new(Errand { method: Method::GET, path, body: Value::Null, purpose }));
    }

    /// Tries a call that has failed again, a little later.
    pub fn errand_failed(&self, errand: &Rc<Errand>) {
        if let Purpose::Reset { client, bucket, month } = errand.purpose {
            // It may have been done all the same.
            self.log.was_reset(client, self.stamp(), bucket, month);
        }
        self.queue.push(self.now() + 100 * MILLISECOND, Event::Errand(Rc::clone(errand)));
    }

    /// Records the answer to a call.
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
                // If two calls wait for the end of the same trouble, the later one holds later.
                let order = (self.now() - self.start()) / 1_000_000;
                let everywhere = self.now().max(self.trouble.get()) + 3 * SECOND + order;
                self.queue.push(everywhere, Event::LimitsHold(*client, tier.clone()));
            }
            // It has no override to remove, or its tier is not known yet, so nothing changes.
            (Purpose::Limits(client, _), 404 | 422) => {
                self.queue.push(self.now(), Event::LimitsStay(*client));
            }
            (Purpose::Reset { client, bucket, month }, 200) => {
                self.log.was_reset(*client, self.stamp(), *bucket, *month);
            }
            (Purpose::Usage(client, month), 200) => {
                self.log.store_says(*client, *month, thousandths(&body["used"]));
            }
            (Purpose::Days(client), 200) => {
                for of_day in body["days"].as_array().into_iter().flatten() {
                    let day = calendar::day_of(of_day["day"].as_str().unwrap_or_default());
                    self.log.store_says_of_day(*client, day, thousandths(&of_day["used"]));
                }
            }
            (Purpose::Days(_), 404) => {}
            (Purpose::Usage(client, month), 404) => self.log.store_says(*client, *month, 0),
            other => panic!("{} {}: {other:?} {body}", errand.method, errand.path),
        }
    }
}

fn thousandths(units: &Value) -> u64 {
    units.as_f64().map_or(0, |units| (units * 1_000.0).round() as u64)
}
