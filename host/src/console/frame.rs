//! The shell of every page: navigation with counts, the bar with the field to find things, theme
//! and zone, the reader's role, and the policy that a browser must apply.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use maud::{DOCTYPE, Markup, html};

use super::amounts;
use super::assets::Asset;
use super::foreign::Foreign;
use super::icons::{self, Icon};
use super::parts::{self, NeededRole, NoteKind, Weight};
use super::reader::{PageReader, Theme};
use crate::admin::PAGE_TYPE;
use crate::admin::error::ApiError;
use crate::admin::service::AdminService;
use crate::admin::service::needs::NavCounts;

/// The policy of every page. A page has no inline script, style or handler, and sends its forms
/// only to this listener.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

/// A place in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Overview,
    Events,
    DeadLetters,
    Quarantine,
    Sources,
    Handlers,
    Destinations,
    Routes,
    Jobs,
    Inbox,
    Settings,
    Audit,
    /// A page that is not in the navigation.
    Elsewhere,
}

impl Place {
    const fn link(self) -> (&'static str, &'static str, Icon) {
        match self {
            Self::Overview | Self::Elsewhere => ("/", "Overview", Icon::Overview),
            Self::Events => ("/events", "Events", Icon::Events),
            Self::DeadLetters => ("/dead-letters", "Dead letters", Icon::DeadLetters),
            Self::Quarantine => ("/quarantine", "Quarantine", Icon::Quarantine),
            Self::Sources => ("/sources", "Sources", Icon::Sources),
            Self::Handlers => ("/handlers", "Handlers", Icon::Handlers),
            Self::Destinations => ("/destinations", "Destinations", Icon::Destinations),
            Self::Routes => ("/routes", "Routes", Icon::Routes),
            Self::Jobs => ("/jobs", "Jobs", Icon::Jobs),
            Self::Inbox => ("/inbox", "Inbox", Icon::Inbox),
            Self::Settings => ("/settings", "Settings", Icon::Settings),
            Self::Audit => ("/audit", "Audit log", Icon::Audit),
        }
    }
}

/// The groups of the navigation: by what one wants, not by table.
const NAVIGATION: [(Option<&str>, &[Place]); 5] = [
    (None, &[Place::Overview, Place::Events]),
    (Some("Needs a person"), &[Place::DeadLetters, Place::Quarantine]),
    (Some("Flow"), &[Place::Sources, Place::Handlers, Place::Destinations, Place::Routes]),
    (Some("Work"), &[Place::Jobs, Place::Inbox]),
    (Some("Hub"), &[Place::Settings, Place::Audit]),
];

/// The shell for one reader.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) reader: PageReader,
    pub(crate) counts: NavCounts,
    /// False for a page that does not know its reader.
    is_whole: bool,
}

impl FromRequestParts<Arc<AdminService>> for Frame {
    type Rejection = ApiError;

    async fn from_request_parts(
        head: &mut Parts,
        service: &Arc<AdminService>,
    ) -> Result<Self, ApiError> {
        let reader = PageReader::of(head, service.clock.now());
        Ok(Self { reader, counts: service.nav_counts().await, is_whole: true })
    }
}

impl Frame {
    /// A shell without counts, for a page that the service had no part in.
    pub(crate) fn bare(reader: PageReader) -> Self {
        Self { reader, counts: NavCounts::default(), is_whole: false }
    }

    /// A page: its title, its place in the navigation, and the content of `main`.
    pub(crate) fn page(&self, title: &str, place: Place, main: &Markup) -> Response {
        self.answer(StatusCode::OK, title, place, &[], main)
    }

    /// A page with scripts of its own.
    pub(crate) fn page_with(
        &self,
        title: &str,
        place: Place,
        scripts: &[Asset],
        main: &Markup,
    ) -> Response {
        self.answer(StatusCode::OK, title, place, scripts, main)
    }

    /// A page with another status than 200.
    pub(crate) fn answer(
        &self,
        status: StatusCode,
        title: &str,
        place: Place,
        scripts: &[Asset],
        main: &Markup,
    ) -> Response {
        let page = self.document(title, place, scripts, main);
        (status, headers(), page.into_string()).into_response()
    }

    fn document(&self, title: &str, place: Place, scripts: &[Asset], main: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" data-theme=[self.reader.theme.map(Theme::as_str)]
                data-keys=[(!self.reader.keys).then_some("off")] {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width,initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · Weir" }
                    link rel="icon" type="image/svg+xml" href=(Asset::Icon.address());
                    link rel="stylesheet" href=(Asset::Style.address());
                    script type="module" src=(Asset::Frame.address()) {}
                    @for script in scripts { script type="module" src=(script.address()) {} }
                }
                body {
                    a.skip href="#main" { "Skip to content" }
                    (self.side(place))
                    (self.bar())
                    main #main tabindex="-1" { (self.paused()) (main) }
                    (self.tab_bar(place))
                    (keys())
                }
            }
        }
    }

    /// Says that nothing runs, with the button that ends it.
    fn paused(&self) -> Markup {
        html! {
            @if let Some(hold) = self.counts.paused {
                (parts::note(NoteKind::Warning, &html! {
                    b { "The hub is paused." } " Webhooks are stored, and nothing runs. "
                    (parts::act(&self.reader, NeededRole::Operate, ("Resume", Weight::Small),
                        "/resume", &[("hold", &hold.to_string())]))
                }))
            }
        }
    }

    fn side(&self, place: Place) -> Markup {
        html! {
            nav.side aria-label="Main" {
                div {
                    a.brand href="/" { (icons::brand()) "Weir" }
                    @for (heading, places) in NAVIGATION {
                        @if let Some(heading) = heading { h2.gr { (heading) } }
                        ul {
                            @for one in places {
                                @let (address, name, icon) = one.link();
                                li {
                                    a href=(address) aria-current=[(*one == place).then_some("page")] {
                                        (icon.picture()) (name) (self.count(*one))
                                    }
                                }
                            }
                        }
                    }
                    p.foot { "Weir " (env!("CARGO_PKG_VERSION")) }
                }
            }
        }
    }

    /// The number beside a place; red only where a person must act.
    fn count(&self, place: Place) -> Markup {
        let counts = &self.counts;
        let (count, is_hot) = match place {
            Place::DeadLetters => (counts.dead_letters, true),
            Place::Quarantine => (counts.quarantined, false),
            Place::Sources => (Some(counts.sources), false),
            Place::Jobs => (counts.jobs, false),
            Place::Handlers => (Some(counts.handlers), false),
            Place::Destinations => (Some(counts.destinations), false),
            _ => (None, false),
        };
        html! {
            @if let Some(count) = count.filter(|count| *count > 0) {
                span.ct.hot[is_hot] {
                    @if place == Place::Quarantine && count > 99 { "99+" }
                    @else { (amounts::number(count)) }
                }
            }
        }
    }

    fn bar(&self) -> Markup {
        let reader = &self.reader;
        html! {
            header.top {
                form.find role="search" action="/find" {
                    (Icon::Find.picture())
                    label.vh for="find" { "Find an event, an id or a sender's id" }
                    input #find name="q" type="search" placeholder="Find an event or any id"
                        autocomplete="off" aria-keyshortcuts="/";
                    kbd aria-hidden="true" { "/" }
                }
                div.end {
                    form.hs method="post" action="/-/zone" {
                        input type="hidden" name="back" value=(reader.address);
                        button.q title=(zone_title(reader)) { (reader.times.zone_name()) }
                    }
                    form method="post" action="/-/theme" {
                        input type="hidden" name="back" value=(reader.address);
                        button.q aria-label=(theme_label(reader)) title=(theme_label(reader)) {
                            (Icon::Theme.picture())
                        }
                    }
                    @if self.is_whole { (reader_link(reader)) }
                }
            }
        }
    }

    fn tab_bar(&self, place: Place) -> Markup {
        const TABS: [Place; 4] =
            [Place::Overview, Place::Events, Place::DeadLetters, Place::Sources];
        let dead = self.counts.dead_letters.filter(|count| *count > 0);
        html! {
            nav.tabbar aria-label="Main, small screens" {
                @for one in TABS {
                    @let (address, name, icon) = one.link();
                    a href=(address) aria-current=[(one == place).then_some("page")] {
                        (icon.picture()) (name)
                        @if let Some(dead) = dead.filter(|_| one == Place::DeadLetters) {
                            em { (amounts::number(dead)) }
                        }
                    }
                }
                a href="/more" aria-current=[(!TABS.contains(&place)).then_some("page")] {
                    (Icon::More.picture()) "More"
                }
            }
        }
    }

    /// The whole navigation as a page, for small screens.
    pub(crate) fn more(&self) -> Response {
        let main = html! {
            div.head { div { h1 { "More" } } }
            section.p {
                ul.menu {
                    @for (_, places) in NAVIGATION {
                        @for one in places {
                            @let (address, name, icon) = one.link();
                            li { a href=(address) { (icon.picture()) (name) (self.count(*one)) } }
                        }
                    }
                }
            }
        };
        self.page("More", Place::Elsewhere, &main)
    }
}

fn zone_title(reader: &PageReader) -> &'static str {
    if reader.times.is_utc() {
        "Times are in UTC. Switch to the zone of the browser."
    } else {
        "Times are in the zone of the browser. Switch to UTC."
    }
}

const fn theme_label(reader: &PageReader) -> &'static str {
    match reader.theme {
        None => "Theme of the system; switch to dark",
        Some(Theme::Dark) => "Dark theme; switch to light",
        Some(Theme::Light) => "Light theme; switch to that of the system",
    }
}

/// The name and role of a reader who has signed in, with a way out; else the way in.
fn reader_link(reader: &PageReader) -> Markup {
    html! {
        @if reader.is_signed_in() {
            details.pop.hs {
                summary.btn.q { (Foreign(&reader.named())) }
                form.p.pad method="post" action="/logout" {
                    (parts::form_fields(reader, &[]))
                    button.btn { "Sign out" }
                }
            }
        } @else {
            a.btn.q href=(parts::address("/login", &[("to", &reader.address)])) { "Sign in" }
        }
    }
}

/// The list of keys, which a script opens.
fn keys() -> Markup {
    const KEYS: [(&[&str], &str); 9] = [
        (&["/"], "find"),
        (&["j", "k"], "next, previous row"),
        (&["Enter", "o"], "open the row"),
        (&["x"], "select the row; with Shift, all from the last one"),
        (&["l"], "live on, off"),
        (&["."], "show new rows"),
        (&["[", "]"], "newer, older page"),
        (&["g o", "g e", "g d", "g s", "g h"], "overview, events, dead letters, sources, handlers"),
        (&["?"], "this list"),
    ];
    html! {
        dialog #keys aria-labelledby="keys-title" {
            header {
                h2 #keys-title { "Keys" }
                form.end method="dialog" { button.btn.sm { "Close" } }
            }
            dl.keys.pad {
                @for (keys, meaning) in KEYS {
                    dt { @for key in keys { kbd { (key) } " " } }
                    dd { (meaning) }
                }
            }
            form.more method="post" action="/-/keys" {
                input type="hidden" name="back" value="/";
                button.btn.sm { "Turn single keys on or off" }
                span { "No key changes data." }
            }
        }
    }
}

/// Headers of every page.
fn headers() -> HeaderMap {
    let headers = [
        (CONTENT_TYPE, PAGE_TYPE),
        (CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}
