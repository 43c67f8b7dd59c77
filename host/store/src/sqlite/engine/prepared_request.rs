//! Requests as they are queued for the writer: packed, hashed, and with the rows of their tables.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_core::name::Target;
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;

use crate::error::StoreError;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::payloads::Packed;
use crate::sqlite::memory::dedup;
use crate::sqlite::memory::dedup::HashedKey;
use crate::{Claim, NewEvent, NewRequest};

/// A request that is ready for the writer: packed, hashed, and with the row of its routing table.
pub(crate) struct PreparedRequest {
    pub(crate) source: weir_core::name::SourceName,
    pub(crate) scheme: Arc<str>,
    pub(crate) secret: Arc<str>,
    pub(crate) remote: Option<IpAddr>,
    pub(crate) payload: Arc<Payload>,
    pub(crate) packed: Packed,
    pub(crate) on_redelivery: OnRedelivery,
    pub(crate) events: Vec<PreparedEvent>,
    pub(crate) claiming: Option<Claiming>,
}

/// A claim of the delivery to a target in the commit that stores it.
pub(crate) struct Claiming {
    pub(crate) target: Target,
    /// Place for the claim, filled after the commit and before the answer.
    pub(crate) slot: Arc<Mutex<Option<Claim>>>,
}

/// An event of a prepared request.
pub(crate) struct PreparedEvent {
    pub(crate) event: NewEvent,
    pub(crate) key: Option<HashedKey>,
    /// Its part of a batch.
    pub(crate) part: Option<(Arc<Payload>, Packed)>,
    pub(crate) routing: i64,
}

/// Prepares a request, on the thread of the caller.
pub(crate) fn prepare(
    shared: &Arc<Shared>,
    request: NewRequest,
) -> Result<PreparedRequest, StoreError> {
    let NewRequest { source, scheme, secret, remote, payload, on_redelivery, events } = request;
    let mut prepared = Vec::with_capacity(events.len());
    for mut event in events {
        let routing = shared.routing(event.routed.table)?;
        let part = event.part.take().map(|part| {
            let packed = shared.pack(source.as_str(), &part);
            (Arc::new(part), packed)
        });
        let key = event
            .dedup
            .as_ref()
            .map(|key| dedup::hash_key(&shared.keys.dedup, source.as_str(), key));
        prepared.push(PreparedEvent { event, key, part, routing });
    }
    let packed = shared.pack(source.as_str(), &payload);
    let payload = Arc::new(payload);
    Ok(PreparedRequest {
        source,
        scheme,
        secret,
        remote,
        payload,
        packed,
        on_redelivery,
        events: prepared,
        claiming: None,
    })
}

impl PreparedRequest {
    /// Bytes that it will write, for bounding the queue and the group.
    pub(crate) fn bytes(&self) -> usize {
        let part = |event: &PreparedEvent| event.part.as_ref().map_or(0, |(_, p)| p.stored_bytes());
        let key_bytes = |event: &PreparedEvent| {
            event.event.keys.iter().map(|key| key.value.len() + 64).sum::<usize>()
        };
        self.packed.stored_bytes()
            + self
                .events
                .iter()
                .map(|e| part(e) + e.event.routed.decisions.len() + key_bytes(e) + 256)
                .sum::<usize>()
            + 256
    }
}
