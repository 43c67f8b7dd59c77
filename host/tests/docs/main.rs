//! The documents are true: their commands run, their links lead somewhere, their lists match the
//! program.
//!
//! `document` reads a document, `stage` starts the hub that a document's commands talk to. Each
//! other file checks one kind of claim. `WEIR_UPDATE_DOCS=1 cargo test -p weir --test docs` writes
//! the generated parts again.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what it expects by panicking"
)]

mod document;
mod stage;

mod api;
mod commands;
mod generated;
mod links;
mod names;
