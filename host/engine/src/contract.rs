//! The check that this hub serves the contract of a component. It runs before linking, because the
//! errors of the linker do not name the contract.

use std::fmt;

use thiserror::Error;
use wasmtime::component::types::{Component, ComponentItem};

/// A version of the handler contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContractVersion {
    /// Changes with the guarantees.
    pub major: u32,
    /// Changes when built handlers would break.
    pub minor: u32,
    /// Rises when functions are added.
    pub patch: u32,
}

impl ContractVersion {
    /// The contract that this hub serves.
    pub const SERVED: Self = Self { major: 0, minor: 1, patch: 1 };

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

/// The interfaces of `wit/handler.wit` with their functions.
const OFFERED: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("manifest", &["about", "subscribe", "state-version", "needs-destination"]),
    ("request", &["text", "bytes", "header", "headers", "method", "query", "path-rest"]),
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

/// The reason that this hub cannot serve a component.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContractMismatch {
    /// It calls a function of a later contract.
    #[error(
        "needs contract {needs} ({function}) but this hub serves {}; update weir, or build the \
         handler with this hub's WIT (weir new)",
        ContractVersion::SERVED
    )]
    Function {
        needs: ContractVersion,
        /// Such as `state.get-bytes`.
        function: String,
    },
    #[error(
        "needs contract {needs} but this hub serves {}; update weir, or build the handler with \
         this hub's WIT (weir new)",
        ContractVersion::SERVED
    )]
    Version { needs: String },
    /// It calls a function that is not in the contract it was built with.
    #[error(
        "imports {function}, which contract {} does not have; build the handler with this hub's \
         WIT (weir new)",
        ContractVersion::SERVED
    )]
    Unknown { function: String },
    /// No contract has this import.
    #[error("imports {name}, which no handler contract offers")]
    Import { name: String },
}

/// The version of the contract that a component was built with. None if it imports nothing of it.
pub(crate) fn built_with(
    component: &Component,
    engine: &wasmtime::Engine,
) -> Option<ContractVersion> {
    let versions = component.imports(engine).filter_map(|(name, _)| {
        ContractVersion::parse(name.strip_prefix(PACKAGE)?.split_once('@')?.1)
    });
    versions.max()
}

/// Checks the imports of a component.
pub(crate) fn check(
    component: &Component,
    engine: &wasmtime::Engine,
) -> Result<(), ContractMismatch> {
    for (name, import) in component.imports(engine) {
        let functions: Vec<&str> = match &import.ty {
            ComponentItem::ComponentInstance(instance) => instance
                .exports(engine)
                .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
                .map(|(function, _)| function)
                .collect(),
            _ => return Err(ContractMismatch::Import { name: name.to_owned() }),
        };
        check_import(name, &functions)?;
    }
    Ok(())
}

fn check_import(name: &str, functions: &[&str]) -> Result<(), ContractMismatch> {
    let Some(ours) = name.strip_prefix(PACKAGE) else {
        let known = WASI.iter().any(|package| name.starts_with(package));
        return if known {
            Ok(())
        } else {
            Err(ContractMismatch::Import { name: name.to_owned() })
        };
    };
    let (interface, version) = ours.split_once('@').unwrap_or((ours, ""));
    let needs = ContractVersion::parse(version)
        .filter(|version| version.compatible(ContractVersion::SERVED))
        .ok_or_else(|| ContractMismatch::Version { needs: version.to_owned() })?;
    let missing = |function: &str| {
        let function = function.to_owned();
        if needs > ContractVersion::SERVED {
            ContractMismatch::Function { needs, function }
        } else {
            ContractMismatch::Unknown { function }
        }
    };
    let (_, offered) =
        OFFERED.iter().find(|(known, _)| *known == interface).ok_or_else(|| missing(interface))?;
    match functions.iter().find(|function| !offered.contains(function)) {
        Some(function) => Err(missing(&format!("{interface}.{function}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIT: &str = include_str!("../../../wit/handler.wit");

    /// The interfaces with their functions, from the text of the WIT.
    fn interfaces_of_the_wit() -> Vec<(String, Vec<String>)> {
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
    fn offered_functions_are_those_of_the_wit() {
        let offered: Vec<(String, Vec<String>)> = OFFERED
            .iter()
            .map(|(name, functions)| {
                ((*name).to_owned(), functions.iter().map(|f| (*f).to_owned()).collect())
            })
            .collect();
        assert_eq!(offered, interfaces_of_the_wit());
        assert!(WIT.contains(&format!("package weir:handler@{};", ContractVersion::SERVED)));
    }

    #[test]
    fn function_of_a_later_contract_is_named() {
        let error = check_import("weir:handler/state@0.1.2", &["get", "get-bytes"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "needs contract 0.1.2 (state.get-bytes) but this hub serves 0.1.1; update weir, or \
             build the handler with this hub's WIT (weir new)"
        );
    }

    #[test]
    fn function_that_no_contract_so_far_has_is_named() {
        for version in ["0.1.0", "0.1.1"] {
            let name = format!("weir:handler/state@{version}");
            let error = check_import(&name, &["get-bytes"]).unwrap_err();
            assert!(error.to_string().starts_with("imports state.get-bytes, which contract 0.1.1"));
        }
    }

    #[test]
    fn functions_of_0_1_1_are_served_under_both_versions() {
        for version in ["0.1.0", "0.1.1"] {
            let name = format!("weir:handler/request@{version}");
            assert_eq!(check_import(&name, &["text", "method", "query", "path-rest"]), Ok(()));
        }
    }

    #[test]
    fn later_patch_without_later_functions_is_served() {
        assert_eq!(check_import("weir:handler/state@0.1.7", &["get"]), Ok(()));
    }

    #[test]
    fn another_contract_is_refused() {
        let error = check_import("weir:handler/types@0.2.0", &[]).unwrap_err();
        assert!(error.to_string().starts_with("needs contract 0.2.0 but this hub serves 0.1.1;"));
        assert!(check_import("weir:handler/types", &[]).is_err());
    }

    #[test]
    fn import_of_no_contract_is_named() {
        let error = check_import("acme:db/sql@1.0.0", &["query"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "imports acme:db/sql@1.0.0, which no handler contract offers"
        );
        assert!(check_import("wasi:http/outgoing-handler@0.2.0", &["handle"]).is_err());
        assert_eq!(check_import("wasi:io/poll@0.2.9", &["poll"]), Ok(()));
    }
}
