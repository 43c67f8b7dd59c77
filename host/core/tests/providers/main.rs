//! What the built-in provider files promise, checked from outside: their vectors, their refusals by code, their
//! identities, handshakes and samples.

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
