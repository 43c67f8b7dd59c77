//! The steps that call the host for the request, state, config, context, log and manifest.

use crate::step::Step;
use crate::weir::handler::{config, context, log, manifest, request, state};
use crate::{Event, Outcome};
use serde_json::{Value, json};

pub fn event(event: &Event) -> Value {
    json!({
        "id": event.id,
        "source": event.source,
        "type": event.type_,
        "category": event.category,
        "delivery_id": event.delivery_id,
        "received_at": event.received_at,
        "content_type": event.content_type,
    })
}

pub fn call(step: &Step, op: &str) -> Outcome {
    let done = json!(true);
    let answer = match op {
        "text" => return Ok(request::text().map(Value::from)),
        "bytes" => {
            let bytes = request::bytes();
            json!({ "length": bytes.len(), "hex": hex(&bytes[..bytes.len().min(1024)]) })
        }
        "header" => json!(request::header(step.text("name")?)),
        "headers" => json!(request::headers()),

        "get" => json!(state::get(step.text("key")?)),
        "set" => {
            let value = match step.value("size") {
                Some(_) => "x".repeat(step.number("size")?),
                None => step.text("value")?.to_owned(),
            };
            return Ok(state::set(step.text("key")?, &value).map(|()| done));
        }
        "add" => return Ok(state::add(step.text("key")?, step.number("delta")?).map(Value::from)),
        "expire" => {
            state::expire(step.text("key")?, step.number("seconds")?);
            done
        }
        "remove" => {
            state::remove(step.text("key")?);
            done
        }
        "keys" => {
            let limit = step.value("limit").map_or(Ok(1000), |_| step.number("limit"))?;
            json!(state::keys(&step.text_or("prefix", ""), &step.text_or("after", ""), limit))
        }

        "config" => json!(config::get(step.text("key")?)),
        "context" => json!({
            "attempt": context::attempt(),
            "now": context::now(),
            "parent": context::parent(),
        }),
        "random" => json!(hex(&context::random(step.number("length")?))),
        "retry-after" => {
            context::retry_after(step.number("seconds")?);
            done
        }
        "about" => {
            manifest::about(step.text("text")?);
            done
        }
        "subscribe" => {
            manifest::subscribe(step.text("pattern")?);
            done
        }
        "log" => write_log(step)?,
        _ => return Err(step.wrong("op", "one that the probe knows")),
    };
    Ok(Ok(answer))
}

/// Logs `message`, or `size` bytes, `times` times.
fn write_log(step: &Step) -> Result<Value, crate::Failure> {
    let message = match step.value("size") {
        Some(_) => "x".repeat(step.number("size")?),
        None => step.text("message")?.to_owned(),
    };
    let write = match step.text_or("level", "info").as_str() {
        "debug" => log::debug,
        "info" => log::info,
        "warn" => log::warn,
        "error" => log::error,
        _ => return Err(step.wrong("level", "debug, info, warn or error")),
    };
    for _ in 0..step.number_or("times", 1)? {
        write(&message);
    }
    Ok(json!(true))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
