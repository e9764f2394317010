//! Customers, which no simulated admin sets.

use async_trait::async_trait;
use tollgate_store::backend::{BackendError, CustomerChange, CustomerPage, CustomerQuery, CustomerStore};

use super::Redis;

#[async_trait]
impl CustomerStore for Redis {
    async fn customers_of(&self, namespace: &str, consumer: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.half_trip().await?;
        let periods = self.reader().memory.customers_of(namespace, consumer).await?;
        self.half_trip().await?;
        Ok(periods)
    }

    async fn change_customers(&self, _: &str, _: &str, _: CustomerChange) -> Result<bool, BackendError> {
        // A replica that takes over would not have it: the journal knows no such write.
        Err(BackendError::Away("nobody sets customers in a simulation".into()))
    }

    async fn customer_page(
        &self,
        namespace: &str,
        query: CustomerQuery,
    ) -> Result<CustomerPage, BackendError> {
        self.half_trip().await?;
        let page = self.reader().memory.customer_page(namespace, query).await?;
        self.half_trip().await?;
        Ok(page)
    }
}
