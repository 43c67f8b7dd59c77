//! Single values: text, number, duration, size, name. Errors name the expected form.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;
use weir_core::bounds::EMIT_TYPE_BYTES_MAX;
use weir_core::event::EventType;
use weir_core::module_signature::{InvalidModuleKey, ModuleKey};
use weir_core::name::{DestinationName, HandlerName};
use weir_core::route::Pattern;
use weir_engine::StateKeys;

use weir_core::units;

/// A type that can be read from a value of the file.
pub(super) trait Value: Sized {
    /// Reads the value, or returns the problem.
    fn read(value: &DeValue<'_>) -> Result<Self, String>;
}

/// A number of bytes, written with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) usize);

/// The kind of a value in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn expected(what: &str, value: &DeValue<'_>) -> String {
    format!("expected {what}, found {}", kind(value))
}

impl Value for String {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_str().map(Into::into).ok_or_else(|| expected("text in \"quotes\"", value))
    }
}

impl Value for PathBuf {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match String::read(value)? {
            text if text.is_empty() => Err("must name a file or folder".into()),
            text => Ok(text.into()),
        }
    }
}

impl Value for bool {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| expected("true or false", value))
    }
}

impl Value for f64 {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = match value {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => return Err(expected("a number", value)),
        };
        text.parse().map_err(|_| expected("a number", value))
    }
}

/// A count. Never zero, because every counted thing must exist.
impl Value for usize {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let integer = value.as_integer().ok_or_else(|| expected("a whole number", value))?;
        let number = i64::from_str_radix(integer.as_str(), integer.radix());
        match number.map(Self::try_from) {
            Ok(Ok(0) | Err(_)) => Err("must be at least 1".into()),
            Ok(Ok(count)) => Ok(count),
            Err(_) => Err("is too large a number".into()),
        }
    }
}

impl Value for u32 {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        usize::read(value)?.try_into().map_err(|_| "is too large a number".into())
    }
}

impl Value for Duration {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let expected = || expected("a duration such as \"30s\"", value);
        units::parse_duration(value.as_str().ok_or_else(expected)?).map_err(|e| e.to_string())
    }
}

impl Value for Size {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let expected = || expected("a size such as \"64KiB\"", value);
        let text = value.as_str().ok_or_else(expected)?;
        units::parse_size(text).map(Self).map_err(|e| e.to_string())
    }
}

impl Value for SocketAddr {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        text.parse().map_err(|_| {
            let text = units::shortened(&text);
            format!(
                "`{text}` is not an address and port, such as \"127.0.0.1:8080\" or \"[::]:8080\""
            )
        })
    }
}

impl Value for Pattern {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::parse(&String::read(value)?).map_err(|e| e.to_string())
    }
}

impl Value for EventType {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        if text.len() > EMIT_TYPE_BYTES_MAX {
            return Err(format!("is longer than {EMIT_TYPE_BYTES_MAX} bytes"));
        }
        Self::new(&text).map_err(|error| error.to_string())
    }
}

impl Value for StateKeys {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::parse(&String::read(value)?).map_err(|error| error.to_string())
    }
}

impl Value for ModuleKey {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        String::read(value)?.parse().map_err(|error: InvalidModuleKey| error.to_string())
    }
}

impl Value for HandlerName {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::new(&String::read(value)?).map_err(|e| e.to_string())
    }
}

impl Value for DestinationName {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::new(&String::read(value)?).map_err(|e| e.to_string())
    }
}
