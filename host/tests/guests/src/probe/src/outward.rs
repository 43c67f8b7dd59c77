//! The steps with effects: messages, events, changes to them, and the reply.

use crate::step::{Content, Step, told};
use crate::weir::handler::{outbox, reply};
use crate::{Failure, Outcome, Run};
use serde_json::{Value, json};

/// Records the step's effect `times` times. The result is the last id, or if `times` is given the
/// counts of ok and refused, with the last refusal. It stops at the first refusal unless the step
/// has `"persist": true`.
pub fn record(run: &mut Run, step: &Step, op: &str) -> Outcome {
    match op {
        "cancel" => return Ok(Ok(json!(outbox::cancel(step.text("key")?)))),
        "cancel-ahead" => {
            return Ok(Ok(json!(outbox::cancel_ahead(step.text("key")?, step.number("seconds")?))));
        }
        _ => {}
    }
    let effect = Effect::new(step, op)?;
    let Some(times) = step.value("times").and_then(Value::as_u64) else {
        return Ok(effect.record().map(|id| {
            run.last.clone_from(&id);
            json!(id)
        }));
    };
    let (mut ok, mut refused, mut refusal) = (0u64, 0u64, Value::Null);
    for _ in 0..times {
        match effect.record() {
            Ok(id) => {
                run.last = id;
                ok += 1;
            }
            Err(failure) => {
                refused += 1;
                refusal = told(&failure);
                if step.flag("must") {
                    return Ok(Err(failure));
                }
                if !step.flag("persist") {
                    break;
                }
            }
        }
    }
    Ok(Ok(json!({ "ok": ok, "refused": refused, "refusal": refusal })))
}

enum Effect<'a> {
    Send(&'a str, Content),
    Emit(&'a str, Content),
    Forward(&'a str),
}

impl<'a> Effect<'a> {
    fn new(step: &Step<'a>, op: &str) -> Result<Self, Failure> {
        Ok(match op {
            "send" => Self::Send(step.text("destination")?, step.content()?),
            "emit" => Self::Emit(step.text("type")?, step.content()?),
            _ => Self::Forward(step.text("destination")?),
        })
    }

    fn record(&self) -> Result<String, Failure> {
        match self {
            Self::Send(to, Content::Json(json)) => outbox::send_json(to, json),
            Self::Send(to, Content::Bytes(media_type, body)) => outbox::send(to, media_type, body),
            Self::Emit(kind, Content::Json(json)) => outbox::emit_json(kind, json),
            Self::Emit(kind, Content::Bytes(media_type, body)) => {
                outbox::emit(kind, media_type, body)
            }
            Self::Forward(to) => outbox::forward(to),
        }
    }
}

/// Changes the effect with the step's `id`, or else the last one.
pub fn amend(last: &str, step: &Step, op: &str) -> Outcome {
    let id = step.text_or("id", last);
    let done = match op {
        "set-header" => outbox::set_header(&id, step.text("name")?, step.text("value")?),
        "set-delay" => outbox::set_delay(&id, step.number("seconds")?),
        _ => outbox::set_key(&id, step.text("key")?),
    };
    Ok(done.map(|()| json!(true)))
}

/// Calls `set-json` for JSON content, else `set` with `status` or 200.
pub fn reply(step: &Step, op: &str) -> Outcome {
    if op == "reply-header" {
        let done = reply::set_header(step.text("name")?, step.text("value")?);
        return Ok(done.map(|()| json!(true)));
    }
    let done = match step.content()? {
        Content::Json(json) => reply::set_json(&json),
        Content::Bytes(media_type, body) => {
            let status = step.value("status").map_or(Ok(200), |_| step.number("status"))?;
            reply::set(status, &media_type, &body)
        }
    };
    Ok(done.map(|()| json!(true)))
}
