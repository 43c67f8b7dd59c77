//! `weir backtest`: runs two versions of a handler over stored events, and prints how their effects
//! differ.
//!
//! It runs in this process, with slots of its own, and reads the events from the hub's API. So it
//! works from another machine too, needs only the role `read`, and a bad version costs the hub
//! nothing but the reading.

mod events;
mod text;
mod versions;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::runtime::Handle;
use weir_core::event::Event;
use weir_core::name::{HandlerName, SourceName};

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use crate::api::params::PointInTime;
use crate::backtest::{Compared, Ran, RunChange, Tally, World, compare};
use crate::program::exit::Exit;
use crate::program::output::{Output, is_output_closed};
use events::{EventPages, NextPage};

/// Events that each version handles at a time, for each slot.
const EVENTS_PER_SLOT: usize = 4;
/// Runs of a version that may be stopped at their time limit before the backtest stops: each costs
/// the whole limit.
const TIMEOUTS_MAX: u64 = 10;

/// Run two versions of a handler over stored events and compare their effects
///
/// The incumbent is the module in the plugins folder; the candidate is FILE. Both handle the same
/// events in order, each with its own state, in this process. Nothing is carried out, and the hub
/// is only asked for events. Exits with 6 if the results differ.
#[derive(Debug, Clone, clap::Args)]
pub struct BacktestArgs {
    /// The candidate: a module, with its sidecar beside it, or else that of the incumbent
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The handler that it would replace [default: the name of FILE]
    #[arg(long, value_name = "NAME")]
    pub handler: Option<HandlerName>,
    /// The incumbent [default: NAME.wasm in the plugins folder]
    #[arg(long, value_name = "FILE")]
    pub incumbent: Option<PathBuf>,
    /// Events received at or after this moment
    #[arg(long, value_name = "WHEN", default_value = "24h")]
    pub since: PointInTime,
    /// Events received before this moment [default: now]
    #[arg(long, value_name = "WHEN")]
    pub until: Option<PointInTime>,
    /// Events of this source only
    #[arg(long, value_name = "NAME")]
    pub source: Option<SourceName>,
    /// One event of N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub sample: Option<u32>,
    /// State in which both versions start: none, or the keys and values that the handler has now
    #[arg(long, value_enum, default_value_t = StartState::Empty)]
    pub from: StartState,
    /// Runs at a time, for both versions together [default: the cores of this machine]
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Events whose difference is printed in full
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub show: usize,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// The state in which a backtest starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StartState {
    Empty,
    Current,
}

/// Runs on threads of its own, so that both versions run at the same time.
pub(super) fn run(args: &BacktestArgs, output: Output) -> Result<Exit, CommandError> {
    let cores = thread::available_parallelism().map_or(2, NonZeroUsize::get);
    let jobs = args.jobs.map_or(cores, NonZeroUsize::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(jobs.min(cores) + 1)
        .enable_all()
        .build()
        .map_err(|error| CommandError::Failed(format!("cannot start: {error}")))?;
    let guests = runtime.handle().clone();
    runtime.block_on(backtest(args, jobs, guests, output))
}

async fn backtest(
    args: &BacktestArgs,
    jobs: usize,
    guests: Handle,
    output: Output,
) -> Result<Exit, CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let pair = versions::load(args, &hub, jobs).await?;
    let mut pages = EventPages::new(&hub, args);
    let mut run = Backtest {
        incumbent: World::new(pair.incumbent, pair.state.clone(), guests.clone()),
        candidate: World::new(pair.candidate, pair.state, guests),
        tally: Tally::default(),
        shown: 0,
        show: args.show,
        output,
        bar: bar(output),
        stopped: None,
    };
    let at_once = (jobs.div_ceil(2) * EVENTS_PER_SLOT).max(1);
    let mut page = pages.next(None).await?;
    loop {
        let NextPage { events, cursor } = page;
        // The next page is read while this one runs.
        let (next, ()) = tokio::join!(
            async {
                match cursor {
                    Some(cursor) => pages.next(Some(cursor)).await.map(Some),
                    None => Ok(None),
                }
            },
            run.events(&events, at_once),
        );
        match next? {
            Some(next) if run.stopped.is_none() && !is_output_closed() => page = next,
            _ => break,
        }
    }
    run.bar.finish_and_clear();
    Ok(finish(&run, &pair.names, pages.unreadable))
}

/// A backtest under way.
struct Backtest {
    incumbent: World,
    candidate: World,
    tally: Tally,
    /// Differences printed in full.
    shown: usize,
    show: usize,
    output: Output,
    bar: ProgressBar,
    /// The reason why it ended early.
    stopped: Option<String>,
}

impl Backtest {
    /// Runs both versions over a page of events, a few at a time.
    async fn events(&mut self, events: &[Arc<Event>], at_once: usize) {
        for few in events.chunks(at_once) {
            let (incumbent, candidate) =
                tokio::join!(self.incumbent.run(few), self.candidate.run(few));
            for ((event, before), after) in few.iter().zip(&incumbent).zip(&candidate) {
                self.add(event, before, after);
            }
            self.bar.inc(few.len() as u64);
            let (before, after) = (self.tally.incumbent.timeouts, self.tally.candidate.timeouts);
            if before.max(after) >= TIMEOUTS_MAX {
                let which = if after >= TIMEOUTS_MAX { "candidate" } else { "incumbent" };
                self.stopped = Some(format!(
                    "stopped: {TIMEOUTS_MAX} runs of the {which} were ended at their time limit"
                ));
                return;
            }
        }
    }

    fn add(&mut self, event: &Event, incumbent: &Ran, candidate: &Ran) {
        let compared = compare(incumbent, candidate);
        let name = format!("{}:{}", event.source, event.kind);
        self.tally.add(&name, incumbent, candidate, &compared);
        if compared.verdict == RunChange::Same {
            return;
        }
        let difference = Difference { event, name: &name, incumbent, candidate, compared };
        if self.output.json {
            self.output.value(&difference.value());
        } else if self.shown < self.show {
            self.bar.suspend(|| self.output.text(&text::difference(&difference)));
        }
        self.shown += 1;
    }
}

/// An event on which the versions differ.
struct Difference<'a> {
    event: &'a Event,
    /// Its source and type.
    name: &'a str,
    incumbent: &'a Ran,
    candidate: &'a Ran,
    compared: Compared,
}

impl Difference<'_> {
    fn value(&self) -> serde_json::Value {
        let ran = |ran: &Ran| json!({ "outcome": ran.outcome, "reason": ran.reason });
        let changes: Vec<_> = self.compared.effects.iter().filter(|c| !c.is_same()).collect();
        json!({
            "event": self.event.id,
            "type": self.name,
            "received_at": self.event.received_at,
            "verdict": self.compared.verdict,
            "incumbent": ran(self.incumbent),
            "candidate": ran(self.candidate),
            "effects": changes,
        })
    }
}

/// Prints the counts. Returns the exit code.
fn finish(run: &Backtest, names: &versions::ComparedVersions, unreadable: u64) -> Exit {
    let Backtest { tally, output, stopped, .. } = run;
    if output.json {
        let mut summary = serde_json::to_value(tally).unwrap_or_default();
        let more = json!({
            "summary": true,
            "handler": names.handler,
            "incumbent_version": names.incumbent,
            "candidate_version": names.candidate,
            "types": tally.types(),
            "effects": tally.effects(),
            "unreadable": unreadable,
            "stopped": stopped,
        });
        if let (Some(summary), serde_json::Value::Object(more)) = (summary.as_object_mut(), more) {
            summary.extend(more);
        }
        output.value(&summary);
    } else {
        let left_out = run.shown.saturating_sub(run.show);
        text::summary(tally, names, (left_out, unreadable), *output);
    }
    if let Some(stopped) = stopped {
        output.problem(&format!("error: {stopped}"));
        return Exit::Failure;
    }
    if tally.differing > 0 { Exit::Differs } else { Exit::Success }
}

/// A counter of events. It hides itself if standard error is not a terminal.
fn bar(output: Output) -> ProgressBar {
    if output.json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} events, {per_sec}, {elapsed}")
    {
        bar.set_style(style);
    }
    bar
}
