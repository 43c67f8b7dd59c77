//! The stdout of a command: each line is a JSON object with one effect, recorded in order.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use weir_core::bounds::RETRY_AFTER_SECONDS_MAX;
use weir_core::delivery::Outcome;

use crate::reason;
use crate::recorder::{EffectRecorder, JSON};
use crate::refusal::Refusal;
use crate::run::RunEnd;
use crate::state_view::StateView;
use crate::stop::{HostCallError, Stop};

/// Lines of one run: enough for all effects and state calls.
const LINES_MAX: usize = 10_000;

/// Characters shown of an invalid line.
const LINE_SHOWN_CHARS_MAX: usize = 120;

/// An invalid line, by its number from 1.
#[derive(Debug)]
pub(crate) struct InvalidLine {
    number: usize,
    /// The line, escaped and cut.
    shown: String,
    error: LineError,
}

#[derive(Debug)]
enum LineError {
    Unreadable(String),
    Refused(Refusal),
    Stop(Stop),
}

impl InvalidLine {
    pub(crate) fn into_end(self) -> RunEnd {
        let Self { number, shown, .. } = self;
        match self.error {
            LineError::Unreadable(what) => reason::retryable(
                Outcome::BadOutput,
                &format!(
                    "line {number} of stdout: {what}; the line is \"{shown}\"; only effects go to \
                     stdout, log on stderr"
                ),
            ),
            LineError::Refused(Refusal { code, message }) => {
                let message = format!("line {number} of stdout: {message}");
                reason::refused(&Refusal { code, message })
            }
            LineError::Stop(stop) => reason::of_stop(&stop),
        }
    }
}

impl From<Refusal> for LineError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Stop> for LineError {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<HostCallError> for LineError {
    fn from(fault: HostCallError) -> Self {
        match fault {
            HostCallError::Refused(refusal) => Self::Refused(refusal),
            HostCallError::Stop(stop) => Self::Stop(stop),
        }
    }
}

/// The name of a line's effect, which decides how the rest is parsed.
#[derive(Deserialize)]
struct EffectName {
    effect: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendLine {
    #[serde(rename = "effect")]
    _effect: IgnoredAny,
    destination: String,
    content_type: Option<String>,
    body: Option<String>,
    json: Option<Box<RawValue>>,
    body_base64: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    delay: Option<u32>,
    key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForwardLine {
    #[serde(rename = "effect")]
    _effect: IgnoredAny,
    destination: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    delay: Option<u32>,
    key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmitLine {
    #[serde(rename = "effect")]
    _effect: IgnoredAny,
    #[serde(rename = "type")]
    kind: String,
    content_type: Option<String>,
    body: Option<String>,
    json: Option<Box<RawValue>>,
    body_base64: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    delay: Option<u32>,
    key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelLine {
    #[serde(rename = "effect")]
    _effect: IgnoredAny,
    key: String,
    ahead: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StateSetLine {
    #[serde(rename = "effect")]
    _effect: IgnoredAny,
    key: String,
    value: String,
    expire: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StateRemoveLine {
    #[serde(rename = "effect")]
    _effect: IgnoredAny,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StateAddLine {
    #[serde(rename = "effect")]
    _effect: IgnoredAny,
    key: String,
    delta: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryAfterLine {
    #[serde(rename = "effect")]
    _effect: IgnoredAny,
    seconds: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyLine {
    #[serde(rename = "effect")]
    _effect: IgnoredAny,
    status: Option<u16>,
    content_type: Option<String>,
    body: Option<String>,
    json: Option<Box<RawValue>>,
    body_base64: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// Records all lines. Returns the wait before another attempt, if one was asked for.
pub(crate) async fn record(
    printed: &[u8],
    recorder: &mut EffectRecorder,
    state: &mut StateView,
) -> Result<Option<Duration>, InvalidLine> {
    let mut retry_after = None;
    for (index, line) in printed.split(|b| *b == b'\n').enumerate() {
        if index >= LINES_MAX {
            let stop = Stop::TooMuch(format!("printed more than {LINES_MAX} lines on stdout"));
            return Err(InvalidLine { number: index + 1, shown: shown(line), error: stop.into() });
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let recorded = one(line, recorder, state).await;
        let wait = recorded.map_err(|error| InvalidLine {
            number: index + 1,
            shown: shown(line),
            error,
        })?;
        retry_after = wait.or(retry_after);
    }
    Ok(retry_after)
}

/// A line as text, escaped and cut.
fn shown(line: &[u8]) -> String {
    let start = &line[..line.len().min(4 * LINE_SHOWN_CHARS_MAX)];
    let text = String::from_utf8_lossy(start);
    let mut chars = text.trim().chars();
    let mut shown: String =
        chars.by_ref().take(LINE_SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// The wait that a failed program asked for. Its other lines are ignored.
pub(crate) fn retry_after(printed: &[u8]) -> Option<Duration> {
    let asked = |line: &[u8]| {
        let named: EffectName = serde_json::from_slice(line).ok()?;
        (named.effect == "retry-after").then(|| serde_json::from_slice(line).ok()).flatten()
    };
    printed.rsplit(|b| *b == b'\n').take(LINES_MAX).find_map(asked).map(wait)
}

fn wait(RetryAfterLine { seconds, .. }: RetryAfterLine) -> Duration {
    Duration::from_secs(u64::from(seconds.min(RETRY_AFTER_SECONDS_MAX)))
}

async fn one(
    line: &[u8],
    recorder: &mut EffectRecorder,
    state: &mut StateView,
) -> Result<Option<Duration>, LineError> {
    let line = std::str::from_utf8(line).map_err(|error| {
        LineError::Unreadable(format!("not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    let EffectName { effect } = parsed(line)?;
    match effect.as_str() {
        "send" | "forward" | "emit" => outward(&effect, line, recorder)?,
        "cancel" => {
            let CancelLine { key, ahead, .. } = parsed(line)?;
            recorder.cancel(&key, ahead.unwrap_or(0))?;
        }
        "reply" => reply(parsed(line)?, recorder)?,
        "state.set" => {
            let StateSetLine { key, value, expire, .. } = parsed(line)?;
            state.set(&key, &value).await?;
            if let Some(seconds) = expire {
                state.expire(&key, seconds).await?;
            }
        }
        "state.remove" => state.remove(&parsed::<StateRemoveLine>(line)?.key)?,
        "state.add" => {
            let StateAddLine { key, delta, .. } = parsed(line)?;
            state.add(&key, delta).await?;
        }
        "retry-after" => return Ok(Some(wait(parsed(line)?))),
        other => {
            let other = crate::headers::quoted(other);
            return Err(LineError::Unreadable(format!(
                "{other} is not an effect; the effects are send, forward, emit, cancel, reply, \
                 state.set, state.remove, state.add and retry-after"
            )));
        }
    }
    Ok(None)
}

fn outward(effect: &str, line: &str, recorder: &mut EffectRecorder) -> Result<(), LineError> {
    let (id, headers, delay, key) = match effect {
        "forward" => {
            let ForwardLine { destination, headers, delay, key, .. } = parsed(line)?;
            (recorder.forward(&destination)?.to_string(), headers, delay, key)
        }
        "emit" => {
            let EmitLine {
                kind, content_type, body, json, body_base64, headers, delay, key, ..
            } = parsed(line)?;
            let (content_type, body) = content(content_type, body, json, body_base64)?;
            let id = recorder.emit(&kind, &content_type, body)?;
            (id.to_string(), headers, delay, key)
        }
        _ => {
            let SendLine {
                destination,
                content_type,
                body,
                json,
                body_base64,
                headers,
                delay,
                key,
                ..
            } = parsed(line)?;
            let (content_type, body) = content(content_type, body, json, body_base64)?;
            let id = recorder.send(&destination, &content_type, body)?;
            (id.to_string(), headers, delay, key)
        }
    };
    for (name, value) in &headers {
        recorder.set_header(&id, name, value)?;
    }
    if let Some(seconds) = delay {
        recorder.set_delay(&id, seconds)?;
    }
    if let Some(key) = key {
        recorder.set_key(&id, &key)?;
    }
    Ok(())
}

fn reply(reply: ReplyLine, recorder: &mut EffectRecorder) -> Result<(), LineError> {
    let ReplyLine { status, content_type, body, json, body_base64, headers, .. } = reply;
    let (content_type, body) = content(content_type, body, json, body_base64)?;
    recorder.reply(status.unwrap_or(200), &content_type, body)?;
    for (name, value) in &headers {
        recorder.reply_header(name, value)?;
    }
    Ok(())
}

/// The content type and body of a line, from at most one of three fields.
fn content(
    content_type: Option<String>,
    body: Option<String>,
    json: Option<Box<RawValue>>,
    body_base64: Option<String>,
) -> Result<(String, Bytes), LineError> {
    let (usual, body) = match (body, json, body_base64) {
        (None, None, None) => ("", Bytes::new()),
        (Some(text), None, None) => ("text/plain; charset=utf-8", text.into()),
        (None, Some(json), None) => (JSON, Bytes::from(Box::<str>::from(json).into_string())),
        (None, None, Some(text)) => {
            let bytes = STANDARD.decode(text).map_err(|error| {
                LineError::Unreadable(format!("body_base64 is not base64: {error}"))
            })?;
            ("application/octet-stream", bytes.into())
        }
        _ => {
            let both = "give one of body, json and body_base64, not several";
            return Err(LineError::Unreadable(both.to_owned()));
        }
    };
    Ok((content_type.unwrap_or_else(|| usual.to_owned()), body))
}

fn parsed<T: DeserializeOwned>(line: &str) -> Result<T, LineError> {
    serde_json::from_str(line).map_err(|error| {
        // Serde counts lines of its input, which is always one line.
        LineError::Unreadable(error.to_string().replace(" at line 1 column ", " at column "))
    })
}
