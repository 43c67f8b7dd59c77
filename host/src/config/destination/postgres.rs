//! The `postgres` kind: a statement of the operator, and the facts that are its parameters.

use percent_encoding::percent_decode_str;
use toml::de::DeValue;

use super::DestinationDefaults;
use super::server::{self, BrokerServer, ServerUrlForm};
use crate::config::context::LoadContext;
use crate::config::tree::Section;
use crate::config::value::Value;
use crate::tls::TrustedRoots;

const FORM: ServerUrlForm = ServerUrlForm {
    schemes: &[("postgres", false, 5432), ("postgresql", false, 5432)],
    example: "postgres://db.example.com:5432/orders",
};
/// Longest statement, in bytes.
const STATEMENT_BYTES_MAX: usize = 16 * 1024;
/// The most parameters of a statement.
const PARAMETERS_MAX: usize = 64;

/// A PostgreSQL database, and the statement that is run for each message.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    pub server: BrokerServer,
    pub database: String,
    pub statement: String,
    /// For `$1`, `$2` and so on.
    pub parameters: Vec<MessageFact>,
}

/// A fact of a message that a statement can have as a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageFact {
    Id,
    EventId,
    Source,
    Type,
    Handler,
    ContentType,
    /// As a JSON object.
    Headers,
    Body,
}

impl MessageFact {
    const ALL: [(&str, Self); 8] = [
        ("id", Self::Id),
        ("event_id", Self::EventId),
        ("source", Self::Source),
        ("type", Self::Type),
        ("handler", Self::Handler),
        ("content_type", Self::ContentType),
        ("headers", Self::Headers),
        ("body", Self::Body),
    ];
}

impl Value for MessageFact {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let word = String::read(value)?;
        let found = Self::ALL.iter().find(|(known, _)| *known == word);
        found.map(|(_, fact)| *fact).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|(known, _)| *known).collect();
            format!("must be one of {}", known.join(", "))
        })
    }
}

/// Reads the settings of a destination of this kind.
pub(super) fn read(
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<PostgresSettings> {
    let server = server::read(section, &FORM, defaults, trust, context);
    let tls = section.maybe("tls").unwrap_or(false);
    let statement = section.checked("statement", |text: &String| match text.len() {
        0 => Err("is empty".into()),
        1..=STATEMENT_BYTES_MAX => Ok(()),
        _ => Err("is longer than 16KiB".into()),
    });
    if !section.has("parameters") {
        section.problem("parameters", "is missing; write one such as [\"id\", \"body\"]");
    }
    let given = section.items("parameters").map_or(0, |items| items.len());
    let parameters = section.list::<MessageFact>("parameters");
    if given > PARAMETERS_MAX {
        section.problem("parameters", format!("more than {PARAMETERS_MAX} parameters"));
    }
    let (mut server, path) = server?;
    let (statement, parameters) = (statement?, parameters?);
    let highest = highest_parameter(&statement);
    if parameters.len() != given {
        return None;
    }
    if highest != given {
        let what = format!(
            "has {given} facts, but the statement has {highest} parameters, ${} being the last",
            highest.max(1)
        );
        section.problem("parameters", what);
        return None;
    }
    server.tls = tls;
    let database = percent_decode_str(&path).decode_utf8().unwrap_or_default().into_owned();
    if database.is_empty() {
        section.problem("url", "must end with the name of a database, such as /orders");
        return None;
    }
    Some(PostgresSettings { server, database, statement, parameters })
}

/// The highest number of a parameter `$N` in a statement.
fn highest_parameter(statement: &str) -> usize {
    let number = |after: &str| {
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        after[..end].parse().unwrap_or(0)
    };
    statement.split('$').skip(1).map(number).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_parameter_is_found() {
        for (statement, highest) in [
            ("insert into a values ($1, $2::jsonb, $10)", 10),
            ("select 1", 0),
            ("insert into a values ($1, $1)", 1),
            ("select '$x' || $3", 3),
        ] {
            assert_eq!(highest_parameter(statement), highest, "{statement}");
        }
    }
}
