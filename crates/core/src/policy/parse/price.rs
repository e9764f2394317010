//! Reads the price list.

use std::fmt;

use hashbrown::HashMap;
use serde_json::Value;

use super::Checker;
use super::value::{Kind, Word};
use crate::policy::Refund;
use crate::policy::decimal::in_parts;
use crate::policy::place::Place;
use crate::policy::raw::{self, Given};
use crate::price::{Pattern, PatternError, Price, Rule};
use crate::units::Cost;

/// The most rules a policy may have.
const MAX_RULES: usize = 10_000;

const COST: Kind = Kind {
    name: "a cost",
    parts: 1_000,
    least: 0,
    greatest: 1_000_000_000,
    advice: "a number from 0 to 1000000 with three decimals at most, like 1 or 0.5",
};

const METHOD: Word = Word {
    name: "a method",
    longest: 32,
    first: |byte| byte.is_ascii_uppercase(),
    rest: |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'),
    advice: "it in capital letters, as requests have it: GET, POST, M-SEARCH",
};

/// The request with the highest cost.
pub struct Dearest<'a> {
    /// Its cost.
    pub cost: Cost,
    /// Index and path of its endpoint; `None` for requests that no endpoint matches.
    endpoint: Option<(usize, &'a str)>,
}

impl fmt::Display for Dearest<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.endpoint {
            Some((index, path)) => {
                write!(out, "a request to {path}, which costs {} (endpoints[{index}].cost)", self.cost)
            }
            None => {
                write!(out, "a request that no endpoint matches, which costs {} (default_cost)", self.cost)
            }
        }
    }
}

impl Checker {
    /// The price list in the policy's order, the price of all other requests, and the greatest of all.
    pub fn prices<'a>(
        &mut self,
        endpoints: &'a [raw::Endpoint],
        default_cost: &Given,
    ) -> (Vec<Rule>, Cost, Dearest<'a>) {
        let default_cost = match &default_cost.0 {
            Some(value) => self.cost(&Place::Root.field("default_cost"), value),
            None => Cost::from_units(1),
        };
        let mut dearest = Dearest { cost: default_cost, endpoint: None };
        let list = Place::Root.field("endpoints");
        if endpoints.len() > MAX_RULES {
            let message = format!(
                "there are {} endpoints; at most {MAX_RULES} are allowed: write a prefix (/v1/*) for those that cost the same",
                endpoints.len()
            );
            self.add(&list, message);
            return (Vec::new(), default_cost, dearest);
        }
        let mut priced = HashMap::new();
        let mut rules = Vec::with_capacity(endpoints.len());
        for (index, endpoint) in endpoints.iter().enumerate() {
            let place = list.entry(index);
            let cost = self.cost(&place.field("cost"), &endpoint.cost);
            let price = Price { cost, settles: self.settles(&place.field("settle"), &endpoint.settle, cost) };
            let methods = self.methods(&place.field("methods"), &endpoint.methods);
            let Some((path, pattern)) = self.pattern(&place.field("path"), &endpoint.path) else { continue };
            let Some(methods) = methods else { continue };
            if cost > dearest.cost {
                dearest = Dearest { cost, endpoint: Some((index, path)) };
            }
            // Without methods it is the price for every method that has none of its own.
            let all = [""];
            for method in if methods.is_empty() { &all } else { methods.as_slice() } {
                let Some(before) = priced.insert((path, *method), index) else { continue };
                let requests = if method.is_empty() { path.to_owned() } else { format!("{method} {path}") };
                let message = if before == index {
                    format!("lists {method} twice; keep one of them")
                } else {
                    format!("{requests} has a price already, in endpoints[{before}]; keep one of them")
                };
                self.add(&if before == index { place.field("methods") } else { place }, message);
            }
            let methods = methods.into_iter().map(str::to_owned).collect();
            rules.push(Rule { pattern, methods, price });
        }
        (rules, default_cost, dearest)
    }

    fn cost(&mut self, place: &Place<'_>, value: &Value) -> Cost {
        self.number(place, value, &COST).map_or(Cost::FREE, Cost)
    }

    fn settles(&mut self, place: &Place<'_>, given: &Given, cost: Cost) -> bool {
        let settles = given.0.is_some() && self.switch(place, given);
        if settles && cost == Cost::FREE {
            let message = "a request that costs 0 is never limited, so nothing would ever be refused; write the cost that is \
                           charged when it comes";
            self.add(place, message.to_owned());
        }
        settles
    }

    /// The statuses in `list`.
    pub fn refund(&mut self, place: &Place<'_>, list: &[Value]) -> Refund {
        /// The most entries.
        const MOST: usize = 100;
        let mut refund = Refund::default();
        if list.len() > MOST {
            self.add(
                place,
                format!("there are {} statuses; at most {MOST} are allowed: write classes (5xx)", list.len()),
            );
            return refund;
        }
        for (index, value) in list.iter().enumerate() {
            let code = in_parts(value, 1).map(|code| code.to_string());
            let text = code.as_deref().or(value.as_str()).unwrap_or_default();
            if !refund.add(text) {
                let advice = "5xx, or a code such as 422";
                self.not(&place.entry(index), value, "a status or a class of statuses", advice);
            }
        }
        refund
    }

    /// The methods; an empty list means every method, `None` that one of them is wrong.
    fn methods<'a>(&mut self, place: &Place<'_>, given: &'a Given) -> Option<Vec<&'a str>> {
        let Some(value) = &given.0 else { return Some(Vec::new()) };
        let Some(list) = value.as_array().filter(|list| !list.is_empty()) else {
            self.not(place, value, "a list of methods", "[GET, POST], or leave methods out for all");
            return None;
        };
        let read =
            list.iter().enumerate().map(|(index, value)| self.word(&place.entry(index), value, &METHOD));
        // All methods are checked before a wrong one ends this.
        read.collect::<Vec<_>>().into_iter().collect()
    }

    fn pattern<'a>(&mut self, place: &Place<'_>, value: &'a Value) -> Option<(&'a str, Pattern)> {
        let Some(text) = value.as_str() else {
            self.not(place, value, "a path", "/search, or /v1/* for all below it");
            return None;
        };
        let message = match Pattern::parse(text) {
            Ok(pattern) => return Some((text, pattern)),
            Err(PatternError::Relative) => {
                format!("\"{text}\" does not start with a slash; write \"/{text}\"")
            }
            Err(PatternError::Wildcard) => {
                format!("\"{text}\" has a * inside; write it as the last segment alone: /v1/*")
            }
            Err(PatternError::Query) => {
                let path = text.split(['?', '#']).next().unwrap_or_default();
                format!("\"{text}\" has a query or a fragment, which never matter; write \"{path}\"")
            }
            Err(PatternError::NotNormalised(normal)) => {
                format!("\"{text}\" can match no request, as paths are normalised first; write \"{normal}\"")
            }
        };
        self.add(place, message);
        None
    }
}
