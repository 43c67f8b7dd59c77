//! The engine: compiles, links and runs WebAssembly modules, within limits and by the handler
//! contract.
//!
//! A run gets an event and returns its effects as data ([`weir_core::effect::Effects`]), with the
//! reads that settling validates ([`weir_core::state::ReadSet`]). The engine watches no files,
//! decides on no retries, writes nothing durable, and uses the store only as a
//! [`weir_core::state::StateReader`].
//!
//! [`Engine::load`] is called once for each version, [`Module::run`] once for each attempt, in a
//! fresh instance each time.

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
mod crash_message;
mod crash_place;
mod frames;
mod instance;
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
pub use log::{LogLevel, LogLine, RunLog};
pub use module::Module;
pub use run::{
    AllowedDestinations, CommandInput, Grants, InvalidStateKeys, MissingGrant, Run, RunEnd,
    RunLimits, RunReport, StateKeys,
};
pub use version::{ModuleKind, Version};
