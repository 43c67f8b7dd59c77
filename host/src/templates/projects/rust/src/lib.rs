//! The handler: sends a message for each issue that is opened on GitHub. What it decides is in
//! `rule.rs`.

mod rule;

wit_bindgen::generate!({ world: "handler", path: "wit" });

use rule::IssueDecision;
use weir::handler::{config, log, manifest, outbox, request, state};

struct Handler;

impl Guest for Handler {
    fn describe() {
        manifest::about("Sends a message for each new issue.");
        manifest::subscribe("github:issues");
    }

    fn handle(_event: Event) -> Result<(), Failure> {
        // A panic is then the reason of the attempt, with its file and line.
        std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));

        if config::get("paused").as_deref() == Some("true") {
            return Err(Failure::Retry("paused in [config]".into()));
        }
        let (repository, text, urgent) = match rule::decide(&request::text()?) {
            IssueDecision::Reject(reason) => return Err(Failure::Reject(reason)),
            IssueDecision::Skip => return Ok(()),
            IssueDecision::Send { repository, text, urgent } => (repository, text, urgent),
        };
        let count = state::add(&format!("opened/{repository}"), 1)?;
        log::info(&format!("issue number {count} of {repository}"));

        let destination = config::get("destination").unwrap_or("inbox".into());
        let send = |text: String| {
            let message = serde_json::json!({ "text": text, "count": count });
            outbox::send_json(&destination, &message.to_string())
        };
        send(text)?;
        if urgent {
            send(format!("{repository} has an urgent issue"))?;
        }
        Ok(())
    }
}

export!(Handler);
