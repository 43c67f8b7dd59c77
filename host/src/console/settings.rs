//! `/settings`: each setting in force with its value and the place that it comes from.

use axum::response::Response;
use maud::{Markup, html};

use super::amounts;
use super::foreign::Foreign;
use super::frame::{Frame, Place};
use super::parts::{self, NoteKind};
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::api::{SettingView, SettingsAnswer};

/// Answers `/settings`.
pub(super) async fn show(service: Service, frame: Frame) -> Result<Response, ApiError> {
    let settings = service.settings().await?;
    let own = settings.items.iter().filter(|setting| setting.line.is_some()).count();
    let waiting = settings.items.iter().filter(|setting| setting.after_restart).count();
    let main = html! {
        (parts::head(&html! { "Settings" }, &sentence(&settings, own), &html! {}))
        div.stackv {
            @if waiting > 0 {
                (parts::note(NoteKind::Warning, &html! {
                    b { (amounts::counted(waiting as u64, "setting")) " changed since the start." }
                    " They take effect at the next start of the hub."
                }))
            }
            @for (title, items) in groups(&settings) { (group(title, &items)) }
        }
    };
    Ok(frame.page("Settings", Place::Settings, &main))
}

fn sentence(settings: &SettingsAnswer, own: usize) -> Markup {
    html! {
        @match &settings.file {
            Some(file) => {
                (amounts::counted(own as u64, "setting")) " from " span.m { (Foreign(file)) }
                "; the others are defaults. Secrets are masked."
            }
            None => { "Development mode without a file: every value is a default." }
        }
    }
}

/// The settings by their first table.
fn groups(settings: &SettingsAnswer) -> Vec<(&str, Vec<&SettingView>)> {
    let mut groups: Vec<(&str, Vec<&SettingView>)> = Vec::new();
    for setting in &settings.items {
        let title = setting.key.split(['.', '[']).next().unwrap_or_default();
        match groups.last_mut() {
            Some((last, items)) if *last == title => items.push(setting),
            _ => groups.push((title, vec![setting])),
        }
    }
    // What the operator wrote comes first.
    groups.sort_by_key(|(_, items)| items.iter().all(|setting| setting.line.is_none()));
    groups
}

fn group(title: &str, items: &[&SettingView]) -> Markup {
    let own = items.iter().filter(|setting| setting.line.is_some()).count();
    html! {
        section.p aria-label=(title) {
            details.x open[own > 0] {
                summary.pad {
                    b { (Foreign(title)) } " "
                    span.dd.s {
                        (amounts::counted(items.len() as u64, "setting"))
                        @if own > 0 { ", " (own) " from the file" }
                    }
                }
                div.scroll {
                    table.tbl {
                        thead {
                            tr {
                                th scope="col" { "Setting" } th scope="col" { "Value" }
                                th scope="col" { "From" }
                            }
                        }
                        tbody { @for setting in items { (row(setting)) } }
                    }
                }
            }
        }
    }
}

fn row(setting: &SettingView) -> Markup {
    html! {
        tr {
            th.m scope="row" { (Foreign(&setting.key)) }
            td.m.wrap.grow {
                (Foreign(&setting.value))
                @if setting.after_restart { " " span.tag.warn { "after a restart" } }
            }
            td.nw.d {
                @match setting.line { Some(line) => { "line " (line) } None => { span.dd { "default" } } }
            }
        }
    }
}
