//! The settings of responders: the section `[responders]`, and `responder` and
//! `responder_deadline` of a source.

use std::time::Duration;

use weir_core::name::HandlerName;

use super::tree::Section;

/// Longest deadline: no provider waits longer, and each wait holds a connection.
const DEADLINE_MAX: Duration = Duration::from_secs(30);
/// Longest time to keep replies. They use space in the store, as payloads do.
const KEEP_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The settings of all responders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponderSettings {
    /// The default deadline.
    pub deadline: Duration,
    /// The time for which a repeated request gets the same reply.
    pub keep: Duration,
}

/// The handler that answers for a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Responder {
    pub handler: HandlerName,
    /// The deadline of the answer.
    pub deadline: Duration,
}

pub(super) fn read(mut section: Section<'_>) -> Option<ResponderSettings> {
    let deadline = section.checked("deadline", deadline);
    let keep = section.checked("keep", |keep: &Duration| {
        if *keep > KEEP_MAX { Err("must be at most 7d".into()) } else { Ok(()) }
    });
    section.finish();
    Some(ResponderSettings { deadline: deadline?, keep: keep? })
}

/// Reads `responder` and `responder_deadline` of a source.
pub(super) fn of_source(
    section: &mut Section<'_>,
    defaults: Option<&ResponderSettings>,
) -> Option<Responder> {
    let handler = section.maybe::<HandlerName>("responder");
    let own = section.maybe::<Duration>("responder_deadline");
    if own.is_some() && !section.has("responder") {
        section.problem("responder_deadline", "has no effect without a responder");
    }
    if let Some(Err(what)) = own.as_ref().map(deadline) {
        section.problem("responder_deadline", what);
    }
    Some(Responder { handler: handler?, deadline: own.or(defaults.map(|all| all.deadline))? })
}

fn deadline(deadline: &Duration) -> Result<(), String> {
    if *deadline > DEADLINE_MAX { Err("must be at most 30s".into()) } else { Ok(()) }
}
