//! The methods by which a provider's events come.

use std::fmt;

use thiserror::Error;

/// Every method that an event may come by. The others ask for something and must change nothing (`HEAD`, `OPTIONS`), or
/// are for the wire itself (`TRACE`, `CONNECT`).
const CARRIERS: [&str; 5] = ["POST", "GET", "PUT", "PATCH", "DELETE"];

/// Every method that a handshake may come by.
const ASKERS: [&str; 7] = ["POST", "GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// Methods by which events come: one at least, each once, in the order in which they were named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Methods(Vec<&'static str>);

/// A list that names no methods for events.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidMethods {
    /// Nothing is in it.
    #[error("name one method at least")]
    None,
    /// Unknown, or none that an event comes by.
    #[error("{0:?} is no method that events come by; write POST, GET, PUT, PATCH or DELETE")]
    Other(String),
}

impl Default for Methods {
    /// `POST` and no other.
    fn default() -> Self {
        Self(vec!["POST"])
    }
}

impl Methods {
    /// Parses a list of names as HTTP writes them, in capitals.
    pub fn parse(names: &[String]) -> Result<Self, InvalidMethods> {
        let mut methods = Vec::with_capacity(names.len());
        for name in names {
            let known = CARRIERS.into_iter().find(|known| known == name);
            let known = known.ok_or_else(|| InvalidMethods::Other(name.clone()))?;
            if !methods.contains(&known) {
                methods.push(known);
            }
        }
        if methods.is_empty() { Err(InvalidMethods::None) } else { Ok(Self(methods)) }
    }

    /// Whether events come by this method.
    #[must_use]
    pub fn contains(&self, method: &str) -> bool {
        self.0.contains(&method)
    }

    /// Their names.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }
}

/// The list as the header `Allow` has it.
impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Whether a handshake may come by this method.
pub(super) fn may_ask(method: &str) -> bool {
    ASKERS.contains(&method)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(names: &[&str]) -> Result<String, InvalidMethods> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Methods::parse(&names).map(|methods| methods.to_string())
    }

    #[test]
    fn each_method_is_named_once_and_in_its_place() {
        assert_eq!(parsed(&["POST", "GET", "POST"]).unwrap(), "POST, GET");
        assert_eq!(parsed(&["DELETE", "PATCH", "PUT"]).unwrap(), "DELETE, PATCH, PUT");
        assert_eq!(Methods::default().to_string(), "POST");
    }

    #[test]
    fn what_carries_no_event_is_refused_by_its_name() {
        for name in ["HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "", "PUSH", "GET, POST"] {
            let said = parsed(&["POST", name]).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{name:?} is no method")), "{said}");
        }
        assert_eq!(parsed(&[]), Err(InvalidMethods::None));
    }
}
