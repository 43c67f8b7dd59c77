//! `/handlers/{name}/state`: the state of a handler, a page at a time, with the acts that set and
//! remove keys.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Form, Path, Query};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;

use super::amounts;
use super::foreign::{self, Foreign};
use super::frame::{Frame, Place};
use super::parts::{self, NeededRole, NoteKind, Weight};
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::admin::principal::Principal;
use crate::admin::service::AdminService;
use crate::api::{ListPage, StateListQuery, StateSizeView, StateValueView, StateWriteBody};

/// Characters of a value in a row.
const VALUE_CHARS: usize = 160;

/// The address of a page of state.
#[derive(Debug, Default, Deserialize)]
struct StateAddress {
    #[serde(default)]
    prefix: String,
    cursor: Option<String>,
    did: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SetForm {
    key: String,
    value: String,
}

#[derive(Debug, Deserialize)]
struct RemoveForm {
    key: String,
}

pub(super) fn router() -> Router<Arc<AdminService>> {
    Router::new()
        .route("/handlers/{name}/state", get(show))
        .route("/handlers/{name}/state/set", post(set))
        .route("/handlers/{name}/state/remove", post(remove))
}

fn path(name: &str) -> String {
    format!("/handlers/{}/state", parts::path_part(name))
}

async fn show(
    service: Service,
    frame: Frame,
    Path(name): Path<String>,
    Query(at): Query<StateAddress>,
) -> Result<Response, ApiError> {
    let size = service.handler(&name).await?.state;
    let query = StateListQuery {
        prefix: Some(at.prefix.clone()).filter(|prefix| !prefix.is_empty()),
        limit: None,
        cursor: at.cursor.as_deref().and_then(|cursor| cursor.parse().ok()),
    };
    let page = service.state(&name, query).await?;
    let main = html! {
        div.head {
            div {
                p.crumb {
                    a href="/handlers" { "Handlers" } " / "
                    a href={ "/handlers/" (parts::path_part(&name)) } { (Foreign(&name)) } " / state"
                }
                h1 { "State of " (Foreign(&name)) }
                p { (quota(&size)) " A run that read a value which you change runs again." }
            }
        }
        div.stackv {
            @if let Some(did) = at.did.as_deref() { (done(did)) }
            form.p.pad action=(path(&name)) {
                label for="prefix" { "Keys that start with" }
                " " input.in #prefix name="prefix" value=(at.prefix) maxlength="256";
                " " button.btn { "Show" }
            }
            section.p aria-label="Keys" { (values(&frame, &name, &at, &page)) }
            (set_panel(&frame, &name))
        }
    };
    Ok(frame.page(&format!("State of {name}"), Place::Handlers, &main))
}

fn quota(size: &StateSizeView) -> Markup {
    let StateSizeView { bytes, keys, bytes_max, keys_max } = size;
    html! {
        (amounts::size(*bytes))
        @if *bytes_max < u64::MAX { " of " (amounts::size(*bytes_max)) }
        " in " (amounts::number(*keys))
        @if *keys_max < u64::MAX { " of " (amounts::number(*keys_max)) }
        " keys."
    }
}

fn done(did: &str) -> Markup {
    let said = match did {
        "set" => "The key is set.",
        "removed" => "The key is removed.",
        _ => return html! {},
    };
    parts::note(NoteKind::Plain, &html! { (said) })
}

fn values(frame: &Frame, name: &str, at: &StateAddress, page: &ListPage<StateValueView>) -> Markup {
    let older = page.next.as_deref();
    let older =
        older.map(|next| parts::address(&path(name), &[("prefix", &*at.prefix), ("cursor", next)]));
    if page.items.is_empty() {
        let next = html! { "A handler writes it with " code { "state.set" } "." };
        return parts::empty("No keys.", &next);
    }
    html! {
        div.scroll {
            table.tbl {
                thead {
                    tr {
                        th scope="col" { "Key" } th scope="col" { "Value" }
                        th.hs scope="col" { "Expires" } th scope="col" { span.vh { "Act" } }
                    }
                }
                tbody {
                    @for value in &page.items {
                        tr {
                            td.m { (Foreign(&value.key)) }
                            td.grow { code { (foreign::cut(&value.value, VALUE_CHARS)) } }
                            td.d.hs.nw {
                                @match value.expires_at {
                                    Some(at) => { (frame.reader.times.relative(at)) }
                                    None => { "never" }
                                }
                            }
                            td {
                                (parts::act(&frame.reader, NeededRole::Operate,
                                    ("Remove", Weight::Small), &format!("{}/remove", path(name)),
                                    &[("key", &*value.key)]))
                            }
                        }
                    }
                }
            }
        }
        nav.more aria-label="Pages of the list" {
            @if let Some(older) = older {
                a.btn.sm href=(older) rel="next" aria-keyshortcuts="]" { "More" }
            }
            span { "50 a page, by key" }
        }
    }
}

fn set_panel(frame: &Frame, name: &str) -> Markup {
    let reader = &frame.reader;
    parts::panel(
        "Set a key",
        &html! { "text; an existing value is replaced" },
        &html! {
            form.pad.stackv method="post" action={ (path(name)) "/set" } {
                (parts::form_fields(reader, &[]))
                label for="key" { "Key" }
                input.in #key name="key" required maxlength="256";
                label for="value" { "Value" }
                textarea.in #value name="value" rows="3" {}
                (parts::submit(reader, NeededRole::Operate, "Set", true))
            }
        },
    )
}

async fn set(
    service: Service,
    by: Principal,
    Path(name): Path<String>,
    Form(form): Form<SetForm>,
) -> Result<Response, ApiError> {
    let SetForm { key, value } = form;
    let set = vec![StateValueView { key, value, expires_at: None }];
    let body = StateWriteBody { set, ..StateWriteBody::default() };
    service.write_state(&name, body, by).await?;
    Ok(Redirect::to(&parts::address(&path(&name), &[("did", "set")])).into_response())
}

async fn remove(
    service: Service,
    by: Principal,
    Path(name): Path<String>,
    Form(form): Form<RemoveForm>,
) -> Result<Response, ApiError> {
    let body = StateWriteBody { remove: vec![form.key], ..StateWriteBody::default() };
    service.write_state(&name, body, by).await?;
    Ok(Redirect::to(&parts::address(&path(&name), &[("did", "removed")])).into_response())
}
