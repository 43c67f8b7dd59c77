//! Backtests: two versions of a handler over the same past events, from the same state. Nothing is
//! carried out.
//!
//! [`World`] is one version with its state, which its runs change in the order of the events.
//! [`compare`] says how two runs of an event differ, and [`Tally`] counts it. Memory is bounded:
//! events come in chunks, and only counts stay.
//!
//! Not here: where events come from, and what the command line prints.

mod compare;
mod tally;
mod world;

pub(crate) use compare::{Compared, EffectChange, RunChange, compare};
pub(crate) use tally::{Cost, Tally};
pub(crate) use world::{Ran, World};
