//! The meaning of an error from a PostgreSQL server, by its code. `Err` is a connection that should
//! not be used again. Pure.

use tokio_postgres::Error;
use tokio_postgres::error::DbError;

use crate::egress::server::{ServerLink, chain};
use crate::egress::transport::{SendOutcome, Subject};

/// The consequences of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The server takes no message now.
    Unavailable(&'static str),
    /// This message.
    Message(&'static str),
    /// Another try may succeed.
    Failure,
}

/// The outcome of a send whose connection could not be opened or statement not be prepared.
pub(super) fn not_opened(error: &Error, link: &ServerLink) -> SendOutcome {
    match error.as_db_error() {
        Some(answer) => {
            let advice = match meaning(answer.code().code()) {
                Meaning::Unavailable(advice) => advice,
                Meaning::Message(_) | Meaning::Failure => "look at the destination's statement",
            };
            link.unavailable(format!("{}; {advice}", said(answer)))
        }
        None => link.unavailable(not_answered(error)),
    }
}

/// The outcome of a statement that failed.
pub(super) fn outcome(error: &Error, link: &ServerLink) -> Result<SendOutcome, SendOutcome> {
    let Some(answer) = error.as_db_error() else {
        return Err(link.unavailable(not_answered(error)));
    };
    let (code, said) = (answer.code().code(), said(answer));
    let refused = |about, advice: &str| {
        let reason = format!("{}: {said}{advice}", link.server().address()).into();
        SendOutcome::Refused { about, reason }
    };
    match meaning(code) {
        Meaning::Unavailable(advice) => {
            let outcome = link.unavailable(format!("{said}; {advice}"));
            // The server closes the connection after these, or the statement is not valid any more.
            Err(outcome)
        }
        Meaning::Message(advice) => Ok(refused(Subject::Message, &format!("; {advice}"))),
        Meaning::Failure => Ok(refused(Subject::Failure, "")),
    }
}

/// The meaning of an SQLSTATE.
fn meaning(code: &str) -> Meaning {
    use Meaning::{Failure, Message, Unavailable};
    match code {
        "53100" => Unavailable("its disk is full"),
        "53300" => Unavailable("raise its max_connections, or give weir a pool"),
        "25006" => Unavailable("it is read-only: name the primary server"),
        "42501" => Unavailable("GRANT its user the right to write there"),
        "42P01" | "42703" | "3F000" | "42883" => {
            Unavailable("make what is missing, or correct the statement")
        }
        "3D000" => Unavailable("name another database in the url, or make it"),
        "42P18" => Unavailable("write a cast for the parameter, such as $1::text"),
        "23505" => Message("if it is a repeated message, write ON CONFLICT DO NOTHING"),
        "40001" | "40P01" | "55P03" | "57014" => Failure,
        _ => match code.get(..2).unwrap_or_default() {
            "28" => {
                Unavailable("set user and password as the server has them, or see its pg_hba.conf")
            }
            "08" | "57" => Unavailable("it stops or starts"),
            "53" | "58" => Unavailable("look at its disk and memory"),
            "42" => Unavailable("correct the statement"),
            "22" => Message("a value does not fit its column"),
            "23" => Message("a constraint of the table refuses it"),
            _ => Failure,
        },
    }
}

fn said(answer: &DbError) -> String {
    format!("{} {}", answer.code().code(), answer.message())
}

fn not_answered(error: &Error) -> String {
    let said = chain(error);
    match () {
        () if said.contains("does not support TLS") => {
            format!("{said}: remove tls = true, or turn TLS on there")
        }
        () if said.contains("UnknownIssuer") => {
            format!("{said}; if you run your own certificate authority, set: ca = \"FILE.pem\"")
        }
        () => format!("the connection broke, or it does not answer as PostgreSQL does: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_meaning() {
        for (codes, is_meant) in [
            (
                &["53100", "25006", "42501", "42P01", "28P01", "57P01", "08006", "42601"][..],
                (|m| matches!(m, Meaning::Unavailable(_))) as fn(Meaning) -> bool,
            ),
            (&["22P02", "23505", "23502", "22021"], |m| matches!(m, Meaning::Message(_))),
            (&["40001", "XX000", "P0001"], |m| m == Meaning::Failure),
        ] {
            for code in codes {
                assert!(is_meant(meaning(code)), "{code}: {:?}", meaning(code));
            }
        }
    }
}
