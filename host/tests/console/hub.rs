//! A hub with a past: events that were done, one that was given up, one that waits, one that no
//! rule wanted, and a request that was not valid; and a browser that is signed in.

use serde_json::json;
use weir_testing::browser::Browser;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

/// A destination that gives a message up at its first refusal, and is never paused for it.
const STRICT: &str = "retry = { schedule = [\"1h\"], jitter = 0.0 }\n\
                      breaker = { min_attempts = 1000, pause = \"1h\", max_pause = \"1h\" }";

/// A hub and what it sends to.
pub(crate) struct Console {
    pub(crate) hub: RunningHub,
    /// Takes everything.
    pub(crate) chat: Sink,
    /// Refuses everything until told otherwise.
    pub(crate) ledger: Sink,
    pub(crate) browser: Browser,
    /// The event that `ledger` called invalid.
    pub(crate) dead: String,
}

impl Console {
    /// None if there is no browser.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_in(Browser::start().await?).await
    }

    /// The same in a browser whose pages run no scripts.
    pub(crate) async fn start_without_scripts() -> Option<Self> {
        Self::start_in(Browser::start_without_scripts().await?).await
    }

    async fn start_in(browser: Browser) -> Option<Self> {
        let (chat, ledger) = (Sink::start().await, Sink::saying("no such account").await);
        ledger.answers(422);
        let hub = TestHub::new()
            .github()
            .source("partner", "github", "a secret of the partner's own")
            .destination("chat", &chat, "")
            .destination("ledger", &ledger, STRICT)
            .config("[[route]]\non = [\"github:*\"]\nto = \"chat\"")
            .config("[[route]]\non = [\"github:push\"]\nto = \"ledger\"")
            .handler("orders", "noop")
            .start()
            .await;
        hub.until_ready("orders").await;
        for number in 0..3 {
            let body = json!({ "issue": { "number": number, "title": "Nightly build" } });
            let id = format!("72d3162e-cc78-11e3-81ab-4c9367dc00{number:02}");
            let event = hub.push("issues", &id, body.to_string().as_bytes()).await.accepted();
            hub.until_status(&event, "processed").await;
        }
        let body = json!({
            "ref": "refs/heads/main",
            "repository": { "full_name": "acme/web", "id": 9_007_199_254_740_993_123_u64 },
            "order": "1234",
        });
        let id = "8a4f3f0e-cc78-11e3-81ab-4c9367dc0958";
        let dead = hub.push("push", id, body.to_string().as_bytes()).await.accepted();
        hub.until_status(&dead, "dead_letter").await;
        hub.post("github", &[("x-github-event", "push")], b"{}").await;
        hub.cli_ok(&["replay", "--dead-letters", "--until", "1h", "--job", "nightly"]);
        let console = Self { hub, chat, ledger, browser, dead };
        console.browser.zone("Europe/Berlin").await;
        // The first page tells the hub the zone, and is loaded again.
        console.go("/login").await;
        console.until_zone_is_known().await;
        console.sign_in(&console.hub.token().unwrap()).await;
        Some(console)
    }

    async fn until_zone_is_known(&self) {
        let script = "return document.cookie.includes('weir_zone') \
            || document.querySelector('[data-copy]').hidden";
        until("the cookie with the zone", async || {
            let is_known = self.browser.run(script, json!([])).await;
            if is_known == true { Ok(()) } else { Err(is_known.to_string()) }
        })
        .await;
        self.go("/login").await;
    }

    pub(crate) fn page(&self, path: &str) -> String {
        format!("http://{}{path}", self.hub.admin)
    }

    pub(crate) async fn go(&self, path: &str) {
        self.browser.go(&self.page(path)).await;
    }

    /// Signs the browser in with a token, as a person does.
    pub(crate) async fn sign_in(&self, token: &str) {
        self.go("/login").await;
        self.browser.type_into("#token", token).await;
        self.browser.click_text("Sign in").await;
        self.browser.until_text("h1", "person").await;
    }

    /// The path of the page that is shown.
    pub(crate) async fn path(&self) -> String {
        let address = self.browser.address().await;
        address.strip_prefix(&self.page("")).unwrap_or(&address).to_owned()
    }

    /// Fails if the browser complained about anything since the last call.
    pub(crate) async fn assert_quiet(&self, page: &str) {
        let lines = self.browser.log().await;
        assert!(lines.is_empty(), "the browser's console on {page}: {lines:#?}");
    }
}

/// Signs a browser in at a hub that has something to show.
pub(crate) async fn sign_in(browser: &Browser, hub: &RunningHub) {
    browser.go(&format!("http://{}/login", hub.admin)).await;
    browser.type_into("#token", &hub.token().unwrap()).await;
    browser.click_text("Sign in").await;
    browser.until_text(".side", "Overview").await;
    browser.until_text(".top", "operator").await;
}

/// Every page that a reader can go to, of this hub.
pub(crate) fn pages(console: &Console) -> Vec<(&'static str, String)> {
    vec![
        ("overview", "/".to_owned()),
        ("events", "/events".to_owned()),
        ("event", format!("/events/{}", console.dead)),
        ("event-family", format!("/events/{}?show=family", console.dead)),
        ("event-why", format!("/events/{}?show=why", console.dead)),
        ("preview", format!("/events?sel={}", console.dead)),
        ("replay", format!("/events/replay?event={}", console.dead)),
        ("nothing", "/events?status=processing".to_owned()),
        ("wrong-filter", "/events?status=dead".to_owned()),
        ("start", "/start".to_owned()),
        ("more", "/more".to_owned()),
        ("login", "/login".to_owned()),
        ("dead-letters", "/dead-letters".to_owned()),
        ("quarantine", "/quarantine".to_owned()),
        ("sources", "/sources".to_owned()),
        ("source", "/sources/github".to_owned()),
        ("handlers", "/handlers".to_owned()),
        ("handler", "/handlers/orders".to_owned()),
        ("handler-state", "/handlers/orders/state".to_owned()),
        ("destinations", "/destinations".to_owned()),
        ("destination", "/destinations/ledger".to_owned()),
        ("routes", "/routes".to_owned()),
        ("jobs", "/jobs".to_owned()),
        ("job", "/jobs/nightly".to_owned()),
        ("inbox", "/inbox".to_owned()),
        ("settings", "/settings".to_owned()),
        ("audit", "/audit".to_owned()),
    ]
}
