//! The HTTP methods of a provider's events.

use std::fmt;

use thiserror::Error;

/// The methods that an event may have. The others must change nothing (`HEAD`, `OPTIONS`) or
/// concern the connection (`TRACE`, `CONNECT`).
const EVENT_METHODS: [&str; 5] = ["POST", "GET", "PUT", "PATCH", "DELETE"];

/// The methods that a handshake may have.
const HANDSHAKE_METHODS: [&str; 7] = ["POST", "GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// A list of methods: at least one, each once, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Methods(Vec<&'static str>);

/// An error in a list of methods.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidMethods {
    #[error("at least one method is needed")]
    None,
    /// An unknown method, or one that an event cannot have.
    #[error("{0:?} is not a method of events; use POST, GET, PUT, PATCH or DELETE")]
    Other(String),
}

impl Default for Methods {
    /// Only `POST`.
    fn default() -> Self {
        Self(vec!["POST"])
    }
}

impl Methods {
    /// Parses a list of method names in upper case.
    pub fn parse(names: &[String]) -> Result<Self, InvalidMethods> {
        let mut methods = Vec::with_capacity(names.len());
        for name in names {
            let known = EVENT_METHODS.into_iter().find(|known| known == name);
            let known = known.ok_or_else(|| InvalidMethods::Other(name.clone()))?;
            if !methods.contains(&known) {
                methods.push(known);
            }
        }
        if methods.is_empty() { Err(InvalidMethods::None) } else { Ok(Self(methods)) }
    }

    /// True if events may have this method.
    #[must_use]
    pub fn contains(&self, method: &str) -> bool {
        self.0.contains(&method)
    }

    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }
}

/// The list in the form of the header `Allow`.
impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// True if a handshake may have this method.
pub(super) fn is_handshake_method(method: &str) -> bool {
    HANDSHAKE_METHODS.contains(&method)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(names: &[&str]) -> Result<String, InvalidMethods> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Methods::parse(&names).map(|methods| methods.to_string())
    }

    #[test]
    fn methods_keep_their_order_and_are_unique() {
        assert_eq!(parsed(&["POST", "GET", "POST"]).unwrap(), "POST, GET");
        assert_eq!(parsed(&["DELETE", "PATCH", "PUT"]).unwrap(), "DELETE, PATCH, PUT");
        assert_eq!(Methods::default().to_string(), "POST");
    }

    #[test]
    fn a_method_without_events_is_refused_by_name() {
        for name in ["HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "", "PUSH", "GET, POST"] {
            let said = parsed(&["POST", name]).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{name:?} is not a method")), "{said}");
        }
        assert_eq!(parsed(&[]), Err(InvalidMethods::None));
    }
}
