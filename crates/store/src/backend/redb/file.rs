//! The file, and how it is reopened.
//!
//! After an error of the disk, such as a full one, redb refuses everything until the file is closed and opened again.
//! Committed data is still there then. A failed transaction is not, unless its last step failed: then all of it is.

use std::path::{Path, PathBuf};
use std::sync::{RwLock, RwLockReadGuard};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase as _, WriteTransaction};

use super::table;
use crate::backend::BackendError;
use crate::locks;

/// One file, for as long as the store runs.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// The open file, or why it is closed.
    state: RwLock<Result<Database, String>>,
}

impl File {
    /// Opens the file at `path`, or creates it.
    pub fn open(path: &Path) -> Result<Self, BackendError> {
        let database = table::create(path)?;
        Ok(Self { path: path.to_owned(), state: RwLock::new(Ok(database)) })
    }

    /// A snapshot of the last commit.
    pub fn read(&self) -> Result<ReadTransaction, BackendError> {
        match &*self.state() {
            Ok(database) => database.begin_read().map_err(table::failed),
            Err(why) => Err(BackendError::Away(why.clone())),
        }
    }

    /// A transaction that is on the disk once it is committed.
    pub fn write(&self) -> Result<WriteTransaction, BackendError> {
        match &*self.state() {
            Ok(database) => {
                let mut transaction = database.begin_write().map_err(table::failed)?;
                transaction
                    .set_durability(Durability::Immediate)
                    .map_err(|error| BackendError::Away(error.to_string()))?;
                Ok(transaction)
            }
            Err(why) => Err(BackendError::Away(why.clone())),
        }
    }

    /// Closes the file because of `why`. Calls do not wait until it is open again, but get the reason.
    pub fn close(&self, why: &str) {
        let closed = std::mem::replace(&mut *locks::write(&self.state), Err(why.to_owned()));
        drop(closed);
    }

    /// Opens the file again. It has to exist: an empty file in its place would lose everybody's usage.
    pub fn open_again(&self) -> Result<(), BackendError> {
        let database = table::open(&self.path)?;
        *locks::write(&self.state) = Ok(database);
        Ok(())
    }

    fn state(&self) -> RwLockReadGuard<'_, Result<Database, String>> {
        locks::read(&self.state)
    }
}
