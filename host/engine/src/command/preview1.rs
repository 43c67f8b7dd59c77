//! WASI preview 1 for commands: wasmtime's, with a `poll_oneoff` that skips sleeps instead of
//! waiting.

use wasmtime::{Caller, Extern, Linker, Memory};
use wasmtime_wasi::p1;

use crate::command::CommandState;

/// The only module that a command may import.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// Subscriptions of one poll.
const SUBSCRIPTIONS_MAX: u32 = 4096;

// The layout of `subscription` and `event`, from the preview 1 specification.
const SUBSCRIPTION_BYTES: usize = 48;
const EVENT_BYTES: usize = 32;
const TAG_CLOCK: u8 = 0;
const CLOCK_REALTIME: u32 = 0;
const CLOCK_MONOTONIC: u32 = 1;
const FLAG_ABSOLUTE: u16 = 1;

const ERRNO_SUCCESS: u16 = 0;
const ERRNO_FAULT: u16 = 21;
const ERRNO_INVAL: u16 = 28;

pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<CommandState>> {
    let mut linker = Linker::new(engine);
    p1::add_to_linker_async(&mut linker, |state: &mut CommandState| &mut state.wasi)?;
    linker.allow_shadowing(true);
    linker.func_wrap(MODULE, "poll_oneoff", poll_oneoff)?;
    linker.allow_shadowing(false);
    Ok(linker)
}

/// The event that a subscription waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// An instant of the monotonic clock.
    Until(u64),
    /// A stream, which is always ready.
    Stream { tag: u8 },
    /// An unknown clock.
    Invalid,
}

/// Returns the ready subscriptions: streams at once, otherwise the earliest sleep, to whose end the
/// clock moves.
fn poll_oneoff(
    mut caller: Caller<'_, CommandState>,
    subscriptions: u32,
    events: u32,
    count: u32,
    ready: u32,
) -> wasmtime::Result<u32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Ok(u32::from(ERRNO_FAULT));
    };
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Ok(u32::from(ERRNO_INVAL));
    }
    let polled = poll(&mut caller, memory, subscriptions as usize, events as usize, count as usize);
    let errno = match polled {
        Some(found) => match memory.write(&mut caller, ready as usize, &found.to_le_bytes()) {
            Ok(()) => ERRNO_SUCCESS,
            Err(_) => ERRNO_FAULT,
        },
        None => ERRNO_FAULT,
    };
    Ok(u32::from(errno))
}

/// None if a pointer is outside of the memory.
fn poll(
    caller: &mut Caller<'_, CommandState>,
    memory: Memory,
    subscriptions: usize,
    events: usize,
    count: usize,
) -> Option<u32> {
    let (bytes, state) = memory.data_and_store_mut(caller);
    let given = bytes.get(subscriptions..)?.get(..count * SUBSCRIPTION_BYTES)?.to_vec();
    let waits: Vec<(u64, Wait)> = given
        .chunks_exact(SUBSCRIPTION_BYTES)
        .map(|s| Some((u64_at(s, 0)?, wait(s, state)?)))
        .collect::<Option<_>>()?;
    let someone_else_is_ready = waits.iter().any(|(_, wait)| !matches!(wait, Wait::Until(_)));
    let instants = waits.iter().filter_map(|(_, wait)| match wait {
        Wait::Until(instant) => Some(*instant),
        _ => None,
    });
    if let Some(earliest) = instants.min()
        && !someone_else_is_ready
    {
        state.clock.jump_to(earliest);
    }
    let mut found = 0;
    for (userdata, wait) in waits {
        let (tag, errno) = match wait {
            Wait::Until(instant) if !state.clock.reached(instant) => continue,
            Wait::Until(_) => (TAG_CLOCK, ERRNO_SUCCESS),
            Wait::Stream { tag } => (tag, ERRNO_SUCCESS),
            Wait::Invalid => (TAG_CLOCK, ERRNO_INVAL),
        };
        let mut event = [0; EVENT_BYTES];
        event[..8].copy_from_slice(&userdata.to_le_bytes());
        event[8..10].copy_from_slice(&errno.to_le_bytes());
        event[10] = tag;
        // Bytes to read or write: one, as in wasmtime.
        event[16..24].copy_from_slice(&1_u64.to_le_bytes());
        let at = events + found as usize * EVENT_BYTES;
        bytes.get_mut(at..)?.get_mut(..EVENT_BYTES)?.copy_from_slice(&event);
        found += 1;
    }
    Some(found)
}

fn wait(subscription: &[u8], state: &CommandState) -> Option<Wait> {
    let tag = *subscription.get(8)?;
    if tag != TAG_CLOCK {
        return Some(Wait::Stream { tag });
    }
    let clock = u32::from_le_bytes(subscription.get(16..20)?.try_into().ok()?);
    let timeout = u64_at(subscription, 24)?;
    let flags = u16::from_le_bytes(subscription.get(40..42)?.try_into().ok()?);
    let absolute = flags & FLAG_ABSOLUTE != 0;
    Some(match clock {
        CLOCK_MONOTONIC if absolute => Wait::Until(timeout),
        CLOCK_REALTIME if absolute => Wait::Until(
            state.clock.after(timeout.saturating_sub(state.wall.as_millis() * 1_000_000)),
        ),
        CLOCK_MONOTONIC | CLOCK_REALTIME => Wait::Until(state.clock.after(timeout)),
        _ => Wait::Invalid,
    })
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
