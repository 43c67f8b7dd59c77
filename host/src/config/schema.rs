//! `schemas` of a source: JSON Schemas for its events, by type. Compiled from files; nothing is
//! fetched.

use std::path::{Path, PathBuf};

use jsonschema::{PatternOptions, Validator};
use serde_json::Value as Json;
use thiserror::Error;
use weir_core::bounds::{KIB, MIB};
use weir_core::event::{Category, EventType};
use weir_core::json_pointer::without_byte_order_mark;
use weir_core::name::SourceName;
use weir_core::route::Pattern;

use super::context::LoadContext;
use super::tree::Section;
use super::value::Value;
use weir_core::units::format_size;

/// Largest body that is checked, in bytes: it is parsed whole, on a thread that others need.
pub(super) const CHECKED_BYTES_MAX: usize = MIB;
const FILE_BYTES_MAX: usize = MIB;
/// Most schemas of one source; each whose pattern matches is checked.
const SCHEMAS_MAX: usize = 100;
/// Most memory of one compiled regular expression, in bytes.
const PATTERN_BYTES_MAX: usize = MIB;
/// Longest message about a mismatch, in bytes.
const SENTENCE_BYTES_MAX: usize = KIB;

/// The schemas of one source.
#[derive(Debug, Default)]
pub struct Schemas {
    by_type: Vec<(Pattern, Validator)>,
}

/// The mismatch of an event, which its sender has to fix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the event does not fit its schema at {}: {what}", place(path))]
pub struct Mismatch {
    /// A JSON Pointer to the mismatch.
    pub path: String,
    /// The reason, without a value of the event.
    pub what: String,
}

fn place(path: &str) -> &str {
    if path.is_empty() { "its root" } else { path }
}

impl Schemas {
    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_type.is_empty()
    }

    /// Checks an event against each schema for its type.
    pub fn check(
        &self,
        source: &SourceName,
        kind: &EventType,
        category: Category,
        event: &[u8],
    ) -> Result<(), Mismatch> {
        let is_for = |pattern: &Pattern| pattern.matches(source, kind, Some(category));
        let mut schemas = self.by_type.iter().filter(|(pattern, _)| is_for(pattern)).peekable();
        if schemas.peek().is_none() {
            return Ok(());
        }
        let event: Json =
            serde_json::from_slice(without_byte_order_mark(event)).map_err(|error| Mismatch {
                path: String::new(),
                what: format!(
                    "is not readable JSON (line {}, column {})",
                    error.line(),
                    error.column()
                ),
            })?;
        for (_, schema) in schemas {
            schema.validate(&event).map_err(|error| Mismatch {
                path: shortened(error.instance_path().as_str()),
                what: shortened(&error.masked().to_string()),
            })?;
        }
        Ok(())
    }
}

/// Names in the event may have any length.
fn shortened(text: &str) -> String {
    let mut end = text.len().min(SENTENCE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Reads `schemas` of a source. An invalid schema is noted, and absent in the result.
pub(super) fn read(
    section: &mut Section<'_>,
    source: &SourceName,
    context: &LoadContext<'_>,
) -> Schemas {
    let entries = section.entries("schemas").unwrap_or_default();
    if entries.len() > SCHEMAS_MAX {
        section.problem("schemas", format!("more than {SCHEMAS_MAX} schemas of one source"));
    }
    let mut by_type = Vec::new();
    for (kind, _, value) in entries.into_iter().take(SCHEMAS_MAX) {
        let compiled = || {
            let pattern = Pattern::parse(&format!("{source}:{kind}"));
            let pattern = pattern.map_err(|error| error.to_string())?;
            let path = context.resolve(&PathBuf::read(value.get_ref())?);
            context.record_read(&path);
            let schema = compiled(&path).map_err(|what| format!("{} {what}", path.display()))?;
            Ok::<_, String>((pattern, schema))
        };
        match compiled() {
            Ok(schema) => by_type.push(schema),
            Err(what) => section.problem(&format!("schemas.{kind}"), what),
        }
    }
    Schemas { by_type }
}

fn compiled(path: &Path) -> Result<Validator, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX as u64 {
        return Err(format!("is larger than {}", format_size(FILE_BYTES_MAX)));
    }
    let text = std::fs::read(path).map_err(unreadable)?;
    let schema: Json =
        serde_json::from_slice(&text).map_err(|error| format!("is not JSON: {error}"))?;
    // A regex engine with linear time for every pattern and text.
    let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
    let options = jsonschema::options().with_pattern_options(patterns).offline();
    options.build(&schema).map_err(|error| {
        let at = shortened(error.instance_path().as_str());
        format!("is not a JSON Schema: at {}: {}", place(&at), shortened(&error.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compile(schema: &Json) -> Result<Validator, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), schema.to_string()).unwrap();
        compiled(file.path())
    }

    fn check(schema: &Json, event: &str) -> Result<(), Mismatch> {
        let source = SourceName::configured("shop").unwrap();
        let pattern = Pattern::parse("shop:order.*").unwrap();
        let schemas = Schemas { by_type: vec![(pattern, compile(schema).unwrap())] };
        let kind = EventType::new("order.paid").unwrap();
        schemas.check(&source, &kind, Category::Custom, event.as_bytes())
    }

    fn order() -> Json {
        json!({ "type": "object", "required": ["id"], "properties": {
            "id": { "type": "string", "pattern": "^o-[0-9]+$" },
            "lines": { "type": "array", "items": { "properties": { "n": { "minimum": 1 } } } },
        } })
    }

    #[test]
    fn a_mismatch_is_reported_with_its_path_without_its_value() {
        assert_eq!(check(&order(), r#"{"id":"o-1","lines":[{"n":1}]}"#), Ok(()));
        let at = |event| check(&order(), event).unwrap_err();
        assert_eq!(at(r#"{"id":"o-1","lines":[{"n":1},{"n":-4711}]}"#).path, "/lines/1/n");
        let secret = at(r#"{"id":"hunter2"}"#);
        assert_eq!(secret.path, "/id");
        assert!(!secret.to_string().contains("hunter2"), "{secret}");
        assert_eq!(at("{}").path, "");
        assert!(at("{}").what.contains("\"id\""), "{}", at("{}"));
        assert!(at("{\"id\":").what.starts_with("is not readable JSON"));
    }

    #[test]
    fn endless_nesting_is_refused_as_json() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(check(&json!({ "items": { "$ref": "#" } }), &deep).is_err());
    }

    #[test]
    fn a_recursive_schema_ends() {
        for schema in [
            json!({ "$ref": "#" }),
            json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } }, "$ref": "#/$defs/a" }),
            json!({ "allOf": [{ "$ref": "#" }] }),
        ] {
            if let Ok(schema) = compile(&schema) {
                let _ = schema.is_valid(&json!({ "id": 1 }));
                let _ = schema.validate(&json!({ "id": 1 }));
            }
        }
    }

    #[test]
    fn an_invalid_or_remote_schema_is_refused() {
        for (schema, wanted) in [
            (json!({ "type": "strin" }), "is not a JSON Schema: at /type"),
            (json!(3), "is not a JSON Schema"),
            (json!({ "$ref": "https://schemas.example/order.json" }), "is not a JSON Schema"),
            (json!({ "$ref": "file:///etc/passwd" }), "is not a JSON Schema"),
            (json!({ "$ref": "other.json" }), "is not a JSON Schema"),
            (json!({ "pattern": "(?=a)" }), "is not a JSON Schema: at /pattern"),
        ] {
            let said = compile(&schema).unwrap_err();
            assert!(said.starts_with(wanted), "{schema} says {said}");
        }
    }

    #[test]
    fn a_pattern_takes_linear_time() {
        let event = format!("{{\"id\":\"{}!\"}}", "a".repeat(50_000));
        let schema = json!({ "properties": { "id": { "pattern": "^(a+)+$" } } });
        assert_eq!(check(&schema, &event).unwrap_err().path, "/id");
    }
}
