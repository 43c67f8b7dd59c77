//! The names that a request may mean. An unknown name is refused with those that exist. Pure.

use std::collections::BTreeSet;

use weir_core::name::{
    DestinationName, HUB_SOURCE, HandlerName, SCHEDULE_SOURCE, SourceName, Target,
};
use weir_store::hold::{HoldScope, InvalidScope};

/// Most names that an error lists.
const LISTED_MAX: usize = 20;

/// The names that exist now.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownNames {
    pub(super) sources: BTreeSet<SourceName>,
    pub(super) handlers: BTreeSet<HandlerName>,
    pub(super) destinations: BTreeSet<DestinationName>,
}

/// A scope that cannot be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScopeError {
    /// Text that is not a scope.
    Malformed(InvalidScope),
    /// A name that does not exist, with those that do.
    Unknown(String),
}

impl KnownNames {
    /// Reads `source:NAME`, `handler:NAME`, `destination:NAME` or `hub`.
    pub(super) fn scope(&self, text: &str) -> Result<HoldScope, ScopeError> {
        let scope = text.parse().map_err(ScopeError::Malformed)?;
        match &scope {
            HoldScope::Hub => {}
            HoldScope::Source(name) => self.check_source(name)?,
            HoldScope::Handler(name) => self.check_target(&Target::Handler(name.clone()))?,
            HoldScope::Destination(name) => {
                self.check_target(&Target::Destination(name.clone()))?;
            }
        }
        Ok(scope)
    }

    /// Refuses a source that does not exist. A handler `NAME` emits as the source `@NAME`, and the
    /// answers of a destination are events of a source too.
    pub(super) fn check_source(&self, name: &SourceName) -> Result<(), ScopeError> {
        let emitter = name.as_str().strip_prefix('@');
        let emits = emitter.is_some_and(|handler| self.handlers.contains(handler));
        let answers = |destination| SourceName::answered_by(destination) == *name;
        let emits = emits || self.destinations.iter().any(answers);
        let is_hubs = [HUB_SOURCE, SCHEDULE_SOURCE].contains(&name.as_str());
        if self.sources.contains(name) || emits || is_hubs {
            return Ok(());
        }
        let emitted = self.handlers.iter().map(|handler| format!("@{handler}"));
        let all = self.sources.iter().map(ToString::to_string).chain(emitted);
        Err(unknown("source", name.as_str(), all))
    }

    /// Refuses a handler or a destination that does not exist.
    pub(super) fn check_target(&self, target: &Target) -> Result<(), ScopeError> {
        match target {
            Target::Handler(name) if self.handlers.contains(name) => Ok(()),
            Target::Handler(name) => {
                let all = self.handlers.iter().map(ToString::to_string);
                Err(unknown("handler", name.as_str(), all))
            }
            Target::Destination(name) if self.destinations.contains(name) => Ok(()),
            Target::Destination(name) => {
                let all = self.destinations.iter().map(ToString::to_string);
                Err(unknown("destination", name.as_str(), all))
            }
        }
    }
}

fn unknown(kind: &str, name: &str, all: impl Iterator<Item = String>) -> ScopeError {
    let all: Vec<String> = all.collect();
    let listed = match &all[..] {
        [] => "there are none".to_owned(),
        [..] if all.len() > LISTED_MAX => {
            let more = all.len() - LISTED_MAX;
            format!("there are {} and {more} more", all[..LISTED_MAX].join(", "))
        }
        all => format!("there are {}", all.join(", ")),
    };
    ScopeError::Unknown(format!("there is no {kind} `{name}`; {listed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> KnownNames {
        KnownNames {
            sources: [SourceName::configured("github").unwrap()].into(),
            handlers: ["orders".parse().unwrap()].into(),
            destinations: ["ops".parse().unwrap()].into(),
        }
    }

    fn parsed(text: &str) -> Result<String, ScopeError> {
        names().scope(text).map(|scope| scope.to_string())
    }

    #[test]
    fn a_scope_with_a_known_name_is_read() {
        for text in
            ["source:github", "source:@orders", "source:weir", "handler:orders", "destination:ops"]
        {
            assert_eq!(parsed(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        for (text, detail) in [
            ("source:gitlab", "there is no source `gitlab`; there are github, @orders"),
            ("source:@ghost", "there is no source `@ghost`; there are github, @orders"),
            ("handler:ghost", "there is no handler `ghost`; there are orders"),
            ("destination:ghost", "there is no destination `ghost`; there are ops"),
        ] {
            assert_eq!(parsed(text), Err(ScopeError::Unknown(detail.into())));
        }
    }

    #[test]
    fn a_list_of_names_is_cut() {
        let handlers = (0..30).map(|n| format!("h{n:02}").parse().unwrap()).collect();
        let names = KnownNames { handlers, ..KnownNames::default() };
        let ScopeError::Unknown(detail) = names.scope("handler:ghost").unwrap_err() else {
            panic!()
        };
        assert!(detail.ends_with("h19 and 10 more"), "{detail}");
    }

    #[test]
    fn text_that_is_not_a_scope_is_malformed() {
        for text in ["", "github", "source:", "source:Git Hub", "queue:ops", "handler:"] {
            assert!(matches!(parsed(text), Err(ScopeError::Malformed(_))), "{text}");
        }
    }
}
