//! The page of one source.

use axum::extract::{Form, Path, Query};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::list::{address, last};
use super::{secrets, shapes, state};
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::admin::principal::Principal;
use crate::api::params::Limit;
use crate::api::{
    QuarantineQuery, RefusalView, RefusalsQuery, SampleBody, SourceConnection, SourceCounts,
    SourceHealth, SourceView, StatsAnswer, StatsQuery,
};
use crate::console::chart::{self, Bars, Tone};
use crate::console::destinations::cell;
use crate::console::foreign::{self, Foreign};
use crate::console::frame::{Frame, Place};
use crate::console::parts::{self, NeededRole, NoteKind};
use crate::console::words::StateWord;
use crate::console::{amounts, routes};
use crate::observe::pull_metrics::ConnectionState;

/// Refusals that are shown.
const REFUSALS: usize = 20;
/// Characters of a reason that are shown.
const REASON_CHARS: usize = 160;

/// Characters of the hub's own explanation that are shown.
const SEEN_CHARS: usize = 300;

/// The act that led to the page.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SampleDone {
    /// The events of a sample that was accepted, with commas between them.
    sample: Option<String>,
}

/// Answers `/sources/{name}`.
pub(super) async fn show(
    service: Service,
    frame: Frame,
    Path(name): Path<String>,
    Query(done): Query<SampleDone>,
) -> Result<Response, ApiError> {
    let view = service.source(&name).await?;
    let health = view.health.clone();
    let query = StatsQuery { source: Some(view.name.clone()), ..StatsQuery::default() };
    let stats = service.stats(query).await?;
    let query =
        RefusalsQuery { source: Some(view.name.clone()), limit: Some(Limit::clamped(REFUSALS)) };
    let refusals = service.refusals(query).await?.items;
    let query = QuarantineQuery {
        source: Some(view.name.clone()),
        limit: Some(Limit::clamped(100)),
        ..QuarantineQuery::default()
    };
    let kept = service.quarantine(query).await?.items.len();
    let rules: Vec<_> =
        service.rules().items.into_iter().filter(|rule| rule.sources.contains(&name)).collect();
    let (word, said) = state(&view, health.as_ref());
    let main = html! {
        div.head {
            div {
                p.crumb { a href="/sources" { "Sources" } " / " (Foreign(&view.provider)) }
                h1 { (Foreign(&name)) }
                p { (word.saying(said)) "\u{2002}" (Foreign(&view.provider)) ": " (Foreign(&view.about)) "." }
            }
            div.acts {
                a.btn href=(parts::address("/events", &[("source", &name)])) { "Events" }
                (sample_form(&frame, &view))
            }
        }
        div.stackv {
            (accepted(&done))
            (problem(&view, word, (&refusals, health.as_ref()), kept))
            (cells(&view, health.as_ref(), kept))
            (requests_chart(&frame, &name, &stats))
            div.cols.r {
                div.stackv {
                    (refusals_panel(&frame, &refusals))
                    (parts::panel("Who gets its events", &html! { "rules in force" },
                        &routes::patterns(&rules)))
                    (shapes::panel(&frame, view.shapes.as_deref().unwrap_or_default()))
                }
                div.stackv {
                    @match &view.connection {
                        Some(from) => { (connection(&frame, &view.kind, from)) }
                        None => { (set_up(&view)) (verification(&frame, &view)) }
                    }
                }
            }
        }
    };
    Ok(frame.page(&name, Place::Sources, &main))
}

fn sample_form(frame: &Frame, view: &SourceView) -> Markup {
    if view.samples.is_empty() || view.secrets.is_empty() {
        return html! {};
    }
    let may_act = NeededRole::Operate.is_given(&frame.reader);
    let path = format!("/sources/{}/sample", parts::path_part(view.name.as_str()));
    html! {
        form.acts method="post" action=(path) {
            (parts::form_fields(&frame.reader, &[]))
            label.vh for="sample" { "Sample" }
            select #sample name="sample" disabled[!may_act] {
                @for sample in &view.samples { option value=(sample) { (sample) } }
            }
            button.btn disabled[!may_act]
                title=[(!may_act).then_some("This needs the role operate.")] {
                "Send a sample"
                @if !may_act { span.role { "operate" } }
            }
        }
    }
}

/// The events that a sample became.
fn accepted(done: &SampleDone) -> Markup {
    let Some(events) = &done.sample else { return html! {} };
    let is_id =
        |id: &&str| id.len() < 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let events: Vec<_> = events.split(',').filter(is_id).take(10).collect();
    parts::note(
        NoteKind::Plain,
        &html! {
            b { "The sample was signed and accepted." }
            @for id in events.iter().filter(|id| !id.is_empty()) {
                " " a href={ "/events/" (id) } { "Open its event" }
            }
        },
    )
}

/// The problem of a source, and the help for it.
fn problem(
    view: &SourceView,
    word: StateWord,
    (refusals, health): (&[RefusalView], Option<&SourceHealth>),
    kept: usize,
) -> Markup {
    let quarantine = parts::address("/quarantine", &[("source", view.name.as_str())]);
    html! {
        @if view.awaits_secret {
            (parts::note(NoteKind::Warning, &html! {
                b { "Every request is refused until there is a secret." }
                " The sender hands it over in a handshake, while you permit it: "
                code { "weir sources window " (view.name) }
            }))
        } @else if let Some(lost) = lost(view) {
            (parts::note(NoteKind::Failure, &html! {
                b { "No messages are taken: " (foreign::cut(lost, SEEN_CHARS)) }
            }))
        } @else if word == StateWord::Failing {
            (parts::note(NoteKind::Failure, &html! {
                @if let Some(last) = refusals.first() {
                    b { "The last refused request: " (foreign::cut(&last.reason, REASON_CHARS)) "." }
                    @if let Some(seen) = health.and_then(|health| health.seen.as_deref()) {
                        " The hub sees: " (foreign::cut(seen, SEEN_CHARS)) "."
                    }
                } @else {
                    b { "Requests were refused." }
                }
                @if kept > 0 {
                    " " (at_most(kept)) " are kept. "
                    a href=(quarantine) { "See which would verify now" }
                }
            }))
        }
    }
}

/// The reason why the connection to the server of a source is lost.
fn lost(view: &SourceView) -> Option<&str> {
    let connection = view.connection.as_ref()?;
    let is_lost =
        matches!(connection.state, ConnectionState::Disconnected | ConnectionState::Waiting);
    connection.last_error.as_ref().filter(|_| is_lost).map(|lost| lost.reason.as_str())
}

fn at_most(kept: usize) -> String {
    if kept >= 100 { "100 or more".to_owned() } else { kept.to_string() }
}

fn cells(view: &SourceView, health: Option<&SourceHealth>, kept: usize) -> Markup {
    let name = view.name.as_str();
    let number = |of: fn(&SourceHealth) -> u64| amounts::number(health.map(of).unwrap_or_default());
    let unrouted = parts::address("/events", &[("source", name), ("status", "unrouted")]);
    html! {
        ul.path.p {
            (cell("Received", &number(|h| h.received), &html! { "requests since the start" }))
            (cell("Events", &number(|h| h.stored), &html! {
                (number(|h| h.duplicate)) " duplicates"
            }))
            (cell("Refused", &number(|h| h.refused), &html! { a href="#refusals" { "reasons" } }))
            (cell("Unrouted", &number(|h| h.unrouted_now), &html! {
                a href=(unrouted) { "events that no rule wants" }
            }))
            (cell("Quarantine", &at_most(kept), &html! {
                a href=(parts::address("/quarantine", &[("source", name)])) { "kept requests" }
            }))
            (cell("Last request", &last(health).into_string(), &html! { "that was accepted" }))
        }
    }
}

/// Requests of the last hour by their answer.
fn requests_chart(frame: &Frame, name: &str, stats: &StatsAnswer) -> Markup {
    let of_source = stats.sources.iter().find(|source| source.name == name);
    let steps = of_source.map(|source| &source.steps[..]).unwrap_or_default();
    let counts = |of: fn(&SourceCounts) -> u64| steps.iter().map(of).collect::<Vec<_>>();
    let times = &frame.reader.times;
    let bars = Bars {
        title: "Requests, last hour",
        series: vec![
            ("accepted", Tone::Quiet, counts(|step| step.accepted)),
            ("refused", Tone::Bad, counts(|step| step.refused)),
        ],
        ticks: vec![times.tick(stats.from), times.tick(stats.to)],
        marks: Vec::new(),
    };
    parts::panel(bars.title, &bars.key(), &chart::bars(&bars))
}

fn refusals_panel(frame: &Frame, refusals: &[RefusalView]) -> Markup {
    let times = &frame.reader.times;
    let content = html! {
        @if refusals.is_empty() {
            (parts::empty("None is remembered.", &html! {
                "The hub remembers the latest refusals since it was started."
            }))
        } @else {
            div.scroll {
                table.tbl {
                    thead {
                        tr {
                            th scope="col" { "At" } th.hs scope="col" { "From" }
                            th.n.hs scope="col" { "Answer" } th scope="col" { "Why" }
                        }
                    }
                    tbody {
                        @for refusal in refusals {
                            tr {
                                td.m.d.nw { (times.exact(refusal.at)) }
                                td.m.hs { (refusal.address) }
                                td.n.hs { (refusal.status) }
                                td.two.grow {
                                    (foreign::cut(&refusal.reason, REASON_CHARS))
                                    small.m { (refusal.code) " · " (refusal.request_id) }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    html! {
        section.p #refusals aria-label="Last refusals" {
            header { h2 { "Last refusals" } span.end.dd.s { "since the hub was started" } }
            (content)
        }
    }
}

fn set_up(view: &SourceView) -> Markup {
    let url = address(view);
    parts::panel(
        "Set it up at the sender",
        &html! {},
        &html! {
            div.pad.stackv {
                pre.code tabindex="0" role="region" aria-label="Address" { (Foreign(&url)) }
                (parts::copy(&url, "Copy URL"))
                @if view.public_url.is_none() {
                    p.d {
                        "This is the path. The host is the one under which the sender reaches this "
                        "hub; set " code { "server.public_url" } " to have the whole address here."
                    }
                }
                p.d {
                    "Give the sender this address and the secret. "
                    @if view.docs.starts_with("https://") {
                        a href=(view.docs) rel="noreferrer noopener" { "Documentation of " (Foreign(&view.provider)) }
                    }
                }
            }
        },
    )
}

fn verification(frame: &Frame, view: &SourceView) -> Markup {
    let (count, names) = secrets(view);
    let times = &frame.reader.times;
    parts::panel(
        "Verified with",
        &html! { (count) },
        &html! {
            (parts::facts([
                ("Secrets", html! { @if view.secrets.is_empty() { "none" } (names) }),
                ("Schemes", html! {
                    @for (index, scheme) in view.schemes.iter().enumerate() {
                        @if index > 0 { ", " }
                        (Foreign(scheme))
                    }
                }),
                ("Hand-over", html! {
                    @match view.window_until {
                        Some(until) => { "open until " (times.clock(until)) }
                        None => { "closed" }
                    }
                }),
            ]))
            p.pad.d {
                "To rotate: add the new secret before the old one, change it at the sender, and remove "
                "the old one once nothing is verified with it."
            }
        },
    )
}

/// The connection to the server of a source.
fn connection(frame: &Frame, kind: &str, from: &SourceConnection) -> Markup {
    let times = &frame.reader.times;
    parts::panel(
        "Messages from",
        &html! { (Foreign(kind)) },
        &html! {
            (parts::facts([
                ("Place", html! { (Foreign(&from.address)) }),
                ("Connection", html! {
                    (from.state.as_str()) " since " (times.exact(from.since))
                }),
                ("Last lost", html! {
                    @match &from.last_error {
                        Some(lost) => {
                            (times.exact(lost.at)) ": " (foreign::cut(&lost.reason, SEEN_CHARS))
                        }
                        None => { "never since the hub was started" }
                    }
                }),
            ]))
            p.pad.d {
                "Messages are acknowledged once their events are stored. While the connection is "
                "lost they wait at the server, and the hub tries again by itself."
            }
        },
    )
}

/// The sample to send.
#[derive(Debug, Deserialize)]
pub(super) struct SampleForm {
    sample: String,
}

/// Answers `POST /sources/{name}/sample`.
pub(super) async fn send_sample(
    service: Service,
    by: Principal,
    Path(name): Path<String>,
    Form(form): Form<SampleForm>,
) -> Result<Response, ApiError> {
    let body = SampleBody { sample: Some(form.sample).filter(|sample| !sample.is_empty()) };
    let answer = service.send_sample(&name, body, by).await?;
    let path = format!("/sources/{}", parts::path_part(&name));
    let events = answer.events.join(",");
    let sample = if events.is_empty() { "none" } else { &events };
    Ok(Redirect::to(&parts::address(&path, &[("sample", sample)])).into_response())
}
