//! The page of a request that was not done: what happened, why, and what to do.

use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use maud::html;
use weir_core::time::Timestamp;

use super::foreign::Foreign;
use super::frame::{Frame, Place};
use super::parts::{self, NoteKind};
use super::reader::PageReader;
use crate::admin::error::ApiError;

/// Answers a browser's request that failed.
pub(super) fn page(head: &Parts, error: ApiError, id: &str) -> Response {
    let reader = PageReader::of(head, Timestamp::default());
    let title = match error.status() {
        StatusCode::NOT_FOUND | StatusCode::GONE => "Not here",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "Not allowed",
        status if status.is_server_error() => "The hub could not answer",
        _ => "Not done",
    };
    let main = html! {
        (parts::head(&html! { (title) }, &html! { "Nothing was changed." }, &html! {}))
        div.stackv {
            (parts::note(NoteKind::Failure, &html! {
                b { (Foreign(error.detail())) }
            }))
            p.dd {
                "Code " span.m { (error.code()) } " · request " span.m { (id) }
                ", under which the log of the hub has it."
            }
            p.acts {
                a.btn href="/" { "Overview" }
                a.btn href="/events" { "Events" }
            }
        }
    };
    let status = error.status();
    Frame::bare(reader).answer(status, title, Place::Elsewhere, &[], &main)
}
