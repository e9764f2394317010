//! Who pays for the consumers of a namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use async_trait::async_trait;

use super::Memory;
use crate::backend::BackendError;
use crate::backend::customer_store::{
    CustomerChange, CustomerPage, CustomerQuery, CustomerRow, CustomerStore,
};
use crate::locks;

/// See the [module](self).
#[derive(Default)]
pub struct Customers {
    /// Consumer → periods.
    periods: BTreeMap<String, Vec<u8>>,
    /// Customer and consumer.
    index: BTreeSet<(String, String)>,
}

impl Customers {
    /// Makes `change` if its condition holds.
    fn change(&mut self, consumer: &str, change: &CustomerChange) -> bool {
        if self.periods.get(consumer) != change.before.as_ref() {
            return false;
        }
        match &change.after {
            Some(periods) => drop(self.periods.insert(consumer.to_owned(), periods.clone())),
            None => drop(self.periods.remove(consumer)),
        }
        for customer in &change.joined {
            self.index.insert((customer.clone(), consumer.to_owned()));
        }
        for customer in &change.left {
            self.index.remove(&(customer.clone(), consumer.to_owned()));
        }
        true
    }

    fn page(&self, query: CustomerQuery) -> Result<CustomerPage, BackendError> {
        let row = |consumer: &String, periods: &Vec<u8>| {
            Ok(CustomerRow { consumer: consumer.clone(), periods: periods.clone() })
        };
        let Some(customer) = query.customer else {
            let start = query.after.map_or(Unbounded, Excluded);
            let rows =
                self.periods.range((start, Unbounded)).map(|(consumer, periods)| row(consumer, periods));
            return CustomerPage::first_of(rows, query.limit);
        };
        let start = match query.after {
            Some(after) => Excluded((customer.clone(), after)),
            None => Included((customer.clone(), String::new())),
        };
        let consumers = self.index.range((start, Unbounded)).take_while(|(of, _)| *of == customer);
        let rows = consumers.filter_map(|(_, consumer)| Some(row(consumer, self.periods.get(consumer)?)));
        CustomerPage::first_of(rows, query.limit)
    }
}

#[async_trait]
impl CustomerStore for Memory {
    async fn customers_of(&self, namespace: &str, consumer: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let periods = |customers: &Customers| customers.periods.get(consumer).cloned();
        Ok(self.state(namespace).and_then(|state| periods(&locks::lock(&state.customers))))
    }

    async fn change_customers(
        &self,
        namespace: &str,
        consumer: &str,
        change: CustomerChange,
    ) -> Result<bool, BackendError> {
        let state = self.state_or_new(namespace);
        // Both locks are held, so that nobody sees the change without its line.
        let mut log = locks::lock(&state.overrides);
        let was_made = locks::lock(&state.customers).change(consumer, &change);
        if was_made {
            log.add_line(change.line);
        }
        Ok(was_made)
    }

    async fn customer_page(
        &self,
        namespace: &str,
        query: CustomerQuery,
    ) -> Result<CustomerPage, BackendError> {
        let Some(state) = self.state(namespace) else { return Ok(CustomerPage::default()) };
        locks::lock(&state.customers).page(query)
    }
}
