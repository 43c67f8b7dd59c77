//! Loads compiled code, from a type that only this program's own code can have. The only unsafe
//! code.
#![expect(
    unsafe_code,
    reason = "loading compiled code is unsafe unless the bytes are wasmtime's own"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Compiled code of this program's own compiler.
#[derive(Debug)]
pub(crate) enum TrustedCode {
    /// Code that was just compiled, in this process or in its child, or was read and authenticated.
    Memory(Vec<u8>),
    /// An entry of the cache. It is mapped, so that its pages are shared with the system's cache of
    /// files and need no memory of their own.
    File(File),
}

impl TrustedCode {
    /// Bytes of the code.
    pub(crate) fn length(&self) -> io::Result<usize> {
        Ok(match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File(file) => usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX),
        })
    }
}

pub(crate) fn component(engine: &Engine, code: &TrustedCode) -> wasmtime::Result<Component> {
    match code {
        // SAFETY: such code is made only of what wasmtime serialized, in this process or in a child
        // of the same program over its own pipe, and of bytes that this hub's key authenticates as
        // such code. Wasmtime checks that build and configuration are the same.
        TrustedCode::Memory(bytes) => unsafe { Component::deserialize(engine, bytes) },
        // SAFETY: as above; the key authenticated the content of this very descriptor, and the path
        // leads to it and not to a name that could be given to another file. The content stays the
        // same for as long as it is mapped: an entry gets its name when it is complete, is never
        // opened for writing again, and is replaced only by a rename, which leaves the mapped file
        // as it is. Its folder can be entered by the hub's own user only (mode 0700), and the file
        // cannot be opened for writing (mode 0400). What remains are processes of that user that
        // change the mode first, or of root: they can write into the memory of the hub as well.
        TrustedCode::File(file) => unsafe { Component::deserialize_file(engine, path_to(file)) },
    }
}

pub(crate) fn module(engine: &Engine, code: &TrustedCode) -> wasmtime::Result<Module> {
    match code {
        // SAFETY: as above.
        TrustedCode::Memory(bytes) => unsafe { Module::deserialize(engine, bytes) },
        // SAFETY: as above.
        TrustedCode::File(file) => unsafe { Module::deserialize_file(engine, path_to(file)) },
    }
}

/// A path that opens the file of this descriptor again, for reading only.
fn path_to(file: &File) -> PathBuf {
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    PathBuf::from(format!("{folder}/{}", file.as_raw_fd()))
}
