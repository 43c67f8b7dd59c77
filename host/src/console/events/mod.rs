//! `/events`: the list, its filters, the preview beside it.

mod filters;
mod list;

pub(super) use list::list;
