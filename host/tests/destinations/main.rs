//! Each kind of destination beside `webhook`, and each kind of source beside `http`, with the real
//! hub and the kind's real server, started privately for the test and stopped and started while
//! messages are on their way.
//!
//! `servers` starts the servers, `outage` is the job that every kind of destination has to pass,
//! and the other files have one kind each: its outage, and what it says of a server that is wrong.
//! `pull` has the same for sources.

#![expect(clippy::disallowed_methods, reason = "tests may spawn tasks directly")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what it expects by panicking"
)]

mod aws;
#[path = "../e2e/faults.rs"]
#[expect(dead_code, reason = "not every fault is needed here")]
mod faults;
mod file;
mod kafka;
mod mqtt;
mod nats;
mod outage;
mod postgres;
mod pubsub;
mod pull;
mod rabbitmq;
mod redis;
mod servers;
mod wrong;
