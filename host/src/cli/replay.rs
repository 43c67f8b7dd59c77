//! `weir replay`: makes events and deliveries due again. It moves what is stored and copies
//! nothing.
//!
//! Many events are moved a page at a time. The pace is kept here, and an interrupt stops it between
//! two pages.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use weir_core::event::EventType;
use weir_core::name::{SourceName, Target};

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::values;
use crate::api::params::PointInTime;
use crate::api::{DeadLetterFilter, ReplayAnswer, ReplayBody, UnroutedFilter};
use crate::program::output::Output;

/// Events looked at in one call.
const PAGE: usize = 500;
/// Longest pause between two pages.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// Replay an event, a delivery, all unrouted events or all dead letters
///
/// An event is routed again by the current rules: it goes again to a target that it went to before,
/// for the first time to a new one, and where it is still queued nothing changes. A delivery goes
/// to its target again as it was stored. Nothing is copied. With --request, the same replay is done
/// only once.
#[derive(Debug, Clone, clap::Args)]
#[command(group(
    clap::ArgGroup::new("what")
        .required(true)
        .args(["event", "delivery", "unrouted", "dead_letters"])
))]
pub struct ReplayArgs {
    /// An event, evt_…
    #[arg(value_name = "EVENT")]
    pub event: Option<String>,
    /// A delivery, dlv_…, as it was stored
    #[arg(long, value_name = "ID")]
    pub delivery: Option<String>,
    /// All unrouted events; the hub's own alerts only with --source weir
    #[arg(long)]
    pub unrouted: bool,
    /// All dead letters, as they were stored
    #[arg(long)]
    pub dead_letters: bool,
    /// Filter dead letters by target, such as handler:orders or destination:ops
    #[arg(long, conflicts_with_all = ["event", "delivery", "unrouted"])]
    pub target: Option<Target>,
    /// Filter by the event's source
    #[arg(long, conflicts_with_all = ["event", "delivery"])]
    pub source: Option<SourceName>,
    /// Filter by the event's type; `*` matches any characters
    #[arg(
        long = "type",
        value_name = "TYPE",
        value_parser = EventType::new,
        conflicts_with_all = ["event", "delivery"]
    )]
    pub kind: Option<EventType>,
    /// Event received since, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["event", "delivery"])]
    pub since: Option<PointInTime>,
    /// Event received before, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["event", "delivery"])]
    pub until: Option<PointInTime>,
    /// Print what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Most events per second, minute or hour: 50/s, 600/m
    #[arg(
        long,
        value_name = "N/s",
        value_parser = rate,
        conflicts_with_all = ["event", "delivery"]
    )]
    pub rate: Option<f64>,
    /// Send with new ids, so that receivers do not skip it as a duplicate
    #[arg(long)]
    pub new_ids: bool,
    /// Idempotency key for this replay
    #[arg(long, value_name = "NAME", value_parser = values::request_key)]
    pub request: Option<String>,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// Totals over pages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct ReplayTotals {
    events: usize,
    routed: usize,
    deliveries: usize,
}

impl ReplayTotals {
    fn of(answer: &ReplayAnswer) -> Self {
        let ReplayAnswer { events, routed, deliveries, .. } = *answer;
        Self { events, routed, deliveries }
    }

    fn add(&mut self, page: Self) {
        self.events += page.events;
        self.routed += page.routed;
        self.deliveries += page.deliveries;
    }
}

pub(super) async fn run(args: &ReplayArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let body = ReplayBody {
        event: args.event.clone(),
        delivery: args.delivery.clone(),
        request: args.request.clone(),
        new_ids: args.new_ids,
        dry_run: args.dry_run,
        ..ReplayBody::default()
    };
    let Some(id) = body.event.clone().or(body.delivery.clone()) else {
        return replay_many(&hub, args, body, output).await;
    };
    let answer: ReplayAnswer = hub.post_body("/api/v1/replay", &body).await?;
    output.answer(&answer, |answer| one_summary(&id, ReplayTotals::of(answer), args.dry_run));
    Ok(())
}

fn one_summary(id: &str, totals: ReplayTotals, dry_run: bool) -> String {
    match (totals.routed, totals.deliveries) {
        (0, _) => format!("{id}: no handler or route matches it by the current rules"),
        (_, 0) => format!("{id}: already queued; `weir why {id}` shows its next attempt"),
        (_, n) if dry_run => format!("{id}: {} would be due again", counted(n, "delivery")),
        (_, n) => format!("{id}: {} due again", counted(n, "delivery")),
    }
}

/// Counts first, in a dry run. Then replays page by page, if anything matches.
async fn replay_many(
    hub: &AdminClient,
    args: &ReplayArgs,
    body: ReplayBody,
    output: Output,
) -> Result<(), CommandError> {
    let kind = if args.unrouted { ReplayKind::Unrouted } else { ReplayKind::DeadLetters };
    let filter = DeadLetterFilter {
        target: args.target.as_ref().map(ToString::to_string),
        source: args.source.as_ref().map(ToString::to_string),
        kind: args.kind.as_ref().map(ToString::to_string),
        since: args.since.as_ref().map(ToString::to_string),
        until: args.until.as_ref().map(ToString::to_string),
        ..DeadLetterFilter::default()
    };
    let dry_run = ReplayBody { dry_run: true, ..body.clone() };
    let mut counting = ReplayPages::new(hub, kind, dry_run, filter);
    let mut total = ReplayTotals::default();
    while let Some(page) = counting.next().await? {
        total.add(page);
    }
    if args.dry_run || total.routed == 0 {
        print_summary(kind, total, args.dry_run, output);
        return Ok(());
    }
    // By the filter that was counted: "1h" has to mean the same moment.
    let pages = ReplayPages::new(hub, kind, body, counting.filter);
    let done = replay_pages(pages, total, args.rate, output).await?;
    print_summary(kind, done, false, output);
    Ok(())
}

/// Progress of a replay, as JSON.
#[derive(Debug, Serialize)]
struct ReplayProgress {
    done: usize,
    of: usize,
    deliveries: usize,
}

async fn replay_pages(
    mut pages: ReplayPages<'_>,
    total: ReplayTotals,
    rate: Option<f64>,
    output: Output,
) -> Result<ReplayTotals, CommandError> {
    let bar = bar(total.events, output);
    // With a rate, pages are small too, so that the load is spread out.
    pages.limit = rate.map_or(PAGE, |rate| PAGE.min(whole(rate).max(1)));
    let mut done = ReplayTotals::default();
    let mut started = Instant::now();
    while let Some(page) = pages.next().await? {
        done.add(page);
        bar.inc(page.events as u64);
        if output.json {
            let of = total.events.max(done.events);
            output.value(&ReplayProgress { done: done.events, of, deliveries: done.deliveries });
        }
        if !pages.is_last {
            tokio::time::sleep(pause(page.routed, rate, started.elapsed())).await;
        }
        started = Instant::now();
    }
    bar.finish_and_clear();
    Ok(done)
}

/// The kind of things that are replayed by a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplayKind {
    Unrouted,
    DeadLetters,
}

impl ReplayKind {
    fn noun(self) -> &'static str {
        match self {
            Self::Unrouted => "unrouted event",
            Self::DeadLetters => "dead letter",
        }
    }
}

/// The calls of one replay by a filter, a page each.
struct ReplayPages<'a> {
    hub: &'a AdminClient,
    kind: ReplayKind,
    body: ReplayBody,
    filter: DeadLetterFilter,
    limit: usize,
    cursor: Option<String>,
    is_last: bool,
}

impl<'a> ReplayPages<'a> {
    fn new(
        hub: &'a AdminClient,
        kind: ReplayKind,
        body: ReplayBody,
        filter: DeadLetterFilter,
    ) -> Self {
        Self { hub, kind, body, filter, limit: PAGE, cursor: None, is_last: false }
    }

    /// Replays the next page. None once there is none.
    async fn next(&mut self) -> Result<Option<ReplayTotals>, CommandError> {
        if self.is_last {
            return Ok(None);
        }
        let (limit, cursor) = (Some(self.limit), self.cursor.take());
        let filter = DeadLetterFilter { limit, cursor, ..self.filter.clone() };
        match self.kind {
            ReplayKind::DeadLetters => self.body.dead_letters = Some(filter),
            ReplayKind::Unrouted => self.body.unrouted = Some(unrouted(filter)),
        }
        let answer: ReplayAnswer = self.hub.post_body("/api/v1/replay", &self.body).await?;
        let totals = ReplayTotals::of(&answer);
        self.is_last = answer.next.is_none();
        self.cursor = answer.next;
        self.filter.since =
            answer.since.map(|since| since.to_string()).or(self.filter.since.take());
        self.filter.until =
            answer.until.map(|until| until.to_string()).or(self.filter.until.take());
        Ok(Some(totals))
    }
}

/// The same filter, for unrouted events, which have no target.
fn unrouted(filter: DeadLetterFilter) -> UnroutedFilter {
    let DeadLetterFilter { target: _, source, kind, since, until, limit, cursor } = filter;
    UnroutedFilter { source, kind, since, until, limit, cursor }
}

/// The pause after a page that took this long.
fn pause(routed: usize, rate: Option<f64>, took: Duration) -> Duration {
    let Some(rate) = rate else { return Duration::ZERO };
    let events = f64::from(u32::try_from(routed).unwrap_or(u32::MAX));
    let due = Duration::try_from_secs_f64(events / rate).unwrap_or(PAUSE_MAX);
    due.saturating_sub(took).min(PAUSE_MAX)
}

fn bar(all: usize, output: Output) -> ProgressBar {
    if output.json {
        return ProgressBar::hidden();
    }
    // It hides itself if standard error is not a terminal.
    let bar = ProgressBar::new(all as u64);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}, {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// The result of a replay, as JSON.
#[derive(Debug, Serialize)]
struct Summary {
    dry_run: bool,
    events: usize,
    routed: usize,
    deliveries: usize,
}

fn print_summary(kind: ReplayKind, totals: ReplayTotals, dry_run: bool, output: Output) {
    let ReplayTotals { events, routed, deliveries } = totals;
    let answer = Summary { dry_run, events, routed, deliveries };
    output.answer(&answer, |_| summary(kind, totals, dry_run));
}

fn summary(kind: ReplayKind, totals: ReplayTotals, dry_run: bool) -> String {
    let ReplayTotals { events, routed, deliveries } = totals;
    if events == 0 {
        return format!("no {}s", kind.noun());
    }
    let count = counted(events, kind.noun());
    if routed == 0 {
        return format!("{count}; no handler or route matches them by the current rules");
    }
    let (would, deliveries) =
        (if dry_run { "would be " } else { "" }, counted(deliveries, "delivery"));
    let rest = match events - routed {
        0 => String::new(),
        rest => format!("; {rest} still match nothing"),
    };
    format!("{count}: {routed} {would}replayed in {deliveries}{rest}")
}

fn counted(n: usize, what: &str) -> String {
    match (n, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {what}s"),
    }
}

/// Reads `50/s`, `600/m`, `9000/h`, or `50` per second, as a number per second.
fn rate(text: &str) -> Result<f64, String> {
    let (number, per) = match text.split_once('/') {
        None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
        Some((number, "m")) => (number, 60.0),
        Some((number, "h")) => (number, 3_600.0),
        Some(_) => {
            return Err("write a number per second, minute or hour, such as 50/s".into());
        }
    };
    match number.parse::<u32>() {
        Ok(number) if number > 0 => Ok(f64::from(number) / per),
        _ => Err("write a whole number above 0, such as 50/s".into()),
    }
}

/// The whole number below a rate. It saturates, which suits a limit.
fn whole(rate: f64) -> usize {
    let whole = Duration::try_from_secs_f64(rate).map_or(u64::MAX, |as_time| as_time.as_secs());
    usize::try_from(whole).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_per_time() {
        assert_eq!(rate("50/s"), Ok(50.0));
        assert_eq!(rate("50"), Ok(50.0));
        assert_eq!(rate("600/m"), Ok(10.0));
        assert_eq!(rate("1800/h"), Ok(0.5));
        for bad in ["", "0/s", "-1/s", "50/d", "fast", "1.5/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_is_followed_by_the_rest_of_its_time() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(100, Some(50.0), second / 2), second * 3 / 2);
        assert_eq!(pause(10, Some(50.0), second), Duration::ZERO);
        assert_eq!(pause(0, Some(50.0), Duration::ZERO), Duration::ZERO);
        assert_eq!(pause(500, None, Duration::ZERO), Duration::ZERO);
        assert_eq!(pause(usize::MAX, Some(0.001), Duration::ZERO), PAUSE_MAX);
        assert_eq!((whole(0.5), whole(50.0), whole(1e300)), (0, 50, usize::MAX));
    }

    #[test]
    fn the_summary_is_a_sentence() {
        let sum = |events, routed, deliveries| ReplayTotals { events, routed, deliveries };
        assert_eq!(summary(ReplayKind::Unrouted, sum(0, 0, 0), false), "no unrouted events");
        assert_eq!(
            summary(ReplayKind::Unrouted, sum(3, 0, 0), false),
            "3 unrouted events; no handler or route matches them by the current rules"
        );
        assert_eq!(
            summary(ReplayKind::Unrouted, sum(1, 1, 1), false),
            "1 unrouted event: 1 replayed in 1 delivery"
        );
        assert_eq!(
            summary(ReplayKind::Unrouted, sum(5, 3, 6), true),
            "5 unrouted events: 3 would be replayed in 6 deliveries; 2 still match nothing"
        );
        let dead = summary(ReplayKind::DeadLetters, sum(2, 2, 2), false);
        assert_eq!(dead, "2 dead letters: 2 replayed in 2 deliveries");
        assert_eq!(one_summary("evt_1", sum(1, 1, 2), false), "evt_1: 2 deliveries due again");
        assert!(one_summary("evt_1", sum(1, 0, 0), false).contains("no handler"));
    }
}
