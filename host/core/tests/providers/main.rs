//! The built-in providers, tested from outside: vectors, errors by code, identities, handshakes and
//! samples.

#![expect(clippy::unwrap_used, reason = "a test ends where something it builds on fails")]

mod support;

mod categories;
mod certificates;
mod doubles;
mod forgery;
mod handshakes;
mod hostile;
mod identities;
mod keys;
mod overrides;
mod published;
mod replays;
mod secrets;
mod signing;
mod vectors;
