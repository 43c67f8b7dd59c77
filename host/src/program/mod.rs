//! The program as its caller sees it: what it prints, its exit codes, and how it starts itself to
//! compile a module.
//!
//! Used by the command line and by what runs a hub. What may not live here: commands, and anything
//! of a hub.

pub mod compile;
pub mod exit;
pub(crate) mod output;
pub mod printable;
pub(crate) mod table;
