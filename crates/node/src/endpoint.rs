//! What a request costs, by the policy's price list of methods and paths.
//!
//! The prices are in a tree of path segments. A look-up walks the request's path once and stops where no rule goes deeper, so
//! its work grows with the depth of the rules, not with their number or with what a client sends.

mod reading;

use hashbrown::HashMap;
use tollgate_core::path;
use tollgate_core::price::{Pattern, Price, Rule};
use tollgate_core::units::Cost;

/// The price list, compiled.
#[derive(Clone, Debug)]
pub struct Endpoints {
    root: Node,
    default: Price,
    /// The highest and the lowest price, the default included.
    dearest: Price,
    cheapest: Price,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: HashMap<Box<[u8]>, Self>,
    exact: Prices,
    below: Prices,
}

/// The prices of one pattern: those for one method, and the one for all others.
#[derive(Clone, Debug, Default)]
struct Prices {
    by_method: Vec<(Box<[u8]>, Price)>,
    any_method: Option<Price>,
}

impl Prices {
    /// A price for GET is also one for HEAD, because an upstream does the same work for it. If both are listed, the higher one
    /// counts.
    fn of(&self, method: &[u8]) -> Option<Price> {
        self.by_method
            .iter()
            .filter(|(listed, _)| listed.as_ref() == method || method == b"HEAD" && listed.as_ref() == b"GET")
            .map(|(_, price)| *price)
            .max()
            .or(self.any_method)
    }

    fn add(&mut self, rule: &Rule) {
        if rule.methods.is_empty() {
            self.any_method = Some(rule.price);
        }
        self.by_method.extend(rule.methods.iter().map(|method| (method.as_bytes().into(), rule.price)));
    }
}

impl Endpoints {
    /// Compiles a price list; a request that no rule matches costs `default_cost`.
    #[must_use]
    pub fn new(rules: &[Rule], default_cost: Cost) -> Self {
        let mut root = Node::default();
        for rule in rules {
            let mut node = &mut root;
            for segment in segments(rule.pattern.stem().as_bytes()) {
                node = node.children.entry(segment.into()).or_default();
            }
            match rule.pattern {
                Pattern::Exact(_) => node.exact.add(rule),
                Pattern::Prefix(_) => node.below.add(rule),
            }
        }
        let default = Price { cost: default_cost, settles: false };
        let prices = || rules.iter().map(|rule| rule.price);
        let (dearest, cheapest) = (prices().fold(default, Price::max), prices().fold(default, Price::min));
        Self { root, default, dearest, cheapest }
    }

    /// The price of every request, if the list has only one.
    #[must_use]
    pub fn only_price(&self) -> Option<Price> {
        (self.dearest == self.cheapest).then_some(self.dearest)
    }

    /// What a request costs. `target` is as the client sent it, with its query. The most specific rule wins: an exact path
    /// before a prefix, a longer prefix before a shorter one, a listed method before a rule without methods. If servers read
    /// the target or the method in several ways, the highest price counts, because nobody knows here which server stands
    /// behind the gateway.
    #[must_use]
    pub fn price(&self, method: &[u8], target: &[u8]) -> Price {
        let price = self.price_of_target(method, target);
        if method.iter().any(u8::is_ascii_lowercase) {
            // Methods are case-sensitive (RFC 9110, 9.1), but some frameworks turn them into capitals.
            return self.price_of_target(&method.to_ascii_uppercase(), target).max(price);
        }
        price
    }

    fn price_of_target(&self, method: &[u8], target: &[u8]) -> Price {
        match reading::only(target) {
            Some(path) => self.price_of_path(method, &path),
            None => self.dearest_reading(method, target),
        }
    }

    #[inline(never)]
    fn dearest_reading(&self, method: &[u8], target: &[u8]) -> Price {
        let mut work = reading::MOST_WORK;
        let mut dearest = None;
        for path in reading::received(target).unwrap_or_default() {
            for server in path::of_servers(&path) {
                let Some(left) = work.checked_sub(path.len()) else { return self.dearest };
                work = left;
                dearest = dearest.max(Some(self.price_of_path(method, &server.read(&path))));
            }
        }
        dearest.unwrap_or(self.dearest)
    }

    fn price_of_path(&self, method: &[u8], path: &[u8]) -> Price {
        let mut node = &self.root;
        let mut best = node.below.of(method);
        for segment in segments(path) {
            match node.children.get(segment) {
                Some(child) => node = child,
                None => return best.unwrap_or(self.default),
            }
            best = node.below.of(method).or(best);
        }
        node.exact.of(method).or(best).unwrap_or(self.default)
    }
}

/// The segments of a path. `/` has none, and several slashes count as one.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests;
