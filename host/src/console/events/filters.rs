//! The filters of the list of events, as its address says them: the names and values of the API,
//! and `last=1h` for a range that ends now. Pure.
//!
//! A filter with several values is one parameter with commas between them, or one for each value.
//! A filter that is not understood is kept and shown with the reason, never dropped: a list without
//! it would show more than was asked for.

use std::str::FromStr;

use weir_core::business_key::BusinessKey;
use weir_core::delivery::EventStatus;
use weir_core::event::{Category, EventType};
use weir_core::name::{DestinationName, HandlerName, SourceName};

use crate::api::EventsQuery;
use crate::api::one_of::{self, OneOf};
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
            match read {
                Ok(()) => filters.keep(&name, &value),
                Err(why) => {
                    let (name, value) = (name.to_string(), value.to_string());
                    filters.wrong.push(WrongFilter { name, value, why });
                }
            }
        }
        filters
    }

    /// Keeps a filter that was understood. One of several values stands at its first place.
    fn keep(&mut self, name: &str, value: &str) {
        let before = self.pairs.iter_mut().find(|(one, _)| one == name);
        match before {
            Some((_, values)) => {
                let mut all = one_of::split(values);
                let new = one_of::split(value).into_iter();
                all.extend(new.filter(|one| !one_of::split(values).contains(one)));
                *values = one_of::join(all);
            }
            None => self.pairs.push((name.to_owned(), value.to_owned())),
        }
    }

    fn apply(&mut self, name: &str, value: &str) -> Result<(), String> {
        let query = &mut self.query;
        match name {
            "source" => add(&mut query.source, value, |value| Ok(SourceName::stored(value))),
            "type" => add(&mut query.kind, value, |value| {
                EventType::new(value).map_err(|why| why.to_string())
            }),
            "category" => add(&mut query.category, value, category),
            "status" => add(&mut query.status, value, status),
            "handler" => add(&mut query.handler, value, parsed::<HandlerName>),
            "destination" => add(&mut query.destination, value, parsed::<DestinationName>),
            "key" => add(&mut query.key, value, parsed::<BusinessKey>),
            "text" => set(&mut query.text, value.to_owned()),
            "since" | "last" => set(&mut query.since, parsed::<PointInTime>(value)?),
            "until" => set(&mut query.until, parsed::<PointInTime>(value)?),
            _ => Err("there is no such filter".to_owned()),
        }
    }

    /// The filters in force: name and value.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Each value of each filter in force.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&str, String)> {
        self.pairs().flat_map(|(name, values)| {
            let values = match is_single(name) {
                true => vec![values.to_owned()],
                false => one_of::split(values),
            };
            values.into_iter().map(move |value| (name, value))
        })
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

    /// The address without one value of a filter.
    pub(crate) fn without_value(&self, name: &str, value: &str) -> String {
        if is_single(name) {
            return self.without(name);
        }
        let all = self.value(name).map(one_of::split).unwrap_or_default();
        let rest = one_of::join(all.into_iter().filter(|one| one != value));
        let pairs = self.pairs().map(|(one, value)| (one, if one == name { &rest } else { value }));
        address("/events", &pairs.collect::<Vec<_>>())
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
        // Relative, because a list has many of them.
        address("", &pairs)
    }

    /// The address of another page of these rows.
    pub(crate) fn page(&self, cursor: &str) -> String {
        self.with("cursor", cursor)
    }
}

/// True for a filter that has one value.
fn is_single(name: &str) -> bool {
    matches!(name, "since" | "last" | "until" | "text")
}

/// Adds the values of a text to a filter, all or none.
fn add<T: PartialEq + Clone>(
    field: &mut OneOf<T>,
    text: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<(), String> {
    let mut all = field.clone();
    for value in one_of::split(text) {
        if !all.add(read(&value)?) {
            return Err(format!("there may be {} values", one_of::VALUES_MAX));
        }
    }
    *field = all;
    Ok(())
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
        assert_eq!(filters.query.status.values(), [EventStatus::DeadLetter]);
        assert!(filters.query.since.is_some() && filters.wrong.is_empty());
        assert_eq!(filters.selected.as_deref(), Some("x"));
        assert_eq!(filters.without("type"), "/events?source=github&status=dead_letter&last=1h");
        let with = filters.with("source", "stripe");
        assert_eq!(with, "/events?type=pu*&status=dead_letter&last=1h&source=stripe");
    }

    #[test]
    fn a_filter_that_is_not_understood_is_kept_with_the_reason() {
        let filters = EventFilters::read("status=dead&sorce=x&since=yesterday&last=1h&last=2h");
        let names: Vec<_> = filters.wrong.iter().map(|wrong| wrong.name.as_str()).collect();
        assert_eq!(names, ["status", "sorce", "since", "last"]);
        assert!(filters.wrong[0].why.contains("dead_letter"), "{:?}", filters.wrong[0]);
        assert_eq!(EventFilters::read("source=&type="), EventFilters::read(""));
    }

    #[test]
    fn values_of_one_filter_are_taken_away_one_by_one() {
        let filters = EventFilters::read("status=retrying,dead_letter&source=a&source=b");
        assert_eq!(filters.query.status.values().len(), 2);
        assert_eq!(filters.query.source.to_string(), "a,b");
        assert_eq!(filters.address(), "/events?status=retrying%2Cdead_letter&source=a%2Cb");
        let each: Vec<_> = filters.each().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(each, ["status=retrying", "status=dead_letter", "source=a", "source=b"]);
        let without = filters.without_value("status", "retrying");
        assert_eq!(without, "/events?status=dead_letter&source=a%2Cb");
        let last = EventFilters::read("source=a").without_value("source", "a");
        assert_eq!(last, "/events");
    }

    #[test]
    fn a_preview_stays_on_its_page() {
        let filters = EventFilters::read("source=a&cursor=c1");
        assert_eq!(filters.selecting("evt_1"), "?source=a&cursor=c1&sel=evt_1");
        assert_eq!(filters.address(), "/events?source=a");
        assert_eq!(filters.page("c2"), "/events?source=a&cursor=c2");
    }
}
