//! The one place that turns bytes into code, and the type that says whose bytes may be.
#![expect(
    unsafe_code,
    reason = "loading compiled code is unsafe unless the bytes are wasmtime's own"
)]

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Compiled code that is known to be this program's own.
pub(crate) struct TrustedCode {
    bytes: Vec<u8>,
    /// Where the code begins; before it is what proved it.
    from: usize,
}

impl TrustedCode {
    /// What the compiler has just answered, here or in a child that this process started.
    pub(crate) fn compiled_here(bytes: Vec<u8>) -> Self {
        Self { bytes, from: 0 }
    }

    /// An entry of the cache whose first `from` bytes prove that this host wrote the rest.
    pub(crate) fn authenticated(bytes: Vec<u8>, from: usize) -> Self {
        Self { bytes, from }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }
}

/// Loads a compiled component.
pub(crate) fn component(engine: &Engine, code: &TrustedCode) -> wasmtime::Result<Component> {
    // SAFETY: `TrustedCode` is made only from what wasmtime serialized in this process or in a child of it that runs this
    // program and was reached by a pipe of its own, and from bytes whose authentication code this host's key made
    // over such code. That the build and the configuration are the same is checked by wasmtime.
    unsafe { Component::deserialize(engine, code.bytes()) }
}

/// Loads a compiled core module.
pub(crate) fn module(engine: &Engine, code: &TrustedCode) -> wasmtime::Result<Module> {
    // SAFETY: as above.
    unsafe { Module::deserialize(engine, code.bytes()) }
}
