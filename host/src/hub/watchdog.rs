//! The watchdog: the service manager is told that the hub makes progress while the writer of the
//! store and the listener for webhooks answer. If one of them hangs, it hears nothing and restarts
//! the process.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use weir_core::delivery::DeliveryState;
use weir_store::query::{CountRow, CountsFilter};
use weir_store::{Store, StoreError};

use crate::runtime::pulse::Pulse;
use crate::runtime::service;
use crate::runtime::shutdown::Drain;

/// Questions in the longest time that the service manager waits.
const ASKED_IN_TIME: u32 = 3;
/// Between two tries while the queue of the writer is full.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(100);

/// Asks both parts and tells the service manager, until claiming stops.
pub(super) async fn run(longest: Duration, store: Arc<dyn Store>, ingress: Pulse, drain: Drain) {
    let every = longest / ASKED_IN_TIME;
    let watch = async {
        loop {
            patiently("the writer of the store", every, writer_answers(&*store)).await;
            patiently("the listener for webhooks", every, ingress.ask()).await;
            let waiting = store.counts(CountsFilter::Deliveries).await.unwrap_or_default();
            service::alive(&status(&waiting));
            tokio::time::sleep(every).await;
        }
    };
    tokio::select! {
        () = drain.claiming_stopped() => {}
        () = watch => {}
    }
}

/// Waits for an answer, and logs that there is none. There is no end: it is the service manager
/// that acts.
async fn patiently(part: &str, every: Duration, answer: impl Future<Output = ()>) {
    let mut answer = pin!(answer);
    while tokio::time::timeout(every, &mut answer).await.is_err() {
        tracing::error!(part, "no answer: the service manager restarts the hub if it stays so");
    }
}

/// Resolves when the writer has done something. A failed store is not a matter of the watchdog: the
/// hub stops by itself.
async fn writer_answers(store: &dyn Store) {
    while let Err(StoreError::Overloaded { .. }) = store.writer_answers().await {
        tokio::time::sleep(FULL_QUEUE_PAUSE).await;
    }
}

/// The line for `systemctl status`.
fn status(deliveries: &[CountRow]) -> String {
    let of = |states: &[DeliveryState]| -> u64 {
        let is_of = |row: &&CountRow| states.iter().any(|state| state.as_str() == row.what);
        deliveries.iter().filter(is_of).map(|row| row.count).sum()
    };
    let waiting = of(&[DeliveryState::Pending, DeliveryState::Retrying]);
    let dead = of(&[DeliveryState::DeadLetter]);
    format!("accepts webhooks; {waiting} deliveries wait, {dead} dead letters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_counts_waiting_deliveries_and_dead_letters() {
        let row = |of: &str, what, count| CountRow { of: of.into(), what, count };
        let rows = [
            row("handler:a", DeliveryState::Pending.as_str(), 2),
            row("handler:a", DeliveryState::Retrying.as_str(), 3),
            row("destination:b", DeliveryState::DeadLetter.as_str(), 1),
        ];
        assert_eq!(status(&rows), "accepts webhooks; 5 deliveries wait, 1 dead letters");
    }
}
