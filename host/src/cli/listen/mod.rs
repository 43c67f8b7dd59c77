//! `weir listen`: takes the live events of a hub to this machine, each until it is acknowledged.
//!
//! `place` remembers where it stopped, `forward` posts an event to a URL, `handler` runs a module.
//! One event is under way at a time, so that their order is kept.

mod forward;
mod handler;
mod place;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::sleep;
use weir_core::event::Event;
use weir_core::name::SourceName;
use weir_core::time::Clock as _;
use weir_core::units::{format_duration, parse_duration};

use super::client::{AdminClient, ClientError, HubArgs};
use super::error::CommandError;
use super::exported::event_of;
use crate::api::params::{Limit, PointInTime};
use crate::api::{FollowPage, FollowQuery, FollowedEvent};
use crate::program::output::{Output, is_output_closed};
use crate::runtime::clock::SystemClock;
use forward::Forward;
use handler::LocalHandler;
use place::ListenPlace;

/// Events of one answer of the hub.
const PAGE: usize = 50;
/// The time before a hub that did not answer is asked again.
const HUB_PAUSE: Duration = Duration::from_secs(1);
/// The hub answers sooner than this only if it has no place to wait.
const QUICK: Duration = Duration::from_millis(500);
/// The wait before an event is tried again, which doubles up to the second.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(15);

/// Take the live events of a hub to this machine: to a local URL or a local module
///
/// Needs one outgoing connection and a token with the role read. An event is taken again until it
/// is acknowledged: the URL answered 2xx, or the module handled it. Then its place is written down,
/// and the next start goes on after it. Headers and body are those that the sender sent, byte for
/// byte, except that secrets in them were replaced by fingerprints when the hub stored them.
#[derive(Debug, Clone, clap::Args)]
pub struct ListenArgs {
    /// Source whose events to take. Repeatable [default: all]
    #[arg(long, value_name = "NAME", value_parser = str::parse::<SourceName>)]
    pub source: Vec<SourceName>,
    /// Post each event to this URL, such as http://localhost:3000/hook
    #[arg(long, value_name = "URL", conflicts_with = "handler")]
    pub forward: Option<String>,
    /// Run each event through this module, as `weir run` does. Nothing is carried out
    #[arg(long, value_name = "FILE")]
    pub handler: Option<PathBuf>,
    /// Begin with events received since, such as 1h, and not where the last run stopped; 0s begins
    /// now
    #[arg(long, value_name = "WHEN")]
    pub since: Option<PointInTime>,
    /// File with the place where it stopped [default: one for this hub, sources and target]
    #[arg(long, value_name = "FILE")]
    pub cursor: Option<PathBuf>,
    /// Take any answer as an acknowledgement, also 4xx and 5xx
    #[arg(long, requires = "forward")]
    pub any_status: bool,
    /// Give an event up after this many tries, and go on [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub attempts: Option<u32>,
    /// Longest time for an answer of the URL
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// URL of the hub's admin API, the same as --admin
    #[arg(long, value_name = "HUB", conflicts_with = "admin")]
    pub from: Option<String>,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// The target of the events on this machine.
enum LocalTarget {
    Print,
    Forward(Box<Forward>),
    Handler(Box<LocalHandler>),
}

/// The end of one try.
struct TryEnd {
    is_acknowledged: bool,
    /// The result in a few words.
    said: String,
    /// Facts for `--json`.
    facts: Value,
    /// Lines that follow, for people.
    more: Vec<String>,
}

pub(super) async fn run(args: &ListenArgs, output: Output) -> Result<(), CommandError> {
    let mut hub_args = args.hub.clone();
    hub_args.admin = args.from.clone().or(hub_args.admin);
    let hub = AdminClient::find(&hub_args)?;
    let mut target = match (&args.forward, &args.handler) {
        (Some(url), _) => {
            LocalTarget::Forward(Box::new(Forward::new(url, args.timeout, args.any_status)?))
        }
        (None, Some(file)) => LocalTarget::Handler(Box::new(
            LocalHandler::load(file, hub_args.config.as_deref()).await?,
        )),
        (None, None) => LocalTarget::Print,
    };
    let mut place = ListenPlace::open(args, hub.base())?;
    let was_there = place.cursor().filter(|_| args.since.is_none()).is_some();
    let now = SystemClock.now();
    let since = args.since.map(|moment| PointInTime::At(moment.resolve(now)));
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut pages = Pages { hub: &hub, args, since, is_known: was_there };
    let mut cursor = place.cursor().filter(|_| was_there).map(str::to_owned);
    let mut is_greeted = false;
    while left > 0 && !is_output_closed() {
        let page = pages.next(cursor.as_deref(), output).await?;
        if !std::mem::replace(&mut is_greeted, true) {
            greet(args, &hub, was_there, output);
        }
        if page.unreadable > 0 {
            output.problem(&format!("{} events could not be read by the hub", page.unreadable));
        }
        for FollowedEvent { cursor, event } in page.items {
            let event = event_of(event)?;
            take(&mut target, &event, args, output, || place.write(&cursor)).await?;
            left -= 1;
            if left == 0 || is_output_closed() {
                return Ok(());
            }
        }
        place.write(&page.next)?;
        cursor = Some(page.next);
    }
    Ok(())
}

fn greet(args: &ListenArgs, hub: &AdminClient, was_there: bool, output: Output) {
    let names: Vec<_> = args.source.iter().map(ToString::to_string).collect();
    let names = if names.is_empty() { "every source".into() } else { names.join(", ") };
    let begin = match (was_there, args.since) {
        (true, _) => "where the last run stopped".to_owned(),
        (false, Some(since)) => format!("with events since {since}"),
        (false, None) => "with the next event".to_owned(),
    };
    let base = hub.base();
    output.problem(&format!("Listening to {names} of {base}, from {begin}. Interrupt to stop."));
}

/// Reads pages of events, over breaks of the hub.
struct Pages<'a> {
    hub: &'a AdminClient,
    args: &'a ListenArgs,
    since: Option<PointInTime>,
    /// True once the hub has answered, or did so for an earlier run.
    is_known: bool,
}

impl Pages<'_> {
    async fn next(
        &mut self,
        cursor: Option<&str>,
        output: Output,
    ) -> Result<FollowPage, CommandError> {
        let query = FollowQuery {
            source: self.args.source.clone().into(),
            since: self.since.filter(|_| cursor.is_none()),
            // The first answer comes at once: from its cursor on nothing is missed.
            wait: Some(cursor.is_some()),
            limit: Some(Limit::clamped(PAGE)),
            cursor: cursor.and_then(|cursor| cursor.parse().ok()),
        };
        let mut is_away = false;
        loop {
            let asked = Instant::now();
            match self.hub.query::<FollowPage>("/api/v1/events/follow", &query).await {
                Ok(page) => {
                    if is_away {
                        output.problem("the hub answers again");
                    }
                    self.is_known = true;
                    let is_quick = cursor.is_some() && asked.elapsed() < QUICK;
                    if page.items.is_empty() && is_quick {
                        sleep(HUB_PAUSE).await;
                    }
                    return Ok(page);
                }
                Err(error) if !self.is_known || !is_passing(&error) => return Err(error.into()),
                Err(error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        output.problem(&format!("{error}; trying again"));
                    }
                    sleep(HUB_PAUSE).await;
                }
            }
        }
    }
}

/// True for an answer after which the hub is asked again.
fn is_passing(error: &ClientError) -> bool {
    let is_busy = |status: &StatusCode| *status == StatusCode::TOO_MANY_REQUESTS;
    error.may_be_gone_soon()
        || matches!(error, ClientError::Refused { status, .. } if is_busy(status))
}

/// Takes one event to its target until it is acknowledged, then calls `acknowledged`, and prints
/// it.
async fn take(
    target: &mut LocalTarget,
    event: &Event,
    args: &ListenArgs,
    output: Output,
    acknowledged: impl FnOnce() -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let (mut tries, mut pause, mut last) = (0, RETRY_FIRST, String::new());
    let end = loop {
        tries += 1;
        let end = match target {
            LocalTarget::Print => {
                let said = String::new();
                TryEnd { is_acknowledged: true, said, facts: Value::Null, more: Vec::new() }
            }
            LocalTarget::Forward(forward) => forward.send(event).await?,
            LocalTarget::Handler(handler) => handler.run(event, tries).await,
        };
        if end.is_acknowledged || args.attempts.is_some_and(|most| tries >= most) {
            break end;
        }
        if end.said != last {
            let wait = format_duration(pause);
            let name = format!("{} {}:{}", event.public_id, event.source, event.kind);
            output.problem(&format!("{name}  {}; trying again, next in {wait}", end.said));
            last.clone_from(&end.said);
        }
        if is_output_closed() {
            return Ok(());
        }
        sleep(pause).await;
        pause = (2 * pause).min(RETRY_MAX);
    };
    acknowledged()?;
    print(event, &end, tries, output);
    Ok(())
}

fn print(event: &Event, end: &TryEnd, tries: u32, output: Output) {
    if output.json {
        output.value(&json!({
            "id": event.public_id, "source": event.source, "type": event.kind,
            "received_at": event.received_at, "delivery_id": event.delivery_id,
            "acknowledged": end.is_acknowledged, "tries": tries, "result": end.facts,
        }));
        return;
    }
    let given_up = if end.is_acknowledged { "" } else { "; given up" };
    let name = format!("{}:{}", event.source, event.kind);
    let line =
        format!("{}  {}  {name}  {}{given_up}", event.received_at, event.public_id, end.said);
    let mut lines = vec![crate::program::printable::line(line.trim_end()).into_owned()];
    lines.extend(end.more.iter().map(|more| format!("  {more}")));
    output.text(&lines.join("\n"));
}
