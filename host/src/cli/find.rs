//! `weir find`: searches the bodies of stored events for a text, newest first.
//!
//! Bodies have no index: the hub searches a bounded number of them for each page, and this command
//! asks for page after page.

use std::io::{self, IsTerminal as _};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use weir_core::time::Timestamp;
use weir_core::units::parse_duration;

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::events::{FilterArgs, line};
use crate::api::params::{Cursor, Limit, PointInTime};
use crate::api::{EventView, EventsQuery, ListPage};
use crate::program::exit::Exit;
use crate::program::output::{Output, is_output_closed};

/// Events of one page.
const PAGE: usize = 100;

/// Search the bodies of stored events for a text, newest first
///
/// The text is compared byte for byte. There is no index: each page of the search reads bodies from
/// the store, so that a search through everything takes a while. A value that is looked up often is
/// better made a business key of its source (`index`), for `weir events --key`.
#[derive(Debug, Clone, clap::Args)]
pub struct FindArgs {
    /// Text that the body contains, byte for byte
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub text: String,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Received since, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub since: Option<PointInTime>,
    /// Received before, such as 1h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub until: Option<PointInTime>,
    /// Most events to print
    #[arg(long, default_value = "20")]
    pub limit: NonZeroUsize,
    /// Longest search; what was found until then is printed
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub time_limit: Duration,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// The end of a search.
enum SearchEnd {
    /// All events that the filter matches were searched.
    Complete,
    /// As many events were found as were asked for.
    Full,
    /// The time was over, after events back to this time.
    OutOfTime(Option<Timestamp>),
}

pub(super) async fn run(args: &FindArgs, output: Output) -> Result<Exit, CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let started = Instant::now();
    let shows_progress = io::stderr().is_terminal() && !output.json;
    let (mut found, mut cursor, mut searched_to) = (0_usize, None::<Cursor>, None);
    let end = loop {
        let query = EventsQuery {
            text: Some(args.text.clone()),
            since: args.since,
            until: args.until,
            limit: Some(Limit::clamped((args.limit.get() - found).min(PAGE))),
            cursor: cursor.take(),
            ..args.filter.query()
        };
        let page: ListPage<EventView> = hub.query("/api/v1/events", &query).await?;
        for event in &page.items {
            match output.json {
                true => output.value(event),
                false => output.text(&line(event)),
            }
        }
        found += page.items.len();
        searched_to = page.searched_to.or(searched_to);
        cursor = page.next.and_then(|next| next.parse().ok());
        if cursor.is_none() {
            break SearchEnd::Complete;
        }
        if found >= args.limit.get() || is_output_closed() {
            break SearchEnd::Full;
        }
        if started.elapsed() >= args.time_limit {
            break SearchEnd::OutOfTime(searched_to);
        }
        if shows_progress && let Some(back_to) = searched_to {
            output.problem(&format!("searched back to {back_to}, found {found}"));
        }
    };
    if found == 0 && !output.json {
        output.text("no event found");
    }
    match end {
        SearchEnd::Complete => Ok(Exit::Success),
        SearchEnd::Full => {
            output.problem("there may be more; a larger --limit shows them");
            Ok(Exit::Success)
        }
        SearchEnd::OutOfTime(back_to) => {
            let until = back_to.map_or_else(String::new, |at| format!(" back to {at}"));
            let go_on =
                back_to.map_or_else(String::new, |at| format!(", or go on with --until {at}"));
            output.problem(&format!(
                "the time is over: events{until} were searched, older ones were not; give more time \
                 with --for{go_on}"
            ));
            Ok(Exit::Failure)
        }
    }
}
