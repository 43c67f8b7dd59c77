//! The one place that turns stored bytes into code. Only the cache calls it, after it has verified who wrote them.
#![expect(
    unsafe_code,
    reason = "loading compiled code is unsafe unless the bytes are wasmtime's own"
)]

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::cache::Verified;

/// Loads a compiled component.
pub(crate) fn component(engine: &Engine, code: &Verified) -> wasmtime::Result<Component> {
    // SAFETY: `Verified` is made only from bytes whose authentication code this host's key made, over code that
    // wasmtime had serialized for an engine with the same compatibility hash.
    unsafe { Component::deserialize(engine, code.bytes()) }
}

/// Loads a compiled core module.
pub(crate) fn module(engine: &Engine, code: &Verified) -> wasmtime::Result<Module> {
    // SAFETY: as above.
    unsafe { Module::deserialize(engine, code.bytes()) }
}
