//! `weir replay`: putting events and deliveries back to work. It moves what is there, and never copies.
//!
//! Many events are moved a page at a time: the pace is kept here, and whoever interrupts it stops it between two pages.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::words;
use crate::program::output::Output;

/// Events looked at in one call.
const PAGE: u64 = 500;
/// Longest pause between two pages.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// Replay an event, a delivery, all unrouted events or all dead letters
///
/// An event is routed again, by the current rules: to a target that it had gone to it goes again, to a new one
/// for the first time, and where it still waits nothing changes. A delivery goes to its target again as it was stored.
/// Nothing is copied, so what is replayed twice under one --request is replayed once.
#[derive(Debug, Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["event", "delivery", "unrouted", "dead_letters"])))]
pub struct ReplayArgs {
    /// This event, evt_…
    #[arg(value_name = "EVENT")]
    pub event: Option<String>,
    /// This delivery, dlv_…, as it was stored
    #[arg(long, value_name = "ID")]
    pub delivery: Option<String>,
    /// Every unrouted event; the hub's own alerts only with --source weir
    #[arg(long)]
    pub unrouted: bool,
    /// Every dead letter, as it was stored
    #[arg(long)]
    pub dead_letters: bool,
    /// Filter dead letters by target, such as handler:orders or destination:ops
    #[arg(long, value_parser = words::target, conflicts_with_all = ["event", "delivery", "unrouted"])]
    pub target: Option<String>,
    /// Filter by the event's source
    #[arg(long, value_parser = words::source, conflicts_with_all = ["event", "delivery"])]
    pub source: Option<String>,
    /// Filter by the event's type; `*` stands for any run of characters
    #[arg(long = "type", value_name = "TYPE", value_parser = words::kind, conflicts_with_all = ["event", "delivery"])]
    pub kind: Option<String>,
    /// Of events received since, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = words::moment, conflicts_with_all = ["event", "delivery"])]
    pub since: Option<String>,
    /// Of events received before, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = words::moment, conflicts_with_all = ["event", "delivery"])]
    pub until: Option<String>,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// At most this many in a second, a minute or an hour: 50/s, 600/m
    #[arg(long, value_name = "N/s", value_parser = rate, conflicts_with_all = ["event", "delivery"])]
    pub rate: Option<f64>,
    /// Send with new ids, so that receivers do not skip it as a duplicate
    #[arg(long)]
    pub new_ids: bool,
    /// Idempotency key for this replay
    #[arg(long, value_name = "NAME", value_parser = words::name)]
    pub request: Option<String>,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// Sums over pages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct ReplayTotals {
    events: u64,
    routed: u64,
    deliveries: u64,
}

impl ReplayTotals {
    fn add(&mut self, page: &Value) -> Self {
        let count = |key: &str| page[key].as_u64().unwrap_or_default();
        let page = Self {
            events: count("events"),
            routed: count("routed"),
            deliveries: count("deliveries"),
        };
        self.events += page.events;
        self.routed += page.routed;
        self.deliveries += page.deliveries;
        page
    }
}

pub(super) async fn run(args: &ReplayArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let mut asked = json!({ "dry_run": args.dry_run, "new_ids": args.new_ids });
    if let Some(name) = &args.request {
        asked["request"] = name.as_str().into();
    }
    let (key, one) = match (&args.event, &args.delivery) {
        (Some(event), _) => ("event", event),
        (None, Some(delivery)) => ("delivery", delivery),
        (None, None) => return many(&hub, args, asked, output).await,
    };
    asked[key] = one.as_str().into();
    let done = hub.post_json("/api/v1/replay", &asked).await?;
    if output.json {
        output.value(&done);
    } else {
        let mut sum = ReplayTotals::default();
        sum.add(&done);
        output.text(&one_told(one, sum, args.dry_run));
    }
    Ok(())
}

fn one_told(id: &str, sum: ReplayTotals, dry_run: bool) -> String {
    match (sum.routed, sum.deliveries) {
        (0, _) => format!("{id}: no handler or route matches it by the current rules"),
        (_, 0) => format!("{id}: already queued; `weir why {id}` says when it is tried next"),
        (_, n) if dry_run => format!("{id}: {} would be due again", counted(n, "delivery")),
        (_, n) => format!("{id}: {} due again", counted(n, "delivery")),
    }
}

/// Counts first: how many there are, and whether anybody gets them. Then moves them, page by page.
async fn many(
    hub: &AdminClient,
    args: &ReplayArgs,
    asked: Value,
    output: Output,
) -> Result<(), CommandError> {
    let filter = [
        ("source", &args.source),
        ("type", &args.kind),
        ("since", &args.since),
        ("until", &args.until),
        ("target", &args.target),
    ];
    let said = filter.into_iter().filter_map(|(key, said)| Some((key, said.as_deref()?)));
    let filter: Map<String, Value> = said.map(|(key, said)| (key.into(), said.into())).collect();
    let which = if args.unrouted { ReplayKind::Unrouted } else { ReplayKind::DeadLetters };
    let mut counting = ReplayPages::of(hub, which, asked.clone(), filter);
    counting.asked["dry_run"] = true.into();
    let mut total = ReplayTotals::default();
    while let Some(page) = counting.next().await? {
        total.add(&page);
    }
    if args.dry_run || total.routed == 0 {
        tell(which, total, args.dry_run, output);
        return Ok(());
    }
    // The filter as it was counted by: "an hour ago" is to mean the same moment.
    let pages = ReplayPages::of(hub, which, asked, counting.filter);
    let done = move_them(pages, total, args.rate, output).await?;
    tell(which, done, false, output);
    Ok(())
}

async fn move_them(
    mut pages: ReplayPages<'_>,
    total: ReplayTotals,
    rate: Option<f64>,
    output: Output,
) -> Result<ReplayTotals, CommandError> {
    let bar = bar(total.events, output);
    // A rate is kept by small pages, too, so that what comes is spread out.
    pages.limit = rate.map_or(PAGE, |rate| PAGE.min(whole(rate).max(1)));
    let mut done = ReplayTotals::default();
    let mut begun = Instant::now();
    while let Some(page) = pages.next().await? {
        let moved = done.add(&page);
        bar.inc(moved.events);
        if output.json {
            let (of, deliveries) = (total.events.max(done.events), done.deliveries);
            output.value(&json!({ "done": done.events, "of": of, "deliveries": deliveries }));
        }
        if !pages.ended {
            tokio::time::sleep(pause(moved.routed, rate, begun.elapsed())).await;
        }
        begun = Instant::now();
    }
    bar.finish_and_clear();
    Ok(done)
}

/// What of many things is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplayKind {
    Unrouted,
    DeadLetters,
}

impl ReplayKind {
    fn key(self) -> &'static str {
        match self {
            Self::Unrouted => "unrouted",
            Self::DeadLetters => "dead_letters",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Unrouted => "unrouted event",
            Self::DeadLetters => "dead letter",
        }
    }
}

/// The calls of one replay of many things, a page each.
struct ReplayPages<'a> {
    hub: &'a AdminClient,
    which: ReplayKind,
    asked: Value,
    filter: Map<String, Value>,
    limit: u64,
    cursor: Option<Value>,
    ended: bool,
}

impl<'a> ReplayPages<'a> {
    fn of(
        hub: &'a AdminClient,
        which: ReplayKind,
        asked: Value,
        filter: Map<String, Value>,
    ) -> Self {
        Self { hub, which, asked, filter, limit: PAGE, cursor: None, ended: false }
    }

    /// The next page. None once there is none left.
    async fn next(&mut self) -> Result<Option<Value>, CommandError> {
        if self.ended {
            return Ok(None);
        }
        let mut which = self.filter.clone();
        which.insert("limit".into(), self.limit.into());
        which.extend(self.cursor.take().map(|cursor| ("cursor".into(), cursor)));
        self.asked[self.which.key()] = which.into();
        let page = self.hub.post_json("/api/v1/replay", &self.asked).await?;
        self.ended = page["next"].is_null();
        self.cursor = Some(page["next"].clone());
        for moment in ["since", "until"].into_iter().filter(|moment| !page[*moment].is_null()) {
            self.filter.insert(moment.into(), page[moment].clone());
        }
        Ok(Some(page))
    }
}

/// How long to wait after a page that took so long already.
fn pause(routed: u64, rate: Option<f64>, took: Duration) -> Duration {
    let Some(rate) = rate else { return Duration::ZERO };
    let events = f64::from(u32::try_from(routed).unwrap_or(u32::MAX));
    let due = Duration::try_from_secs_f64(events / rate).unwrap_or(PAUSE_MAX);
    due.saturating_sub(took).min(PAUSE_MAX)
}

fn bar(all: u64, output: Output) -> ProgressBar {
    if output.json {
        return ProgressBar::hidden();
    }
    // Hides itself where standard error is no terminal.
    let bar = ProgressBar::new(all);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}, {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn tell(which: ReplayKind, sum: ReplayTotals, dry_run: bool, output: Output) {
    if output.json {
        output.value(&json!({
            "dry_run": dry_run,
            "events": sum.events,
            "routed": sum.routed,
            "deliveries": sum.deliveries,
        }));
    } else {
        output.text(&told(which, sum, dry_run));
    }
}

fn told(which: ReplayKind, sum: ReplayTotals, dry_run: bool) -> String {
    let ReplayTotals { events, routed, deliveries } = sum;
    if events == 0 {
        return format!("no {}s", which.word());
    }
    let events_told = counted(events, which.word());
    if routed == 0 {
        return format!("{events_told}; no handler or route matches them by the current rules");
    }
    let (would, deliveries) =
        (if dry_run { "would be " } else { "" }, counted(deliveries, "delivery"));
    let rest = match events - routed {
        0 => String::new(),
        rest => format!("; {rest} still match nothing"),
    };
    format!("{events_told}: {routed} {would}replayed in {deliveries}{rest}")
}

fn counted(n: u64, what: &str) -> String {
    match (n, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {what}s"),
    }
}

/// `50/s`, `600/m`, `9000/h`, or `50` in a second; in a second.
fn rate(text: &str) -> Result<f64, String> {
    let (number, per) = match text.split_once('/') {
        None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
        Some((number, "m")) => (number, 60.0),
        Some((number, "h")) => (number, 3_600.0),
        Some(_) => {
            return Err("write a number in a second, a minute or an hour, such as 50/s".into());
        }
    };
    match number.parse::<u32>() {
        Ok(number) if number > 0 => Ok(f64::from(number) / per),
        _ => Err("write a whole number above 0, such as 50/s".into()),
    }
}

fn whole(rate: f64) -> u64 {
    // Saturates, which is what is wanted of a limit.
    Duration::try_from_secs_f64(rate).map_or(u64::MAX, |as_time| as_time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_in_a_while() {
        assert_eq!(rate("50/s"), Ok(50.0));
        assert_eq!(rate("50"), Ok(50.0));
        assert_eq!(rate("600/m"), Ok(10.0));
        assert_eq!(rate("1800/h"), Ok(0.5));
        for bad in ["", "0/s", "-1/s", "50/d", "fast", "1.5/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_is_followed_by_what_is_left_of_its_share_of_time() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(100, Some(50.0), second / 2), second * 3 / 2);
        assert_eq!(pause(10, Some(50.0), second), Duration::ZERO);
        assert_eq!(pause(0, Some(50.0), Duration::ZERO), Duration::ZERO);
        assert_eq!(pause(500, None, Duration::ZERO), Duration::ZERO);
        assert_eq!(pause(u64::MAX, Some(0.001), Duration::ZERO), PAUSE_MAX);
        assert_eq!((whole(0.5), whole(50.0), whole(1e300)), (0, 50, u64::MAX));
    }

    #[test]
    fn what_was_done_reads_as_a_sentence() {
        let sum = |events, routed, deliveries| ReplayTotals { events, routed, deliveries };
        assert_eq!(told(ReplayKind::Unrouted, sum(0, 0, 0), false), "no unrouted events");
        assert_eq!(
            told(ReplayKind::Unrouted, sum(3, 0, 0), false),
            "3 unrouted events; no handler or route matches them by the current rules"
        );
        assert_eq!(
            told(ReplayKind::Unrouted, sum(1, 1, 1), false),
            "1 unrouted event: 1 replayed in 1 delivery"
        );
        assert_eq!(
            told(ReplayKind::Unrouted, sum(5, 3, 6), true),
            "5 unrouted events: 3 would be replayed in 6 deliveries; 2 still match nothing"
        );
        let dead = told(ReplayKind::DeadLetters, sum(2, 2, 2), false);
        assert_eq!(dead, "2 dead letters: 2 replayed in 2 deliveries");
        assert_eq!(one_told("evt_1", sum(1, 1, 2), false), "evt_1: 2 deliveries due again");
        assert!(one_told("evt_1", sum(1, 0, 0), false).contains("no handler"));
    }
}
