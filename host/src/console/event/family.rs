//! The family of an event: the events that led to it, and those that its runs emitted.

use maud::{Markup, html};
use weir_core::id::EventId;

use crate::admin::service::AdminService;
use crate::api::{EventAnswer, EventView};
use crate::console::foreign::{self, Foreign};
use crate::console::parts;
use crate::console::times::Times;
use crate::console::words::StateWord;

/// Most ancestors that are looked up.
const ANCESTORS_MAX: usize = 8;
/// Levels that are set in; the style has as many.
const LEVELS: usize = 4;
/// Most emitted events that are looked up.
const CHILDREN_MAX: usize = 30;

/// The relatives of an event that are stored.
#[derive(Debug, Default)]
pub(super) struct Family {
    /// The oldest one first.
    ancestors: Vec<EventView>,
    children: Vec<EventView>,
    /// Emitted events that are not shown.
    more: usize,
}

impl Family {
    pub(super) async fn read(service: &AdminService, event: &EventView) -> Self {
        let mut family = Self::default();
        let mut parent = event.parent;
        while let Some(id) = parent.filter(|_| family.ancestors.len() < ANCESTORS_MAX) {
            let Some(found) = one(service, id).await else { break };
            parent = found.parent;
            family.ancestors.insert(0, found);
        }
        let attempts = event.deliveries.iter().flat_map(|delivery| &delivery.history);
        let emitted: Vec<EventId> =
            attempts.flat_map(|attempt| attempt.emitted.iter().copied()).collect();
        family.more = emitted.len().saturating_sub(CHILDREN_MAX);
        for id in emitted.into_iter().take(CHILDREN_MAX) {
            family.children.extend(one(service, id).await);
        }
        family
    }

    pub(super) fn show(&self, event: &EventView, times: &Times) -> Markup {
        let Self { ancestors, children, more } = self;
        if ancestors.is_empty() && children.is_empty() {
            let next = html! { "A handler emitted nothing for it, and it was not emitted by one." };
            return parts::empty("It has no relatives.", &next);
        }
        let depth = ancestors.len();
        html! {
            ul.tree {
                @for (level, ancestor) in ancestors.iter().enumerate() {
                    (row(ancestor, level, false, times))
                }
                (row(event, depth, true, times))
                @for child in children { (row(child, depth + 1, false, times)) }
                @if *more > 0 { li.dd { "and " (more) " more" } }
            }
        }
    }
}

async fn one(service: &AdminService, id: EventId) -> Option<EventView> {
    match service.event(&id.to_string(), false).await {
        Ok(EventAnswer::Event(shown)) => Some(shown.event),
        _ => None,
    }
}

fn row(event: &EventView, level: usize, is_this: bool, times: &Times) -> Markup {
    let level = format!("lv{}", level.min(LEVELS));
    html! {
        li class=(level) aria-current=[is_this.then_some("true")] {
            (StateWord::of_event_from(&event.source, event.status).in_row())
            a href={ "/events/" (event.id) } {
                (Foreign(event.source.as_str())) " " b { (foreign::cut(event.kind.as_str(), 80)) }
            }
            span.dd { (times.exact(event.received_at)) }
        }
    }
}
