//! The names of sources, handlers and destinations, and the target of a delivery.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The hub's own source, which alerts come from.
pub const HUB_SOURCE: &str = "weir";

/// The source of the events of schedules.
pub const SCHEDULE_SOURCE: &str = "schedule";

/// A name breaks the rule of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{text}` is not a {kind} name: use 1 to 63 of a-z, 0-9, `-`{extra}, starting with a \
     letter or digit"
)]
pub struct InvalidName {
    text: String,
    kind: &'static str,
    extra: &'static str,
}

fn valid(text: &str, underscore: bool) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !text.is_empty()
        && text.len() <= 63
        && ok(text.as_bytes()[0])
        && text.bytes().all(|b| ok(b) || b == b'-' || (underscore && b == b'_'))
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $kind:literal, $underscore:literal, $extra:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a name.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                if valid(text, $underscore) {
                    Ok(Self(text.into()))
                } else {
                    let text = text.chars().take(80).collect();
                    Err(InvalidName { text, kind: $kind, extra: $extra })
                }
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

names! {
    /// A handler, named after its file. It owns state and history.
    HandlerName, "handler", false, "";
    DestinationName, "destination", true, " or `_`";
}

impl HandlerName {
    /// The valid name that a text was probably meant to be: `my-rule` for `My_rule`.
    #[must_use]
    pub fn similar(text: &str) -> Option<Self> {
        let lower = text.chars().flat_map(char::to_lowercase);
        let plain: String =
            lower.map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let parts: Vec<&str> = plain.split('-').filter(|part| !part.is_empty()).collect();
        let joined = parts.join("-");
        let short = joined.get(..63).unwrap_or(&joined).trim_end_matches('-');
        Self::new(short).ok()
    }
}

/// The beginning of the sources of answers.
const ANSWERED: &str = "@destination.";

/// The source of an event: a configured one (`github`), a handler that emitted it (`@payments`), a
/// destination whose answer it was (`@destination.crm`), the schedules of the operator
/// (`schedule`), or the hub itself (`weir`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(Arc<str>);

impl SourceName {
    /// Checks the name of a configured source. `weir` and `schedule` are sources of the hub, and
    /// `category` starts another kind of pattern.
    pub fn configured(text: &str) -> Result<Self, InvalidName> {
        let is_taken = [HUB_SOURCE, SCHEDULE_SOURCE, "category"].contains(&text);
        if valid(text, true) && !is_taken {
            Ok(Self(text.into()))
        } else {
            let text = text.chars().take(80).collect();
            let extra = " or `_` (`weir`, `schedule` and `category` are taken)";
            Err(InvalidName { text, kind: "source", extra })
        }
    }

    /// The source of the events that `handler` emits.
    #[must_use]
    pub fn emitted_by(handler: &HandlerName) -> Self {
        Self(format!("@{handler}").into())
    }

    /// The source of the events that answers of `destination` become. No handler has such a name.
    #[must_use]
    pub fn answered_by(destination: &DestinationName) -> Self {
        Self(format!("{ANSWERED}{destination}").into())
    }

    #[must_use]
    pub fn hub() -> Self {
        Self(HUB_SOURCE.into())
    }

    /// The source of the events of schedules.
    #[must_use]
    pub fn schedule() -> Self {
        Self(SCHEDULE_SOURCE.into())
    }

    #[must_use]
    pub fn is_hub(&self) -> bool {
        &*self.0 == HUB_SOURCE
    }

    /// Restores a stored name.
    #[must_use]
    pub fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// True if a wildcard does not match it: the sources of handlers, of schedules and of the hub
    /// must be named.
    #[must_use]
    pub fn must_be_named(&self) -> bool {
        self.0.starts_with('@') || [HUB_SOURCE, SCHEDULE_SOURCE].contains(&&*self.0)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads `NAME`, `@HANDLER`, `@destination.NAME`, `schedule` or `weir`.
impl FromStr for SourceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if let Some(destination) = text.strip_prefix(ANSWERED) {
            return DestinationName::new(destination).map(|name| Self::answered_by(&name));
        }
        match text.strip_prefix('@') {
            Some(handler) => HandlerName::new(handler).map(|name| Self::emitted_by(&name)),
            None if text == HUB_SOURCE => Ok(Self::hub()),
            None if text == SCHEDULE_SOURCE => Ok(Self::schedule()),
            None => Self::configured(text),
        }
    }
}

impl<'de> Deserialize<'de> for SourceName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl std::borrow::Borrow<str> for SourceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for SourceName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

/// The target of a delivery. Its text form is `handler:orders` or `destination:ops`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    Handler(HandlerName),
    Destination(DestinationName),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handler(name) => write!(f, "handler:{name}"),
            Self::Destination(name) => write!(f, "destination:{name}"),
        }
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let target = match text.split_once(':') {
            Some(("handler", name)) => HandlerName::new(name).ok().map(Self::Handler),
            Some(("destination", name)) => DestinationName::new(name).ok().map(Self::Destination),
            _ => None,
        };
        target.ok_or_else(|| InvalidTarget(text.chars().take(80).collect()))
    }
}

/// Text that is not a target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not `handler:NAME` or `destination:NAME`")]
pub struct InvalidTarget(String);

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_fixed_alphabet() {
        for bad in ["", "-a", "A", "a b", "a/b", "a_b", &"a".repeat(64)] {
            assert!(HandlerName::new(bad).is_err(), "{bad:?}");
        }
        assert!(HandlerName::new("orders-2").is_ok() && DestinationName::new("a_b").is_ok());
    }

    #[test]
    fn a_wrong_name_has_a_similar_right_one() {
        let similar = |text: &str| HandlerName::similar(text).map(|name| name.to_string());
        assert_eq!(similar("my_rule").as_deref(), Some("my-rule"));
        assert_eq!(similar("--My Rule (2).v1").as_deref(), Some("my-rule-2-v1"));
        assert_eq!(similar(&"a".repeat(100)).map(|name| name.len()), Some(63));
        assert_eq!(
            (similar(""), similar("___"), similar("ünder")),
            (None, None, Some("nder".into()))
        );
    }

    #[test]
    fn reserved_source_names_cannot_be_configured() {
        assert!(SourceName::configured("weir").is_err());
        assert!(SourceName::configured("@orders").is_err());
        assert!(SourceName::configured("category").is_err());
    }

    #[test]
    fn a_target_survives_its_text_form() {
        let target = Target::Destination(DestinationName::new("ops").unwrap());
        assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
    }
}
