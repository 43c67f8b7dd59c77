//! `/`: is it well, and if not, what is wrong since when. While no event was ever received it is
//! the guide instead.
//!
//! `needs` decides what needs a person, from the health of the hub and its parts. `cells` draws the
//! path of events in numbers, and `tables` the sources and destinations. The totals come from the
//! roll-ups: no row is counted.

mod cells;
mod guide;
mod needs;
mod tables;

use axum::extract::{Form, Query};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::admin::principal::Principal;
use crate::admin::service::AdminService;
use crate::api::{DestinationView, HealthReport, JobView, StatsAnswer, StatsQuery};
use crate::console::amounts::{self, counted};
use crate::console::assets::Asset;
use crate::console::foreign::Foreign;
use crate::console::frame::{Frame, Place};
use crate::console::parts::{self, address};
use needs::Need;

pub(super) use guide::show as guide;

/// The range of the numbers and charts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum OverviewRange {
    #[default]
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "24h")]
    Day,
    #[serde(rename = "7d")]
    Week,
}

impl OverviewRange {
    const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// The value in an address.
    const fn value(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// The name on its button.
    const fn name(self) -> &'static str {
        match self {
            Self::Hour => "1 h",
            Self::Day => "24 h",
            Self::Week => "7 d",
        }
    }

    /// The same in a sentence: `in the last hour`.
    const fn words(self) -> &'static str {
        match self {
            Self::Hour => "the last hour",
            Self::Day => "the last 24 hours",
            Self::Week => "the last 7 days",
        }
    }
}

/// The parameters of the page.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct OverviewQuery {
    #[serde(default)]
    last: OverviewRange,
}

/// Everything that the page is made of.
struct Facts {
    health: HealthReport,
    destinations: Vec<DestinationView>,
    jobs: Vec<JobView>,
    stats: StatsAnswer,
    quarantined: u64,
    range: OverviewRange,
}

impl Facts {
    async fn read(
        service: &AdminService,
        frame: &Frame,
        range: OverviewRange,
    ) -> Result<Self, ApiError> {
        let since = range.value().parse().ok();
        Ok(Self {
            health: service.health_report().await,
            destinations: service.destinations().await,
            // The page shows a failing store too.
            jobs: service.jobs().await.map(|page| page.items).unwrap_or_default(),
            stats: service.stats(StatsQuery { since, ..StatsQuery::default() }).await?,
            quarantined: frame.counts.quarantined.unwrap_or(0),
            range,
        })
    }

    /// The number of deliveries of a target, or of all, in some states.
    fn deliveries(&self, of: Option<&str>, states: &[&str]) -> u64 {
        let queues = self.health.queues.iter().flatten();
        let meant = queues.filter(|(target, _)| of.is_none_or(|of| of == *target));
        let counts = meant.flat_map(|(_, counts)| counts.iter());
        counts.filter(|(state, _)| states.contains(&&***state)).map(|(_, count)| count).sum()
    }

    /// Deliveries that wait or are being tried.
    fn waiting(&self, of: Option<&str>) -> u64 {
        self.deliveries(of, &["pending", "held", "retrying", "processing"])
    }
}

/// Answers `/`.
pub(crate) async fn show(
    service: Service,
    frame: Frame,
    Query(query): Query<OverviewQuery>,
) -> Result<Response, ApiError> {
    if !service.has_events().await {
        return guide::show(service, frame).await;
    }
    let facts = Facts::read(&service, &frame, query.last).await?;
    let needs = needs::needs(&facts, &frame.reader);
    let main = html! {
        (head(&facts, &needs))
        div.stackv {
            p.note.warn data-lost hidden role="status" {}
            (needs_panel(&needs, &frame))
            (cells::path(&facts))
            (cells::charts(&facts, &frame.reader.times))
            div.cols {
                (tables::sources(&facts, &frame.reader.times))
                (tables::destinations(&facts))
            }
        }
    };
    Ok(frame.page_with("Overview", Place::Overview, &[Asset::Overview], &main))
}

/// The hold on the whole hub.
#[derive(Debug, Deserialize)]
pub(crate) struct HubHoldForm {
    hold: String,
}

/// Answers `POST /resume`: releases the hold on the whole hub.
pub(crate) async fn resume(
    service: Service,
    by: Principal,
    Form(form): Form<HubHoldForm>,
) -> Result<Response, ApiError> {
    service.release_hold(&form.hold, by).await?;
    Ok(Redirect::to("/").into_response())
}

fn head(facts: &Facts, needs: &[Need]) -> Markup {
    let ranges = OverviewRange::ALL
        .map(|one| (one.name(), address("/", &[("last", one.value())]), one == facts.range));
    let (received, rate) = cells::received(&facts.stats);
    let waiting = facts.waiting(None);
    parts::head(
        &html! { (verdict(facts, received)) " " (need_count(needs.len())) },
        &html! {
            @if received > 0 {
                (counted(received, "request")) " in " (facts.range.words())
                @if let Some(p50) = cells::slowest(&facts.stats, |took| took.p50_ms) {
                    ", answered in " (amounts::millis(p50))
                }
                ". "
            }
            @if waiting > 0 { (deliveries_wait(waiting)) } @else { "No delivery waits." }
            @if rate >= 1.0 { span.vh { " " (amounts::rate(rate)) " a second." } }
        },
        &parts::choice("Time range", &ranges),
    )
}

fn deliveries_wait(count: u64) -> String {
    let wait = if count == 1 { "waits" } else { "wait" };
    format!("{} {wait}.", counted(count, "delivery"))
}

/// The state of receiving, in words.
fn verdict(facts: &Facts, received: u64) -> Markup {
    let summary = &facts.health.summary;
    html! {
        @if summary.status == "unavailable" {
            "Webhooks are refused"
            @if let Some(reason) = &summary.reason { ": " (Foreign(reason)) }
            "."
        } @else if received == 0 {
            "Nothing was received in " (facts.range.words()) "."
        } @else {
            "Receiving normally."
        }
    }
}

fn need_count(count: usize) -> String {
    const WORDS: [&str; 9] =
        ["Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten"];
    match count {
        0 => "Nothing needs a person.".to_owned(),
        1 => "One thing needs a person.".to_owned(),
        _ => match WORDS.get(count - 2) {
            Some(word) => format!("{word} things need a person."),
            None => format!("{count} things need a person."),
        },
    }
}

fn needs_panel(needs: &[Need], frame: &Frame) -> Markup {
    let times = &frame.reader.times;
    html! {
        section.p.needs aria-labelledby="needs" {
            header {
                h2 #needs { "Needs a person" }
                @if needs.len() > 1 { span.dd.end.s { "most deliveries affected first" } }
            }
            @if needs.is_empty() {
                p.pad.d { "Nothing needs you." }
            } @else {
                ul {
                    @for need in needs {
                        li {
                            (need.state.saying(need.word))
                            p { (need.text) }
                            span.dd.hs {
                                @if let Some(since) = need.since { "since " (times.minute(since)) }
                            }
                            (need.act)
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_counts_in_words() {
        assert_eq!(need_count(0), "Nothing needs a person.");
        assert_eq!(need_count(1), "One thing needs a person.");
        assert_eq!(need_count(3), "Three things need a person.");
        assert_eq!(need_count(14), "14 things need a person.");
        assert_eq!(deliveries_wait(1), "1 delivery waits.");
    }
}
