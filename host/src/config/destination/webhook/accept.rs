//! `accept`: the statuses by which an endpoint says that it has a message.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use crate::config::tree::Section;
use crate::config::value::{Value, kind};

/// The most statuses and ranges of one destination.
const RANGES_MAX: usize = 32;
/// The statuses that a final response can have.
const FINAL: RangeInclusive<u16> = 200..=599;

/// The statuses of an accepted message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedStatuses(Vec<RangeInclusive<u16>>);

impl Default for AcceptedStatuses {
    /// Every 2xx.
    fn default() -> Self {
        Self(vec![200..=299])
    }
}

impl AcceptedStatuses {
    /// These ranges.
    #[cfg(test)]
    pub(crate) fn of(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        Self(ranges.into_iter().collect())
    }

    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

/// A status, or a range of statuses.
#[derive(Debug, Clone)]
struct Statuses(RangeInclusive<u16>);

impl Value for Statuses {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let wrong = || {
            let found = kind(value);
            format!("expected a status such as 202, or a range such as \"200-299\", found {found}")
        };
        let (from, to) = match value {
            DeValue::Integer(status) => {
                let status = status.as_str().parse().map_err(|_| wrong())?;
                (status, status)
            }
            DeValue::String(text) => {
                let (from, to) = text.split_once('-').unwrap_or((text, text));
                let number = |text: &str| text.trim().parse::<u16>();
                match (number(from), number(to)) {
                    (Ok(from), Ok(to)) => (from, to),
                    _ => return Err("is not a range such as \"200-299\"".into()),
                }
            }
            _ => return Err(wrong()),
        };
        if from > to || !FINAL.contains(&from) || !FINAL.contains(&to) {
            return Err("must be between 200 and 599, the smaller number first".into());
        }
        Ok(Self(from..=to))
    }
}

/// Reads `accept`.
pub(super) fn read(section: &mut Section<'_>) -> AcceptedStatuses {
    if !section.has("accept") {
        section.mark_read("accept");
        return AcceptedStatuses::default();
    }
    let Some(given) = section.list::<Statuses>("accept") else {
        return AcceptedStatuses::default();
    };
    if given.len() > RANGES_MAX {
        section.problem("accept", format!("lists more than {RANGES_MAX} statuses and ranges"));
    }
    if given.is_empty() && section.items("accept").is_some_and(|items| items.is_empty()) {
        section.problem("accept", "lists no status, so that no message would ever be accepted");
    }
    AcceptedStatuses(given.into_iter().map(|Statuses(range)| range).collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{problems, webhook_with};

    #[test]
    fn statuses_and_ranges_are_accepted() {
        let accepts = |text: &str, status| webhook_with(text).accept.contains(status);
        for status in [200, 204, 299] {
            assert!(accepts("", status), "{status}");
        }
        assert!(!accepts("", 300) && !accepts("", 409));
        let some = "accept = [200, 409, \"500-502\"]";
        for (status, is_accepted) in
            [(200, true), (201, false), (409, true), (499, false), (500, true), (503, false)]
        {
            assert_eq!(accepts(some, status), is_accepted, "{status}");
        }
    }

    #[test]
    fn a_status_that_no_response_has_is_refused() {
        for wrong in ["[99]", "[600]", "[\"299-200\"]", "[\"2xx\"]", "[true]", "[1.5]"] {
            assert_eq!(problems(&format!("accept = {wrong}")), ["accept[0]"], "{wrong}");
        }
        assert_eq!(problems("accept = []"), ["accept"]);
        assert_eq!(problems("accept = 200"), ["accept"]);
    }
}
