//! Who pays for which consumer.

use async_trait::async_trait;
use redis::Value;

use super::key::Keys;
use super::script::{Call, Script};
use super::servers::Command;
use super::{Redis, lua};
use crate::backend::BackendError;
use crate::backend::customer_store::{
    CustomerChange, CustomerPage, CustomerQuery, CustomerRow, CustomerStore, PAGE_BYTES,
};

/// The scripts.
pub(super) struct Scripts {
    change: Script,
    page: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            change: Script::new(lua::of_namespaces(include_str!("../../../scripts/customers.lua"))),
            page: Script::new(include_str!("../../../scripts/customer_page.lua")),
        }
    }
}

#[async_trait]
impl CustomerStore for Redis {
    async fn customers_of(&self, namespace: &str, consumer: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let key = Keys::new(namespace).customers();
        let mut get = redis::cmd("HGET");
        get.arg(&key).arg(consumer);
        match self.servers.ask(Command::new(&key, get)).await? {
            Value::BulkString(periods) => Ok(Some(periods)),
            _ => Ok(None),
        }
    }

    async fn change_customers(
        &self,
        namespace: &str,
        consumer: &str,
        change: CustomerChange,
    ) -> Result<bool, BackendError> {
        let keys = Keys::new(namespace);
        let mut arguments: Vec<Vec<u8>> = vec![
            consumer.into(),
            change.before.unwrap_or_default(),
            change.after.unwrap_or_default(),
            change.line,
            change.joined.len().to_string().into_bytes(),
        ];
        arguments.extend(change.joined.into_iter().chain(change.left).map(String::into_bytes));
        let keys = vec![keys.counters(), keys.audit(), keys.customers(), keys.customer_index()];
        let answer = self.customers.change.call(&self.servers, Call { keys, arguments }).await?;
        redis::from_redis_value(answer).map_err(unreadable)
    }

    async fn customer_page(
        &self,
        namespace: &str,
        query: CustomerQuery,
    ) -> Result<CustomerPage, BackendError> {
        let keys = Keys::new(namespace);
        let arguments = vec![
            query.customer.unwrap_or_default().into_bytes(),
            query.after.unwrap_or_default().into_bytes(),
            query.limit.to_string().into_bytes(),
            PAGE_BYTES.to_string().into_bytes(),
        ];
        let keys = vec![keys.customers(), keys.customer_index()];
        let answer = self.customers.page.call(&self.servers, Call { keys, arguments }).await?;
        let (has_more, rows): (bool, Vec<(String, Vec<u8>)>) =
            redis::from_redis_value(answer).map_err(unreadable)?;
        let rows = rows.into_iter().map(|(consumer, periods)| CustomerRow { consumer, periods });
        Ok(CustomerPage { rows: rows.collect(), has_more })
    }
}

fn unreadable(what: impl std::fmt::Display) -> BackendError {
    BackendError::Corrupt(format!("a namespace's customers cannot be read: {what}"))
}
