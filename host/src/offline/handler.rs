//! A module with its settings, ready to run outside of a hub.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use thiserror::Error;
use tokio::runtime::Handle;
use weir_core::condition::LazyEvent;
use weir_core::event::{Event, EventFacts};
use weir_core::name::{HandlerName, Target};
use weir_core::route::{Decision, Rule};
use weir_core::state::StateReader;
use weir_core::time::Timestamp;
use weir_engine::{
    CompileLimits, Compiler, DescribeError, Description, Engine, LoadError, Module, Options, Run,
    RunReport,
};

use crate::config::{Config, ConfigErrors, EffectiveSettings, Requested, effective_handler};
use crate::keys;
use crate::program::compile;
use crate::runtime::cpu_timed::CpuTimed;

/// A module that cannot run: the hub would refuse it too.
#[derive(Debug, Error)]
pub(crate) enum OfflineError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Describe(#[from] DescribeError),
    #[error("invalid sidecar file")]
    Sidecar(#[from] ConfigErrors),
    #[error("the compiler panicked; this is a fault of weir")]
    Compiler,
}

/// A module with its settings. Compiled once, and run any number of times, also side by side: the
/// slots of the engine bound the runs at a time. Clones share the module.
#[derive(Debug, Clone)]
pub(crate) struct OfflineHandler {
    pub(crate) name: HandlerName,
    pub(crate) module: Module,
    pub(crate) description: Description,
    pub(crate) settings: EffectiveSettings,
    /// Its subscriptions and its condition, as a hub would route by them.
    rule: Arc<Rule>,
}

/// The input of one run, beside the handler.
#[derive(Clone)]
pub(crate) struct RunInput {
    pub(crate) event: Arc<Event>,
    pub(crate) state: Arc<dyn StateReader>,
    /// The frozen time of the run.
    pub(crate) now: Timestamp,
    pub(crate) seed: [u8; 32],
    /// The number of the attempt, from 1.
    pub(crate) attempt: u32,
    /// A part of the outward ids of its effects.
    pub(crate) id_round: u32,
}

/// A finished run.
#[derive(Debug, Clone)]
pub(crate) struct OfflineRun {
    pub(crate) report: RunReport,
    pub(crate) processor_time: Duration,
}

impl OfflineHandler {
    /// Compiles and describes a module, and settles its settings as a hub with this configuration
    /// would. Needs a tokio runtime; the compiler runs on its blocking threads.
    pub(crate) async fn load(
        engine: &Engine,
        name: &HandlerName,
        bytes: Vec<u8>,
        sidecar: Option<&str>,
        config: &Config,
    ) -> Result<Self, OfflineError> {
        // Finds mistakes in the sidecar before a second of compiling.
        effective_handler::configured(name, sidecar, config)?;
        let compiling = engine.clone();
        let compiled = Handle::current().spawn_blocking(move || compiling.load(&bytes)).await;
        let module = compiled.map_err(|_| OfflineError::Compiler)??;
        let description = engine.describe(&module).await?;
        let requested =
            Requested { kind: module.kind(), subscriptions: &description.subscriptions };
        let settings = effective_handler::effective(name, requested, sidecar, config)?;
        Ok(Self::new(name.clone(), module, description, settings))
    }

    /// A handler of a module that is compiled already.
    pub(crate) fn new(
        name: HandlerName,
        module: Module,
        description: Description,
        settings: EffectiveSettings,
    ) -> Self {
        let target = Target::Handler(name.clone());
        let rule = Rule {
            condition: settings.when.clone(),
            ..Rule::new(target.to_string(), target, settings.subscriptions.clone())
        };
        Self { name, module, description, settings, rule: Arc::new(rule) }
    }

    /// The decision of a hub on this event: none if no subscription matches.
    pub(crate) fn decide(&self, event: &Event) -> Option<Decision<'_>> {
        self.rule.decide(&LazyEvent::new(EventFacts::of(event)))
    }

    /// Adds settings that the module reads, over those that it has.
    pub(crate) fn add_config(&mut self, more: impl Iterator<Item = (String, String)>) {
        Arc::make_mut(&mut self.settings.config).extend(more);
    }

    /// Runs the module once, in a fresh instance, as the hub would. First waits for a slot of the
    /// engine. Carries nothing out.
    pub(crate) async fn run(&self, input: RunInput) -> OfflineRun {
        let RunInput { event, state, now, seed, attempt, id_round } = input;
        let run = Run {
            event,
            handler: self.name.clone(),
            config: self.settings.config.clone(),
            grants: self.settings.grants.clone(),
            limits: self.settings.limits,
            attempt,
            id_round,
            now,
            seed,
            state,
            command: self.settings.command.clone(),
        };
        let (report, processor_time) = CpuTimed::new(self.module.run(run)).await;
        OfflineRun { report, processor_time }
    }
}

/// An engine for this number of runs at a time, which compiles as a hub with this configuration
/// does. `cache` is a folder for compiled code; it may be the hub's.
pub(crate) fn offline_engine(
    config: &Config,
    slots: usize,
    cache: Option<PathBuf>,
) -> anyhow::Result<Engine> {
    let limits =
        CompileLimits { memory: config.plugins.compile_memory, time: config.plugins.compile_time };
    let child =
        compile::child_compiler(limits).context("cannot find this program to compile with")?;
    let key = cache.as_ref().map(|folder| keys::load_or_create(&folder.join("compiled.key")));
    let options = Options {
        slots,
        max_memory: config.runs.memory_ceiling,
        compiler: Compiler::ChildProcess(child),
        cache_dir: cache.as_ref().map(|folder| folder.join("compiled")),
        cache_bytes: config.plugins.code_max,
        cache_key: key.transpose()?.unwrap_or_default(),
        ..Options::default()
    };
    Engine::new(options).context("cannot start the engine")
}
