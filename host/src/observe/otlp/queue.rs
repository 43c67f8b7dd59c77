//! Batches from a queue: whatever comes within a second, up to a limit.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Records of one request.
const BATCH_MAX: usize = 1_024;
/// The time from the first record of a batch to its request.
const GATHER: Duration = Duration::from_secs(1);

/// The next batch, and true if it is the last one because the export ends.
pub(super) async fn collect<T>(
    queue: &mut Receiver<T>,
    stop: &CancellationToken,
) -> (Vec<T>, bool) {
    let mut batch = Vec::new();
    let has_ended = tokio::select! {
        has_ended = gather(queue, &mut batch) => has_ended,
        () = stop.cancelled() => false,
    };
    if stop.is_cancelled() {
        while batch.len() < BATCH_MAX {
            let Ok(record) = queue.try_recv() else { return (batch, true) };
            batch.push(record);
        }
    }
    (batch, has_ended)
}

/// Fills a batch. True if nothing more can come.
async fn gather<T>(queue: &mut Receiver<T>, batch: &mut Vec<T>) -> bool {
    if queue.recv_many(batch, BATCH_MAX).await == 0 {
        return true;
    }
    let until = Instant::now() + GATHER;
    while batch.len() < BATCH_MAX {
        let room = BATCH_MAX - batch.len();
        match timeout_at(until, queue.recv_many(batch, room)).await {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn queue_of(records: usize) -> (mpsc::Sender<usize>, Receiver<usize>) {
        let (sender, queue) = mpsc::channel(4 * BATCH_MAX);
        (0..records).for_each(|n| sender.try_send(n).unwrap());
        (sender, queue)
    }

    #[tokio::test]
    async fn a_batch_has_a_limit_and_the_last_one_ends_the_export() {
        let (sender, mut queue) = queue_of(BATCH_MAX + 7);
        drop(sender);
        let stop = CancellationToken::new();
        let (full, is_last) = collect(&mut queue, &stop).await;
        assert_eq!((full.len(), is_last), (BATCH_MAX, false));
        let (rest, is_last) = collect(&mut queue, &stop).await;
        assert_eq!((rest.len(), is_last), (7, true));
    }

    #[tokio::test]
    async fn the_end_takes_everything_that_waits() {
        let (_sender, mut queue) = queue_of(BATCH_MAX + 7);
        let stop = CancellationToken::new();
        stop.cancel();
        let (first, is_last) = collect(&mut queue, &stop).await;
        assert_eq!((first.len(), is_last), (BATCH_MAX, false));
        let (second, is_last) = collect(&mut queue, &stop).await;
        assert_eq!((second.len(), is_last), (7, true));
    }
}
