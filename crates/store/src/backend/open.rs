//! Opens the backend that a URL names.

use std::sync::Arc;

use super::clock;
use super::memory::Memory;
use super::redb::Redb;
use super::redis::{Redis, UrlError};
use super::{Backend, BackendError};

/// Why a backend cannot be opened, and what to write or do instead. Never contains a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A redb URL without a path.
    #[error("redb: names no file; write redb:PATH, such as redb:tollgate.redb")]
    NoFile,
    /// The file cannot be opened.
    #[error("{0}: {1}")]
    File(String, BackendError),
    /// The URL names no Redis.
    #[error("{0}: {1}")]
    Redis(String, UrlError),
    /// The URL names no backend.
    #[error(
        "{0} is not a backend; write memory, redb:PATH, redis://HOST:PORT, rediss://HOST:PORT, \
         redis+sentinel://HOST:PORT/NAME or redis-cluster://HOST:PORT"
    )]
    Unknown(String),
}

/// Opens the backend at `url`: `memory`, `redb:PATH`, `redis://…` and the like.
///
/// # Errors
/// The URL is wrong, or the backend cannot be opened.
pub async fn open(url: &str) -> Result<Arc<dyn Backend>, OpenError> {
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        "memory" if url == "memory" => Ok(Arc::new(Memory::new(clock::system()))),
        "redb" => {
            let path = url.strip_prefix("redb:").unwrap_or_default();
            if path.is_empty() {
                return Err(OpenError::NoFile);
            }
            Ok(Arc::new(Redb::open(path).await.map_err(|why| OpenError::File(url.to_owned(), why))?))
        }
        "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel" | "redis-cluster" | "rediss-cluster" => {
            let opened = Redis::open(url).await;
            Ok(Arc::new(opened.map_err(|why| OpenError::Redis(without_secret(url), why))?))
        }
        _ => Err(OpenError::Unknown(without_secret(url))),
    }
}

/// The URL as it may be logged: without user and password.
#[must_use]
pub fn without_secret(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            let (before, after) = (url.get(..scheme).unwrap_or_default(), url.get(at..).unwrap_or_default());
            format!("{before}://…{after}")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_stands_in_a_message() {
        assert_eq!(without_secret("redis://user:p@ss@host:1"), "redis://…@host:1");
        assert_eq!(without_secret("redis://host:1"), "redis://host:1");
        assert_eq!(without_secret("memory"), "memory");
    }

    #[tokio::test]
    async fn what_is_no_backend_is_refused_with_what_to_write() {
        assert_eq!(open("memory").await.unwrap().kind(), "memory");
        assert!(open("memory:x").await.err().unwrap().to_string().contains("write memory, redb:PATH"));
        assert!(
            open("mysql://root:secret@h")
                .await
                .err()
                .unwrap()
                .to_string()
                .starts_with("mysql://…@h is not a backend")
        );
    }
}
