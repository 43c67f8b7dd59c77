//! Records the effects of a run, within its limits, for both kinds of module.
//!
//! Recorded effects are committed when the run settles, or never. Names and grants are checked at
//! the call, so that the handler can act on a refusal.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use weir_core::bounds::{
    EFFECT_BYTES_MAX, EFFECT_BYTES_PER_RUN_MAX, EFFECT_DELAY_SECONDS_MAX, EFFECT_KEY_BYTES_MAX,
    EMIT_DEPTH_MAX, EMIT_TYPE_BYTES_MAX, REPLY_BYTES_MAX,
};
use weir_core::effect::{
    Cancel, Effects, EmittedEvent, Message, MessageContent, OutwardIds, Reply, Timing,
};
use weir_core::event::{Event, EventType};
use weir_core::id::{EventId, MessageId};
use weir_core::name::{DestinationName, HandlerName};
use weir_core::payload::Payload;

use crate::headers::{self, Header, quoted};
use crate::refusal::{Code, Refusal};
use crate::run::{AllowedDestinations, Grants};
use crate::stop::Stop;

pub(crate) const JSON: &str = "application/json";

/// A message or emitted event that later calls may change.
#[derive(Debug)]
struct EffectDraft {
    what: DraftKind,
    body: DraftBody,
    headers: Vec<Header>,
    timing: Timing,
    dropped: bool,
}

#[derive(Debug)]
enum DraftKind {
    Message(MessageId, DestinationName),
    Emit(EventId, EventType),
}

#[derive(Debug)]
enum DraftBody {
    Own { content_type: Box<str>, bytes: Bytes },
    Forward,
}

/// The effects of a run so far.
#[derive(Debug)]
pub(crate) struct EffectRecorder {
    handler: HandlerName,
    event: Arc<Event>,
    grants: Arc<Grants>,
    effects_max: usize,
    ids: OutwardIds,
    drafts: Vec<EffectDraft>,
    by_id: HashMap<u128, usize>,
    bytes: usize,
    cancels: Vec<Cancel>,
    reply: Option<(u16, Box<str>, Bytes)>,
    reply_headers: Vec<Header>,
}

/// The result of a cancellation within the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CancelResult {
    /// No effect can have such a key.
    Nothing,
    /// An effect of this run was dropped.
    Own,
    /// The store knows.
    AskStore,
}

impl EffectRecorder {
    pub(crate) fn new(
        handler: HandlerName,
        event: Arc<Event>,
        id_round: u32,
        grants: Arc<Grants>,
        effects_max: usize,
    ) -> Self {
        let ids = OutwardIds::new(event.public_id, &handler, id_round);
        Self {
            handler,
            event,
            grants,
            effects_max,
            ids,
            drafts: Vec::new(),
            by_id: HashMap::new(),
            bytes: 0,
            cancels: Vec::new(),
            reply: None,
            reply_headers: Vec::new(),
        }
    }

    /// Records a message. Returns its id.
    pub(crate) fn send(
        &mut self,
        destination: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<MessageId, Refusal> {
        let to = self.destination(destination)?;
        headers::checked_content_type(content_type)?;
        self.room("message", body.len())?;
        let id = self.ids.message(&to, content_type, &body);
        self.bytes += body.len();
        let body = DraftBody::Own { content_type: content_type.into(), bytes: body };
        self.record(id.bits(), DraftKind::Message(id, to), body);
        Ok(id)
    }

    /// Records a message with the event's own body, by reference: it does not count for the limit
    /// of bytes.
    pub(crate) fn forward(&mut self, destination: &str) -> Result<MessageId, Refusal> {
        let to = self.destination(destination)?;
        self.room("message", 0)?;
        let payload = &self.event.payload;
        let id = self.ids.message(&to, payload.content_type(), &payload.body);
        self.record(id.bits(), DraftKind::Message(id, to), DraftBody::Forward);
        Ok(id)
    }

    /// Records an event to emit. Returns its id.
    pub(crate) fn emit(
        &mut self,
        kind: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<EventId, Refusal> {
        if !self.grants.emit {
            return Err(Refusal::new(
                Code::NotGranted,
                format!(
                    "The handler `{}` may not emit events; add it to {} emit = true.",
                    self.handler, self.grants.place
                ),
            ));
        }
        let kind = emitted_type(kind)?;
        headers::checked_content_type(content_type)?;
        if self.event.depth() >= EMIT_DEPTH_MAX {
            return Err(Refusal::too_many(format!(
                "This event is {EMIT_DEPTH_MAX} emits away from the first, which is the limit; \
                 look for a loop \
                 between handlers."
            )));
        }
        self.room("event", body.len())?;
        let id = self.ids.event(&kind, content_type, &body);
        self.bytes += body.len();
        let body = DraftBody::Own { content_type: content_type.into(), bytes: body };
        self.record(id.bits(), DraftKind::Emit(id, kind), body);
        Ok(id)
    }

    /// Adds a header to a draft.
    pub(crate) fn set_header(&mut self, id: &str, name: &str, value: &str) -> Result<(), Refusal> {
        let bytes = self.bytes;
        let draft = self.draft(id)?;
        let header = headers::checked(draft.headers.len(), name, value)?;
        let size = header.0.len() + header.1.len();
        if bytes + size > EFFECT_BYTES_PER_RUN_MAX {
            return Err(too_many_bytes());
        }
        draft.headers.push(header);
        self.bytes += size;
        Ok(())
    }

    /// Delays a draft.
    pub(crate) fn set_delay(&mut self, id: &str, seconds: u32) -> Result<(), Refusal> {
        if seconds > EFFECT_DELAY_SECONDS_MAX {
            return Err(Refusal::invalid(format!(
                "A delay of {seconds} seconds is too long; at most {EFFECT_DELAY_SECONDS_MAX} (30 \
                 days) are possible."
            )));
        }
        self.draft(id)?.timing.delay_seconds = seconds;
        Ok(())
    }

    /// Sets the key of a draft. An earlier draft of this run with that key is dropped.
    pub(crate) fn set_key(&mut self, id: &str, key: &str) -> Result<(), Refusal> {
        if !valid_key(key) {
            return Err(Refusal::invalid(format!(
                "The key {} is not valid; use 1 to {EFFECT_KEY_BYTES_MAX} bytes.",
                quoted(key)
            )));
        }
        self.draft(id)?;
        self.drop_under(key, Some(id));
        self.draft(id)?.timing.key = Some(key.into());
        Ok(())
    }

    /// Drops effects with a key, also those that get it within `ahead_seconds`.
    pub(crate) fn cancel(&mut self, key: &str, ahead_seconds: u32) -> Result<CancelResult, Stop> {
        if !valid_key(key) {
            return Ok(CancelResult::Nothing);
        }
        let own = self.drop_under(key, None);
        let ahead_seconds = ahead_seconds.min(EFFECT_DELAY_SECONDS_MAX);
        let known = self.cancels.iter_mut().find(|c| *c.key == *key);
        let found = if own { CancelResult::Own } else { CancelResult::AskStore };
        if let Some(known) = known {
            known.ahead_seconds = known.ahead_seconds.max(ahead_seconds);
            // The first call of this run dropped the stored ones.
            return Ok(if own { CancelResult::Own } else { CancelResult::Nothing });
        }
        if self.cancels.len() >= self.effects_max {
            return Err(Stop::TooMuch(format!(
                "cancelled more than {} keys in one run; raise `effects` under [limits]",
                self.effects_max
            )));
        }
        self.cancels.push(Cancel { key: key.into(), ahead_seconds });
        Ok(found)
    }

    /// Sets the answer to the sender.
    pub(crate) fn reply(
        &mut self,
        status: u16,
        content_type: &str,
        body: Bytes,
    ) -> Result<(), Refusal> {
        if !(200..=599).contains(&status) {
            return Err(Refusal::invalid(format!(
                "The status {status} cannot be a reply; use one from 200 to 599."
            )));
        }
        headers::checked_content_type(content_type)?;
        if body.len() > REPLY_BYTES_MAX {
            return Err(Refusal::too_large(format!(
                "The reply has {} bytes, and may have {REPLY_BYTES_MAX}; answer with less, or \
                 with a link.",
                body.len()
            )));
        }
        self.reply = Some((status, content_type.into(), body));
        Ok(())
    }

    /// Adds a header to the answer.
    pub(crate) fn reply_header(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let header = headers::checked(self.reply_headers.len(), name, value)?;
        self.reply_headers.push(header);
        Ok(())
    }

    /// The recorded effects, without state.
    pub(crate) fn finish(self) -> Effects {
        let mut effects = Effects { cancels: self.cancels, ..Effects::default() };
        let ahead = |timing: &Timing| {
            let key = timing.key.as_deref();
            effects.cancels.iter().any(|c| c.ahead_seconds > 0 && key == Some(&*c.key))
        };
        let kept: Vec<EffectDraft> =
            self.drafts.into_iter().filter(|d| !d.dropped && !ahead(&d.timing)).collect();
        for EffectDraft { what, body, headers, timing, .. } in kept {
            match (what, body) {
                (DraftKind::Message(id, destination), body) => {
                    let content = match body {
                        DraftBody::Forward => MessageContent::Forward { headers },
                        DraftBody::Own { content_type, bytes } => {
                            MessageContent::Own(Arc::new(payload(&content_type, bytes, headers)))
                        }
                    };
                    effects.messages.push(Message { id, destination, content, timing });
                }
                (DraftKind::Emit(id, kind), DraftBody::Own { content_type, bytes }) => {
                    let payload = Arc::new(payload(&content_type, bytes, headers));
                    effects.emits.push(EmittedEvent { id, kind, payload, timing });
                }
                // Only messages forward; `emit` records its own body.
                (DraftKind::Emit(..), DraftBody::Forward) => {}
            }
        }
        effects.reply = self.reply.map(|(status, content_type, body)| Reply {
            status,
            payload: payload(&content_type, body, self.reply_headers),
        });
        effects
    }

    /// The refusal of a destination, with the line that would grant it beside the others.
    fn not_granted(&self, name: &str, checked: Option<DestinationName>) -> Refusal {
        let (handler, to) = (&self.handler, quoted(name));
        let what = match (&self.grants.destinations, checked) {
            (AllowedDestinations::These(names), Some(name)) => {
                let mut names: Vec<&str> = names.iter().map(DestinationName::as_str).collect();
                names.push(name.as_str());
                format!("add it to {} destinations = {names:?}", self.grants.place)
            }
            _ => "it is not the name of a destination".to_owned(),
        };
        let message = format!("The handler `{handler}` may not send to {to}; {what}.");
        Refusal::new(Code::NotGranted, message)
    }

    /// A destination that is granted and that exists. The grant is checked first, so that a handler
    /// cannot find out other names.
    fn destination(&self, name: &str) -> Result<DestinationName, Refusal> {
        let checked = DestinationName::new(name).ok();
        let granted = checked.as_ref().filter(|n| self.grants.destinations.include(n));
        let Some(destination) = granted.cloned() else {
            return Err(self.not_granted(name, checked));
        };
        if !self.grants.known.contains(&destination) {
            return Err(Refusal::new(
                Code::NotFound,
                format!(
                    "There is no destination `{destination}`; add it under \
                     [destinations.{destination}]."
                ),
            ));
        }
        Ok(destination)
    }

    fn room(&self, what: &str, size: usize) -> Result<(), Refusal> {
        if self.drafts.len() >= self.effects_max {
            return Err(Refusal::too_many(format!(
                "A run may send and emit {} times, and this is one more; raise `effects` under \
                 [limits], or \
                 put more into each {what}.",
                self.effects_max
            )));
        }
        if size > EFFECT_BYTES_MAX {
            return Err(Refusal::too_large(format!(
                "The {what} has {size} bytes, and may have {EFFECT_BYTES_MAX}; send less, or a \
                 link."
            )));
        }
        if self.bytes + size > EFFECT_BYTES_PER_RUN_MAX {
            return Err(too_many_bytes());
        }
        Ok(())
    }

    fn record(&mut self, id: u128, what: DraftKind, body: DraftBody) {
        self.by_id.insert(id, self.drafts.len());
        self.drafts.push(EffectDraft {
            what,
            body,
            headers: Vec::new(),
            timing: Timing::default(),
            dropped: false,
        });
    }

    fn draft(&mut self, id: &str) -> Result<&mut EffectDraft, Refusal> {
        let bits = id.parse().map(MessageId::bits).or_else(|_| id.parse().map(EventId::bits)).ok();
        let index = bits.and_then(|bits| self.by_id.get(&bits).copied());
        index.and_then(|i| self.drafts.get_mut(i)).filter(|d| !d.dropped).ok_or_else(|| {
            Refusal::new(
                Code::NotFound,
                format!(
                    "This run has no message or event with the id {}, or has dropped it; use an \
                     id that `send` or \
                     `emit` returned in this run.",
                    quoted(id)
                ),
            )
        })
    }

    /// Drops the drafts of this run with `key`, except one.
    fn drop_under(&mut self, key: &str, except: Option<&str>) -> bool {
        let except = except
            .and_then(|id| {
                id.parse().map(MessageId::bits).or_else(|_| id.parse().map(EventId::bits)).ok()
            })
            .and_then(|bits| self.by_id.get(&bits).copied());
        let mut found = false;
        for (index, draft) in self.drafts.iter_mut().enumerate() {
            if Some(index) != except && !draft.dropped && draft.timing.key.as_deref() == Some(key) {
                draft.dropped = true;
                found = true;
            }
        }
        found
    }
}

fn too_many_bytes() -> Refusal {
    Refusal::too_many(format!(
        "The messages and events of a run may have {EFFECT_BYTES_PER_RUN_MAX} bytes together, and \
         this exceeds \
         it; send less, or use forward."
    ))
}

fn valid_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= EFFECT_KEY_BYTES_MAX
}

fn emitted_type(kind: &str) -> Result<EventType, Refusal> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    let checked = (kind.len() <= EMIT_TYPE_BYTES_MAX && kind.bytes().all(allowed))
        .then(|| EventType::new(kind).ok())
        .flatten();
    checked.ok_or_else(|| {
        Refusal::invalid(format!(
            "The event type {} is not valid; use 1 to {EMIT_TYPE_BYTES_MAX} letters, digits and \
             `. _ - /`.",
            quoted(kind)
        ))
    })
}

fn payload(content_type: &str, body: Bytes, added: Vec<Header>) -> Payload {
    let mut payload = if content_type.is_empty() {
        Payload { headers: Vec::new(), body }
    } else {
        Payload::new(content_type, body)
    };
    payload.headers.extend(added);
    payload
}

/// Refuses text that is not JSON, with the position of the error.
pub(crate) fn checked_json(text: String) -> Result<Bytes, Refusal> {
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok(text.into()),
        Err(error) => {
            Err(Refusal::invalid(format!("The text given as JSON is not JSON: {error}.")))
        }
    }
}
