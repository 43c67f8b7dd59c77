//! Sends GitHub activity to a chat channel.
//!
//! The message is `{"text": "..."}`. Incoming webhooks of Slack, Mattermost, Rocket.Chat and Google
//! Chat accept it, and those of Discord with `/slack` appended to their URL.

wit_bindgen::generate!({ world: "handler", path: "../../../wit" });

use serde_json::{Value, json};
use weir::handler::{config, log, manifest, outbox, request};

struct GithubChat;

impl Guest for GithubChat {
    fn describe() {
        manifest::about("Turns GitHub activity into chat messages.");
        manifest::subscribe("github:*");
    }

    fn handle(event: Event) -> Result<(), Failure> {
        std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));

        let body: Value = serde_json::from_str(&request::text()?).map_err(|error| {
            Failure::Reject(format!(
                "the body is not JSON ({error}); set the webhook's content type to application/json"
            ))
        })?;
        let Some(news) = news(&event.type_, &body) else {
            log::debug(&format!("{} is not news", event.type_));
            return Ok(());
        };

        let text = format!("[{}] {news}", word(&body["repository"]["full_name"]));
        let destination = config::get("destination").unwrap_or("inbox".into());
        outbox::send_json(&destination, &json!({ "text": text }).to_string())?;
        log::info(&text);
        Ok(())
    }
}

/// The text for an event; none for events that are not news.
fn news(kind: &str, body: &Value) -> Option<String> {
    let action = body["action"].as_str().unwrap_or_default();
    let who = word(&body["sender"]["login"]);

    // The type may contain the action, as in `issues.opened`.
    match (kind.split('.').next()?, action) {
        ("push", _) => push(&who, body),
        ("pull_request", "opened" | "reopened" | "ready_for_review" | "closed") => {
            let pull = &body["pull_request"];
            let deed = match action {
                "closed" if pull["merged"] == true => "merged",
                "ready_for_review" => "asks for a review of",
                deed => deed,
            };
            Some(format!("{who} {deed} pull request {}", item(pull)))
        }
        ("issues", "opened" | "reopened" | "closed") => {
            Some(format!("{who} {action} issue {}", item(&body["issue"])))
        }
        ("release", "published") => {
            let release = &body["release"];
            let link = word(&release["html_url"]);
            Some(format!("{who} released {} {link}", word(&release["tag_name"])))
        }
        ("workflow_run", "completed") => {
            let run = &body["workflow_run"];
            let failed = run["conclusion"] == "failure";
            let (name, branch) = (word(&run["name"]), word(&run["head_branch"]));
            failed.then(|| format!("{name} failed on {branch} {}", word(&run["html_url"])))
        }
        _ => None,
    }
}

fn push(who: &str, body: &Value) -> Option<String> {
    // Pushes of tags, and those without commits that delete a branch, are not news.
    let branch = body["ref"].as_str()?.strip_prefix("refs/heads/")?;
    let commits = body["commits"].as_array().filter(|commits| !commits.is_empty())?;
    let (count, s) = (commits.len(), if commits.len() == 1 { "" } else { "s" });
    let message = body["head_commit"]["message"].as_str().unwrap_or_default();
    let subject = safe(message.lines().next().unwrap_or_default());
    let (branch, link) = (safe(branch), word(&body["compare"]));
    Some(format!("{who} pushed {count} commit{s} to {branch}: {subject} {link}"))
}

/// `#7 Title https://...`, for an issue or a pull request.
fn item(item: &Value) -> String {
    format!("#{} {} {}", item["number"], word(&item["title"]), word(&item["html_url"]))
}

fn word(value: &Value) -> String {
    safe(value.as_str().unwrap_or("?"))
}

/// Escapes markup: an issue with the title `<!channel>` must not notify the channel.
fn safe(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

export!(GithubChat);
