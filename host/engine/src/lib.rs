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
mod frames;
mod precompiled;
mod ticker;

// Once per version.
mod bindings;
mod contract;
mod describe;
mod module;

// Once per run: what it is given and what it leaves.
mod instance;
mod javascript;
mod last_words;
mod reason;
mod run;

// What a guest may do while it runs.
mod clock;
mod command;
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
pub use describe::{DescribeError, Description};
pub use engine::{Engine, EngineError, Options};
pub use log::{Log, LogLevel, LogLine};
pub use module::{CompileLimit, LoadError, Module, ModuleKind, Version};
pub use run::{AllowedDestinations, Grants, Run, RunEnd, RunLimits, RunReport};
