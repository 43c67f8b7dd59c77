//! `/events/{id}`: one event, what happened to it, the request as it was received, and the acts
//! that help.
//!
//! `path` decides the steps of the timeline from the DTOs, and `timeline` and `lanes` draw them.
//! `acts` does what the buttons ask.

pub(super) mod acts;
mod buttons;
mod family;
mod lanes;
mod page;
mod path;
mod sentence;
mod timeline;
mod why_text;

pub(super) use page::show;
pub(super) use sentence::{state_sentence, target_link};
