//! `/routes`: a picture of who gets what, from the routing table in force.

use std::collections::BTreeMap;

use axum::response::Response;
use maud::{Markup, html};
use weir_core::name::Target;

use super::amounts;
use super::foreign::Foreign;
use super::frame::{Frame, Place};
use super::parts;
use super::targets;
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::api::RuleView;

/// The height of a row of the picture.
const ROW: usize = 32;
/// The width of the picture.
const WIDTH: usize = 600;
/// Most sources or targets of the picture; the table below has all rules.
const ROWS_MAX: usize = 24;

/// Answers `/routes`.
pub(super) async fn show(service: Service, frame: Frame) -> Result<Response, ApiError> {
    let rules = service.rules().items;
    let sources: Vec<String> =
        service.sources().items.into_iter().map(|view| view.name.to_string()).collect();
    let report = service.health_report().await;
    let stored: BTreeMap<String, u64> =
        report.sources.iter().map(|(name, health)| (name.clone(), health.stored)).collect();
    let main = html! {
        (parts::head(&html! { "Routes" }, &verdict(&rules, &sources), &html! {}))
        div.stackv {
            @if rules.is_empty() {
                section.p { (nothing()) }
            } @else {
                (picture(&rules, &sources, &stored))
                (table(&rules))
            }
        }
    };
    Ok(frame.page("Routes", Place::Routes, &main))
}

fn verdict(rules: &[RuleView], sources: &[String]) -> Markup {
    let unused = rules.iter().filter(|rule| rule.sources.is_empty()).count();
    let unheard = unheard(rules, sources);
    html! {
        (amounts::counted(rules.len() as u64, "rule")) " in force"
        @if unused > 0 { ", " (unused) " of which no source can reach" }
        "."
        @if !unheard.is_empty() {
            " No rule wants events of "
            @for (index, source) in unheard.iter().enumerate() {
                @if index > 0 { ", " }
                b { (Foreign(source)) }
            }
            "."
        }
    }
}

/// The sources whose events no rule can want.
fn unheard<'a>(rules: &[RuleView], sources: &'a [String]) -> Vec<&'a String> {
    let is_heard = |source: &&String| rules.iter().any(|rule| rule.sources.contains(source));
    sources.iter().filter(|source| !is_heard(source)).collect()
}

fn nothing() -> Markup {
    parts::empty(
        "No rule is in force: every event is unrouted.",
        &html! {
            "A handler subscribes to events by its sidecar, or a route of weir.toml sends them to "
            "a destination. " a href="/handlers" { "Handlers" } " · "
            a href="/destinations" { "Destinations" }
        },
    )
}

/// One line from each source to each target that can get its events.
fn picture(rules: &[RuleView], sources: &[String], stored: &BTreeMap<String, u64>) -> Markup {
    let sources: Vec<&String> = sources.iter().take(ROWS_MAX).collect();
    let mut targets: Vec<&Target> = rules.iter().map(|rule| &rule.target).collect();
    targets.sort();
    targets.dedup();
    targets.truncate(ROWS_MAX);
    let rows = sources.len().max(targets.len()).max(1);
    let height = rows * ROW;
    let most = stored.values().copied().max().unwrap_or_default();
    html! {
        section.p aria-label="Who gets what" {
            header {
                h2 { "Who gets what" }
                span.end.dd.s { "thicker: more events; dashed: none since the start" }
            }
            div.who {
                ul { @for source in &sources {
                    li { a href={ "/sources/" (parts::path_part(source)) } { b { (Foreign(source)) } } }
                } }
                svg.ch viewBox={ "0 0 " (WIDTH) " " (height) } height=(height)
                    preserveAspectRatio="none" role="img" aria-label=(sentence(rules)) {
                    @for (from, source) in sources.iter().enumerate() {
                        @for (to, target) in targets.iter().enumerate() {
                            @if rules.iter().any(|r| r.target == **target && r.sources.contains(source)) {
                                @let count = stored.get(*source).copied().unwrap_or_default();
                                path.l.l3[count == 0].q[count > 0].(width(count, most)) d=(curve(from, to)) {}
                            }
                        }
                    }
                }
                ul { @for target in &targets { li { (targets::named(target)) } } }
            }
        }
    }
}

/// The class of a line's width.
const fn width(count: u64, most: u64) -> &'static str {
    match count {
        0 => "w1",
        _ if count >= most / 2 => "w3",
        _ if count >= most / 20 => "w2",
        _ => "w1",
    }
}

fn curve(from: usize, to: usize) -> String {
    let (from, to, middle) = (from * ROW + ROW / 2, to * ROW + ROW / 2, WIDTH / 2);
    format!("M0 {from}C{middle} {from} {middle} {to} {WIDTH} {to}")
}

/// The picture in words.
fn sentence(rules: &[RuleView]) -> String {
    format!("{}; the table below lists them.", amounts::counted(rules.len() as u64, "rule"))
}

fn table(rules: &[RuleView]) -> Markup {
    parts::panel(
        "Rules",
        &html! { "in their order" },
        &html! {
            div.scroll {
                table.tbl {
                    thead {
                        tr {
                            th scope="col" { "Rule" } th scope="col" { "Wants" }
                            th scope="col" { "Sources" } th scope="col" { "Goes to" }
                        }
                    }
                    tbody {
                        @for rule in rules {
                            tr {
                                td.m { (Foreign(&rule.id)) }
                                td.two.grow {
                                    (wanted(rule))
                                    (expressions(rule))
                                }
                                td.d.nw {
                                    @if rule.sources.is_empty() { span.warn { "none" } }
                                    (Foreign(&rule.sources.join(", ")))
                                }
                                td.nw { (targets::named(&rule.target)) }
                            }
                        }
                    }
                }
            }
        },
    )
}

fn wanted(rule: &RuleView) -> Markup {
    html! {
        @if rule.patterns.is_empty() { span.dd { "nothing" } }
        @for (index, pattern) in rule.patterns.iter().enumerate() {
            @if index > 0 { ", " }
            span.m { (Foreign(pattern)) }
        }
    }
}

/// The condition of a rule, and its order key.
fn expressions(rule: &RuleView) -> Markup {
    html! {
        @if let Some(condition) = &rule.condition {
            small.m { "when " (Foreign(condition)) }
        }
        @if let Some(order_by) = &rule.order_by {
            small.m { "in the order of " (Foreign(order_by)) }
        }
    }
}

/// The patterns of one target's rules.
pub(super) fn patterns(rules: &[RuleView]) -> Markup {
    if rules.is_empty() {
        return parts::empty(
            "No rule is in force here.",
            &html! {
                "A subscription or a route makes one. " a href="/routes" { "Routes" }
            },
        );
    }
    html! {
        ul.sum {
            @for rule in rules {
                li {
                    span.m.d { (Foreign(&rule.id)) }
                    span { (wanted(rule)) }
                    (expressions(rule))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_thick_as_their_share() {
        assert_eq!(
            [width(0, 100), width(1, 100), width(10, 100), width(90, 100)],
            ["w1", "w1", "w2", "w3"]
        );
        assert_eq!(curve(0, 1), "M0 16C300 16 300 48 600 48");
    }
}
