//! Damaged rows: telling them from other failures, and reading around them.

use rusqlite::ErrorCode;

/// True if the file is damaged, and not only unreadable at the moment.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// True if the stored bytes are damaged, so that another read would fail again.
pub(crate) fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    is_damage(error)
        || matches!(
            error,
            Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
                | Error::Utf8Error(..)
        )
}

/// Rows that cannot be read, with the reason.
#[derive(Debug)]
pub(crate) struct UnreadableRange {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) why: String,
}

/// Reads the rows `first..=last`, in halves where they cannot be read at once, and collects the
/// single rows that cannot be read.
pub(crate) fn read_around_damage<T>(
    (first, last): (i64, i64),
    read: &mut impl FnMut(i64, i64) -> rusqlite::Result<Vec<T>>,
    holes: &mut Vec<UnreadableRange>,
) -> rusqlite::Result<Vec<T>> {
    let mut found = Vec::new();
    let mut left = vec![(first, last)];
    while let Some((first, last)) = left.pop() {
        match read(first, last) {
            Ok(rows) => found.extend(rows),
            Err(e) if !is_unreadable(&e) => return Err(e),
            Err(e) if first >= last => match holes.last_mut() {
                Some(hole) if hole.last + 1 == first => hole.last = first,
                _ => holes.push(UnreadableRange { first, last, why: e.to_string() }),
            },
            Err(_) => {
                let middle = first + (last - first) / 2;
                left.extend([(middle + 1, last), (first, middle)]);
            }
        }
    }
    Ok(found)
}
