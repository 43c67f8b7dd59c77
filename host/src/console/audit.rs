//! `/audit`: the acts of operators: who did what, to what, and how it ended.

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::foreign::{self, Foreign};
use super::frame::{Frame, Place};
use super::parts::{self, BackLink};
use super::words::StateWord;
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::api::{ActOutcome, AuditQuery, AuditView, ListPage};

/// Characters of a subject or a detail in a row.
const CELL_CHARS: usize = 100;

/// The parameters of the list: those of the API.
#[derive(Debug, Default, Deserialize)]
pub(super) struct AuditAddress {
    who: Option<String>,
    act: Option<String>,
    subject: Option<String>,
    outcome: Option<String>,
    cursor: Option<String>,
}

impl AuditAddress {
    /// The filters in force.
    fn filters(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("who", &self.who),
            ("act", &self.act),
            ("subject", &self.subject),
            ("outcome", &self.outcome),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    /// The address of the list with another value of a filter, on its first page.
    fn with(&self, name: &'static str, value: &str) -> String {
        let others = self.filters().into_iter().filter(|(other, _)| *other != name);
        let query: Vec<_> = others.chain([(name, value)]).collect();
        parts::address("/audit", &query)
    }
}

/// Answers `/audit`.
pub(super) async fn show(
    service: Service,
    frame: Frame,
    Query(wanted): Query<AuditAddress>,
) -> Result<Response, ApiError> {
    let found = service.audit(query(&wanted)?).await?;
    let main = html! {
        (parts::head(&html! { "Audit log" }, &html! {
            "Every act through the API, the command line and these pages, newest first."
        }, &html! {}))
        div.stackv {
            (chips(&wanted))
            section.p aria-label="Acts, newest first" {
                @if found.items.is_empty() { (nothing(&wanted)) }
                @else { (table(&frame, &wanted, &found)) }
            }
        }
    };
    Ok(frame.page("Audit log", Place::Audit, &main))
}

fn query(wanted: &AuditAddress) -> Result<AuditQuery, ApiError> {
    let invalid = |name: &str, why: &str| {
        ApiError::bad_request("invalid_parameter", format!("`{name}`: {why}"))
    };
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let outcome = match given(&wanted.outcome).as_deref() {
        None => None,
        Some("done") => Some(ActOutcome::Done),
        Some("refused") => Some(ActOutcome::Refused),
        Some("failed") => Some(ActOutcome::Failed),
        Some(_) => return Err(invalid("outcome", "write done, refused or failed")),
    };
    let cursor = given(&wanted.cursor).map(|text| text.parse()).transpose();
    Ok(AuditQuery {
        who: given(&wanted.who),
        act: given(&wanted.act),
        subject: given(&wanted.subject),
        outcome,
        cursor: cursor.map_err(|_| invalid("cursor", "write the `next` of the page before"))?,
        ..AuditQuery::default()
    })
}

fn chips(wanted: &AuditAddress) -> Markup {
    let current = wanted.outcome.as_deref().unwrap_or_default();
    let options: Vec<_> =
        [("All", ""), ("Done", "done"), ("Refused", "refused"), ("Failed", "failed")]
            .into_iter()
            .map(|(name, value)| (name, wanted.with("outcome", value), current == value))
            .collect();
    html! {
        div.chips role="group" aria-label="Filters" {
            (parts::choice("Outcome", &options))
            @for (name, value) in wanted.filters() {
                @if name != "outcome" {
                    (parts::chip(name, &html! { (Foreign(value)) }, &wanted.with(name, "")))
                }
            }
        }
    }
}

fn nothing(wanted: &AuditAddress) -> Markup {
    if wanted.filters().is_empty() {
        return parts::empty(
            "No act yet.",
            &html! {
                "A replay, a hold, a release or a new token is recorded here with who did it."
            },
        );
    }
    parts::empty("No act matches these filters.", &html! { a href="/audit" { "Show all" } })
}

fn table(frame: &Frame, wanted: &AuditAddress, found: &ListPage<AuditView>) -> Markup {
    let newest = wanted.cursor.as_ref().map(|_| parts::address("/audit", &wanted.filters()));
    let older = found.next.as_deref().map(|cursor| {
        let query: Vec<_> = wanted.filters().into_iter().chain([("cursor", cursor)]).collect();
        parts::address("/audit", &query)
    });
    html! {
        div.scroll {
            table.tbl {
                thead {
                    tr {
                        th scope="col" { "At" } th scope="col" { "Who" } th scope="col" { "Act" }
                        th scope="col" { "To" } th scope="col" { "Outcome" }
                            }
                }
                tbody { @for entry in &found.items { (row(frame, wanted, entry)) } }
            }
        }
        (parts::pages(newest.as_deref().map(BackLink::Newest), older.as_deref()))
    }
}

fn row(frame: &Frame, wanted: &AuditAddress, entry: &AuditView) -> Markup {
    let subject = entry.subject.as_deref().unwrap_or_default();
    html! {
        tr data-row {
            td.m.d.nw { (frame.reader.times.exact(entry.at)) }
            td.two {
                a href=(wanted.with("who", &entry.who)) { b { (foreign::cut(&entry.who, 40)) } }
                small { (Foreign(entry.role.as_deref().unwrap_or("no role"))) }
            }
            td.nw { a href=(wanted.with("act", &entry.act)) { (foreign::cut(&entry.act, 40)) } }
            td.two.grow.wrap {
                @if subject.starts_with("evt_") {
                    a href={ "/events/" (parts::path_part(subject)) } { (Foreign(subject)) }
                } @else if !subject.is_empty() {
                    a href=(wanted.with("subject", subject)) {
                        (foreign::cut(subject, CELL_CHARS))
                    }
                }
                @if let Some(detail) = &entry.detail { small { (details(detail)) } }
            }
            td.nw {
                @match entry.outcome {
                    ActOutcome::Done => { (StateWord::Ok.saying("done")) }
                    ActOutcome::Refused => { (StateWord::Unrouted.saying("refused")) }
                    ActOutcome::Failed => { (StateWord::Failing.saying("failed")) }
                }
            }
        }
    }
}

/// The facts of an entry in a line.
fn details(detail: &Value) -> Markup {
    let text = match detail {
        Value::Object(facts) => {
            let fact = |(name, value): (&String, &Value)| match value {
                Value::String(text) => format!("{name} {text}"),
                value => format!("{name} {value}"),
            };
            facts.iter().map(fact).collect::<Vec<_>>().join(" · ")
        }
        other => other.to_string(),
    };
    foreign::cut(&text, CELL_CHARS)
}
