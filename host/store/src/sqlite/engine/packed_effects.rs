//! The payloads of a run's effects, packed on the caller's thread.

use bytes::Bytes;
use weir_core::effect::{MessageContent, StateWrite};
use weir_core::payload::Payload;

use crate::error::StoreError;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::payloads::{Packed, Packer};
use crate::{NewEmit, NewMessage, RoutedEffects};

/// The payloads of effects, packed, in the order of the effects.
pub(crate) struct PackedEffects {
    /// None for a message that forwards its event as it is.
    pub(crate) messages: Vec<Option<Packed>>,
    /// With the row of the event's routing table.
    pub(crate) emits: Vec<(Packed, i64)>,
    pub(crate) reply: Option<Packed>,
}

/// Packs the payloads of effects, on the caller's thread.
pub(crate) fn pack(shared: &Shared, effects: &RoutedEffects) -> Result<PackedEffects, StoreError> {
    let message = |message: &NewMessage| match &message.content {
        MessageContent::Own(payload) => Some(Packer::pack_plain(payload)),
        MessageContent::Forward { headers } if headers.is_empty() => None,
        MessageContent::Forward { headers } => {
            let payload = Payload { headers: headers.clone(), body: Bytes::new() };
            Some(Packer::pack_plain(&payload))
        }
    };
    let emit = |emit: &NewEmit| {
        let routing = shared.routing(emit.routed.table)?;
        Ok((Packer::pack_plain(&emit.payload), routing))
    };
    Ok(PackedEffects {
        messages: effects.messages.iter().map(message).collect(),
        emits: effects.emits.iter().map(emit).collect::<Result<_, StoreError>>()?,
        reply: effects.reply.as_ref().map(|reply| Packer::pack_plain(&reply.payload)),
    })
}

impl PackedEffects {
    /// Bytes that the effects will write, for bounding the queue.
    pub(crate) fn bytes(&self, asked: &RoutedEffects) -> usize {
        let packed = |p: &Packed| p.stored_bytes() + 256;
        let state = |w: &StateWrite| w.value.as_ref().map_or(64, |v| v.len() + 64);
        self.messages.iter().map(|p| p.as_ref().map_or(256, packed)).sum::<usize>()
            + self.emits.iter().map(|(p, _)| packed(p)).sum::<usize>()
            + asked.state.iter().map(state).sum::<usize>()
            + self.reply.as_ref().map_or(0, packed)
    }
}
