//! The filters of the list of events, as its address says them: the names and values of the API,
//! and `last=1h` for a range that ends now. Pure.
//!
//! A filter that is not understood is kept and shown with the reason, never dropped: a list without
//! it would show more than was asked for.

use std::str::FromStr;

use weir_core::delivery::EventStatus;
use weir_core::event::{Category, EventType};
use weir_core::name::{DestinationName, HandlerName, SourceName};

use crate::api::EventsQuery;
use crate::api::params::{Limit, PointInTime};
use crate::console::flash::Flash;
use crate::console::parts::address;

/// Rows of a page.
const ROWS: usize = 50;
/// Most parameters of an address; more are not read.
const PARAMETERS_MAX: usize = 32;

/// A filter that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongFilter {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) why: String,
}

/// An address of the list, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EventFilters {
    /// Every parameter that is a filter, in the order of the address.
    pairs: Vec<(String, String)>,
    pub(crate) query: EventsQuery,
    pub(crate) wrong: Vec<WrongFilter>,
    /// The row whose preview is shown.
    pub(crate) selected: Option<String>,
    pub(crate) cursor: Option<String>,
    /// The result of the act before, with its number.
    pub(crate) did: Option<Flash>,
    pub(crate) count: u64,
}

impl EventFilters {
    /// Reads the query of an address.
    pub(crate) fn read(query: &str) -> Self {
        let mut filters = Self::default();
        filters.query.limit = Some(Limit::clamped(ROWS));
        for (name, value) in form_urlencoded::parse(query.as_bytes()).take(PARAMETERS_MAX) {
            if value.is_empty() {
                continue;
            }
            let read = match &*name {
                "sel" => {
                    filters.selected = Some(value.into_owned());
                    continue;
                }
                "cursor" => {
                    filters.cursor = Some(value.to_string());
                    filters.query.cursor = value.parse().ok();
                    continue;
                }
                "did" => {
                    filters.did = Flash::parse(&value);
                    continue;
                }
                "n" => {
                    filters.count = value.parse().unwrap_or_default();
                    continue;
                }
                _ => filters.apply(&name, &value),
            };
            if let Err(why) = read {
                let (name, value) = (name.to_string(), value.to_string());
                filters.wrong.push(WrongFilter { name, value, why });
            } else {
                filters.pairs.push((name.into_owned(), value.into_owned()));
            }
        }
        filters
    }

    fn apply(&mut self, name: &str, value: &str) -> Result<(), String> {
        let query = &mut self.query;
        match name {
            "source" => set(&mut query.source, SourceName::stored(value)),
            "type" => {
                let kind = EventType::new(value).map_err(|why| why.to_string())?;
                set(&mut query.kind, kind)
            }
            "category" => set(&mut query.category, category(value)?),
            "status" => set(&mut query.status, status(value)?),
            "handler" => set(&mut query.handler, parsed::<HandlerName>(value)?),
            "destination" => set(&mut query.destination, parsed::<DestinationName>(value)?),
            "since" | "last" => set(&mut query.since, parsed::<PointInTime>(value)?),
            "until" => set(&mut query.until, parsed::<PointInTime>(value)?),
            _ => Err("there is no such filter".to_owned()),
        }
    }

    /// The filters in force: name and value.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of a filter.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(one, _)| *one == name).map(|(_, value)| value)
    }

    /// True if the list shows everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.wrong.is_empty()
    }

    /// The address of the list with these filters, from its newest row on.
    pub(crate) fn address(&self) -> String {
        address("/events", &self.pairs().collect::<Vec<_>>())
    }

    /// The address without a filter.
    pub(crate) fn without(&self, name: &str) -> String {
        address("/events", &self.pairs().filter(|(one, _)| *one != name).collect::<Vec<_>>())
    }

    /// The address with a filter of another value.
    pub(crate) fn with(&self, name: &str, value: &str) -> String {
        let mut pairs: Vec<_> = self.pairs().filter(|(one, _)| *one != name).collect();
        pairs.push((name, value));
        address("/events", &pairs)
    }

    /// The address of this page with the preview of a row.
    pub(crate) fn selecting(&self, id: &str) -> String {
        let mut pairs: Vec<_> = self.pairs().collect();
        pairs.extend(self.cursor.as_deref().map(|cursor| ("cursor", cursor)));
        pairs.push(("sel", id));
        address("/events", &pairs)
    }

    /// The address of another page of these rows.
    pub(crate) fn page(&self, cursor: &str) -> String {
        self.with("cursor", cursor)
    }
}

fn set<T>(field: &mut Option<T>, value: T) -> Result<(), String> {
    if field.is_some() {
        return Err("this filter is given twice".to_owned());
    }
    *field = Some(value);
    Ok(())
}

fn parsed<T: FromStr<Err: ToString>>(value: &str) -> Result<T, String> {
    value.parse().map_err(|error: T::Err| error.to_string())
}

fn category(value: &str) -> Result<Category, String> {
    Category::parse(value).ok_or_else(|| {
        let words: Vec<_> = Category::ALL.iter().map(|category| category.as_str()).collect();
        format!("write one of {}", words.join(", "))
    })
}

fn status(value: &str) -> Result<EventStatus, String> {
    EventStatus::parse(value).ok_or_else(|| {
        let words: Vec<_> = EventStatus::ALL.iter().map(|status| status.as_str()).collect();
        format!("write one of {}", words.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_the_filters_of_the_api() {
        let filters = EventFilters::read("source=github&type=pu*&status=dead_letter&last=1h&sel=x");
        assert_eq!(filters.query.status, Some(EventStatus::DeadLetter));
        assert!(filters.query.since.is_some() && filters.wrong.is_empty());
        assert_eq!(filters.selected.as_deref(), Some("x"));
        assert_eq!(filters.without("type"), "/events?source=github&status=dead_letter&last=1h");
        let with = filters.with("source", "stripe");
        assert_eq!(with, "/events?type=pu*&status=dead_letter&last=1h&source=stripe");
    }

    #[test]
    fn a_filter_that_is_not_understood_is_kept_with_the_reason() {
        let filters = EventFilters::read("status=dead&sorce=x&since=yesterday&source=a&source=b");
        let names: Vec<_> = filters.wrong.iter().map(|wrong| wrong.name.as_str()).collect();
        assert_eq!(names, ["status", "sorce", "since", "source"]);
        assert!(filters.wrong[0].why.contains("dead_letter"), "{:?}", filters.wrong[0]);
        assert_eq!(EventFilters::read("source=&type="), EventFilters::read(""));
    }

    #[test]
    fn a_preview_stays_on_its_page() {
        let filters = EventFilters::read("source=a&cursor=c1");
        assert_eq!(filters.selecting("evt_1"), "/events?source=a&cursor=c1&sel=evt_1");
        assert_eq!(filters.address(), "/events?source=a");
        assert_eq!(filters.page("c2"), "/events?source=a&cursor=c2");
    }
}
