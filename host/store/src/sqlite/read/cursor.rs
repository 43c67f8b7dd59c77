//! Cursors: the number of the row at which a page begins, as opaque text.

use crate::error::StoreError;
use crate::query::PageRequest;

/// The number below which a page starts.
pub(crate) fn cursor(page: &PageRequest) -> Result<i64, StoreError> {
    let Some(after) = &page.after else { return Ok(i64::MAX) };
    let invalid = || StoreError::Invalid("the cursor is not one that a page gave".into());
    let digits = after.strip_prefix('n').ok_or_else(invalid)?;
    i64::from_str_radix(digits, 36).map_err(|_| invalid())
}

pub(crate) fn cursor_text(n: i64) -> String {
    let mut digits = Vec::new();
    let mut rest = n.unsigned_abs();
    while rest > 0 || digits.is_empty() {
        digits.push(char::from_digit(u32::try_from(rest % 36).unwrap_or(0), 36).unwrap_or('0'));
        rest /= 36;
    }
    std::iter::once('n').chain(digits.into_iter().rev()).collect()
}
