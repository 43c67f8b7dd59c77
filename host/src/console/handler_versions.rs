//! The versions of a handler on its page: the table, the probation, the pin, the history, and the
//! acts on them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Form, Path};
use axum::response::Response;
use axum::routing::post;
use maud::{Markup, html};
use serde::Deserialize;

use super::amounts;
use super::foreign::Foreign;
use super::frame::Frame;
use super::parts::{self, NeededRole, NoteKind, Weight};
use super::target_acts::TargetFolder;
use super::words::StateWord;
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::admin::principal::Principal;
use crate::admin::service::AdminService;
use crate::admin::service::versions::VersionActKind;
use crate::api::{HandlerDetailView, ProbationView, VersionActBody, VersionEventView, VersionView};

/// Characters of a version's hash that are shown.
const VERSION_CHARS: usize = 7;
/// Changes that are shown.
const HISTORY: usize = 12;

/// The version that an act is about.
#[derive(Debug, Deserialize)]
struct VersionForm {
    #[serde(default)]
    version: String,
}

/// The acts on versions.
pub(super) fn router() -> Router<Arc<AdminService>> {
    let act = |kind: VersionActKind, did: &'static str| {
        post(
            async move |service: Service,
                        by: Principal,
                        Path(name): Path<String>,
                        Form(form): Form<VersionForm>| {
                let version = Some(form.version).filter(|version| !version.is_empty());
                let reason = Some("in the console".to_owned());
                let body = VersionActBody { version, reason };
                service.act_on_version(kind, &name, body, by).await?;
                Ok::<Response, ApiError>(TargetFolder::Handlers.page_after(&name, did))
            },
        )
    };
    Router::new()
        .route("/handlers/{name}/rollback", act(VersionActKind::RollBack, "rolled-back"))
        .route("/handlers/{name}/pin", act(VersionActKind::Pin, "pinned"))
        .route("/handlers/{name}/unpin", act(VersionActKind::Unpin, "unpinned"))
}

/// The beginning of a version's hash.
pub(super) fn short(version: &str) -> &str {
    version.get(..VERSION_CHARS).unwrap_or(version)
}

/// The button that pins or unpins a handler, for the head of its page.
pub(super) fn pin_act(frame: &Frame, detail: &HandlerDetailView) -> Markup {
    let name = parts::path_part(detail.handler.name.as_str());
    let (label, act) =
        if detail.pin.is_some() { ("Unpin", "unpin") } else { ("Pin this version", "pin") };
    let path = format!("/handlers/{name}/{act}");
    html! {
        @if detail.handler.version.is_some() {
            (parts::act(&frame.reader, NeededRole::Operate, (label, Weight::Plain), &path, &[]))
        }
    }
}

/// Notes about a pin, a candidate and a probation.
pub(super) fn notes(frame: &Frame, detail: &HandlerDetailView) -> Markup {
    let times = &frame.reader.times;
    html! {
        @if let Some(pin) = &detail.pin {
            (parts::note(NoteKind::Plain, &html! {
                b { "Pinned" } " by " (Foreign(&pin.by)) ", " (times.clock(pin.at)) "."
                @if let Some(reason) = &pin.reason { " " (Foreign(reason)) "." }
                @if let Some(candidate) = &detail.handler.candidate {
                    " The file in the folder is version " span.m { (short(candidate)) }
                    ", which runs once you unpin."
                }
            }))
        }
        @if let Some(probation) = &detail.handler.probation {
            (parts::note(note_kind(probation), &on_probation(frame, probation)))
        }
    }
}

fn note_kind(probation: &ProbationView) -> NoteKind {
    if probation.strikes.is_empty() { NoteKind::Plain } else { NoteKind::Warning }
}

fn on_probation(frame: &Frame, probation: &ProbationView) -> Markup {
    let ProbationView { old, ends_at, strikes, strikes_max, done, runs, .. } = probation;
    let times = &frame.reader.times;
    html! {
        b { "On probation." }
        " If it fails on an event, version " span.m { (short(old)) } " handles that event. "
        (strikes.len()) " of " (strikes_max) " strikes, " (done) " of " (runs)
        " events without one. It ends " (times.relative(*ends_at)) " without another."
        @if let Some(strike) = strikes.last() {
            " The last strike: "
            a.m href={ "/deliveries/" (strike.delivery) } { (strike.delivery) }
            @if !strike.reason.is_empty() { ", " (Foreign(&strike.reason)) }
        }
    }
}

/// The known versions, with the act that puts one back.
pub(super) fn panel(frame: &Frame, detail: &HandlerDetailView) -> Markup {
    let times = &frame.reader.times;
    parts::panel(
        "Versions",
        &html! { "the one that served last first" },
        &html! {
            @if detail.versions.is_empty() {
                (parts::empty("No version was ever good.", &html! { "The file was refused." }))
            } @else {
                div.scroll {
                    table.tbl {
                        thead {
                            tr {
                                th scope="col" { "Version" } th scope="col" { "Role" }
                                th.n.hs scope="col" { "Size" } th.hs scope="col" { "Loaded" }
                                th.hs scope="col" { "Served until" } th scope="col" { span.vh { "Act" } }
                            }
                        }
                        tbody {
                            @for version in &detail.versions {
                                tr {
                                    td.m { (short(&version.version)) }
                                    td.grow { (role(version)) }
                                    td.n.d.hs { (amounts::size(version.size)) }
                                    td.d.hs.nw { (times.minute(version.loaded_at)) }
                                    td.d.hs.nw { (served(frame, version)) }
                                    td { (roll_back(frame, detail, version)) }
                                }
                            }
                        }
                    }
                }
            }
        },
    )
}

fn role(version: &VersionView) -> Markup {
    match &*version.role {
        "serves" => html! { (StateWord::Ok.saying("Serves")) },
        "stands_in" => html! { (StateWord::Waiting.saying("Stands in")) },
        "candidate" => html! { (StateWord::Paused.saying("Waits for the pin to end")) },
        _ => html! { "kept" },
    }
}

fn served(frame: &Frame, version: &VersionView) -> Markup {
    match (version.role.as_str(), version.served_at) {
        ("serves", _) => html! { "now" },
        (_, Some(at)) => html! { (frame.reader.times.minute(at)) },
        (_, None) => html! { "never" },
    }
}

fn roll_back(frame: &Frame, detail: &HandlerDetailView, version: &VersionView) -> Markup {
    let name = parts::path_part(detail.handler.name.as_str());
    let path = format!("/handlers/{name}/rollback");
    html! {
        @if version.role != "serves" && version.served_at.is_some() {
            (parts::act(&frame.reader, NeededRole::Operate, ("Roll back", Weight::Small), &path,
                &[("version", &*version.version)]))
        }
    }
}

/// The last changes of the versions.
pub(super) fn history(frame: &Frame, history: &[VersionEventView]) -> Markup {
    let times = &frame.reader.times;
    html! {
        @if !history.is_empty() {
            (parts::panel("Changes", &html! { "newest first" }, &html! {
                div.scroll {
                    table.tbl {
                        thead {
                            tr {
                                th scope="col" { "At" } th scope="col" { "Change" }
                                th scope="col" { "Version" } th scope="col" { "By" }
                            }
                        }
                        tbody {
                            @for event in history.iter().take(HISTORY) {
                                tr {
                                    td.d.nw { (times.clock(event.at)) }
                                    td.grow {
                                        (act(&event.act))
                                        @if let Some(reason) = &event.reason {
                                            ": " (Foreign(reason))
                                        }
                                    }
                                    td.m.nw {
                                        @if let Some(before) = &event.before {
                                            (short(before)) " → "
                                        }
                                        (short(&event.version))
                                    }
                                    td { (Foreign(&event.by)) }
                                }
                            }
                        }
                    }
                }
            }))
        }
    }
}

fn act(word: &str) -> &'static str {
    match word {
        "loaded" => "Loaded",
        "configured" => "New sidecar",
        "rolled_back" => "Rolled back",
        "passed" => "Probation passed",
        "pinned" => "Pinned",
        "unpinned" => "Unpinned",
        "candidate" => "New file waits",
        "renamed" => "Renamed",
        _ => "Changed",
    }
}
