//! The WebAssembly engine as configured: slots, memory limit, compiler process and code cache.

use anyhow::Context as _;
use weir_engine::{CompileLimits, Compiler, Engine, Options};

use crate::config::Config;
use crate::keys;
use crate::program::compile;

/// Starts the engine. Handlers are compiled in child processes of this program.
pub fn engine_from_config(config: &Config) -> anyhow::Result<Engine> {
    let limits =
        CompileLimits { memory: config.plugins.compile_memory, time: config.plugins.compile_time };
    let child =
        compile::child_compiler(limits).context("cannot find this program to compile with")?;
    let options = Options {
        slots: config.runs.places(),
        max_memory: config.runs.memory_ceiling,
        compiler: Compiler::ChildProcess(child),
        cache_dir: Some(config.data_dir.join("compiled")),
        cache_bytes: config.plugins.code_max,
        cache_key: keys::load_or_create(&config.data_dir.join("compiled.key"))?,
        ..Options::default()
    };
    Engine::new(options).context("cannot start the engine")
}
