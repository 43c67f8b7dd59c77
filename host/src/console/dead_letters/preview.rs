//! The preview of an act on a set of dead letters. Nothing is done on this page.

use axum::extract::RawQuery;
use axum::response::Response;
use maud::{Markup, html};

use super::selection::SelectionForm;
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::api::{DeadLetterSet, TargetShare};
use crate::console::amounts;
use crate::console::foreign::Foreign;
use crate::console::frame::{Frame, Place};
use crate::console::parts::{self, NeededRole, NoteKind};
use crate::console::targets;

/// Answers `/dead-letters/preview`.
pub(super) async fn show(
    service: Service,
    frame: Frame,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let form = SelectionForm::read(query.unwrap_or_default().as_bytes());
    let selection = &form.selection;
    if selection.ids.is_empty() && selection.target.is_none() && selection.cause.is_none() {
        let main = html! {
            (parts::head(&html! { "Nothing is selected" }, &html! {}, &html! {}))
            section.p {
                (parts::empty("Select dead letters first.", &html! {
                    a href="/dead-letters" { "Back to the list" }
                }))
            }
        };
        return Ok(frame.page("Nothing is selected", Place::DeadLetters, &main));
    }
    let set = service.dead_letter_set(selection).await?;
    let title = format!("Act on {}", amounts::counted(set.count as u64, "dead letter"));
    let main = page(&frame, &form, &set, &html! {});
    Ok(frame.page(&title, Place::DeadLetters, &main))
}

/// The preview, below a note on why it is shown again.
pub(super) fn page(
    frame: &Frame,
    form: &SelectionForm,
    set: &DeadLetterSet,
    note: &Markup,
) -> Markup {
    let counted = amounts::counted(set.count as u64, "dead letter");
    let times = &frame.reader.times;
    html! {
        div.head {
            div {
                p.crumb { a href="/dead-letters" { "Dead letters" } " / preview" }
                h1 { "Act on " (counted) }
                p {
                    "Nothing has been done yet. This is what would happen to exactly these "
                    (amounts::number(set.count as u64)) ", counted at " (times.clock(times.now)) "."
                }
            }
        }
        div.stackv {
            (note)
            (chosen(form))
            @if !set.is_whole {
                (parts::note(NoteKind::Warning, &html! {
                    "There are more. One act changes the newest "
                    (amounts::number(set.count as u64)) "; act again for the rest."
                }))
            }
            @if set.count == 0 {
                section.p {
                    (parts::empty("None is left.", &html! {
                        "They were requeued or discarded in the meantime. "
                        a href="/dead-letters" { "Back to the list" }
                    }))
                }
            } @else {
                div.cols {
                    (requeue(frame, form, set))
                    (discard(frame, form, set))
                }
            }
        }
    }
}

/// The selection in words.
fn chosen(form: &SelectionForm) -> Markup {
    let selection = &form.selection;
    html! {
        p.d {
            @if !selection.ids.is_empty() {
                "Those that you selected."
            } @else {
                "Everything"
                @if let Some(target) = &selection.target { " for " b { (Foreign(target)) } }
                @if let Some(cause) = &selection.cause {
                    " with the cause " b { (Foreign(cause)) }
                }
                "."
            }
        }
    }
}

fn requeue(frame: &Frame, form: &SelectionForm, set: &DeadLetterSet) -> Markup {
    let count = amounts::number(set.count as u64);
    let may_act = NeededRole::Operate.is_given(&frame.reader);
    html! {
        section.p {
            header { h2 { "Requeue" } span.end { span.tag.acc { "Preview" } } }
            ul.sum { @for share in &set.targets { (follows(share)) } }
            form method="post" action="/dead-letters/requeue" {
                (parts::form_fields(&frame.reader, &form.fields()))
                input type="hidden" name="set" value=(set.set);
                fieldset.opt {
                    legend.vh { "Ids that receivers see" }
                    h3 { "Ids that receivers see" }
                    label {
                        input type="radio" name="ids" value="same" checked;
                        span { "Keep " small { "a receiver that has seen one skips it" } }
                    }
                    label {
                        input type="radio" name="ids" value="new";
                        span { "New " small { "receivers act again" } }
                    }
                }
                div.go {
                    button.btn.pri disabled[!may_act] { "Requeue " (count) }
                    a.btn href="/dead-letters" { "Cancel" }
                    @if !may_act { span.s.dd { "needs the role operate" } }
                }
            }
            @if let Some(command) = command(form) {
                div.pad { h3 { "The same in a shell" } (parts::code("Command", &command)) }
            }
        }
    }
}

/// The consequence for one target.
fn follows(share: &TargetShare) -> Markup {
    let (what, why) = match &*share.state {
        "ok" => {
            ("are tried at once", "The target is OK. Every attempt counts from the first again.")
        }
        "failing" | "paused" => {
            ("wait", "The target is paused. They go out when it takes deliveries again.")
        }
        _ => ("wait", "The target does not exist now. They wait until it is back."),
    };
    html! {
        li {
            span.n { (amounts::number(share.count as u64)) }
            b { (what) " for " (targets::named(&share.target)) }
            small { (why) }
        }
    }
}

fn discard(frame: &Frame, form: &SelectionForm, set: &DeadLetterSet) -> Markup {
    let count = amounts::number(set.count as u64);
    let may_act = NeededRole::Operate.is_given(&frame.reader);
    html! {
        section.p {
            header { h2 { "Discard" } }
            p.pad {
                "They are never sent, and stay in the list of events as cancelled until retention "
                "removes them. They cannot be brought back as dead letters."
            }
            form method="post" action="/dead-letters/discard" {
                (parts::form_fields(&frame.reader, &form.fields()))
                input type="hidden" name="set" value=(set.set);
                div.go {
                    label for="typed" { "Type " b { (count) } }
                    input.in #typed name="typed" inputmode="numeric" autocomplete="off" required
                        size="6" disabled[!may_act];
                    button.btn.no disabled[!may_act] { "Discard " (count) }
                    @if !may_act { span.s.dd { "needs the role operate" } }
                }
            }
        }
    }
}

/// The command that requeues the same, if one command can.
fn command(form: &SelectionForm) -> Option<String> {
    let selection = &form.selection;
    match (&selection.ids[..], &selection.target, &selection.cause) {
        ([id], _, _) => Some(format!("weir dead-letters requeue {id}")),
        ([], Some(target), None) => Some(format!("weir replay --dead-letters --target {target}")),
        _ => None,
    }
}
