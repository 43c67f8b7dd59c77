//! The destinations against the plain clients of their servers, in one run:
//! `cargo bench -p weir --bench destinations`.
//!
//! For each kind, the hub first stores the events while the destination is on hold. Then the hold
//! ends, and the time counts until each message has been confirmed and settled. The plain client
//! sends the same bodies with the same number of facts to the same server, and waits for the same
//! confirmations, with as many messages at a time. Compare the ratios; absolute figures depend on
//! the machine.
//!
//! `DESTINATIONS_MESSAGES` (10,000), `DESTINATIONS_CONCURRENCY` (64), `DESTINATIONS_ROUNDS` (3),
//! `DESTINATIONS_KINDS` (all of them, with commas between). A kind whose server is not on this
//! machine is left out.

#![expect(clippy::disallowed_methods, reason = "a benchmark may spawn tasks directly")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that measures, whose figures are printed and whose failures are panics"
)]

mod clients;
mod hubs;
#[path = "../../tests/destinations/servers.rs"]
#[expect(dead_code, reason = "the tests stop servers too")]
mod servers;
mod started;

use std::time::Duration;

use bytes::Bytes;

/// The amounts of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amounts {
    pub(crate) messages: usize,
    pub(crate) concurrency: usize,
}

/// The facts that the hub sends beside a body, as a plain client would have them.
pub(crate) const FACTS: [(&str, &str); 8] = [
    ("weir-message-id", "msg_01KB6Y0RQ5T8ZJ4Y3V9M2N7C1D"),
    ("weir-event-id", "evt_01KB6Y0RQ5T8ZJ4Y3V9M2N7C1D"),
    ("weir-source", "github"),
    ("weir-event-type", "push"),
    ("content-type", "application/json"),
    ("x-weir-hops", "1.8f2c5b0de94f1f9b4c1d2a3b4c5d6e7f"),
    ("x-github-event", "push"),
    ("x-github-delivery", "delivery-00000"),
];

pub(crate) fn body(n: usize) -> Bytes {
    let text = "a commit message of an ordinary length, as people write them. ".repeat(16);
    format!("{{\"n\":{n},\"text\":\"{text}\"}}").into()
}

fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let amounts = Amounts {
        messages: setting("DESTINATIONS_MESSAGES", 10_000),
        concurrency: setting("DESTINATIONS_CONCURRENCY", 64),
    };
    let rounds = setting("DESTINATIONS_ROUNDS", 3);
    let kinds = std::env::var("DESTINATIONS_KINDS").unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!(
        "{} messages of {} bytes, {} at a time",
        amounts.messages,
        body(0).len(),
        amounts.concurrency
    );
    println!("{:<10} {:>14} {:>14} {:>7}", "kind", "hub, 1/s", "client, 1/s", "ratio");
    for kind in started::KINDS {
        if !kinds.is_empty() && !kinds.split(',').any(|wanted| wanted == kind) {
            continue;
        }
        runtime.block_on(measure(kind, amounts, rounds));
    }
}

/// Prints the medians of some rounds, in which hub and client take turns.
async fn measure(kind: &str, amounts: Amounts, rounds: usize) {
    let Some(server) = started::server(kind).await else { return };
    let (mut of_hub, mut of_client) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        of_client.push(clients::send(kind, &server, amounts).await);
        of_hub.push(hubs::send(&server, amounts).await);
    }
    let rate = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        amounts.messages as f64 / times[times.len() / 2].as_secs_f64()
    };
    let (hub, client) = (rate(&mut of_hub), rate(&mut of_client));
    println!("{kind:<10} {hub:>14.0} {client:>14.0} {:>7.2}", hub / client);
}
