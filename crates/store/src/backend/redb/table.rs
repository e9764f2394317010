//! The file's tables, and what its errors mean.

use std::io::ErrorKind;
use std::path::Path;

use redb::{Builder, Database, DatabaseError, ReadableTable as _, StorageError, TableDefinition};

use super::customers;
use crate::backend::BackendError;

/// Namespace and client → [`Row`](super::row::Row).
pub(super) const ACCOUNTS: TableDefinition<'_, (&str, [u8; 16]), &[u8]> = TableDefinition::new("accounts");

/// The namespaces that have accounts.
pub(super) const NAMESPACES: TableDefinition<'_, &str, ()> = TableDefinition::new("namespaces");

/// Namespace → [`Counters`](super::snapshot::Counters), as an array in the order of its fields.
pub(super) const COUNTERS: TableDefinition<'_, &str, [u64; 4]> = TableDefinition::new("counters");

/// Namespace and consumer → [`Override`].
pub(super) const OVERRIDES: TableDefinition<'_, (&str, &str), Override<'_>> =
    TableDefinition::new("overrides");

/// The revision of an override, and what the application wrote, or `None` if it was removed.
pub(super) type Override<'a> = (u64, Option<&'a [u8]>);

/// Namespace and revision → [`ChangeKind`](super::snapshot::ChangeKind).
pub(super) const NOTICES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("news");

/// Namespace and revision → when the change was made, and a [`ChangeKind`](super::snapshot::ChangeKind).
pub(super) const CHANGES: TableDefinition<'_, (&str, u64), (u64, &[u8])> = TableDefinition::new("changes");

/// Namespace → a revision, and how many overrides there were at that revision. Older stores do not know this table and
/// leave the revision behind; the overrides are then counted again.
pub(super) const COUNTS: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("override counts");

/// Namespace and number → a line.
pub(super) const AUDIT: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("audit");

/// Namespace → the application's document.
pub(super) const DOCUMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("documents");

/// Month, namespace and client → a [`DayRow`](crate::backend::DayRow). The oldest go first.
pub(super) const DAYS: TableDefinition<'_, (u16, &str, [u8; 16]), &[u8]> = TableDefinition::new("days");

/// Namespace, client and number.
pub(super) type ReservationPlace<'a> = (&'a str, [u8; 16], [u8; 16]);

/// Where a reservation is → [`Reservation`](crate::accounts::Reservation).
pub(super) const RESERVATIONS: TableDefinition<'_, ReservationPlace<'_>, &[u8]> =
    TableDefinition::new("reservations");

/// The minute at whose end a reservation is forgotten, and where it is.
pub(super) type ReservationEnd<'a> = (u32, &'a str, [u8; 16], [u8; 16]);

/// The ends of all reservations.
pub(super) const RESERVATION_ENDS: TableDefinition<'_, ReservationEnd<'_>, ()> =
    TableDefinition::new("reservation ends");

/// Namespace and client → [`ReservationCount`](crate::accounts::ReservationCount).
pub(super) const RESERVATION_COUNTS: TableDefinition<'_, (&str, [u8; 16]), &[u8]> =
    TableDefinition::new("reservation counts");

/// Facts about the file itself.
const FILE: TableDefinition<'_, &str, u64> = TableDefinition::new("file");

/// The version of the file's format.
const FORMAT: (&str, u64) = ("format", 1);

/// Opens the file, or creates it, with all tables.
pub(super) fn create(path: &Path) -> Result<Database, BackendError> {
    with_tables(builder().create(path), path)
}

/// Opens the file, which has to exist.
pub(super) fn open(path: &Path) -> Result<Database, BackendError> {
    with_tables(builder().open(path), path)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    // Every page's checksum is checked now, because redb trusts what it reads later and may panic if that is wrong.
    builder.set_cache_size(super::CACHE).set_check_integrity_on_open(true);
    builder
}

fn with_tables(opened: Result<Database, DatabaseError>, path: &Path) -> Result<Database, BackendError> {
    let database = opened.map_err(|error| cannot_open(path, error))?;
    let transaction = database.begin_write().map_err(failed)?;
    {
        let mut file = transaction.open_table(FILE).map_err(failed)?;
        let format = file.get(FORMAT.0).map_err(failed)?.map(|format| format.value());
        match format {
            None => drop(file.insert(FORMAT.0, FORMAT.1).map_err(failed)?),
            Some(format) if format == FORMAT.1 => {}
            Some(format) => {
                return Err(BackendError::Corrupt(format!(
                    "{} is of format {format}, this store writes format {}; run the version of Tollgate that wrote it",
                    path.display(),
                    FORMAT.1
                )));
            }
        }
        transaction.open_table(ACCOUNTS).map_err(failed)?;
        transaction.open_table(NAMESPACES).map_err(failed)?;
        transaction.open_table(COUNTERS).map_err(failed)?;
        transaction.open_table(OVERRIDES).map_err(failed)?;
        transaction.open_table(NOTICES).map_err(failed)?;
        transaction.open_table(CHANGES).map_err(failed)?;
        transaction.open_table(COUNTS).map_err(failed)?;
        transaction.open_table(AUDIT).map_err(failed)?;
        transaction.open_table(DOCUMENTS).map_err(failed)?;
        transaction.open_table(DAYS).map_err(failed)?;
        transaction.open_table(RESERVATIONS).map_err(failed)?;
        transaction.open_table(RESERVATION_ENDS).map_err(failed)?;
        transaction.open_table(RESERVATION_COUNTS).map_err(failed)?;
        customers::create_tables(&transaction)?;
    }
    transaction.commit().map_err(failed)?;
    Ok(database)
}

fn cannot_open(path: &Path, error: DatabaseError) -> BackendError {
    let path = path.display();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            BackendError::Away(format!(
                "{path} is in use by another process; stop that one, or give this store a file of its own (several stores share accounts through Redis)"
            ))
        }
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != ErrorKind::InvalidData => {
            BackendError::Away(format!(
                "cannot open {path}: {error}; its directory must exist and be writable for this user"
            ))
        }
        error => BackendError::Corrupt(format!(
            "{path} is not a store's file, or it is damaged ({error}); restore a copy, or move it away to start anew"
        )),
    }
}

/// What an error of the running database means.
pub(super) fn failed(error: impl Into<redb::Error>) -> BackendError {
    match error.into() {
        redb::Error::Corrupted(what) => BackendError::Corrupt(what),
        error @ (redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. }) => {
            BackendError::Corrupt(error.to_string())
        }
        redb::Error::PreviousIo => BackendError::Away(
            "the file could not be read or written and is being reopened; check its disk".into(),
        ),
        error => BackendError::Away(error.to_string()),
    }
}
