//! Requeue and discard a set that was counted. A set that is another one now leads back to its
//! preview.

use axum::extract::RawForm;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};

use super::preview;
use super::selection::SelectionForm;
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::admin::principal::Principal;
use crate::api::{DeadLetterActAnswer, DeadLetterActBody};
use crate::console::amounts;
use crate::console::foreign::Foreign;
use crate::console::frame::{Frame, Place};
use crate::console::parts::{self, NoteKind};

/// Answers `POST /dead-letters/requeue`.
pub(super) async fn requeue(
    service: Service,
    frame: Frame,
    by: Principal,
    RawForm(fields): RawForm,
) -> Result<Response, ApiError> {
    let form = SelectionForm::read(&fields);
    match service.requeue_set(body(&form), by).await {
        Ok(answer) => Ok(done("requeued", answer)),
        Err(error) => again(&service, &frame, &form, error).await,
    }
}

/// Answers `POST /dead-letters/discard`.
pub(super) async fn discard(
    service: Service,
    frame: Frame,
    by: Principal,
    RawForm(fields): RawForm,
) -> Result<Response, ApiError> {
    let form = SelectionForm::read(&fields);
    let set = service.dead_letter_set(&form.selection).await?;
    if form.typed != set.count.to_string() {
        let note = html! {
            b { "Not discarded: the number does not match." }
            " There are " (amounts::number(set.count as u64)) ". Nothing was changed."
        };
        return Ok(shown_again(&frame, &form, &set, &note));
    }
    match service.discard_set(body(&form), by).await {
        Ok(answer) => Ok(done("discarded", answer)),
        Err(error) => again(&service, &frame, &form, error).await,
    }
}

fn body(form: &SelectionForm) -> DeadLetterActBody {
    DeadLetterActBody {
        selection: form.selection.clone(),
        set: form.set.clone(),
        new_ids: form.new_ids,
    }
}

fn done(what: &str, answer: DeadLetterActAnswer) -> Response {
    let (count, skipped) = (answer.changed.to_string(), answer.skipped.to_string());
    let query = [("did", what), ("count", &count), ("skipped", &skipped)];
    Redirect::to(&parts::address("/dead-letters", &query)).into_response()
}

/// Counts again and shows the preview, if the set is another one now.
async fn again(
    service: &Service,
    frame: &Frame,
    form: &SelectionForm,
    error: ApiError,
) -> Result<Response, ApiError> {
    if error.code() != "set_changed" {
        return Err(error);
    }
    let set = service.dead_letter_set(&form.selection).await?;
    let note = html! {
        b { "Not done: " (Foreign(error.detail())) "." }
        " Nothing was changed. Below is the set as it is now."
    };
    Ok(shown_again(frame, form, &set, &note))
}

fn shown_again(
    frame: &Frame,
    form: &SelectionForm,
    set: &crate::api::DeadLetterSet,
    note: &Markup,
) -> Response {
    let note = parts::note(NoteKind::Warning, note);
    let main = preview::page(frame, form, set, &note);
    frame.answer(StatusCode::CONFLICT, "Not done", Place::DeadLetters, &[], &main)
}
