//! Traces, metrics and logs, as a collector receives them from the real binary.

mod collector;
mod examples;
mod export;
mod failures;
mod trace_context;
