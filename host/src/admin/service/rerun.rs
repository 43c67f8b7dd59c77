//! Repetitions of past runs, and how their results differ.

use similar::TextDiff;
use weir_core::bounds::KIB;
use weir_core::delivery::{Fence, Outcome};
use weir_core::effect::{Effects, MessageContent};
use weir_core::error::chain;
use weir_core::id::AttemptId;
use weir_core::name::Target;
use weir_core::payload::Payload;
use weir_core::reserved_headers::reserved_header;
use weir_engine::Version;
use weir_store::query::{AttemptDetail, DeliveryDetail, IdLookup};

use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::api::RerunAnswer;
use crate::invoker::{NotRerunnable, PastRun, Repeated, ValueRecord};

/// The most text of one body that a result shows.
const BODY_BYTES_MAX: usize = 64 * KIB;

impl AdminService {
    /// Repeats the run of an attempt, and compares the result.
    pub(crate) async fn rerun(
        &self,
        id: AttemptId,
        by: Principal,
    ) -> Result<RerunAnswer, ApiError> {
        let result = self.do_rerun(id).await;
        self.recorded(&by, "rerun", &id.to_string(), result).await
    }

    async fn do_rerun(&self, id: AttemptId) -> Result<RerunAnswer, ApiError> {
        let (delivery, attempt) = self.attempt(id).await?;
        let Target::Handler(handler) = delivery.target.clone() else {
            return Err(not_rerunnable("it was an attempt to send; only runs can be repeated"));
        };
        let version = attempt.version.as_deref().and_then(version_of);
        let version = version
            .filter(|_| !matches!(attempt.outcome, Outcome::HostLost | Outcome::Internal))
            .ok_or_else(|| not_rerunnable("the hub failed, and not the run"))?;
        let reruns = self.handlers.reruns().ok_or_else(|| not_rerunnable("nothing runs here"))?;
        let input = self.store.attempt_input(id).await?.ok_or_else(|| no_attempt(id))?;
        let event = input.event.clone();
        let past = PastRun {
            handler: handler.clone(),
            version,
            delivery: delivery.id,
            fence: Fence { generation: attempt.generation, attempt: attempt.number },
            started_at: attempt.started_at,
            input,
        };
        let Repeated { report, record } = reruns.repeat(&*self.store, past).await?;

        let mut not_compared = Vec::new();
        let mut then = vec![outcome_line(attempt.outcome, attempt.reason.as_deref())];
        then.extend(self.effects_then(&attempt, &mut not_compared).await?);
        let mut now = vec![outcome_line(report.outcome(), report.reason())];
        now.extend(effects_now(&report.effects, &event.payload));
        let writes: Vec<ValueRecord> =
            report.effects.state.iter().map(ValueRecord::of_write).collect();
        match &record {
            Some(record) => {
                then.extend(record.writes.iter().map(write_line));
                now.extend(writes.iter().map(write_line));
            }
            None if writes.is_empty() => {}
            None => not_compared.push(
                "writes of state: they are kept only of runs that also read state".to_owned(),
            ),
        }
        let diff = difference(&then, &now);
        let log = report.log.lines.iter().map(|line| format!("{} {}", line.level, line.message));
        Ok(RerunAnswer {
            attempt: id,
            event: event.id,
            handler,
            version: version.to_hex(),
            same: diff.is_empty(),
            diff,
            not_compared,
            result: now,
            log: log.collect(),
            duration_us: u64::try_from(report.duration.as_micros()).unwrap_or(u64::MAX),
            memory_peak_bytes: report.memory_peak as u64,
        })
    }

    /// An attempt with its delivery.
    pub(super) async fn attempt(
        &self,
        id: AttemptId,
    ) -> Result<(DeliveryDetail, AttemptDetail), ApiError> {
        let found = self.store.find(IdLookup::Attempt(id)).await?;
        let delivery = found.delivery.ok_or_else(|| no_attempt(id))?;
        let mut delivery = self.store.delivery(delivery).await?.ok_or_else(|| no_attempt(id))?;
        let index = delivery.history.iter().position(|attempt| attempt.id == id);
        let attempt = delivery.history.swap_remove(index.ok_or_else(|| no_attempt(id))?);
        Ok((delivery, attempt))
    }

    /// The stored effects of an attempt, a text each.
    async fn effects_then(
        &self,
        attempt: &AttemptDetail,
        not_compared: &mut Vec<String>,
    ) -> Result<Vec<String>, ApiError> {
        let mut lines = Vec::new();
        for message in &attempt.messages {
            let Target::Destination(to) = &message.target else { continue };
            match self.store.message(message.id).await? {
                Some(payload) => lines.push(message_line(to.as_str(), &payload)),
                None => not_compared.push(format!("a message to {to}: it is no longer stored")),
            }
        }
        for id in &attempt.emitted {
            let emitted = self.store.event(*id).await?;
            match emitted.and_then(|event| Some((event.kind, event.payload?))) {
                Some((kind, payload)) => lines.push(emit_line(kind.as_str(), &payload)),
                None => not_compared.push(format!("the emitted event {id}: it is not stored")),
            }
        }
        Ok(lines)
    }
}

fn version_of(hex: &str) -> Option<Version> {
    let mut hash = [0; 32];
    hex::decode_to_slice(hex, &mut hash).ok()?;
    Some(Version(hash))
}

pub(super) fn no_attempt(id: AttemptId) -> ApiError {
    ApiError::not_found("attempt_not_found", format!("there is no attempt {id}"))
}

fn not_rerunnable(why: &str) -> ApiError {
    ApiError::conflict("not_rerunnable", format!("not rerunnable: {why}"))
}

impl From<NotRerunnable> for ApiError {
    fn from(error: NotRerunnable) -> Self {
        match error {
            NotRerunnable::Store(error) => error.into(),
            other => Self::conflict("not_rerunnable", chain(&other)),
        }
    }
}

fn outcome_line(outcome: Outcome, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{outcome}: {reason}"),
        None => outcome.to_string(),
    }
}

fn effects_now(effects: &Effects, event: &Payload) -> Vec<String> {
    let message = effects.messages.iter().map(|message| {
        let to = message.destination.as_str();
        match &message.content {
            MessageContent::Own(payload) => message_line(to, payload),
            MessageContent::Forward { headers } => {
                let mut payload = Payload::new(event.content_type(), event.body.clone());
                payload.headers.extend(headers.iter().cloned());
                message_line(to, &payload)
            }
        }
    });
    let emit = effects.emits.iter().map(|emit| emit_line(emit.kind.as_str(), &emit.payload));
    message.chain(emit).collect()
}

fn message_line(to: &str, payload: &Payload) -> String {
    format!("send {to}{}", payload_lines(payload))
}

fn emit_line(kind: &str, payload: &Payload) -> String {
    format!("emit {kind}{}", payload_lines(payload))
}

/// Headers and body, indented, without the headers that only the hub sets.
fn payload_lines(payload: &Payload) -> String {
    let mut text = String::new();
    let own =
        payload.headers.iter().filter(|(name, value)| !reserved_header(name) && !value.is_empty());
    for (name, value) in own {
        text.push_str(&format!("\n  {name}: {}", String::from_utf8_lossy(value)));
    }
    let pretty = serde_json::from_slice::<serde_json::Value>(&payload.body)
        .ok()
        .and_then(|json| serde_json::to_string_pretty(&json).ok());
    let body = pretty.unwrap_or_else(|| match std::str::from_utf8(&payload.body) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            format!("{} bytes, SHA-256 {}", payload.body.len(), Version::of(&payload.body).to_hex())
        }
    });
    if body.len() > BODY_BYTES_MAX {
        let (size, hash) = (payload.body.len(), Version::of(&payload.body).to_hex());
        text.push_str(&format!("\n  {size} bytes, SHA-256 {hash}"));
        return text;
    }
    for line in body.lines() {
        text.push_str("\n  ");
        text.push_str(line);
    }
    text
}

fn write_line(write: &ValueRecord) -> String {
    let ValueRecord { key, value, expires_at } = write;
    match (value, expires_at) {
        (None, _) => format!("state.remove {key}"),
        (Some(value), None) => format!("state.set {key} = {value}"),
        (Some(value), Some(at)) => format!("state.set {key} = {value}, until {at}"),
    }
}

/// The lines that differ, with their surroundings; empty if none do.
fn difference(then: &[String], now: &[String]) -> String {
    if then == now {
        return String::new();
    }
    let (then, now) = (then.join("\n") + "\n", now.join("\n") + "\n");
    let diff = TextDiff::from_lines(&then, &now);
    diff.unified_diff().context_radius(3).to_string()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn equal_results_have_no_difference() {
        let result = ["ok".to_owned(), "send ops\n  {}".to_owned()];
        assert_eq!(difference(&result, &result), "");
        let other = ["ok".to_owned(), "send ops\n  []".to_owned()];
        let diff = difference(&result, &other);
        assert!(diff.contains("-  {}\n+  []\n"), "{diff}");
    }

    #[test]
    fn headers_of_the_hub_do_not_count() {
        let mut payload =
            Payload::new("application/json", Bytes::from_static(b"{\"b\":1,\"a\":2}"));
        let before = payload_lines(&payload);
        payload.headers.push(("x-weir-hops".into(), Bytes::from_static(b"1")));
        payload.headers.push(("weir-trace".into(), Bytes::from_static(b"x")));
        assert_eq!(payload_lines(&payload), before);
        payload.headers.push(("x-own".into(), Bytes::from_static(b"1")));
        assert_ne!(payload_lines(&payload), before);
    }
}
