//! Loads compiled code, from a type that only this program's own code can have. The only unsafe
//! code.
#![expect(
    unsafe_code,
    reason = "loading compiled code is unsafe unless the bytes are wasmtime's own"
)]

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Compiled code of this program's own compiler.
pub(crate) struct TrustedCode {
    bytes: Vec<u8>,
    /// The start of the code, after its authentication code.
    from: usize,
}

impl TrustedCode {
    /// Code that was just compiled, in this process or in its child.
    pub(crate) fn compiled_here(bytes: Vec<u8>) -> Self {
        Self { bytes, from: 0 }
    }

    /// An entry of the cache, whose first `from` bytes authenticate the rest.
    pub(crate) fn authenticated(bytes: Vec<u8>, from: usize) -> Self {
        Self { bytes, from }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }
}

pub(crate) fn component(engine: &Engine, code: &TrustedCode) -> wasmtime::Result<Component> {
    // SAFETY: `TrustedCode` is created only from code that wasmtime serialized, in this process or
    // in a child of the same program over its own pipe, and from bytes that this hub's key
    // authenticates as such code. Wasmtime checks that build and configuration are the same.
    unsafe { Component::deserialize(engine, code.bytes()) }
}

pub(crate) fn module(engine: &Engine, code: &TrustedCode) -> wasmtime::Result<Module> {
    // SAFETY: as above.
    unsafe { Module::deserialize(engine, code.bytes()) }
}
