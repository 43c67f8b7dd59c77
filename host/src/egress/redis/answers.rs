//! The meaning of an error from a Redis server, by its code. Pure.

use redis::{ErrorKind, RedisError};

use crate::egress::server::ServerLink;
use crate::egress::transport::{SendOutcome, Subject};

/// True for an error that the server answered, after which the connection still works.
pub(crate) fn is_of_the_server(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// The outcome of a command that failed. `key` names what it is about.
pub(crate) fn outcome(error: &RedisError, link: &ServerLink, key: &str) -> SendOutcome {
    let code = error.code().unwrap_or_default();
    let said = said(error);
    if error.kind() == ErrorKind::AuthenticationFailed || is_about_credentials(code, &said) {
        let what = format!("{said}; set user and password as the server knows them");
        return link.unavailable(what);
    }
    if !is_of_the_server(error) {
        return match error.kind() {
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
                link.unavailable(format!("does not answer as Redis does: {said}"))
            }
            _ => link.unavailable(format!("the connection broke: {said}")),
        };
    }
    match advice(code) {
        Some(advice) => link.unavailable(format!("{said}; {advice}")),
        None => {
            let (about, what) = match code {
                "WRONGTYPE" => {
                    (Subject::Endpoint, format!("{key} has another type: name another key"))
                }
                _ => (Subject::Failure, String::from("see the server's log")),
            };
            let address = link.server().address();
            SendOutcome::Refused { about, reason: format!("{address}: {said}; {what}").into() }
        }
    }
}

/// Advice for a code that says that the server takes no message at all.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "OOM" => "it is full: raise its maxmemory, or trim what it keeps (max_len)",
        "READONLY" => "it is a replica: name the primary server",
        "LOADING" => "it has just started and loads its data",
        "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" => "it recovers by itself",
        "MISCONF" => "it cannot save its data: look at its disk",
        "NOREPLICAS" => "it has too few replicas: look at them, or at min-replicas-to-write",
        "NOPERM" => "permit its user the command and the key (ACL SETUSER)",
        "MOVED" | "ASK" | "CROSSSLOT" => "it is a node of a cluster, which is not supported",
        _ => return None,
    })
}

fn is_about_credentials(code: &str, said: &str) -> bool {
    matches!(code, "NOAUTH" | "WRONGPASS") || said.contains("invalid password")
}

/// The words of the server.
fn said(error: &RedisError) -> String {
    let code = error.code().unwrap_or_default();
    match error.detail() {
        Some(detail) if code.is_empty() => detail.to_owned(),
        Some(detail) => format!("{code} {detail}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::BrokerServer;
    use crate::guard::AllowedNetworks;
    use crate::tls::TrustedRoots;

    fn of(error: &RedisError) -> SendOutcome {
        let server = BrokerServer {
            scheme: "redis",
            host: "cache".into(),
            port: 6379,
            tls: false,
            user: None,
            password: None,
            timeout: Duration::from_secs(1),
            allow: AllowedNetworks::default(),
            trust: TrustedRoots::default(),
        };
        outcome(error, &ServerLink::new(&server).unwrap(), "list events")
    }

    fn answered(code: &str, detail: &str) -> SendOutcome {
        of(&redis::make_extension_error(code.into(), Some(detail.into())))
    }

    #[test]
    fn a_server_that_takes_nothing_costs_no_attempt() {
        for (code, what) in [
            ("OOM", "raise its maxmemory"),
            ("READONLY", "name the primary"),
            ("LOADING", "loads its data"),
            ("MISCONF", "look at its disk"),
            ("NOPERM", "ACL SETUSER"),
            ("MOVED", "not supported"),
            ("NOAUTH", "set user and password"),
            ("WRONGPASS", "set user and password"),
        ] {
            let SendOutcome::Unavailable { reason } = answered(code, "no") else {
                panic!("{code}: {:?}", answered(code, "no"));
            };
            assert!(reason.contains(what) && reason.contains("redis://cache:6379"), "{reason}");
        }
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(of(&broken), SendOutcome::Unavailable { .. }));
    }

    #[test]
    fn other_errors_count_as_attempts() {
        let SendOutcome::Refused { about, reason } = answered("WRONGTYPE", "against a key") else {
            panic!("it is about the key");
        };
        assert_eq!(about, Subject::Endpoint);
        assert!(reason.contains("list events has another type"), "{reason}");
        let SendOutcome::Refused { about, .. } = answered("ERR", "unknown command") else {
            panic!("it may pass");
        };
        assert_eq!(about, Subject::Failure);
    }
}
