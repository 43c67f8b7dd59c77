//! `/events`: the list, its filters, the preview beside it.

mod filters;
mod list;
mod preview;
mod replay;
mod replay_all;

pub(super) use list::list;
pub(super) use replay::{act, preview as replay_preview};
pub(super) use replay_all::{act as act_on_all, preview as replay_all_preview};
