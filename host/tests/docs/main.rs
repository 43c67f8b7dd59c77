//! The documents are true: their commands run, their links lead somewhere, their lists match the program.
//!
//! `document` reads a document. Each other file checks one kind of claim.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by panicking")]

mod document;

mod names;
