//! Alerts in plain sentences: what happened, where, why, and what to do. Pure: from the document of
//! an alert.

use std::time::Duration;

use serde_json::Value;

use crate::units::format_duration;

/// Bytes of a reason that are repeated.
const REASON_BYTES_MAX: usize = 500;
/// The most changed fields that are named.
const CHANGES_MAX: usize = 5;

/// The urgency of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertSeverity {
    /// Something works again.
    Info,
    /// Nothing is lost or stopped yet.
    Warning,
    /// Events or messages are not processed.
    Error,
    /// Webhooks are not accepted, or the store is damaged.
    Critical,
}

/// An alert in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertText {
    pub severity: AlertSeverity,
    /// A line without a full stop.
    pub title: String,
    /// Sentences: what happened, where and why.
    pub text: String,
    /// The next step, as a sentence; empty if there is none.
    pub advice: String,
    /// The page of the console, from its first slash.
    pub page: String,
    /// Alerts about the same incident have the same key.
    pub incident: String,
    /// True if the incident is over.
    pub is_over: bool,
}

/// The document of an alert.
struct Facts<'a> {
    document: &'a Value,
    kind: &'a str,
    subject: &'a str,
}

/// The parts that differ from one type of alert to another.
struct Told {
    severity: AlertSeverity,
    title: String,
    text: String,
    advice: String,
    page: String,
}

impl AlertText {
    /// The words for an alert's document, as its event has it. An unknown type is told with what is
    /// known.
    #[must_use]
    pub fn of(document: &Value) -> Self {
        let text = |key| document.get(key).and_then(Value::as_str).unwrap_or_default();
        let (kind, subject) = (text("type"), text("subject"));
        let facts = Facts { document, kind, subject };
        let Told { severity, title, text, advice, page } = facts.told();
        let (topic, is_over) = match kind {
            "destination.failing" | "destination.ok" => ("failing", kind == "destination.ok"),
            "handler.held" | "handler.released" => ("held", kind == "handler.released"),
            "store.full" | "store.has_room" => ("full", kind == "store.has_room"),
            "source.disconnected" | "source.connected" => {
                ("disconnected", kind == "source.connected")
            }
            kind => (kind, false),
        };
        let incident = format!("{topic} {subject}");
        Self { severity, title, text, advice, page, incident, is_over }
    }
}

impl<'a> Facts<'a> {
    fn text(&self, key: &str) -> &'a str {
        self.document.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, key: &str) -> u64 {
        self.document.get(key).and_then(Value::as_u64).unwrap_or_default()
    }

    fn is(&self, key: &str) -> bool {
        self.document.get(key).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The name in the subject, such as `orders` of `handler:orders`.
    fn name(&self) -> &'a str {
        self.subject.split_once(':').map_or(self.subject, |(_, name)| name)
    }

    /// The subject in words, such as `the handler orders`.
    fn subject_in_words(&self) -> String {
        match self.subject.split_once(':') {
            Some((kind, name)) => format!("the {kind} {name}"),
            None => format!("the {}", self.subject),
        }
    }

    fn seconds(&self, key: &str) -> String {
        format_duration(Duration::from_secs(self.number(key)))
    }

    /// The reason after a colon, with a full stop.
    fn because(&self) -> String {
        match self.text("reason") {
            "" => ".".to_owned(),
            reason => {
                let cut = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
                let stop = if cut.ends_with(['.', '!', '?']) { "" } else { "." };
                format!(": {cut}{stop}")
            }
        }
    }

    /// The page of a target or a source.
    fn page(&self) -> String {
        match self.subject.split_once(':') {
            Some(("handler", name)) => format!("/handlers/{name}"),
            Some(("destination", name)) => format!("/destinations/{name}"),
            Some(("source", name)) => format!("/sources/{name}"),
            _ => "/".to_owned(),
        }
    }

    fn told(&self) -> Told {
        match self.kind.split_once('.') {
            Some(("handler", _)) => self.of_handler(),
            Some(("source", _)) => self.of_source(),
            Some(("destination", _)) => self.of_destination(),
            Some(("store", _)) => self.of_store(),
            _ => self.of_rest(),
        }
    }

    fn say(&self, severity: AlertSeverity, title: &str, text: String, advice: String) -> Told {
        Told { severity, title: title.to_owned(), text, advice, page: self.page() }
    }

    fn of_handler(&self) -> Told {
        use AlertSeverity::{Error, Info, Warning};
        let name = self.name();
        let because = self.because();
        match self.kind {
            "handler.load_failed" => {
                let serves = match self.is("serves_on") {
                    true => "Its last good version continues to run.",
                    false => "Its events wait until it can be loaded.",
                };
                let text =
                    format!("The files of the handler {name} cannot be used{because} {serves}");
                let advice =
                    "Correct the files in the plugins folder. The hub loads them by itself.";
                self.say(Error, &format!("Handler {name} was not loaded"), text, advice.into())
            }
            "handler.failing" => {
                let text = format!(
                    "{} of {} attempts of the handler {name} failed within {}.",
                    self.number("failed"),
                    self.number("attempts"),
                    self.seconds("seconds")
                );
                let advice = "See the reasons with `weir dead-letters causes`, or on its page.";
                self.say(Warning, &format!("Handler {name} fails"), text, advice.into())
            }
            "handler.held" => {
                let text = format!(
                    "The handler {name} is paused after failures{because} Its events wait and use \
                     no attempts. The next try is at {}.",
                    self.text("next_try")
                );
                let advice = format!(
                    "Put a corrected version into the plugins folder, or go back to the one before \
                     with `weir handlers rollback {name}`."
                );
                self.say(Error, &format!("Handler {name} is paused"), text, advice)
            }
            "handler.released" => {
                let held = self.seconds("held_seconds");
                let text = format!("The handler {name} works again, after {held}.");
                self.say(Info, &format!("Handler {name} works again"), text, String::new())
            }
            "handler.rolled_back" => {
                let text = format!(
                    "A new version of the handler {name} failed on {} events that the version \
                     before handled, and that one serves again{because}",
                    self.number("strikes")
                );
                let advice = format!(
                    "Compare the two with `weir handlers diff {name}`, and correct the new one."
                );
                self.say(Warning, &format!("Handler {name} was rolled back"), text, advice)
            }
            _ => self.unknown(),
        }
    }

    fn of_source(&self) -> Told {
        use AlertSeverity::{Error, Warning};
        let name = self.name();
        match self.kind {
            "source.unrouted" => {
                let text = format!(
                    "The events of the source {name} match no handler and no route any more. They \
                     are stored, and nothing is done with them."
                );
                let advice = "Put the handler or the route back, then deliver what was missed with \
                              `weir replay --unrouted`.";
                self.say(Error, &format!("Events of {name} go nowhere"), text, advice.into())
            }
            "source.refusing" => {
                let causes = match self.text("causes") {
                    "" => String::new(),
                    causes => format!(" Probably: {causes}."),
                };
                let text = format!(
                    "{} of {} requests for the source {name} were refused within {}, most of them \
                     with the code {}.{causes}",
                    self.number("refused"),
                    self.number("requests"),
                    self.seconds("seconds"),
                    self.text("code")
                );
                let advice = "Check the secret. Requests that were kept can be accepted later with \
                              `weir quarantine release`.";
                self.say(Error, &format!("Requests for {name} are refused"), text, advice.into())
            }
            "source.failing" => {
                let text = format!(
                    "{} of {} attempts at events of the source {name} failed within {}. The last \
                     one, at {}{}",
                    self.number("failed"),
                    self.number("attempts"),
                    self.seconds("seconds"),
                    self.text("target"),
                    self.because()
                );
                let advice = format!("See `weir sources show {name}`.");
                self.say(Warning, &format!("Events of {name} fail"), text, advice)
            }
            "source.shape_changed" => {
                let text = format!(
                    "Events of the type {} of the source {name} have other fields than before: {}.",
                    self.text("event_type"),
                    self.changes()
                );
                let advice = "Check the handlers and conditions that read these fields.";
                self.say(Warning, &format!("Events of {name} look different"), text, advice.into())
            }
            "source.silent" => {
                let silent = self.seconds("silent_seconds");
                let text = format!("The source {name} has accepted no request for {silent}.");
                let advice = "Check at the sender whether it still sends, and to which URL.";
                self.say(Warning, &format!("Source {name} is silent"), text, advice.into())
            }
            _ => self.of_connection(),
        }
    }

    /// The connection to the server of a source.
    fn of_connection(&self) -> Told {
        let name = self.name();
        match self.kind {
            "source.disconnected" => {
                let text = format!(
                    "The hub takes no messages for the source {name}{} They wait at the server, \
                     and the hub tries again by itself.",
                    self.because()
                );
                let advice = format!(
                    "Look at the server, or at its settings in weir.toml. See `weir sources show \
                     {name}`."
                );
                let title = format!("Source {name} is disconnected");
                self.say(AlertSeverity::Error, &title, text, advice)
            }
            "source.connected" => {
                let lost = self.seconds("disconnected_seconds");
                let text = format!("Messages of the source {name} are taken again, after {lost}.");
                let title = format!("Source {name} is connected again");
                self.say(AlertSeverity::Info, &title, text, String::new())
            }
            _ => self.unknown(),
        }
    }

    fn changes(&self) -> String {
        let all = self.document.get("changes").and_then(Value::as_array);
        let all = all.map(Vec::as_slice).unwrap_or_default();
        let text = |change: &Value, key: &str| {
            change.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let named = all.iter().take(CHANGES_MAX);
        let named: Vec<_> = named
            .map(|change| format!("{} {}", text(change, "field"), text(change, "change")))
            .collect();
        let more = all.len().saturating_sub(CHANGES_MAX);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        format!("{}{more}", named.join(", "))
    }

    fn of_destination(&self) -> Told {
        let name = self.name();
        match self.kind {
            "destination.failing" => {
                let text = format!(
                    "The destination {name} is paused after failures{} Its messages wait and use no \
                     attempts. The next try is at {}.",
                    self.because(),
                    self.text("next_try")
                );
                let advice = format!(
                    "Repair the endpoint, or its settings in weir.toml. `weir release \
                     destination:{name}` tries at once."
                );
                self.say(AlertSeverity::Error, &format!("Destination {name} fails"), text, advice)
            }
            "destination.ok" => {
                let failed = self.seconds("failing_seconds");
                let text = format!("The destination {name} works again, after {failed}.");
                let title = format!("Destination {name} works again");
                self.say(AlertSeverity::Info, &title, text, String::new())
            }
            _ => self.unknown(),
        }
    }

    fn of_store(&self) -> Told {
        use AlertSeverity::{Critical, Error, Info};
        match self.kind {
            "store.full" => {
                let text = format!(
                    "The disk of the store is full since {}. Webhooks are refused, and their \
                     senders have to repeat them.",
                    self.text("since")
                );
                let advice = "Make room on the disk. The hub continues by itself.";
                self.say(Critical, "The disk is full", text, advice.into())
            }
            "store.has_room" => {
                let full = self.seconds("full_seconds");
                let text = format!("Webhooks are accepted again, after {full}.");
                self.say(Info, "The disk has room again", text, String::new())
            }
            "store.over_limit" => {
                let (bytes, max) = (self.number("bytes"), self.number("max_bytes"));
                let text = format!(
                    "The store has {bytes} bytes and may have {max}. What is left is not finished, \
                     dead or unrouted, and is not deleted by itself."
                );
                let advice = "Requeue or discard dead letters, or raise retention.max_bytes.";
                self.say(Error, "The store is larger than its limit", text, advice.into())
            }
            "store.unreadable" => {
                let rows = self.number("rows");
                let text = format!(
                    "{rows} rows of the store cannot be read and were set aside. Everything else \
                     continues."
                );
                let advice = "List them with `weir unreadable`, and check the disk.";
                self.say(Error, "Rows of the store cannot be read", text, advice.into())
            }
            "store.lost" => {
                let text = "Rows that were acknowledged before the start are missing from the \
                            store, because its log was damaged or an older copy was put in place.";
                let advice = "Compare with a backup, and with what the senders have sent.";
                self.say(Critical, "Rows of the store are missing", text.into(), advice.into())
            }
            "store.failing" | "store.poisoned" => {
                let text = format!("The store accepts nothing any more{}", self.because());
                let advice = "Check the disk and the log. After a restart the hub checks the store \
                              before it accepts webhooks.";
                self.say(Critical, "The store fails", text, advice.into())
            }
            _ => self.unknown(),
        }
    }

    fn of_rest(&self) -> Told {
        use AlertSeverity::{Critical, Error, Warning};
        match self.kind {
            "dead_letter" => self.dead_letter(),
            "order.blocked" => {
                let text = format!(
                    "A delivery to {} was not processed in {} attempts, and those behind it in its \
                     order wait. The last attempt ended as {}{}",
                    self.subject_in_words(),
                    self.number("attempts"),
                    self.text("outcome"),
                    self.because()
                );
                let advice = format!(
                    "Remove the cause, or give this one up with `weir cancel {}`.",
                    self.text("delivery")
                );
                let title = format!("Order at {} is blocked", self.subject);
                let page = self.event_page();
                Told { page, ..self.say(Error, &title, text, advice) }
            }
            "plugins.away" => {
                let text = format!(
                    "The plugins folder {} cannot be read{} Its handlers continue to run.",
                    self.text("folder"),
                    self.because()
                );
                let advice = "Mount the folder again, or put it back.";
                self.say(Error, "The plugins folder is gone", text, advice.into())
            }
            "provider.load_failed" => {
                let serves = match self.is("serves_on") {
                    true => "Its last good version continues to be used.",
                    false => "It is not used.",
                };
                let text = format!("A provider file cannot be used{} {serves}", self.because());
                let advice =
                    format!("Correct {}. The hub reads it again by itself.", self.text("file"));
                let title = format!("Provider file {} is wrong", self.name());
                self.say(Error, &title, text, advice)
            }
            "certificate.expiring" => {
                let text = format!(
                    "The certificate {} of the listener {} expires in {} days, at {}.",
                    self.text("file"),
                    self.name(),
                    self.number("days_left"),
                    self.text("not_after")
                );
                let advice = "Renew it. The hub reads the files again by itself.";
                self.say(Warning, "A certificate expires", text, advice.into())
            }
            "hold.old" => self.old_hold(),
            "hub.broken" => {
                let text = format!("The hub stops{}", self.because());
                let advice = "Read its log, and start it again.";
                self.say(Critical, "The hub stops", text, advice.into())
            }
            _ => self.unknown(),
        }
    }

    fn dead_letter(&self) -> Told {
        let were = match self.number("count") {
            0 | 1 => "A delivery".to_owned(),
            count => format!("{count} deliveries"),
        };
        let (was, which) = match were.starts_with('A') {
            true => ("was", "It was"),
            false => ("were", "The last one was"),
        };
        let text = format!(
            "{were} to {} {was} given up. {which} for an event of the source {}, and the last \
             attempt ended as {}{}",
            self.subject_in_words(),
            self.text("source"),
            self.text("outcome"),
            self.because()
        );
        let advice = format!(
            "Remove the cause, then deliver again with `weir replay --dead-letters --target {}`.",
            self.subject
        );
        let title = format!("Dead letter of {}", self.subject);
        let told = self.say(AlertSeverity::Error, &title, text, advice);
        Told { page: self.event_page(), ..told }
    }

    fn old_hold(&self) -> Told {
        let until = match self.text("until") {
            "" => String::new(),
            until => format!(" What it holds becomes dead letters at {until}."),
        };
        let text = format!(
            "A hold on {} is in force since {}, placed by {}{}{until}",
            self.subject_in_words(),
            self.text("since"),
            self.text("by"),
            self.because()
        );
        let advice = format!("End it with `weir release {}`.", self.subject);
        let title = format!("Old hold on {}", self.subject);
        self.say(AlertSeverity::Warning, &title, text, advice)
    }

    fn event_page(&self) -> String {
        match self.text("event") {
            "" => self.page(),
            event => format!("/events/{event}"),
        }
    }

    fn unknown(&self) -> Told {
        let text =
            format!("The hub reports {} about {}{}", self.kind, self.subject, self.because());
        let title = format!("Alert {}", self.kind);
        self.say(AlertSeverity::Warning, &title, text, String::new())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::ALERT_TYPES;
    use super::*;

    #[test]
    fn every_alert_has_words_of_its_own() {
        let mut titles = Vec::new();
        for kind in ALERT_TYPES.into_iter().chain(["store.failing", "store.poisoned", "hub.broken"])
        {
            let told = AlertText::of(&json!({ "type": kind, "subject": "handler:orders" }));
            assert!(!told.title.starts_with("Alert"), "{kind}");
            assert!(told.text.ends_with('.'), "{kind}: {}", told.text);
            assert!(told.advice.is_empty() == told.is_over, "{kind}: {}", told.advice);
            assert!(told.is_over == (told.severity == AlertSeverity::Info), "{kind}");
            titles.push(told.title);
        }
        let all = titles.len();
        titles.sort();
        titles.dedup();
        assert_eq!(titles.len(), all - 1, "only the two of a failing store are alike");
    }

    #[test]
    fn a_dead_letter_says_what_where_why_and_what_to_do() {
        let told = AlertText::of(&json!({
            "type": "dead_letter", "subject": "destination:ops", "count": 31, "source": "github",
            "event": "evt_1", "delivery": "dlv_1", "outcome": "status", "reason": "HTTP 422",
        }));
        assert_eq!(
            told.text,
            "31 deliveries to the destination ops were given up. The last one was for an event of \
             the source github, and the last attempt ended as status: HTTP 422."
        );
        assert!(told.advice.contains("--target destination:ops"), "{}", told.advice);
        assert_eq!((told.page.as_str(), told.severity), ("/events/evt_1", AlertSeverity::Error));
    }

    #[test]
    fn an_incident_begins_and_ends_under_one_key() {
        let of = |kind: &str| AlertText::of(&json!({ "type": kind, "subject": "destination:ops" }));
        let (began, over) = (of("destination.failing"), of("destination.ok"));
        assert_eq!((began.incident.clone(), began.is_over), (over.incident.clone(), false));
        assert!(over.is_over && of("dead_letter").incident != over.incident);
    }

    #[test]
    fn a_document_of_any_form_has_words() {
        for document in [json!(null), json!([]), json!({ "type": 3 }), json!({ "type": "new.one" })]
        {
            assert!(!AlertText::of(&document).title.is_empty(), "{document}");
        }
        let long =
            json!({ "type": "handler.held", "subject": "handler:a", "reason": "é".repeat(999) });
        assert!(AlertText::of(&long).text.len() < 800);
    }
}
