//! `weir replay`: makes events and deliveries due again. It moves what is stored and copies
//! nothing.
//!
//! One event or delivery is one call. All that a filter matches is a job of the hub, which this
//! command makes and follows.

use serde::Serialize;
use weir_core::business_key::BusinessKey;
use weir_core::delivery::EventStatus;
use weir_core::event::{Category, EventType};
use weir_core::job::{JobKind, JobRate};
use weir_core::name::{DestinationName, SourceName, Target};

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::{jobs, values};
use crate::api::params::PointInTime;
use crate::api::{
    CountJobBody, CreateJobBody, JobCount, JobFilterBody, JobView, ReplayAnswer, ReplayBody,
};
use crate::program::output::Output;

/// Replay an event, a delivery, or all events, unrouted events or dead letters of a filter
///
/// An event is routed again by the current rules: it goes again to a target that it went to before,
/// for the first time to a new one, and where it is still queued nothing changes. A delivery goes
/// to its target again as it was stored. Nothing is copied. With --request, the same replay is done
/// only once.
///
/// A filter is a job of the hub: this command makes it and shows its progress. The job goes on if
/// this command is interrupted; `weir jobs` shows, pauses and cancels it.
#[derive(Debug, Clone, clap::Args)]
#[command(group(
    clap::ArgGroup::new("what")
        .required(true)
        .args(["event", "delivery", "unrouted", "dead_letters", "events"])
))]
pub struct ReplayArgs {
    /// An event, evt_…
    #[arg(value_name = "EVENT")]
    pub event: Option<String>,
    /// A delivery, dlv_…, as it was stored
    #[arg(long, value_name = "ID")]
    pub delivery: Option<String>,
    /// All unrouted events; what a handler or the hub emitted only with its --source
    #[arg(long)]
    pub unrouted: bool,
    /// All dead letters, as they were stored
    #[arg(long)]
    pub dead_letters: bool,
    /// All events, also processed ones; what a handler or the hub emitted only with its --source
    #[arg(long)]
    pub events: bool,
    /// Filter by target, such as handler:orders or destination:ops; several are separated by commas
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["event", "delivery", "unrouted"])]
    pub target: Vec<Target>,
    /// Filter by the event's source; several are separated by commas
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["event", "delivery"])]
    pub source: Vec<SourceName>,
    /// Filter by the event's type; `*` matches any characters; repeat it for several
    #[arg(
        long = "type",
        value_name = "TYPE",
        value_parser = EventType::new,
        conflicts_with_all = ["event", "delivery"]
    )]
    pub kind: Vec<EventType>,
    /// Filter by the event's category, such as payment.received; several are separated by commas
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = values::category,
        conflicts_with_all = ["event", "delivery"]
    )]
    pub category: Vec<Category>,
    /// Filter events by status, such as processed; several are separated by commas
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = values::status,
        conflicts_with_all = ["event", "delivery", "unrouted", "dead_letters"]
    )]
    pub status: Vec<EventStatus>,
    /// Filter by a business key of the event, such as order=1234; repeat it for several
    #[arg(long, value_name = "NAME=VALUE", conflicts_with_all = ["event", "delivery"])]
    pub key: Vec<BusinessKey>,
    /// Event received since, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["event", "delivery"])]
    pub since: Option<PointInTime>,
    /// Event received before, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["event", "delivery"])]
    pub until: Option<PointInTime>,
    /// Send to this destination only, also what no rule brings there
    #[arg(
        long,
        value_name = "DESTINATION",
        conflicts_with_all = ["delivery", "dead_letters"]
    )]
    pub to: Option<DestinationName>,
    /// Print what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Most events per second, minute or hour: 50/s, 600/m
    #[arg(long, value_name = "N/s", conflicts_with_all = ["event", "delivery"])]
    pub rate: Option<JobRate>,
    /// Send with new ids, so that receivers do not skip it as a duplicate
    #[arg(long)]
    pub new_ids: bool,
    /// Idempotency key of this replay; for a filter it is the name of the job
    #[arg(
        long,
        value_name = "NAME",
        value_parser = values::request_key,
        visible_alias = "job"
    )]
    pub request: Option<String>,
    /// Make the job and do not wait for its end
    #[arg(long, conflicts_with_all = ["event", "delivery", "dry_run"])]
    pub detach: bool,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// The numbers of a replay.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct ReplayTotals {
    events: u64,
    routed: u64,
    deliveries: u64,
}

pub(super) async fn run(args: &ReplayArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let body = ReplayBody {
        event: args.event.clone(),
        delivery: args.delivery.clone(),
        to: args.to.clone(),
        request: args.request.clone(),
        new_ids: args.new_ids,
        dry_run: args.dry_run,
        ..ReplayBody::default()
    };
    let Some(id) = body.event.clone().or(body.delivery.clone()) else {
        return replay_many(&hub, args, output).await;
    };
    let answer: ReplayAnswer = hub.post_body("/api/v1/replay", &body).await?;
    let totals = |answer: &ReplayAnswer| ReplayTotals {
        events: answer.events as u64,
        routed: answer.routed as u64,
        deliveries: answer.deliveries as u64,
    };
    output.answer(&answer, |answer| one_summary(&id, totals(answer), args.dry_run));
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

/// Counts first, unless the job has a name and may be there already. Then makes a job, if anything
/// matches, and follows it.
async fn replay_many(
    hub: &AdminClient,
    args: &ReplayArgs,
    output: Output,
) -> Result<(), CommandError> {
    let what = match (args.unrouted, args.dead_letters) {
        (true, _) => JobKind::Unrouted,
        (_, true) => JobKind::DeadLetters,
        _ => JobKind::Events,
    };
    let filter = JobFilterBody {
        source: args.source.clone().into(),
        kind: args.kind.clone().into(),
        category: args.category.clone().into(),
        status: args.status.clone().into(),
        target: args.target.clone().into(),
        key: args.key.clone().into(),
        since: args.since,
        until: args.until,
    };
    if args.dry_run || args.request.is_none() {
        let body = CountJobBody { what, filter: filter.clone(), to: args.to.clone() };
        let found: JobCount = hub.post_body("/api/v1/jobs/count", &body).await?;
        let JobCount { count: events, routed, deliveries, .. } = found;
        if args.dry_run || routed == 0 {
            let totals = ReplayTotals { events, routed, deliveries };
            print_summary(what, totals, &found, args.dry_run, output);
            return Ok(());
        }
    }
    let name = args.request.clone().unwrap_or_else(new_name);
    let (to, new_ids, rate) = (args.to.clone(), args.new_ids, args.rate);
    let body = CreateJobBody { name, what, filter, to, new_ids, rate };
    let job: JobView = hub.post_body("/api/v1/jobs", &body).await?;
    if args.detach {
        output.answer(&job, jobs::sentence);
        return Ok(());
    }
    let done = jobs::follow(hub, &job.name, output).await?;
    let totals = ReplayTotals {
        events: done.done,
        routed: done.done.saturating_sub(done.skipped),
        deliveries: done.deliveries,
    };
    let answer = Summary::new(totals, false, Some(done.name));
    output.answer(&answer, |_| summary(what, totals, false));
    Ok(())
}

/// A name for a job that got none.
fn new_name() -> String {
    format!("replay-{}", hex::encode(rand::random::<[u8; 6]>()))
}

/// The things that are replayed, in words.
fn noun(what: JobKind) -> &'static str {
    match what {
        JobKind::Events => "event",
        JobKind::Unrouted => "unrouted event",
        JobKind::DeadLetters => "dead letter",
    }
}

/// The result of a replay, as JSON.
#[derive(Debug, Serialize)]
struct Summary {
    dry_run: bool,
    events: u64,
    routed: u64,
    deliveries: u64,
    /// The name of the job that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
}

impl Summary {
    fn new(totals: ReplayTotals, dry_run: bool, job: Option<String>) -> Self {
        let ReplayTotals { events, routed, deliveries } = totals;
        Self { dry_run, events, routed, deliveries, job }
    }
}

fn print_summary(
    what: JobKind,
    totals: ReplayTotals,
    found: &JobCount,
    dry_run: bool,
    output: Output,
) {
    output.answer(&Summary::new(totals, dry_run, None), |_| {
        let text = summary(what, ReplayTotals { events: found.tried, ..totals }, dry_run);
        let more = if found.more { "more than " } else { "" };
        match found.count {
            count if count > found.tried => format!("of {more}{count}, {text}"),
            _ => text,
        }
    });
}

fn summary(what: JobKind, totals: ReplayTotals, dry_run: bool) -> String {
    let ReplayTotals { events, routed, deliveries } = totals;
    if events == 0 {
        return format!("no {}s", noun(what));
    }
    let count = counted(events, noun(what));
    if routed == 0 && what != JobKind::DeadLetters {
        return format!("{count}; no handler or route matches them by the current rules");
    }
    let (would, deliveries) =
        (if dry_run { "would be " } else { "" }, counted(deliveries, "delivery"));
    let rest = match (events - routed, what) {
        (0, _) => String::new(),
        (rest, JobKind::DeadLetters) => format!("; {rest} were no dead letters any more"),
        (rest, _) => format!("; {rest} still match nothing"),
    };
    format!("{count}: {routed} {would}replayed in {deliveries}{rest}")
}

fn counted(n: u64, what: &str) -> String {
    match (n, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_a_sentence() {
        let sum = |events, routed, deliveries| ReplayTotals { events, routed, deliveries };
        assert_eq!(summary(JobKind::Unrouted, sum(0, 0, 0), false), "no unrouted events");
        assert_eq!(
            summary(JobKind::Unrouted, sum(3, 0, 0), false),
            "3 unrouted events; no handler or route matches them by the current rules"
        );
        assert_eq!(
            summary(JobKind::Unrouted, sum(1, 1, 1), false),
            "1 unrouted event: 1 replayed in 1 delivery"
        );
        assert_eq!(
            summary(JobKind::Events, sum(5, 3, 6), true),
            "5 events: 3 would be replayed in 6 deliveries; 2 still match nothing"
        );
        let dead = summary(JobKind::DeadLetters, sum(2, 2, 2), false);
        assert_eq!(dead, "2 dead letters: 2 replayed in 2 deliveries");
        assert_eq!(one_summary("evt_1", sum(1, 1, 2), false), "evt_1: 2 deliveries due again");
        assert!(one_summary("evt_1", sum(1, 0, 0), false).contains("no handler"));
    }
}
