//! The configuration of wasmtime that compiled code depends on, for the engine and for compilers.

use std::num::NonZeroUsize;

use wasmtime::Config;
use weir_core::bounds::{KIB, MIB};

/// Stack of a guest.
const GUEST_STACK_BYTES: usize = 512 * KIB;
/// Stack of the fibre that a guest runs on, with its calls of host functions.
const FIBRE_STACK_BYTES: usize = 2 * MIB;

/// Frames captured when a guest traps.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// The settings that compiled code depends on. The pool is not among them, so a compiler needs
/// none.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Bounds are checked in code, not by page protection. A guest that allocates grows its
        // memory, and the next instance in its slot would have to protect the growth again: two
        // system calls in each run that interrupt all cores, while most runs take microseconds.
        .signals_based_traps(false)
        .memory_guard_size(0)
        .memory_init_cow(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBRE_STACK_BYTES)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES));
    config
}
