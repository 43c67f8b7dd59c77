//! Runs the steps that the event's body lists, and can report the result of each.
//!
//! The body is `{"steps": [{"op": "...", ...}, ...]}`; ../../README.md documents each step. For a
//! body without `steps` the steps in `[config]` are used; without those the run does nothing and is
//! ok. The report has the result of each step; a refusal is a result too, unless the step has
//! `"must": true`.
//!
//! This file selects the steps to run. Each family of steps has its own file.

mod calls;
mod crimes;
mod outward;
mod residue;
mod step;

wit_bindgen::generate!({ world: "handler", path: "../../../../../wit" });

use serde_json::{Value, json};
use step::Step;
use weir::handler::{config, context, log, manifest, outbox, request};

struct Probe;

impl Guest for Probe {
    fn describe() {
        manifest::about("Runs the steps that the event's body lists.");
        manifest::subscribe("*:*");
    }

    fn handle(event: Event) -> Result<(), Failure> {
        std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));
        let mut run = Run { event, results: Vec::new(), last: String::new() };
        for step in &steps()? {
            let step = Step::new(step);
            if !step.applies(context::attempt())? {
                run.results.push(Value::Null);
                continue;
            }
            let result = match run.step(&step)? {
                Err(failure) if step.flag("must") => return Err(failure),
                Err(failure) => step::told(&failure),
                Ok(value) => value,
            };
            run.results.push(result);
        }
        Ok(())
    }
}

/// The state of a run.
struct Run {
    event: Event,
    /// One result for each step, null for a step that did not apply.
    results: Vec<Value>,
    /// The id of the last effect, which the amending steps change.
    last: String,
}

/// The outer error ends the run: the step asked for that, or is invalid. The inner one is the
/// answer of the host.
type Outcome = Result<Result<Value, Failure>, Failure>;

impl Run {
    fn step(&mut self, step: &Step) -> Outcome {
        let op = step.op()?;
        match op {
            "send" | "emit" | "forward" | "cancel" | "cancel-ahead" => {
                outward::record(self, step, op)
            }
            "set-header" | "set-delay" | "set-key" => outward::amend(&self.last, step, op),
            "reply" | "reply-header" => outward::reply(step, op),
            "report" => self.report(step),
            "retry" => Err(Failure::Retry(step.text_or("reason", "the probe was told to"))),
            "reject" => Err(Failure::Reject(step.text_or("reason", "the probe was told to"))),
            "refuse" => Err(step::refusal(step)?),
            "event" => Ok(Ok(calls::event(&self.event))),
            "residue" => Ok(Ok(residue::bump())),
            op if crimes::commit(step, op)? => Ok(Ok(json!(true))),
            op => calls::call(step, op),
        }
    }

    /// Sends all results so far as JSON. Without a `destination` it logs them, which is kept after
    /// a failure.
    fn report(&mut self, step: &Step) -> Outcome {
        let report = json!({ "event": self.event.id, "results": self.results }).to_string();
        if step.value("destination").is_none() {
            log::info(&report);
            return Ok(Ok(json!(true)));
        }
        Ok(outbox::send_json(step.text("destination")?, &report).map(|id| {
            self.last.clone_from(&id);
            json!(id)
        }))
    }
}

fn steps() -> Result<Vec<Value>, Failure> {
    let body = serde_json::from_slice(&request::bytes()).unwrap_or(Value::Null);
    if let Some(steps) = body["steps"].as_array() {
        return Ok(steps.clone());
    }
    match config::get("steps") {
        None => Ok(Vec::new()),
        Some(text) => serde_json::from_str(&text)
            .map_err(|error| Failure::Reject(format!("[config] steps: {error}"))),
    }
}

export!(Probe);
