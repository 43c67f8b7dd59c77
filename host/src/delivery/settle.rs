//! Settling with retries, for as long as the store cannot accept a settlement and the hub is not
//! shutting down.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use weir_store::{Settled, Settlement};
use weir_store::{Store, StoreError};

use crate::runtime::shutdown::Drain;

/// The first and the longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Settles a batch. Transient failures are retried until the drain stops waiting; the answer of an
/// item is then its last error. The caller keeps the claims until this returns.
#[tracing::instrument(level = "debug", skip_all, fields(deliveries = batch.len()))]
pub(crate) async fn settle(
    store: &dyn Store,
    drain: &Drain,
    batch: &[Arc<Settlement>],
) -> Vec<Result<Settled, StoreError>> {
    let mut answers: Vec<_> = batch.iter().map(|_| Err(StoreError::Closed)).collect();
    let mut open: Vec<usize> = (0..batch.len()).collect();
    let mut pause = PAUSE.0;
    while !open.is_empty() {
        let offered: Vec<_> = open.iter().map(|i| batch[*i].clone()).collect();
        let given = tokio::select! {
            given = store.settle(&offered) => given,
            () = drain.waiting_stopped() => return answers,
        };
        let mut still_open = Vec::new();
        for (index, answer) in open.into_iter().zip(given) {
            if matches!(&answer, Err(error) if error.is_transient()) {
                still_open.push(index);
            }
            answers[index] = answer;
        }
        open = still_open;
        let Some(first) = open.first() else { break };
        if let Err(error) = &answers[*first] {
            tracing::warn!(%error, waiting = open.len(), "cannot settle yet, trying again");
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = drain.waiting_stopped() => return answers,
        }
        pause = (pause * 2).min(PAUSE.1);
    }
    answers
}
