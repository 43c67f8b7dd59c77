//! `weir run`: runs a module once, outside of a hub, and prints what it asked for.

mod input;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use weir_core::delivery::Outcome;
use weir_core::error::chain;
use weir_core::event::Event;
use weir_core::route::Decision;

use super::error::CommandError;
use crate::config::Mode;
use crate::offline::{Fixture, OfflineHandler, RecordedRun, RunInput};
use crate::program::exit::Exit;
use crate::program::output::{Output, is_output_closed, report};
pub(super) use text::effect_line;

/// Pause between two looks at the files of `--watch`.
const WATCH_PAUSE: Duration = Duration::from_millis(200);

/// Run a module once outside of a hub, with the limits, settings and grants that a hub would give
/// it, and print its effects, log, state and cost. Carries nothing out
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    /// The module: NAME.wasm, whose settings are in NAME.toml beside it and in weir.toml
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The event: a fixture, a JSON document with `event`, `headers` and `json` or `body`
    #[arg(long, value_name = "FILE", conflicts_with = "sample")]
    pub event: Option<PathBuf>,
    /// The event: a sample of a provider (see `weir providers`)
    #[arg(long, value_name = "PROVIDER:NAME")]
    pub sample: Option<String>,
    /// A setting that the module reads, over those of its sidecar. Repeatable
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = setting, allow_hyphen_values = true)]
    pub settings: Vec<(String, String)>,
    /// The state before the run: a JSON object of keys and values, over that of the fixture
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// The number of the attempt [default: 1, or that of the fixture]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub attempt: Option<u32>,
    /// Seed of the run's randomness, 64 hex digits [default: zeros, or that of the fixture]
    #[arg(long, value_name = "HEX")]
    pub seed: Option<String>,
    /// Configuration file of the hub [default: weir.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub hub: Option<PathBuf>,
    /// Development mode: allow secrets in the file of the hub
    #[arg(long)]
    pub dev: bool,
    /// Run again whenever one of the files changes
    #[arg(long)]
    pub watch: bool,
}

/// Reads `KEY=VALUE`.
fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as threshold=5")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) async fn run(args: &RunArgs, output: Output) -> Result<Exit, CommandError> {
    if !args.watch {
        return once(args, output).await;
    }
    let mut seen = None;
    loop {
        let stamps = stamps(args);
        if seen.as_ref() != Some(&stamps) {
            if let Err(error) = once(args, output).await {
                report(&error);
            }
            seen = Some(stamps);
        }
        if is_output_closed() {
            return Ok(Exit::Success);
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

async fn once(args: &RunArgs, output: Output) -> Result<Exit, CommandError> {
    let mode = Mode::from_flag(args.dev);
    let loaded = super::offline::load(&args.file, args.hub.as_deref(), mode, 1).await?;
    let mut handler = loaded.handler;
    let fixture: Fixture = input::fixture(args)?;
    handler.add_config(fixture.config.iter().map(|(k, v)| (k.clone(), v.clone())));
    handler.add_config(args.settings.iter().cloned());
    let state = Arc::new(fixture.memory_state());
    let input = fixture.input(state).map_err(|error| CommandError::Usage(chain(&error)))?;
    let run = handler.run(input.clone()).await;
    let record = RecordedRun::of(&run, input.now);
    if output.json {
        output.value(&value(&loaded.path, &handler, &input, &record));
    } else {
        output.text(&text::report(&handler, &input, &record));
    }
    Ok(exit(record.outcome))
}

/// The reason why a hub would not run the handler on an event; none if it would.
pub(super) fn not_routed(handler: &OfflineHandler, event: &Event) -> Option<String> {
    match handler.decide(event) {
        None => Some("none of its subscriptions matches this event".into()),
        Some(Decision::NotMatched { clause }) => {
            Some(format!("its condition is false for this event: {clause}"))
        }
        Some(Decision::Error { reason }) => Some(format!("dead letter condition_error, {reason}")),
        Some(Decision::Deliver { .. }) => None,
    }
}

fn value(file: &Path, handler: &OfflineHandler, input: &RunInput, record: &RecordedRun) -> Value {
    let not_routed = not_routed(handler, &input.event);
    let mut value = json!({
        "file": file.display().to_string(),
        "handler": handler.name.as_str(),
        "version": handler.module.version().to_hex(),
        "kind": handler.module.kind().as_str(),
        "event": {
            "id": input.event.public_id, "source": input.event.source, "type": input.event.kind,
        },
        "attempt": input.attempt,
        "subscribed": not_routed.is_none(),
        "not_routed": not_routed,
    });
    let run = serde_json::to_value(record).unwrap_or_default();
    if let (Some(value), Value::Object(run)) = (value.as_object_mut(), run) {
        value.extend(run);
    }
    value
}

/// The exit code that says how a run ended.
pub(super) fn exit(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Ok => Exit::Success,
        Outcome::Retry => Exit::Retry,
        Outcome::Reject => Exit::Reject,
        _ => Exit::RunFailed,
    }
}

/// The lengths and times of the files that a run depends on.
fn stamps(args: &RunArgs) -> Vec<Option<(u64, u128)>> {
    let sidecar = args.file.with_extension("toml");
    let files = [Some(&args.file), Some(&sidecar), args.event.as_ref(), args.state.as_ref()];
    let stamp = |file: Option<&PathBuf>| {
        let about = std::fs::metadata(file?).ok()?;
        let modified = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some((about.len(), modified.as_nanos()))
    };
    files.into_iter().map(stamp).collect()
}
