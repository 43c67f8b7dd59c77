//! `/login`: the page on which one signs in with a token. The session itself is the listener's.

use axum::extract::Query;
use axum::response::Response;
use http::request::Parts;
use maud::html;
use serde::Deserialize;
use weir_core::time::Timestamp;

use super::frame::{Frame, Place};
use super::parts::{self, NoteKind};
use super::reader::PageReader;

/// The page to go to, and the code of the error if the last try failed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LoginQuery {
    #[serde(default)]
    to: String,
    #[serde(default)]
    error: String,
}

/// Answers `/login`.
pub(super) async fn page(head: Parts, Query(query): Query<LoginQuery>) -> Response {
    let frame = Frame::bare(PageReader::of(&head, Timestamp::default()));
    let said = match &*query.error {
        "" => None,
        "token_expired" => Some("This token has expired. An admin can make a new one."),
        "too_many_failures" => Some("Too many tries from this address. Wait a minute."),
        _ => Some("The token is wrong, or it was revoked."),
    };
    let main = html! {
        div.login {
            (parts::head(
                &html! { "Sign in" },
                &html! { "With a token of this hub. It stays on the hub; the browser keeps a session." },
                &html! {},
            ))
            @if let Some(said) = said { (parts::note(NoteKind::Failure, &html! { b { (said) } })) }
            form.p.pad method="post" action="/login" {
                input type="hidden" name="to" value=(query.to);
                label for="token" { "Token" }
                input.in #token name="token" type="password" autocomplete="current-password" required
                    autofocus;
                button.btn.pri { "Sign in" }
            }
            div.p.pad.stackv {
                p { "Where the hub runs, this opens the console signed in:" }
                (parts::code("Command that opens the console", "weir open"))
                p { "Or copy the first token, or make one with a smaller role:" }
                (parts::code(
                    "Commands that show or make a token",
                    "cat data/admin-token\nweir tokens create on-call --role operate",
                ))
            }
        }
    };
    frame.page("Sign in", Place::Elsewhere, &main)
}
