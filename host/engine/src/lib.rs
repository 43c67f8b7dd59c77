//! The engine: everything that touches guest code. Compile, link, run within limits, and the handler contract.
//!
//! A run gets an event and gives back what the handler asked for, as data ([`weir_core::effect::Effects`]), with
//! the reads it must prove ([`weir_core::state::ReadSet`]). Nothing here watches files, decides on retries or writes
//! anything durable, and the store is known only as a [`weir_core::state::StateReader`].
//!
//! [`Engine::load`] happens once per version, [`Module::run`] once per attempt, in a fresh instance each time.

// Once per process.
mod cache;
mod compile;
mod engine;
mod precompiled;
mod ticker;
mod wasmtime_config;

// Once per version.
mod bindings;
mod contract;
mod describe;
mod description;
mod javascript;
mod load_error;
mod module;
mod version;

// Once per run: its input, its report, and the reason of its end.
mod command;
mod frames;
mod instance;
mod last_words;
mod reason;
mod run;

// The functions, limits and clocks of a guest while it runs.
mod clock;
mod guard;
mod headers;
mod host_calls;
mod log;
mod recorder;
mod refusal;
mod state_view;
mod stdio;
mod stop;
mod wasi;

pub use compile::{ChildCompiler, CompileLimits, Compiler, compile_child};
pub use contract::{ContractMismatch, ContractVersion};
pub use description::{DescribeError, Description};
pub use engine::{Engine, EngineError, Options};
pub use load_error::{CompileLimit, LoadError};
pub use log::{Log, LogLevel, LogLine};
pub use module::Module;
pub use run::{AllowedDestinations, Grants, Run, RunEnd, RunLimits, RunReport};
pub use version::{ModuleKind, Version};
