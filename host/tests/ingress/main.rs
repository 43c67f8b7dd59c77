//! Ingress over real TCP with a real store: accepted and refused requests, and the limits of
//! connections.

#![expect(clippy::disallowed_methods, reason = "tests may spawn tasks directly")]
#![expect(clippy::unwrap_used, reason = "a test ends where something it builds on fails")]

mod hub;

mod bad_input;
mod forms;
mod gates;
mod half_sent;
mod hand_over;
mod keys;
mod methods;
mod overload;
mod published;
mod quarantine;
mod requests;
mod schemas;
mod senders;
mod sns;
mod tls;
mod tokens;
