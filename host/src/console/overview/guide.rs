//! The first page of a new hub: four steps, ticked off by the hub itself as they happen. It waits
//! for the first event and then goes on by itself.

use axum::response::Response;
use maud::{Markup, html};

use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::api::{HandlerView, SourceView};
use crate::console::amounts::counted;
use crate::console::assets::Asset;
use crate::console::foreign::Foreign;
use crate::console::frame::{Frame, Place};
use crate::console::parts::{self, NeededRole, Weight};
use crate::console::reader::PageReader;
use crate::console::words::StateWord;

/// Sources that are offered before others, because their samples need no account.
const PREFERRED: [&str; 3] = ["github", "custom", "stripe"];

/// Answers `/start`, and `/` of a hub without events.
pub(crate) async fn show(service: Service, frame: Frame) -> Result<Response, ApiError> {
    let (sources, handlers) = (service.sources().items, service.handlers().await);
    let has_events = service.has_events().await;
    let main = html! {
        (parts::head(
            &html! { @if has_events { "Four steps to a working hub." } @else { "The hub is up. Send it something." } },
            &html! { (counted(sources.len() as u64, "source")) ", " (counted(handlers.len() as u64, "handler"))
                ", version " (env!("CARGO_PKG_VERSION")) "." },
            &html! { @if has_events { a.btn.q href="/" { "Skip the guide" } } },
        ))
        ol.p.guide {
            (step("✓", "done", "The hub is running", &html! {
                p.d { "This page is its console. Everything here is in the API and the command too." }
            }))
            (first_event(&frame.reader, &sources, has_events))
            (first_handler(&handlers))
            (real_sender(&sources))
        }
    };
    let scripts: &[Asset] = if has_events { &[] } else { &[Asset::Live] };
    Ok(frame.page_with("Start", Place::Overview, scripts, &main))
}

fn step(mark: &str, class: &str, title: &str, content: &Markup) -> Markup {
    html! {
        li class=(class) {
            span.no aria-hidden="true" { (mark) }
            div.body { h2 { (title) } (content) }
        }
    }
}

/// The source that the first sample is for.
fn preferred(sources: &[SourceView]) -> Option<&SourceView> {
    let named = |name: &&str| sources.iter().find(|source| source.name.as_str() == *name);
    let ready = |source: &&SourceView| !source.secrets.is_empty() && !source.awaits_secret;
    PREFERRED.iter().filter_map(named).find(ready).or_else(|| sources.iter().find(ready))
}

fn first_event(reader: &PageReader, sources: &[SourceView], is_done: bool) -> Markup {
    let class = if is_done { "done" } else { "now" };
    let mark = if is_done { "✓" } else { "2" };
    let content = match preferred(sources) {
        None => html! {
            p.d { "There is no source with a secret yet. Put one into weir.toml, and the hub reads it at once:" }
            (parts::code("Lines for weir.toml",
                "[sources.github]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_WEBHOOK_SECRET\" }]"))
        },
        Some(source) => html! {
            p.d {
                "Where the hub runs, this sends what " (Foreign(&source.provider))
                " would send, signed with the secret of the source " b { (Foreign(source.name.as_str())) } "."
            }
            (parts::code("Command that sends a signed sample", &command(source)))
            @if !is_done {
                div.acts {
                    span data-first-event {
                        (StateWord::Running.saying("Waiting for the first event…"))
                    }
                    (parts::act(reader, NeededRole::Operate, ("Send it from here", Weight::Plain),
                        &format!("/sources/{}/sample", parts::path_part(source.name.as_str())),
                        &[("sample", "")]))
                }
            }
        },
    };
    step(mark, class, "Send a signed event", &content)
}

fn command(source: &SourceView) -> String {
    let sample = source.samples.first().map_or("TYPE", String::as_str);
    format!("weir send {} {sample}", source.name)
}

fn first_handler(handlers: &[HandlerView]) -> Markup {
    let ready = handlers.iter().filter(|handler| handler.state == "ready").count() as u64;
    let (mark, class) = if ready > 0 { ("✓", "done") } else { ("3", "") };
    step(
        mark,
        class,
        "Drop a handler into the plugins folder",
        &html! {
            @if ready > 0 {
                p.d { (counted(ready, "handler")) " in service: "
                    @for (at, handler) in handlers.iter().take(6).enumerate() {
                        @if at > 0 { ", " } a href={ "/handlers/" (handler.name) } { (handler.name) }
                    } "." }
            } @else {
                p.d { "A WebAssembly module in the folder runs as soon as the file is there. Its sidecar \
                    says what it may do." }
                (parts::code("Commands that put a handler in service",
                    "cp greet.wasm plugins/\ncp greet.toml plugins/"))
            }
            p.d { "Or no handler at all: a route in weir.toml forwards events as they come." }
        },
    )
}

fn real_sender(sources: &[SourceView]) -> Markup {
    step(
        "4",
        "",
        "Connect a real sender",
        &html! {
            p.d { "Each source has the address to paste at the sender and the lines for weir.toml. \
                The hub knows the rules of many providers." }
            p.acts {
                @for source in sources.iter().take(6) {
                    a.btn href={ "/sources/" (parts::path_part(source.name.as_str())) } {
                        (Foreign(source.name.as_str())) }
                }
                a.btn.q href="/sources" { "All sources" }
            }
        },
    )
}
