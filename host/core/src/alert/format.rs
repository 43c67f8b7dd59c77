//! Alerts as Slack, Discord, Teams and PagerDuty take them. Pure.
//!
//! A reason may contain what strangers wrote, so all that these services would read as markup or as
//! a mention is escaped.

use serde_json::{Value, json};

use super::text::{AlertSeverity, AlertText};
use crate::word_enum;

/// Characters of a summary at PagerDuty.
const SUMMARY_CHARS_MAX: usize = 1_024;
/// Characters of the texts of the others: the smallest of their limits.
const TEXT_CHARS_MAX: usize = 3_500;

word_enum! {
    /// The service that an alert is made for.
    AlertFormat {
        Slack = "slack",
        Discord = "discord",
        Teams = "teams",
        PagerDuty = "pagerduty",
    }
}

impl AlertFormat {
    /// The JSON document for an alert. `console` is the URL of the console; `key` the routing key,
    /// which only PagerDuty needs.
    #[must_use]
    pub fn document(self, alert: &Value, console: Option<&str>, key: Option<&str>) -> Value {
        let told = AlertText::of(alert);
        let link = console
            .map(|console| format!("{}{}", console.trim_end_matches('/'), path_of(&told.page)));
        match self {
            Self::Slack => slack(&told, link.as_deref()),
            Self::Discord => discord(&told, link.as_deref(), alert),
            Self::Teams => teams(&told, link.as_deref()),
            Self::PagerDuty => pagerduty(&told, link.as_deref(), alert, key),
        }
    }
}

/// Names come from the configuration, and ids from the hub: only what is safe in a URL.
fn path_of(page: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "/-_.@".contains(*c);
    page.chars().filter(is_plain).collect()
}

fn cut(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(at, _)| &text[..at])
}

fn slack(told: &AlertText, link: Option<&str>) -> Value {
    let escaped = |text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        cut(&text, TEXT_CHARS_MAX).to_owned()
    };
    let mut text =
        format!("{} *{}*\n{}", mark(told.severity), escaped(&told.title), escaped(&told.text));
    if !told.advice.is_empty() {
        text.push('\n');
        text.push_str(&escaped(&told.advice));
    }
    if let Some(link) = link {
        text.push_str(&format!("\n<{link}|Open in the console>"));
    }
    json!({ "text": text, "unfurl_links": false })
}

/// A sign that is seen in a list of messages.
fn mark(severity: AlertSeverity) -> &'static str {
    match severity {
        AlertSeverity::Info => ":white_check_mark:",
        AlertSeverity::Warning => ":warning:",
        AlertSeverity::Error | AlertSeverity::Critical => ":rotating_light:",
    }
}

/// Text in which nothing is markup. The commands of an advice stay as they are, between backticks.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\*_~[]()>|#<".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    cut(&out, TEXT_CHARS_MAX).to_owned()
}

/// The same for what strangers may have written, where backticks are markup too.
fn strange(text: &str) -> String {
    plain(&text.replace('`', "'"))
}

fn discord(told: &AlertText, link: Option<&str>, alert: &Value) -> Value {
    let color = match told.severity {
        AlertSeverity::Info => 0x2e_a0_43,
        AlertSeverity::Warning => 0xd2_99_22,
        AlertSeverity::Error => 0xda_36_33,
        AlertSeverity::Critical => 0x8e_15_19,
    };
    let mut description = strange(&told.text);
    if !told.advice.is_empty() {
        description.push_str("\n\n");
        description.push_str(&told.advice);
    }
    let mut embed = json!({
        "title": cut(&told.title, 256), "description": cut(&description, TEXT_CHARS_MAX),
        "color": color,
    });
    if let Some(link) = link {
        embed["url"] = json!(link);
    }
    if let Some(at) = alert.get("at").filter(|at| at.is_string()) {
        embed["timestamp"] = at.clone();
    }
    json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } })
}

/// An adaptive card, as the workflows of Teams take it.
fn teams(told: &AlertText, link: Option<&str>) -> Value {
    let color = match told.severity {
        AlertSeverity::Info => "good",
        AlertSeverity::Warning => "warning",
        AlertSeverity::Error | AlertSeverity::Critical => "attention",
    };
    let block = |text: &str| json!({ "type": "TextBlock", "text": text, "wrap": true });
    let mut title = block(&strange(&told.title));
    title["weight"] = json!("bolder");
    title["size"] = json!("medium");
    title["color"] = json!(color);
    let mut body = vec![title, block(&strange(&told.text))];
    if !told.advice.is_empty() {
        body.push(block(&told.advice));
    }
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard", "version": "1.4", "body": body,
    });
    if let Some(link) = link {
        let open = json!({ "type": "Action.OpenUrl", "title": "Open in the console", "url": link });
        card["actions"] = json!([open]);
    }
    let attachment = json!({
        "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null,
        "content": card,
    });
    json!({ "type": "message", "attachments": [attachment] })
}

/// An event of PagerDuty's Events API v2: it begins an incident, or ends the one that it began.
fn pagerduty(told: &AlertText, link: Option<&str>, alert: &Value, key: Option<&str>) -> Value {
    let action = if told.is_over { "resolve" } else { "trigger" };
    let severity = match told.severity {
        AlertSeverity::Info => "info",
        AlertSeverity::Warning => "warning",
        AlertSeverity::Error => "error",
        AlertSeverity::Critical => "critical",
    };
    let summary = format!("{}. {}", told.title, told.text);
    let subject = alert.get("subject").and_then(Value::as_str).unwrap_or("hub");
    let mut payload = json!({
        "summary": cut(&summary, SUMMARY_CHARS_MAX), "source": "weir", "severity": severity,
        "component": subject, "class": alert.get("type"),
        "custom_details": { "what_to_do": told.advice, "alert": alert },
    });
    if let Some(at) = alert.get("at").filter(|at| at.is_string()) {
        payload["timestamp"] = at.clone();
    }
    let mut event = json!({
        "routing_key": key.unwrap_or_default(), "event_action": action,
        "dedup_key": format!("weir {}", told.incident), "payload": payload,
    });
    if let Some(link) = link {
        event["links"] = json!([{ "href": link, "text": "Open in the console" }]);
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(reason: &str) -> Value {
        json!({
            "type": "destination.failing", "subject": "destination:ops", "count": 1,
            "at": "2026-01-02T03:04:05.678Z", "reason": reason, "next_try": "2026-01-02T03:04:15Z",
        })
    }

    const CONSOLE: Option<&str> = Some("https://weir.example.com/");

    #[test]
    fn slack_gets_a_text_with_a_link_and_no_mention() {
        let said = AlertFormat::Slack.document(&failing("<!channel> & <x|y>"), CONSOLE, None);
        let text = said["text"].as_str().unwrap();
        assert!(text.starts_with(":rotating_light: *Destination ops fails*\n"), "{text}");
        assert!(text.contains("&lt;!channel&gt; &amp; &lt;x|y&gt;"), "{text}");
        let link = "\n<https://weir.example.com/destinations/ops|Open in the console>";
        assert!(text.ends_with(link), "{text}");
        assert!(
            !AlertFormat::Slack.document(&failing("x"), None, None).to_string().contains("Open")
        );
    }

    #[test]
    fn discord_gets_an_embed_that_mentions_no_person() {
        let said =
            AlertFormat::Discord.document(&failing("@everyone [a](http://b) `c`"), CONSOLE, None);
        assert_eq!(said["allowed_mentions"], json!({ "parse": [] }));
        let embed = &said["embeds"][0];
        assert_eq!(embed["url"], "https://weir.example.com/destinations/ops");
        assert_eq!(embed["timestamp"], "2026-01-02T03:04:05.678Z");
        let description = embed["description"].as_str().unwrap();
        assert!(description.contains("\\[a\\]\\(http://b\\) 'c'"), "{description}");
        assert!(description.contains("`weir release destination:ops`"), "{description}");
    }

    #[test]
    fn teams_gets_an_adaptive_card() {
        let said = AlertFormat::Teams.document(&failing("down"), CONSOLE, None);
        let attachment = &said["attachments"][0];
        assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
        let card = &attachment["content"];
        assert_eq!((&card["type"], &card["version"]), (&json!("AdaptiveCard"), &json!("1.4")));
        assert_eq!(card["body"].as_array().unwrap().len(), 3);
        assert_eq!(card["actions"][0]["url"], "https://weir.example.com/destinations/ops");
    }

    #[test]
    fn pagerduty_gets_the_begin_and_the_end_of_an_incident() {
        let began = AlertFormat::PagerDuty.document(&failing("down"), CONSOLE, Some("R0UT1NG"));
        assert_eq!(
            (&began["routing_key"], &began["event_action"]),
            (&"R0UT1NG".into(), &"trigger".into())
        );
        assert_eq!(began["payload"]["severity"], "error");
        assert!(began["payload"]["summary"].as_str().unwrap().contains("down"));
        let over = json!({ "type": "destination.ok", "subject": "destination:ops" });
        let over = AlertFormat::PagerDuty.document(&over, None, Some("R0UT1NG"));
        assert_eq!(over["event_action"], "resolve");
        assert_eq!(over["dedup_key"], began["dedup_key"]);
    }

    #[test]
    fn long_texts_are_cut_to_the_limits_of_the_services() {
        let alert = failing(&"é*".repeat(5_000));
        let long = |said: &Value| said.as_str().unwrap().chars().count();
        assert!(long(&AlertFormat::Slack.document(&alert, None, None)["text"]) < 12_000);
        let said = AlertFormat::Discord.document(&alert, None, None);
        assert!(long(&said["embeds"][0]["description"]) <= TEXT_CHARS_MAX);
        let said = AlertFormat::PagerDuty.document(&alert, None, None);
        assert!(long(&said["payload"]["summary"]) <= SUMMARY_CHARS_MAX);
    }
}
