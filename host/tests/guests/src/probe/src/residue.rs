//! Detects data of an earlier run in this instance's memory. A fresh instance has none.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const FAR: usize = 1 << 18;

static SMALL: AtomicU32 = AtomicU32::new(7);
/// A mebibyte of zeroes, of which only the last word is used.
static LARGE: [AtomicU32; FAR] = [const { AtomicU32::new(0) }; FAR];

/// Adds one to an initialised static and to a distant word. Returns their old values: 7 and 0 in a
/// fresh instance.
pub fn bump() -> Value {
    json!({ "static": SMALL.fetch_add(1, Relaxed), "far": LARGE[FAR - 1].fetch_add(1, Relaxed) })
}
