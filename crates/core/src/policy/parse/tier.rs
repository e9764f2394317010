//! Reads what a tier may spend: rates, bursts, months.

use serde_json::Value;

use super::price::Dearest;
use super::value::{Kind, Word, plain, shown};
use super::{Checker, ON_FAILURE, ON_FAILURES};
use crate::limit::{Level, Limit, LimitError, NotNow, Period};
use crate::policy::place::Place;
use crate::policy::raw::{self, Given};
use crate::tier::{ANONYMOUS, MAX_LIMITS, Tier};
use crate::units::Cost;

/// The most tiers that a policy may have; each has its own metrics.
pub const MAX_TIERS: usize = 64;

/// The most cost units that a rate may give out per period.
const MAX_UNITS: u64 = 1_000_000_000;

/// The names that a tier may have.
pub const NAME: Word = Word {
    name: "a tier's name",
    longest: 32,
    first: |byte| byte.is_ascii_lowercase(),
    rest: |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'),
    advice: "a lower-case letter, then lower-case letters, digits, _ or -, 32 at most",
};

const BURST: Kind = Kind {
    name: "a burst",
    parts: 100,
    least: 100,
    greatest: Limit::MAX_BURST,
    advice: "a number from 1 to 1000 with two decimals at most, like 1.5",
};

const MONTHLY: Kind = Kind {
    name: "a monthly quota",
    parts: 1,
    least: 1,
    greatest: 100_000_000_000,
    advice: "a whole number of cost units from 1 to 100000000000, or unlimited",
};

const RATE: &str = "N/second, N/minute, N/hour or N/day with N from 1 to 1000000000, or unlimited";
const UNLIMITED: &str = "unlimited";

impl Checker {
    /// Reads all tiers, sorted by name.
    pub fn tiers(&mut self, tiers: &raw::Tiers, dearest: &Dearest<'_>) -> Vec<Tier> {
        let place = Place::Root.field("tiers");
        if tiers.is_empty() {
            self.add(&place, "there is no tier; write tiers: { free: { rate: 100/minute } }".to_owned());
        }
        if tiers.len() > MAX_TIERS {
            self.add(&place, format!("there are {} tiers; at most {MAX_TIERS} are allowed", tiers.len()));
        }
        tiers.iter().map(|(name, tier)| self.tier(&place.field(name), name, tier, dearest)).collect()
    }

    fn tier(&mut self, place: &Place<'_>, name: &str, tier: &raw::Tier, dearest: &Dearest<'_>) -> Tier {
        if name == ANONYMOUS {
            let message = "is the name of clients without a consumer; write their limits under `anonymous:` at the \
                           top, and give this tier another name";
            self.add(place, message.to_owned());
        } else if !NAME.is(name) {
            self.not(place, &Value::from(name), NAME.name, NAME.advice);
        }
        let limits = self.limits(place, &tier.rate, &tier.burst, dearest);
        let monthly = self.monthly(&place.field("monthly"), &tier.monthly);
        if let Some(month) = monthly.filter(|month| *month < dearest.cost) {
            let message = format!(
                "a month of {month} is too little for {dearest}; write at least {}, or lower that cost",
                dearest.cost.0.div_ceil(1000)
            );
            self.add(&place.field("monthly"), message);
        }
        let on_failure = self.choice(&place.field("on_failure"), &tier.on_failure, &ON_FAILURE, &ON_FAILURES);
        Tier { name: name.to_owned(), limits, monthly, on_failure }
    }

    /// Reads what anonymous clients may spend, as a tier.
    pub fn anonymous(&mut self, anonymous: &raw::Anonymous, dearest: &Dearest<'_>) -> Tier {
        let place = Place::Root.field(ANONYMOUS);
        let limits = self.limits(&place, &anonymous.rate, &anonymous.burst, dearest);
        let on_failure =
            self.choice(&place.field("on_failure"), &anonymous.on_failure, &ON_FAILURE, &ON_FAILURES);
        Tier { name: ANONYMOUS.to_owned(), limits, monthly: None, on_failure }
    }

    fn monthly(&mut self, place: &Place<'_>, given: &Given) -> Option<Cost> {
        match &given.0 {
            None => None,
            Some(value) if value == UNLIMITED => None,
            Some(value) => self.number(place, value, &MONTHLY).map(Cost::from_units),
        }
    }

    /// The limits that `rate` and `burst`, two fields of `tier`, describe.
    fn limits(&mut self, tier: &Place<'_>, rate: &Value, burst: &Given, dearest: &Dearest<'_>) -> Vec<Limit> {
        let place = tier.field("rate");
        let burst_place = tier.field("burst");
        let given_burst = burst.0.as_ref().map(|value| self.number(&burst_place, value, &BURST));
        let burst = given_burst.flatten().unwrap_or(100);
        match rate {
            Value::String(text) if text == UNLIMITED => {
                if given_burst.is_some() {
                    let message = "an unlimited rate has no bucket; remove burst, or write a rate";
                    self.add(&burst_place, message.to_owned());
                }
                Vec::new()
            }
            Value::Array(entries) => {
                if !(1..=MAX_LIMITS).contains(&entries.len()) {
                    let message =
                        format!("a list of {} rates is not a rate; write 1 to {MAX_LIMITS}", entries.len());
                    self.add(&place, message);
                }
                let entries = entries.iter().enumerate();
                entries
                    .filter_map(|(index, entry)| self.entry(&place.entry(index), entry, burst, dearest))
                    .collect()
            }
            value => self.limit(&place, value, burst, dearest).into_iter().collect(),
        }
    }

    /// Reads one entry of a list of rates: a rate, or a rate with its own burst.
    fn entry(
        &mut self,
        place: &Place<'_>,
        entry: &Value,
        burst: u64,
        dearest: &Dearest<'_>,
    ) -> Option<Limit> {
        let Value::Object(fields) = entry else {
            return self.limit(place, entry, burst, dearest);
        };
        for name in fields.keys().filter(|name| !matches!(name.as_str(), "rate" | "burst")) {
            self.add(&place.field(name), "is not a field; write one of rate, burst, or remove it".to_owned());
        }
        let burst = match fields.get("burst") {
            Some(value) => self.number(&place.field("burst"), value, &BURST).unwrap_or(100),
            None => burst,
        };
        let place = place.field("rate");
        let Some(rate) = fields.get("rate") else {
            self.add(&place, "is missing; write rate: 100/minute".to_owned());
            return None;
        };
        self.limit(&place, rate, burst, dearest)
    }

    /// Reads one limit; the caller has dealt with `unlimited` where it is allowed.
    fn limit(&mut self, place: &Place<'_>, rate: &Value, burst: u64, dearest: &Dearest<'_>) -> Option<Limit> {
        if rate == UNLIMITED {
            let message =
                "unlimited takes no part in a list; write rate: unlimited alone, or remove this entry";
            self.add(place, message.to_owned());
            return None;
        }
        let Some((units, period)) = rate.as_str().and_then(units_a_period) else {
            self.not(place, rate, "a rate", RATE);
            return None;
        };
        match Limit::new(units, period, burst) {
            Ok(limit) => {
                self.reach(place, &limit, dearest);
                Some(limit)
            }
            Err(LimitError::TooFine) => {
                let message = format!(
                    "{} with a burst of {} is too fine to be kept exactly; write {}, or a smaller burst",
                    shown(rate),
                    Hundredths(burst),
                    rounder(units, period, burst)
                );
                self.add(place, message);
                None
            }
            Err(LimitError::NoUnits | LimitError::Burst) => {
                self.not(place, rate, "a rate", RATE);
                None
            }
        }
    }

    /// Checks that a limit can allow every request that the policy knows.
    fn reach(&mut self, place: &Place<'_>, limit: &Limit, dearest: &Dearest<'_>) {
        if limit.charged(Level(0), dearest.cost) == Err(NotNow::Never) {
            let message = format!(
                "a full bucket of {}/{} holds {}, too little for {dearest}; raise the rate or its burst to hold {}, or \
                 lower that cost",
                limit.units(),
                limit.period().name(),
                limit.capacity(),
                dearest.cost
            );
            self.add(place, message);
        }
    }
}

/// Reads a rate such as `100/minute`.
fn units_a_period(text: &str) -> Option<(u64, Period)> {
    let (units, word) = text.split_once('/')?;
    let period = Period::ALL.into_iter().find(|period| period.name() == word)?;
    plain(units).filter(|units| *units <= MAX_UNITS).map(|units| (units, period))
}

/// The closest lower rate with zeros at its end that can be kept exactly.
fn rounder(units: u64, period: Period, burst: u64) -> String {
    let mut step = 10_u64;
    while step <= units {
        let rounded = units.saturating_sub(units.checked_rem(step).unwrap_or(0));
        if Limit::new(rounded, period, burst).is_ok() {
            return format!("{rounded}/{}", period.name());
        }
        step = step.saturating_mul(10);
    }
    "a rounder number".to_owned()
}

/// Hundredths as a policy writes them.
struct Hundredths(u64);

impl std::fmt::Display for Hundredths {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Cost(self.0.saturating_mul(10)).fmt(out)
    }
}
