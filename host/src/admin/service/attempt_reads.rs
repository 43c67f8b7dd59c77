//! The state that a past run read.

use weir_core::delivery::Fence;
use weir_core::id::AttemptId;
use weir_store::query::RecordedReads;

use super::AdminService;
use super::rerun::no_attempt;
use crate::admin::error::ApiError;
use crate::api::{AttemptReadsView, ReadValueView};
use crate::delivery::seed;
use crate::invoker::{ReadsRecord, ValueRecord};

impl AdminService {
    /// The reads of an attempt, as far as they are known, and its seed.
    pub(crate) async fn attempt_reads(&self, id: AttemptId) -> Result<AttemptReadsView, ApiError> {
        let (delivery, attempt) = self.attempt(id).await?;
        let input = self.store.attempt_input(id).await?.ok_or_else(|| no_attempt(id))?;
        let record = match &input.reads {
            RecordedReads::None => Some(ReadsRecord::default()),
            RecordedReads::Kept(text) => ReadsRecord::decode(text).ok(),
            RecordedReads::TooLarge(_) | RecordedReads::Unknown => None,
        };
        let known = record.is_some();
        let ReadsRecord { values, listings, queued, .. } = record.unwrap_or_default();
        let value = |ValueRecord { key, value, expires_at }| ReadValueView {
            key: String::from(key),
            value: value.map(String::from),
            expires_at,
        };
        let fence = Fence { generation: attempt.generation, attempt: attempt.number };
        Ok(AttemptReadsView {
            attempt: id,
            seed: hex::encode(seed::of(delivery.id, fence)),
            known,
            values: values.into_iter().map(value).collect(),
            listed: listings.into_iter().flat_map(|l| l.keys).map(String::from).collect(),
            queued: queued.into_iter().filter(|(_, is)| *is).map(|(k, _)| k.into()).collect(),
        })
    }
}
