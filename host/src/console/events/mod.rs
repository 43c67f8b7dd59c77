//! `/events`: the list, its filters, the preview beside it.

mod filters;
mod list;
mod preview;
mod replay;

pub(super) use list::list;
pub(super) use replay::{act, preview as replay_preview};
