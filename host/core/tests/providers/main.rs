//! What the built-in provider files promise, checked from outside: their vectors, their refusals by code, their
//! identities, handshakes and samples.

mod support;

mod declarative;
mod forgery;
mod handshakes;
mod identities;
mod overrides;
mod secrets;
mod signing;
mod vectors;
