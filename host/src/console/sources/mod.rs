//! `/sources` and `/sources/{name}`: ways in, their health, what they refused and why, and how to
//! set them up at the sender.

mod list;
mod page;
mod shapes;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use maud::{Markup, html};

use super::words::StateWord;
use crate::admin::service::AdminService;
use crate::api::{SourceHealth, SourceView};
use crate::observe::source_work::SourceState;

/// The pages of sources.
pub(super) fn router() -> Router<Arc<AdminService>> {
    Router::new()
        .route("/sources", get(list::show))
        .route("/sources/{name}", get(page::show))
        .route("/sources/{name}/sample", post(page::send_sample))
}

/// The state of a source in one word, with another text where that says more.
fn state(view: &SourceView, health: Option<&SourceHealth>) -> (StateWord, &'static str) {
    let (received, refused) = health.map_or((0, 0), |h| (h.received, h.refused));
    let judged = health.map(|health| health.state);
    match (received, refused) {
        _ if judged == Some(SourceState::Disconnected) => (StateWord::Failing, "Disconnected"),
        _ if view.awaits_secret => (StateWord::Waiting, "Awaits its secret"),
        _ if judged == Some(SourceState::Silent) => (StateWord::Failing, "Silent"),
        (0, 0) => (StateWord::Waiting, "Nothing yet"),
        (0, _) => (StateWord::Failing, "Refuses all"),
        (received, refused) if refused > received / 10 && refused > 0 => {
            (StateWord::Failing, "Refuses many")
        }
        _ if judged == Some(SourceState::Failing) => (StateWord::Failing, "Failing"),
        _ => (StateWord::Ok, "OK"),
    }
}

/// The names of the secrets, and whether several are accepted.
fn secrets(view: &SourceView) -> (String, Markup) {
    let count = super::amounts::counted(view.secrets.len() as u64, "secret");
    let names = html! {
        @for (index, name) in view.secrets.iter().enumerate() {
            @if index > 0 { ", " }
            (super::foreign::Foreign(name))
        }
        @if view.secrets.len() > 1 { " · in rotation" }
    };
    (count, names)
}

#[cfg(test)]
mod tests {
    use weir_core::name::SourceName;

    use super::*;

    #[test]
    fn a_source_that_refuses_is_failing() {
        let view = SourceView {
            name: SourceName::stored("a"),
            kind: "http".into(),
            connection: None,
            provider: "custom".into(),
            schemes: vec![],
            secrets: vec!["new".into(), "old".into()],
            awaits_secret: false,
            window_until: None,
            about: String::new(),
            docs: String::new(),
            path: "/webhook/a".into(),
            public_url: None,
            samples: vec![],
            health: None,
            shapes: None,
        };
        let judged = |received, refused, state| {
            let health = SourceHealth {
                received,
                stored: received,
                duplicate: 0,
                unrouted: 0,
                unrouted_now: 0,
                refused,
                seen: None,
                last_received_seconds_ago: None,
                state,
                processed: 0,
                failed: 0,
                average_ms: None,
                p99_ms: None,
                last_received_at: None,
                last_error: None,
            };
            super::state(&view, Some(&health)).1
        };
        let word = |received, refused| judged(received, refused, SourceState::Ok);
        assert_eq!(
            [word(0, 0), word(0, 3), word(10, 5), word(100, 5)],
            ["Nothing yet", "Refuses all", "Refuses many", "OK"]
        );
        assert_eq!(judged(10, 0, SourceState::Failing), "Failing");
        assert_eq!(judged(10, 0, SourceState::Silent), "Silent");
        assert_eq!(judged(10, 0, SourceState::Disconnected), "Disconnected");
        let waits = SourceView { awaits_secret: true, ..view.clone() };
        assert_eq!(state(&waits, None).1, "Awaits its secret");
        assert_eq!(secrets(&view).0, "2 secrets");
        assert!(secrets(&view).1.into_string().ends_with(" · in rotation"));
    }
}
