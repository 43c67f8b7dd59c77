//! Times in the zone of the reader, which the page names. Every time carries its exact moment in
//! UTC, to hover over and to copy.

use std::time::Duration;

use jiff::tz::TimeZone;
use maud::{Markup, html};
use weir_core::time::Timestamp;

use super::amounts;

/// Longest name of a zone that is looked up, in bytes.
const ZONE_BYTES_MAX: usize = 48;

/// The reader's zone and the time at which the page is made.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    zone: TimeZone,
    pub(crate) now: Timestamp,
}

impl Times {
    /// Times in a zone such as `Europe/Berlin`; in UTC if there is none of this name.
    pub(crate) fn new(zone: Option<&str>, now: Timestamp) -> Self {
        let known = zone.filter(|name| name.len() <= ZONE_BYTES_MAX);
        let zone = known.and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC);
        Self { zone, now }
    }

    /// The zone now, as the bar names it: `CET · UTC+1`.
    pub(crate) fn zone_name(&self) -> String {
        let Some(now) = self.zoned(self.now) else { return "UTC".to_owned() };
        let name = now.strftime("%Z").to_string();
        let seconds = now.offset().seconds();
        if seconds == 0 && name == "UTC" {
            return name;
        }
        let (sign, seconds) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
        let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
        let minutes = if minutes == 0 { String::new() } else { format!(":{minutes:02}") };
        let offset = format!("UTC{sign}{hours}{minutes}");
        // Some zones have no letters, only their offset.
        if name.starts_with(['+', '-']) { offset } else { format!("{name} · {offset}") }
    }

    /// True if times are shown in UTC.
    pub(crate) fn is_utc(&self) -> bool {
        self.zone == TimeZone::UTC
    }

    /// The clock with milliseconds, after the date if it is not today's.
    pub(crate) fn exact(&self, at: Timestamp) -> Markup {
        self.element(at, &self.text(at, "%H:%M:%S%.3f"))
    }

    /// The same in a long list, with as little markup as possible.
    pub(crate) fn in_list(&self, at: Timestamp) -> Markup {
        html! { time title=(at) { (self.text(at, "%H:%M:%S%.3f")) } }
    }

    /// The clock to the second, after the date if it is not today's.
    pub(crate) fn clock(&self, at: Timestamp) -> Markup {
        self.element(at, &self.text(at, "%H:%M:%S"))
    }

    /// The clock to the minute, after the date if it is not today's.
    pub(crate) fn minute(&self, at: Timestamp) -> Markup {
        self.element(at, &self.text(at, "%H:%M"))
    }

    /// The clock to the minute as plain text, for the axis of a chart.
    pub(crate) fn tick(&self, at: Timestamp) -> String {
        self.text(at, "%H:%M")
    }

    /// The time from or until now: `2 s ago`, `in 1 min 32 s`. A script keeps it up to date.
    pub(crate) fn relative(&self, at: Timestamp) -> Markup {
        let text = if at > self.now {
            let left = at.since(self.now);
            format!("in {}", amounts::duration(Duration::from_secs(left.as_secs().max(1))))
        } else {
            match amounts::rough(self.now.since(at)).as_str() {
                "now" => "now".to_owned(),
                ago => format!("{ago} ago"),
            }
        };
        html! { time datetime=(at) title=(self.title(at)) data-relative { (text) } }
    }

    fn element(&self, at: Timestamp, text: &str) -> Markup {
        html! { time datetime=(at) title=(self.title(at)) { (text) } }
    }

    /// The time in full, in the zone and in UTC.
    fn title(&self, at: Timestamp) -> String {
        match self.zoned(at).filter(|_| !self.is_utc()) {
            Some(zoned) => format!("{} · {at}", zoned.strftime("%H:%M:%S%.3f %Z, %-d %b %Y")),
            None => at.to_string(),
        }
    }

    fn text(&self, at: Timestamp, clock: &str) -> String {
        let (Some(zoned), Some(now)) = (self.zoned(at), self.zoned(self.now)) else {
            return at.to_string();
        };
        let text = zoned.strftime(clock).to_string();
        if zoned.date() == now.date() {
            text
        } else if zoned.year() == now.year() {
            format!("{} {text}", zoned.strftime("%-d %b"))
        } else {
            format!("{} {text}", zoned.strftime("%-d %b %Y"))
        }
    }

    fn zoned(&self, at: Timestamp) -> Option<jiff::Zoned> {
        let ms = i64::try_from(at.as_millis()).ok()?;
        Some(jiff::Timestamp::from_millisecond(ms).ok()?.to_zoned(self.zone.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_millis(u64::try_from(time.as_millisecond()).unwrap())
    }

    fn berlin() -> Times {
        Times::new(Some("Europe/Berlin"), at("2026-11-28T19:14:38Z"))
    }

    #[test]
    fn times_are_in_the_zone_of_the_reader() {
        let page = berlin().exact(at("2026-11-28T19:14:36.870Z")).into_string();
        assert_eq!(
            page,
            "<time datetime=\"2026-11-28T19:14:36.870Z\" \
             title=\"20:14:36.870 CET, 28 Nov 2026 · 2026-11-28T19:14:36.870Z\">20:14:36.870</time>"
        );
        assert_eq!(berlin().tick(at("2026-11-27T19:14:00Z")), "27 Nov 20:14");
        assert_eq!(berlin().tick(at("2025-11-27T19:14:00Z")), "27 Nov 2025 20:14");
        // An offset is that of its own day.
        assert_eq!(berlin().tick(at("2026-07-01T10:00:00Z")), "1 Jul 12:00");
    }

    #[test]
    fn the_zone_is_named() {
        let named = |zone| Times::new(zone, at("2026-11-28T19:14:38Z")).zone_name();
        assert_eq!(named(Some("Europe/Berlin")), "CET · UTC+1");
        assert_eq!(named(Some("Asia/Kolkata")), "IST · UTC+5:30");
        assert_eq!(named(Some("America/Sao_Paulo")), "UTC-3");
        assert_eq!(named(Some("Nowhere/At_All")), "UTC");
        assert_eq!(named(None), "UTC");
    }

    #[test]
    fn a_distance_says_its_direction() {
        let said = |time| {
            let page = berlin().relative(at(time)).into_string();
            page.split_once("data-relative>").unwrap().1.replace("</time>", "")
        };
        assert_eq!(said("2026-11-28T19:14:36Z"), "2 s ago");
        assert_eq!(said("2026-11-28T19:14:37.999Z"), "now");
        assert_eq!(said("2026-11-28T19:16:10Z"), "in 1 min 32 s");
    }
}
