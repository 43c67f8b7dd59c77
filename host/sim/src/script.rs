//! The handlers of a simulation: an event's body is its script, and a run is a pure function of the
//! script, of the attempt's number and of its reads.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_core::delivery::{Fence, Outcome, Verdict};
use weir_core::effect::{
    Cancel, Effects, EmittedEvent, Message, MessageContent, OutwardIds, StateWrite, Timing,
};
use weir_core::event::Event;
use weir_core::name::HandlerName;
use weir_core::payload::Payload;
use weir_core::state::{RangeRead, ReadSet, StateReader, StateUnavailable};
use weir_core::time::Timestamp;

use crate::cast;

/// The action of a handler for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// No effects.
    Rest,
    /// Sends a message that is the same in every run.
    Note,
    /// Sends two equal messages and a third.
    Twins,
    /// Reads a number, writes the next one and sends it, so each run sends a different message.
    Count,
    /// Lists the cart, adds an item, and removes the first one when there are many.
    Shop,
    /// Reads and writes a value that expires.
    Brief,
    /// Emits an event.
    Emit,
    /// Sends a delayed message under a key.
    Alarm,
    /// Emits a delayed event under a key.
    Remind,
    /// Cancels what waits under a key.
    Calm,
    /// Cancels what waits under a key and what follows under it for a while.
    CalmAhead,
    /// Forwards the event's body.
    Forward,
    /// Rejects the event.
    Reject,
    /// Counts, notes, emits and sets an alarm, all in one commit.
    All,
}

impl Deed {
    /// All actions.
    pub const EVERY: [Self; 14] = [
        Self::Rest,
        Self::Note,
        Self::Twins,
        Self::Count,
        Self::Shop,
        Self::Brief,
        Self::Emit,
        Self::Alarm,
        Self::Remind,
        Self::Calm,
        Self::CalmAhead,
        Self::Forward,
        Self::Reject,
        Self::All,
    ];
}

/// The body of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Its number. An emitted event has the number of the first event of its chain.
    pub serial: u64,
    pub deed: Deed,
    /// Number of runs that fail before one succeeds, in each generation.
    pub failures: u32,
    /// Delay of the effects in seconds.
    pub delay: u32,
    /// Order key of the effects.
    pub key: String,
    /// Padding that makes the body long.
    pub filler: String,
}

impl Script {
    /// The body as a payload.
    #[must_use]
    pub fn payload(&self) -> Payload {
        Payload::new("application/json", Bytes::from(self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses an event's body.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Run {
    /// True if it is to be retried.
    pub verdict: Verdict,
    /// The outcome of the attempt.
    pub outcome: Outcome,
    /// The effects; empty unless it succeeded.
    pub effects: Effects,
    /// The reads of the run.
    pub reads: ReadSet,
    /// The values that were read.
    pub seen: Vec<(String, Option<String>)>,
}

/// A state reader that records its reads.
struct Reading<'r> {
    state: &'r dyn StateReader,
    now: Timestamp,
    reads: ReadSet,
    seen: Vec<(String, Option<String>)>,
}

impl Reading<'_> {
    async fn get(&mut self, key: &str) -> Result<Option<String>, StateUnavailable> {
        let entry = self.state.get(key).await?.filter(|entry| entry.is_live(self.now));
        self.reads.keys.push((key.into(), entry.as_ref().map(|e| e.version)));
        let value = entry.map(|e| String::from(e.value));
        self.seen.push((key.to_owned(), value.clone()));
        Ok(value)
    }

    async fn list(&mut self, prefix: &str) -> Result<Vec<Box<str>>, StateUnavailable> {
        let limit = 10;
        let keys = self.state.keys(prefix, "", limit, self.now).await?;
        let (prefix, after) = (prefix.into(), "".into());
        self.reads.ranges.push(RangeRead { prefix, after, limit, keys: keys.clone() });
        Ok(keys)
    }
}

/// The effects of a run so far.
struct Asking<'a> {
    ids: OutwardIds,
    script: &'a Script,
    event: &'a Event,
    effects: Effects,
}

impl Asking<'_> {
    fn send(&mut self, to: &str, text: &str, timing: Timing) {
        let destination = cast::destination(to);
        let id = self.ids.message(&destination, "text/plain", text.as_bytes());
        let body = Bytes::copy_from_slice(text.as_bytes());
        let content = MessageContent::Own(Arc::new(Payload::new("text/plain", body)));
        self.effects.messages.push(Message { id, destination, content, timing });
    }

    fn forward(&mut self, to: &str) {
        let destination = cast::destination(to);
        let payload = &self.event.payload;
        let id = self.ids.message(&destination, payload.content_type(), &payload.body);
        let content =
            MessageContent::Forward { headers: vec![("x-sent".into(), Bytes::from("on"))] };
        let timing = Timing::default();
        self.effects.messages.push(Message { id, destination, content, timing });
    }

    fn emit(&mut self, deed: Deed, timing: Timing) {
        let script = Script { deed, failures: 0, filler: String::new(), ..self.script.clone() };
        let payload = Arc::new(script.payload());
        let kind = cast::event_type("late");
        let id = self.ids.event(&kind, payload.content_type(), &payload.body);
        self.effects.emits.push(EmittedEvent { id, kind, payload, timing });
    }

    fn put(&mut self, key: &str, value: Option<String>, expires_at: Option<Timestamp>) {
        let value = value.map(Into::into);
        self.effects.state.push(StateWrite { key: key.into(), value, expires_at });
    }

    fn keyed(&self) -> Timing {
        Timing { delay_seconds: self.script.delay, key: Some(self.script.key.as_str().into()) }
    }

    fn cancel(&mut self, ahead_seconds: u32) {
        let key = self.script.key.as_str().into();
        self.effects.cancels.push(Cancel { key, ahead_seconds });
    }

    fn note(&mut self) {
        self.send("ops", &format!("note {}", self.script.serial), Timing::default());
    }
}

/// Runs a handler on an event.
///
/// # Errors
/// The error of the store's state reader.
pub async fn run(
    handler: &HandlerName,
    event: &Event,
    fence: Fence,
    now: Timestamp,
    state: &dyn StateReader,
) -> Result<Run, StateUnavailable> {
    let reads = ReadSet { at: now, ..ReadSet::default() };
    let mut reading = Reading { state, now, reads, seen: Vec::new() };
    let failed = |verdict, outcome, reading: Reading<'_>| Run {
        verdict,
        outcome,
        effects: Effects::default(),
        reads: reading.reads,
        seen: reading.seen,
    };
    let Some(script) = Script::parse(&event.payload.body) else {
        return Ok(failed(Verdict::GiveUp, Outcome::Reject, reading));
    };
    let ids = OutwardIds::new(event.public_id, handler, 0);
    let mut asking = Asking { ids, script: &script, event, effects: Effects::default() };
    act(script.deed, &mut asking, &mut reading).await?;
    if script.deed == Deed::Reject {
        return Ok(failed(Verdict::GiveUp, Outcome::Reject, reading));
    }
    if fence.attempt <= script.failures {
        return Ok(failed(Verdict::TryAgain { at_least: None }, Outcome::Retry, reading));
    }
    let effects = asking.effects;
    let Reading { reads, seen, .. } = reading;
    Ok(Run { verdict: Verdict::Done, outcome: Outcome::Ok, effects, reads, seen })
}

async fn act(
    deed: Deed,
    asking: &mut Asking<'_>,
    reading: &mut Reading<'_>,
) -> Result<(), StateUnavailable> {
    match deed {
        Deed::Rest | Deed::Reject => {}
        Deed::Note => asking.note(),
        Deed::Twins => {
            asking.note();
            asking.note();
            asking.send("ledger", "note", Timing::default());
        }
        Deed::Count => count(asking, reading).await?,
        Deed::Shop => shop(asking, reading).await?,
        Deed::Brief => {
            let seen = reading.get("brief").await?.unwrap_or_default();
            let expires_at =
                reading.now.after(std::time::Duration::from_secs(asking.script.delay.into()));
            let value = format!("{}{}", seen.len(), asking.script.serial);
            asking.put("brief", Some(value), Some(expires_at));
        }
        Deed::Emit => asking.emit(Deed::Note, Timing::default()),
        Deed::Alarm => asking.send("ops", "alarm", asking.keyed()),
        Deed::Remind => asking.emit(Deed::Emit, asking.keyed()),
        Deed::Calm => asking.cancel(0),
        Deed::CalmAhead => asking.cancel(asking.script.delay),
        Deed::Forward => asking.forward("ledger"),
        Deed::All => {
            count(asking, reading).await?;
            shop(asking, reading).await?;
            asking.note();
            asking.emit(Deed::Count, Timing::default());
            asking.cancel(0);
            asking.send("ops", "alarm", asking.keyed());
        }
    }
    Ok(())
}

async fn count(asking: &mut Asking<'_>, reading: &mut Reading<'_>) -> Result<(), StateUnavailable> {
    let seen = reading.get("count").await?;
    let next = seen.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) + 1;
    asking.put("count", Some(next.to_string()), None);
    asking.send("ledger", &format!("count {next}"), Timing::default());
    Ok(())
}

async fn shop(asking: &mut Asking<'_>, reading: &mut Reading<'_>) -> Result<(), StateUnavailable> {
    let cart = reading.list("cart/").await?;
    if cart.len() > 2 {
        asking.put(&cart[0], None, None);
    }
    let key = format!("cart/{}", asking.script.serial % 7);
    if cart.first().is_none_or(|first| **first != *key || cart.len() <= 2) {
        asking.put(&key, Some(asking.script.serial.to_string()), None);
    }
    Ok(())
}
