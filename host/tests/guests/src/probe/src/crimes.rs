//! The steps of a hostile handler: traps, endless loops, memory without end.

use crate::Failure;
use crate::step::Step;
use crate::weir::handler::log;
use std::hint::black_box;

const MIB: usize = 1 << 20;

/// Takes the step if it is one of these. True if it was, and the guest survived it.
pub fn commit(step: &Step, op: &str) -> Result<bool, Failure> {
    match op {
        // The hook writes the message into the log.
        "panic" => panic!("{}", step.text_or("message", "the probe was told to")),
        // Without a log line.
        "abort" => std::process::abort(),
        "loop" => loop {
            black_box(());
        },
        "flood" => loop {
            log::info("flood");
        },
        // Until the host refuses, or `mib` are reached.
        "grow" => grow(step.number_or("mib", u64::MAX)?),
        "recurse" => {
            black_box(recurse(step.number_or("depth", u64::MAX)?));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn grow(mib: u64) {
    let mut held = Vec::new();
    for _ in 0..mib {
        held.push(vec![1u8; MIB]);
        black_box(&held);
    }
}

fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == 0 { 0 } else { recurse(depth - 1) + frame[63] }
}
