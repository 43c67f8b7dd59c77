//! Lists, a page at a time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::time::Timestamp;

use super::schema;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListPage<T> {
    pub items: Vec<T>,
    /// The cursor of the next page, with older items; null on the last one.
    pub next: Option<String>,
    /// The cursor of the page with newer items; absent on the first one, and in lists that go one
    /// way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The time back to which was searched, if the search for this page ended before the end of the
    /// list and before the page was full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::TimestampText>)]
    pub searched_to: Option<Timestamp>,
}

/// The number of items that a filter matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountAnswer {
    /// At most 10,000.
    pub count: u64,
    /// True if there are more.
    pub more: bool,
}

impl<T> ListPage<T> {
    /// A list that fits on one page.
    #[must_use]
    pub fn whole(items: impl IntoIterator<Item = T>) -> Self {
        let items = items.into_iter().collect();
        Self { items, next: None, previous: None, searched_to: None }
    }
}
