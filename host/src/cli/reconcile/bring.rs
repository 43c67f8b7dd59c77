//! Brings events to the hub through its API, a few at a time.

use super::{MissingEvent, Task};
use crate::api::{ReconcileAnswer, ReconcileBody, ReconcileRequest};
use crate::cli::error::CommandError;

/// Requests of one call.
const REQUESTS_AT_ONCE: usize = 50;
/// Bytes of bodies of one call, if it has more than one request.
const BYTES_AT_ONCE: usize = 1024 * 1024;

/// An event that is missing, and its request.
pub(super) struct Missing {
    pub(super) event: MissingEvent,
    pub(super) request: ReconcileRequest,
}

impl Task<'_> {
    /// Stores what is missing, if that is asked for.
    pub(super) async fn bring(
        &self,
        missing: Vec<Missing>,
    ) -> Result<Vec<MissingEvent>, CommandError> {
        if !self.args.apply {
            return Ok(missing.into_iter().map(|one| one.event).collect());
        }
        let (mut done, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
        for one in missing {
            let size = one.request.body.len();
            let is_full = batch.len() >= REQUESTS_AT_ONCE || bytes + size > BYTES_AT_ONCE;
            if is_full && !batch.is_empty() {
                done.extend(self.send(std::mem::take(&mut batch)).await?);
                bytes = 0;
            }
            bytes += size;
            batch.push(one);
        }
        done.extend(self.send(batch).await?);
        Ok(done)
    }

    async fn send(&self, batch: Vec<Missing>) -> Result<Vec<MissingEvent>, CommandError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let (mut events, requests): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|one| (one.event, one.request)).unzip();
        let path = format!("/api/v1/sources/{}/reconcile", self.source);
        let answer: ReconcileAnswer =
            self.hub.post_body(&path, &ReconcileBody { requests }).await?;
        for (event, result) in events.iter_mut().zip(answer.results) {
            (event.outcome, event.reason) = match result.refused {
                Some(reason) => ("refused", Some(reason)),
                None if !result.stored.is_empty() => ("stored", None),
                None => ("duplicate", None),
            };
        }
        Ok(events)
    }
}
