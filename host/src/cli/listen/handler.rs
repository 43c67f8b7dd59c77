//! Runs events through a module on this machine, one after the other, on a state in memory. A
//! module that was built again is loaded again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::json;
use weir_core::delivery::Outcome;
use weir_core::event::Event;
use weir_core::time::Clock as _;

use super::TryEnd;
use crate::cli::error::CommandError;
use crate::cli::offline;
use crate::cli::run::{effect_line, not_routed};
use crate::config::Mode;
use crate::offline::{MemoryState, OfflineHandler, RecordedRun, RunInput};
use crate::program::output::report;
use crate::runtime::clock::SystemClock;

/// A module that is ready, and its state.
#[derive(Debug)]
pub(super) struct LocalHandler {
    file: PathBuf,
    hub: Option<PathBuf>,
    handler: OfflineHandler,
    state: Arc<MemoryState>,
    seen: Vec<Option<(u64, SystemTime)>>,
}

impl LocalHandler {
    /// Loads a module as the hub of this configuration would.
    pub(super) async fn load(file: &Path, hub: Option<&Path>) -> Result<Self, CommandError> {
        let seen = stamps(file);
        let handler = offline::load(file, hub, Mode::Production, 1).await?.handler;
        let (file, hub) = (file.to_owned(), hub.map(Path::to_owned));
        Ok(Self { file, hub, handler, state: Arc::default(), seen })
    }

    /// Runs an event once. Its writes to the state are kept; nothing is sent.
    pub(super) async fn run(&mut self, event: &Event, attempt: u32) -> TryEnd {
        self.refresh().await;
        if let Some(said) = not_routed(&self.handler, event) {
            let facts = json!({ "subscribed": false, "not_routed": said });
            return TryEnd { is_acknowledged: true, said, facts, more: Vec::new() };
        }
        let now = SystemClock.now();
        let state = self.state.clone();
        let (seed, event) = (rand::random(), Arc::new(event.clone()));
        let run = RunInput { event, state, now, seed, attempt, id_round: 0 };
        let run = self.handler.run(run).await;
        if run.report.outcome() == Outcome::Ok {
            self.state.apply(&run.report.effects.state);
        }
        let record = RecordedRun::of(&run, now);
        let reason = record.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let ms = format!("{}.{:01} ms", record.wall_us / 1_000, record.wall_us % 1_000 / 100);
        let said = match record.outcome {
            Outcome::Ok => format!("ok in {ms}"),
            outcome => format!("{outcome}{reason}"),
        };
        let effects = record.effects.iter().map(effect_line);
        let log = record.log.iter().map(|line| format!("{} {}", line.level, line.message));
        let more = effects.chain(log).collect();
        let facts = serde_json::to_value(&record).unwrap_or_default();
        // A hub would not run the event again either.
        TryEnd { is_acknowledged: !record.retryable, said, facts, more }
    }

    /// Loads the module again if its files have changed. One that cannot be loaded changes nothing.
    async fn refresh(&mut self) {
        let stamps = stamps(&self.file);
        if stamps == self.seen || stamps.first().is_none_or(Option::is_none) {
            return;
        }
        match offline::load(&self.file, self.hub.as_deref(), Mode::Production, 1).await {
            Ok(loaded) => self.handler = loaded.handler,
            Err(error) => report(&error),
        }
        self.seen = stamps;
    }
}

/// The lengths and times of the module and its sidecar.
fn stamps(file: &Path) -> Vec<Option<(u64, SystemTime)>> {
    let stamp = |path: PathBuf| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.len(), about.modified().ok()?))
    };
    vec![stamp(file.to_owned()), stamp(file.with_extension("toml"))]
}
