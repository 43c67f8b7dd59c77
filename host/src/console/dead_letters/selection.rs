//! A choice of dead letters as parameters of an address or fields of a form: `target`, `cause`, and
//! `id` any number of times. Pure.

use crate::api::DeadLetterSelection;

/// Most fields that are read: a page of rows and the fields of the form.
const FIELDS_MAX: usize = 600;

/// The fields of a form about dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SelectionForm {
    pub(super) selection: DeadLetterSelection,
    /// The set that was counted.
    pub(super) set: String,
    pub(super) new_ids: bool,
    /// The number that was typed.
    pub(super) typed: String,
}

impl SelectionForm {
    /// Reads a query or a form. Other fields are the form's own.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(bytes).take(FIELDS_MAX) {
            if value.is_empty() {
                continue;
            }
            match &*name {
                "target" => form.selection.target = Some(value.into_owned()),
                "cause" => form.selection.cause = Some(value.into_owned()),
                "id" => form.selection.ids.push(value.into_owned()),
                "set" => form.set = value.into_owned(),
                "ids" => form.new_ids = value == "new",
                "typed" => form.typed = value.trim().replace(',', ""),
                _ => {}
            }
        }
        form
    }

    /// The fields that choose the same dead letters.
    pub(super) fn fields(&self) -> Vec<(&str, &str)> {
        let DeadLetterSelection { target, cause, ids } = &self.selection;
        let mut fields: Vec<_> = ids.iter().map(|id| ("id", &**id)).collect();
        fields.extend(target.as_deref().map(|target| ("target", target)));
        fields.extend(cause.as_deref().map(|cause| ("cause", cause)));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::parts::address;

    #[test]
    fn a_selection_reads_back_from_its_address() {
        let form =
            SelectionForm::read(b"id=dlv_1&id=dlv_2&set=ab&ids=new&typed=1%2C204&x=y&cause=");
        assert_eq!(form.selection.ids, ["dlv_1", "dlv_2"]);
        assert_eq!((&*form.set, form.new_ids, &*form.typed), ("ab", true, "1204"));
        let cause = SelectionForm::read(b"target=destination:ledger&cause=HTTP+422%3A+a%26b");
        let address = address("/dead-letters/preview", &cause.fields());
        let query = address.split_once('?').unwrap().1;
        assert_eq!(SelectionForm::read(query.as_bytes()), cause);
    }
}
