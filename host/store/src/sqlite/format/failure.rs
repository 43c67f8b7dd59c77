//! Meaning of SQLite's errors for the store: how far a failure reaches, and the error for the
//! caller.

use std::sync::Arc;

use rusqlite::{Error, ErrorCode, ffi};

use crate::error::StoreError;

/// An error of SQLite as text and code: the original cannot be given to several callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SqliteError {
    text: String,
    /// SQLite's extended result code, if the error has one.
    pub code: Option<i32>,
}

impl From<&Error> for SqliteError {
    fn from(error: &Error) -> Self {
        let code = error.sqlite_error().map(|cause| cause.extended_code);
        Self { text: error.to_string(), code }
    }
}

/// Reach of a failure.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The disk is full. This group is lost, the next one may fit.
    Full,
    /// The disk may not hold what was written, so no write may be acknowledged in this process
    /// again. After a failed sync the kernel may report the next one as a success and write
    /// nothing.
    Fatal(String),
    /// Only this group is lost.
    Group(SqliteError),
    /// One write of the group met a damaged page and is set aside. The others may be repeated.
    Damaged(SqliteError),
}

impl Failure {
    pub(crate) fn of(error: &Error) -> Self {
        let Error::SqliteFailure(cause, _) = error else { return Self::Group(error.into()) };
        match cause.code {
            ErrorCode::DiskFull => Self::Full,
            // The log's index could not grow: another sign of a full disk.
            ErrorCode::SystemIoFailure if cause.extended_code == ffi::SQLITE_IOERR_SHMSIZE => {
                Self::Full
            }
            ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::FileLockingProtocolFailed => Self::Fatal(error.to_string()),
            _ => Self::Group(error.into()),
        }
    }

    /// The error for the callers.
    pub(crate) fn store_error(&self, during: &'static str) -> StoreError {
        match self {
            Self::Full => StoreError::DiskFull,
            Self::Fatal(reason) => StoreError::Poisoned { reason: reason.clone() },
            Self::Damaged(cause) => {
                StoreError::Unavailable { during, source: Arc::new(cause.clone()) }
            }
            Self::Group(cause) => StoreError::Engine { during, source: Arc::new(cause.clone()) },
        }
    }
}

/// The error for a caller that only reads: a failure that poisons writes does not poison reads.
pub(crate) fn reader_error(during: &'static str, error: &Error) -> StoreError {
    match Failure::of(error) {
        Failure::Fatal(cause) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged(cause)
            }
            _ => StoreError::Engine { during, source: Arc::new(SqliteError::from(error)) },
        },
        other => other.store_error(during),
    }
}

/// Makes errors for callers out of errors of SQLite.
pub(crate) fn engine_error(during: &'static str) -> impl Fn(Error) -> StoreError {
    move |e| reader_error(during, &e)
}

/// A row that was looked up, with all that belongs to it.
#[derive(Debug)]
pub(crate) enum LoadedRow<T> {
    Found(T),
    Missing,
    /// It is there and cannot be read, for this reason.
    Damaged(String),
}

impl<T> LoadedRow<T> {
    /// The answer to a question about the row.
    pub(crate) fn into_answer(self) -> Result<Option<T>, StoreError> {
        match self {
            Self::Found(found) => Ok(Some(found)),
            Self::Missing => Ok(None),
            Self::Damaged(why) => Err(StoreError::Damaged(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(extended_code: i32) -> Failure {
        Failure::of(&Error::SqliteFailure(ffi::Error::new(extended_code), None))
    }

    #[test]
    fn only_a_full_disk_is_transient() {
        assert!(matches!(failure(ffi::SQLITE_FULL), Failure::Full));
        assert!(matches!(failure(ffi::SQLITE_IOERR_SHMSIZE), Failure::Full));
        for code in [
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR_READ,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_READONLY,
        ] {
            assert!(matches!(failure(code), Failure::Fatal(_)), "{code}");
        }
    }

    #[test]
    fn a_broken_constraint_fails_its_group_only() {
        assert!(matches!(failure(ffi::SQLITE_CONSTRAINT_UNIQUE), Failure::Group(_)));
    }
}
