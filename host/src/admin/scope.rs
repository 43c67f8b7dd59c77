//! The names that an operator may mean: a name that nothing bears is refused with those that exist. Pure.

use serde_json::Value;
use weir_core::name::{HUB_SOURCE, SourceName, Target};
use weir_store::hold::HoldScope;

use super::{KnownNames, query};

/// As many names are said back.
const SAID_MAX: usize = 20;

/// Why a text means nothing that can be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ScopeError {
    /// It is no scope at all.
    Malformed(String),
    /// It names something that is not there; what is there.
    Unknown(String),
}

/// `source:NAME`, `handler:NAME` or `destination:NAME`, of names that exist. `handlers` are their statuses.
pub(super) fn parse(
    text: &str,
    known: &KnownNames,
    handlers: &Value,
) -> Result<HoldScope, ScopeError> {
    let scope = read(text).map_err(ScopeError::Malformed)?;
    match &scope {
        HoldScope::Source(name) => source(name, known, handlers)?,
        HoldScope::Handler(name) => target(&Target::Handler(name.clone()), known, handlers)?,
        HoldScope::Destination(name) => {
            target(&Target::Destination(name.clone()), known, handlers)?;
        }
    }
    Ok(scope)
}

/// A scope by its form alone, whatever names there are.
pub(crate) fn read(text: &str) -> Result<HoldScope, String> {
    if let Some(name) = text.strip_prefix("source:") {
        return query::source(name).map(HoldScope::Source);
    }
    match text.parse::<Target>() {
        Ok(Target::Handler(name)) => Ok(HoldScope::Handler(name)),
        Ok(Target::Destination(name)) => Ok(HoldScope::Destination(name)),
        Err(_) => {
            let way = "use source:NAME, handler:NAME or destination:NAME";
            Err(format!("unknown scope `{}`; {way}", cut(text)))
        }
    }
}

/// Refuses a source that is not there.
pub(super) fn source(
    name: &SourceName,
    known: &KnownNames,
    handlers: &Value,
) -> Result<(), ScopeError> {
    let handlers = names_of(handlers);
    let text = name.as_str();
    let emits = text.strip_prefix('@').is_some_and(|handler| handlers.contains(&handler));
    if known.sources.contains(name) || emits || text == HUB_SOURCE {
        return Ok(());
    }
    let configured = known.sources.iter().map(ToString::to_string);
    let emitted = handlers.iter().map(|handler| format!("@{handler}"));
    Err(unknown("source", text, configured.chain(emitted)))
}

/// Refuses a handler or a destination that is not there.
pub(super) fn target(
    target: &Target,
    known: &KnownNames,
    handlers: &Value,
) -> Result<(), ScopeError> {
    match target {
        Target::Handler(name) => {
            let handlers = names_of(handlers);
            if handlers.contains(&name.as_str()) {
                return Ok(());
            }
            let all = handlers.iter().map(|handler| (*handler).to_owned());
            Err(unknown("handler", name.as_str(), all))
        }
        Target::Destination(name) if known.destinations.contains(name) => Ok(()),
        Target::Destination(name) => {
            let all = known.destinations.iter().map(ToString::to_string);
            Err(unknown("destination", name.as_str(), all))
        }
    }
}

fn names_of(handlers: &Value) -> Vec<&str> {
    let all = handlers.as_array().into_iter().flatten();
    all.filter_map(|handler| handler["name"].as_str()).collect()
}

fn unknown(kind: &str, name: &str, all: impl Iterator<Item = String>) -> ScopeError {
    let all: Vec<String> = all.collect();
    let there = match &all[..] {
        [] => "there are none".to_owned(),
        [..] if all.len() > SAID_MAX => {
            format!("there are {} and {} more", all[..SAID_MAX].join(", "), all.len() - SAID_MAX)
        }
        all => format!("there are {}", all.join(", ")),
    };
    ScopeError::Unknown(format!("there is no {kind} `{}`; {there}", cut(name)))
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_core::name::{DestinationName, SourceName};

    use super::*;

    fn parsed(text: &str) -> Result<String, ScopeError> {
        let known = KnownNames {
            sources: [SourceName::configured("github").unwrap()].into(),
            destinations: [DestinationName::new("ops").unwrap()].into(),
        };
        let handlers = json!([{ "name": "orders" }]);
        parse(text, &known, &handlers).map(|scope| scope.to_string())
    }

    #[test]
    fn a_scope_of_names_that_exist_is_read() {
        for text in
            ["source:github", "source:@orders", "source:weir", "handler:orders", "destination:ops"]
        {
            assert_eq!(parsed(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_name_that_nothing_bears_is_refused_with_those_that_exist() {
        for (text, there) in [
            ("source:gitlab", "there is no source `gitlab`; there are github, @orders"),
            ("source:@ghost", "there is no source `@ghost`; there are github, @orders"),
            ("handler:ghost", "there is no handler `ghost`; there are orders"),
            ("destination:ghost", "there is no destination `ghost`; there are ops"),
        ] {
            assert_eq!(parsed(text), Err(ScopeError::Unknown(there.into())));
        }
    }

    #[test]
    fn what_is_no_scope_says_how_one_is_written() {
        for text in ["", "github", "source:", "source:Git Hub", "queue:ops", "handler:"] {
            assert!(matches!(parsed(text), Err(ScopeError::Malformed(_))), "{text}");
        }
    }
}
