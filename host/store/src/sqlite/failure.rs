//! What a failure of SQLite means for the store.

use rusqlite::{Error, ErrorCode, ffi};

use crate::error::StoreError;

/// How far a failure reaches.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// No room: this group is lost, the next may fit.
    Full,
    /// What is on disk may not be what was written: no write may be answered in this process again. After a sync
    /// that failed the kernel may call the next one a success without having written anything.
    Fatal(String),
    /// This group is lost, nothing else.
    Group(String),
    /// One write of the group met a damaged page, and is set aside: the others may be written again.
    Damaged,
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        let Error::SqliteFailure(cause, _) = error else { return Self::Group(error.to_string()) };
        match cause.code {
            ErrorCode::DiskFull => Self::Full,
            // The index of the log could not grow: the same full disk, met in another place.
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
            _ => Self::Group(error.to_string()),
        }
    }

    /// What callers are told.
    pub(super) fn told(&self, doing: &'static str) -> StoreError {
        match self {
            Self::Full => StoreError::DiskFull,
            Self::Fatal(reason) => StoreError::Poisoned { reason: reason.clone() },
            Self::Damaged => StoreError::CommitFailed,
            Self::Group(cause) => StoreError::Engine { doing, cause: cause.clone() },
        }
    }
}

/// What a reader is told of a failure.
pub(super) fn told_reader(doing: &'static str, error: &Error) -> StoreError {
    match Failure::of(error) {
        Failure::Fatal(cause) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged(cause)
            }
            _ => StoreError::Engine { doing, cause },
        },
        other => other.told(doing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(extended_code: i32) -> Failure {
        Failure::of(&Error::SqliteFailure(ffi::Error::new(extended_code), None))
    }

    #[test]
    fn only_a_full_disk_is_forgiven() {
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
    fn a_broken_constraint_fails_its_group_and_nothing_else() {
        assert!(matches!(failure(ffi::SQLITE_CONSTRAINT_UNIQUE), Failure::Group(_)));
    }
}
