//! Which contract a component was built for, and whether this host serves it. Checked before linking, because the
//! linker's own words for it help nobody.

use std::fmt;

use thiserror::Error;
use wasmtime::component::types::{Component, ComponentItem};

/// A version of the handler contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContractVersion {
    /// Changes with the promises themselves.
    pub major: u32,
    /// Changes where a built handler would break.
    pub minor: u32,
    /// Rises when functions are added.
    pub patch: u32,
}

impl ContractVersion {
    /// The contract that this host serves.
    pub const SERVED: Self = Self { major: 0, minor: 1, patch: 0 };

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }

    fn compatible(self, served: Self) -> bool {
        (self.major, self.minor) == (served.major, served.minor)
    }
}

impl fmt::Display for ContractVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

const PACKAGE: &str = "weir:handler/";

/// What `wit/handler.wit` offers, interface by interface.
const OFFERED: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("manifest", &["about", "subscribe"]),
    ("request", &["text", "bytes", "header", "headers"]),
    ("log", &["debug", "info", "warn", "error"]),
    ("config", &["get"]),
    ("context", &["attempt", "now", "random", "parent", "retry-after"]),
    ("state", &["get", "set", "add", "expire", "remove", "keys"]),
    (
        "outbox",
        &[
            "send",
            "send-json",
            "forward",
            "emit",
            "emit-json",
            "set-header",
            "set-delay",
            "set-key",
            "cancel",
            "cancel-ahead",
        ],
    ),
    ("reply", &["set", "set-json", "set-header"]),
];

/// The packages of WASI 0.2 that are linked, with nothing granted.
const WASI: &[&str] =
    &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// A component that this host cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContractMismatch {
    /// It calls a function that came later.
    #[error(
        "needs contract {needs} ({function}) but this host serves {}; update weir, or build the handler with this host's WIT (weir new)",
        ContractVersion::SERVED
    )]
    Function {
        /// What it was built for.
        needs: ContractVersion,
        /// What is missing, such as `state.get-bytes`.
        function: String,
    },
    /// It was built for another contract.
    #[error(
        "needs contract {needs} but this host serves {}; update weir, or build the handler with this host's WIT (weir new)",
        ContractVersion::SERVED
    )]
    Version {
        /// What it was built for, as its imports say it.
        needs: String,
    },
    /// It wants something that was never offered to handlers.
    #[error("imports {name}, which no handler contract offers")]
    Import {
        /// What it imports.
        name: String,
    },
}

/// Checks a component's imports; gives the contract it was built for.
pub(crate) fn check(
    component: &Component,
    engine: &wasmtime::Engine,
) -> Result<ContractVersion, ContractMismatch> {
    let mut built_for = None;
    for (name, import) in component.imports(engine) {
        let functions: Vec<&str> = match &import.ty {
            ComponentItem::ComponentInstance(instance) => instance
                .exports(engine)
                .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
                .map(|(function, _)| function)
                .collect(),
            _ => return Err(ContractMismatch::Import { name: name.to_owned() }),
        };
        built_for = built_for.max(check_import(name, &functions)?);
    }
    Ok(built_for.unwrap_or(ContractVersion::SERVED))
}

fn check_import(
    name: &str,
    functions: &[&str],
) -> Result<Option<ContractVersion>, ContractMismatch> {
    let Some(ours) = name.strip_prefix(PACKAGE) else {
        let known = WASI.iter().any(|package| name.starts_with(package));
        return if known {
            Ok(None)
        } else {
            Err(ContractMismatch::Import { name: name.to_owned() })
        };
    };
    let (interface, version) = ours.split_once('@').unwrap_or((ours, ""));
    let needs = ContractVersion::parse(version)
        .filter(|version| version.compatible(ContractVersion::SERVED))
        .ok_or_else(|| ContractMismatch::Version { needs: version.to_owned() })?;
    let missing =
        |function: &str| ContractMismatch::Function { needs, function: function.to_owned() };
    let (_, offered) =
        OFFERED.iter().find(|(known, _)| *known == interface).ok_or_else(|| missing(interface))?;
    match functions.iter().find(|function| !offered.contains(function)) {
        Some(function) => Err(missing(&format!("{interface}.{function}"))),
        None => Ok(Some(needs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIT: &str = include_str!("../../../wit/handler.wit");

    /// Interfaces with their functions, read from the contract's own text.
    fn in_the_wit() -> Vec<(String, Vec<String>)> {
        let mut interfaces: Vec<(String, Vec<String>)> = Vec::new();
        for line in WIT.lines().map(str::trim).take_while(|line| !line.starts_with("world ")) {
            if let Some(name) = line.strip_prefix("interface ") {
                interfaces.push((name.trim_end_matches(" {").to_owned(), Vec::new()));
            } else if let Some((name, _)) = line.split_once(": func(") {
                interfaces.last_mut().unwrap().1.push(name.to_owned());
            }
        }
        interfaces
    }

    #[test]
    fn what_is_offered_is_what_the_contract_says() {
        let offered: Vec<(String, Vec<String>)> = OFFERED
            .iter()
            .map(|(name, functions)| {
                ((*name).to_owned(), functions.iter().map(|f| (*f).to_owned()).collect())
            })
            .collect();
        assert_eq!(offered, in_the_wit());
        assert!(WIT.contains(&format!("package weir:handler@{};", ContractVersion::SERVED)));
    }

    #[test]
    fn a_function_that_came_later_is_named() {
        let error = check_import("weir:handler/state@0.1.1", &["get", "get-bytes"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "needs contract 0.1.1 (state.get-bytes) but this host serves 0.1.0; update weir, or build the handler with this host's WIT (weir new)"
        );
    }

    #[test]
    fn a_later_patch_without_later_functions_is_served() {
        let later = ContractVersion { major: 0, minor: 1, patch: 7 };
        assert_eq!(check_import("weir:handler/state@0.1.7", &["get"]), Ok(Some(later)));
    }

    #[test]
    fn another_contract_is_refused_whatever_it_uses() {
        let error = check_import("weir:handler/types@0.2.0", &[]).unwrap_err();
        assert!(error.to_string().starts_with("needs contract 0.2.0 but this host serves 0.1.0;"));
        assert!(check_import("weir:handler/types", &[]).is_err());
    }

    #[test]
    fn what_was_never_offered_is_named() {
        let error = check_import("acme:db/sql@1.0.0", &["query"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "imports acme:db/sql@1.0.0, which no handler contract offers"
        );
        assert!(check_import("wasi:http/outgoing-handler@0.2.0", &["handle"]).is_err());
        assert_eq!(check_import("wasi:io/poll@0.2.9", &["poll"]), Ok(None));
    }
}
