//! Who pays for which consumer.

use async_trait::async_trait;
use redb::{ReadTransaction, ReadableTable as _, TableDefinition, WriteTransaction};

use super::table::failed;
use super::{Redb, snapshot};
use crate::backend::BackendError;
use crate::backend::customer_store::{
    CustomerChange, CustomerPage, CustomerQuery, CustomerRow, CustomerStore,
};

/// Namespace and consumer → [`Periods`](crate::customers::Periods).
const CUSTOMERS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("customers");

/// Namespace, customer and consumer.
const INDEX: TableDefinition<'_, (&str, &str, &str), ()> = TableDefinition::new("consumers of customers");

/// Creates the tables if they do not exist.
pub(super) fn create_tables(transaction: &WriteTransaction) -> Result<(), BackendError> {
    transaction.open_table(CUSTOMERS).map_err(failed)?;
    transaction.open_table(INDEX).map_err(failed)?;
    Ok(())
}

#[async_trait]
impl CustomerStore for Redb {
    async fn customers_of(&self, namespace: &str, consumer: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let (namespace, consumer) = (namespace.to_owned(), consumer.to_owned());
        self.read(move |transaction| {
            let customers = transaction.open_table(CUSTOMERS).map_err(failed)?;
            let found = customers.get((namespace.as_str(), consumer.as_str())).map_err(failed)?;
            Ok(found.map(|bytes| bytes.value().to_vec()))
        })
        .await
    }

    async fn change_customers(
        &self,
        namespace: &str,
        consumer: &str,
        change: CustomerChange,
    ) -> Result<bool, BackendError> {
        let (namespace, consumer) = (namespace.to_owned(), consumer.to_owned());
        let work = move |transaction: &WriteTransaction, _| make(transaction, &namespace, &consumer, &change);
        self.writer.change(work).await
    }

    async fn customer_page(
        &self,
        namespace: &str,
        query: CustomerQuery,
    ) -> Result<CustomerPage, BackendError> {
        let namespace = namespace.to_owned();
        self.read(move |transaction| page(transaction, &namespace, &query)).await
    }
}

fn make(
    transaction: &WriteTransaction,
    namespace: &str,
    consumer: &str,
    change: &CustomerChange,
) -> Result<bool, BackendError> {
    let mut customers = transaction.open_table(CUSTOMERS).map_err(failed)?;
    let key = (namespace, consumer);
    let is_met = {
        let found = customers.get(key).map_err(failed)?;
        found.as_ref().map(|bytes| bytes.value()) == change.before.as_deref()
    };
    if !is_met {
        return Ok(false);
    }
    match &change.after {
        Some(periods) => drop(customers.insert(key, periods.as_slice()).map_err(failed)?),
        None => drop(customers.remove(key).map_err(failed)?),
    }
    let mut index = transaction.open_table(INDEX).map_err(failed)?;
    for customer in &change.joined {
        index.insert((namespace, customer.as_str(), consumer), ()).map_err(failed)?;
    }
    for customer in &change.left {
        index.remove((namespace, customer.as_str(), consumer)).map_err(failed)?;
    }
    snapshot::record_line(transaction, namespace, &change.line)?;
    Ok(true)
}

fn page(
    transaction: &ReadTransaction,
    namespace: &str,
    query: &CustomerQuery,
) -> Result<CustomerPage, BackendError> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let customers = transaction.open_table(CUSTOMERS).map_err(failed)?;
    let after = query.after.as_deref();
    // The rows of a namespace, and of a customer, end where those of another begin.
    let Some(customer) = query.customer.as_deref() else {
        let start = after.map_or(Included((namespace, "")), |after| Excluded((namespace, after)));
        let rows = customers.range::<(&str, &str)>((start, Unbounded)).map_err(failed)?;
        let rows = rows.map_while(|row| match row {
            Ok((key, periods)) => {
                let (owner, consumer) = key.value();
                let row = || CustomerRow { consumer: consumer.to_owned(), periods: periods.value().to_vec() };
                (owner == namespace).then(|| Ok(row()))
            }
            Err(error) => Some(Err(failed(error))),
        });
        return CustomerPage::first_of(rows, query.limit);
    };
    let index = transaction.open_table(INDEX).map_err(failed)?;
    let start = match after {
        Some(after) => Excluded((namespace, customer, after)),
        None => Included((namespace, customer, "")),
    };
    let entries = index.range::<(&str, &str, &str)>((start, Unbounded)).map_err(failed)?;
    let rows = entries.map_while(|entry| {
        let consumer = match entry {
            Ok((key, _)) => {
                let (owner, of, consumer) = key.value();
                (owner == namespace && of == customer).then(|| consumer.to_owned())?
            }
            Err(error) => return Some(Err(failed(error))),
        };
        let periods = match customers.get((namespace, consumer.as_str())) {
            Ok(periods) => periods.map(|bytes| bytes.value().to_vec()).unwrap_or_default(),
            Err(error) => return Some(Err(failed(error))),
        };
        Some(Ok(CustomerRow { consumer, periods }))
    });
    CustomerPage::first_of(rows, query.limit)
}
