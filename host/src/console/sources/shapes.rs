//! The panel of a source's page that tells which fields of its events changed.

use maud::{Markup, html};

use crate::api::{FieldChangeView, ShapeView};
use crate::console::foreign;
use crate::console::frame::Frame;
use crate::console::parts;
use crate::observe::shapes::FieldChange;

/// Changes that are shown, the newest of all types.
const CHANGES: usize = 10;
/// Characters of a field's path that are shown.
const FIELD_CHARS: usize = 120;

/// The newest changes of the fields of a source's events. Nothing while none is known.
pub(super) fn panel(frame: &Frame, shapes: &[ShapeView]) -> Markup {
    let mut changes = Vec::new();
    for ShapeView { kind, changes: of_type, .. } in shapes {
        changes.extend(of_type.iter().map(|change| (kind, change)));
    }
    if changes.is_empty() {
        return html! {};
    }
    changes.sort_by_key(|(_, change)| std::cmp::Reverse(change.at));
    let content = html! {
        table.tbl {
            thead { tr {
                th scope="col" { "At" } th scope="col" { "Type" } th scope="col" { "Field" }
                th scope="col" { "Change" }
            } }
            tbody {
                @for (kind, change) in changes.into_iter().take(CHANGES) {
                    tr {
                        td.m.d.nw { (frame.reader.times.clock(change.at)) }
                        td { (foreign::cut(kind.as_str(), FIELD_CHARS)) }
                        td.m { (foreign::cut(&change.field, FIELD_CHARS)) }
                        td.grow { (sentence(change)) }
                    }
                }
            }
        }
    };
    parts::panel("Fields that changed", &html! { "since the hub was started" }, &content)
}

fn sentence(change: &FieldChangeView) -> String {
    let FieldChangeView { before, now, .. } = change;
    match change.change {
        FieldChange::Appeared => format!("new: {now}"),
        FieldChange::Vanished => format!("gone; it was {before}"),
        FieldChange::Retyped => format!("was {before}, is {now}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_with_the_kinds_of_the_values() {
        let change = |change, before: &str, now: &str| {
            let at = weir_core::time::Timestamp::from_millis(0);
            let (field, before, now) = ("/user".to_owned(), before.to_owned(), now.to_owned());
            sentence(&FieldChangeView { at, field, change, before, now })
        };
        assert_eq!(change(FieldChange::Appeared, "", "object"), "new: object");
        assert_eq!(change(FieldChange::Vanished, "text", ""), "gone; it was text");
        assert_eq!(change(FieldChange::Retyped, "text", "number"), "was text, is number");
    }
}
