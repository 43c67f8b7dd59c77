//! The meaning of a confirmation or failure of a RabbitMQ server. `Err` is a connection that should
//! not be used again. Pure.

use lapin::{Confirmation, Error, ErrorKind};

use crate::config::RabbitSettings;
use crate::egress::server::ServerLink;
use crate::egress::transport::{SendOutcome, Subject};

/// Codes of the protocol.
const NO_ROUTE: u16 = 312;
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// The outcome of a message that the server confirmed, returned or refused.
pub(super) fn outcome(
    confirmation: Confirmation,
    link: &ServerLink,
    settings: &RabbitSettings,
    key: &str,
) -> SendOutcome {
    match confirmation {
        Confirmation::Ack(None) | Confirmation::NotRequested => {
            SendOutcome::Accepted { receipt: None }
        }
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            let said = format!("{} {}", returned.reply_code, returned.reply_text);
            let what = match (returned.reply_code, settings.exchange.as_str()) {
                (NO_ROUTE, "") => format!("there is no queue {key} ({said}); declare it"),
                (NO_ROUTE, exchange) => format!(
                    "exchange {exchange} brings {key} to no queue ({said}); bind a queue to it"
                ),
                _ => format!("it returned the message: {said}"),
            };
            about_name(link, settings, what)
        }
        Confirmation::Nack(None) => link.unavailable(
            "it refused the message: the queue is full (max-length with reject-publish), or it \
             cannot write; let consumers catch up, or raise the limit",
        ),
    }
}

/// The outcome of a failure before or after the message was sent.
pub(super) fn failed(
    error: &Error,
    link: &ServerLink,
    settings: &RabbitSettings,
    body_bytes: usize,
) -> Result<SendOutcome, SendOutcome> {
    let Some((PRECONDITION_FAILED, said)) = told(error) else {
        return Err(not_opened(error, link, settings));
    };
    // The server closes the channel, with all messages on it. Only the one above the limit is to
    // blame.
    let limit = said.rsplit(|c: char| !c.is_ascii_digit()).find_map(|n| n.parse::<usize>().ok());
    if said.contains("larger than") && limit.is_some_and(|limit| body_bytes > limit) {
        let reason = format!("{}: {said}; raise max_message_size there", link.server().address());
        return Ok(SendOutcome::Refused { about: Subject::Message, reason: reason.into() });
    }
    Err(link.unavailable(said))
}

/// The outcome of a send without a connection or channel.
pub(super) fn not_opened(
    error: &Error,
    link: &ServerLink,
    settings: &RabbitSettings,
) -> SendOutcome {
    let absent = match settings.exchange.is_empty() {
        true => "declare the queue",
        false => "declare the exchange, or name another one",
    };
    let denied = "give its user the right to write there (rabbitmqctl set_permissions)";
    unavailable(error, link, Advice { absent, denied })
}

/// Advice for what a server refuses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Advice {
    /// For a queue or an exchange that is not there.
    pub(crate) absent: &'static str,
    /// For a right that the user lacks.
    pub(crate) denied: &'static str,
}

/// The outcome of a failure of the connection, or of a refusal that closed it.
pub(crate) fn unavailable(error: &Error, link: &ServerLink, advice: Advice) -> SendOutcome {
    let Some((code, said)) = told(error) else {
        return match error.kind() {
            ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => {
                link.unavailable(format!("does not answer as RabbitMQ does: {error}"))
            }
            ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidConnectionState(_) => {
                link.unavailable("the connection broke")
            }
            _ => link.unavailable(format!(
                "the connection broke, or it does not answer as RabbitMQ does: {error}"
            )),
        };
    };
    let advice = match code {
        ACCESS_REFUSED if said.contains("Login") || said.contains("login") => {
            "set user and password as the server has them"
        }
        ACCESS_REFUSED => advice.denied,
        NOT_FOUND => advice.absent,
        NOT_ALLOWED => "name another virtual host in the url, or give the user access to it",
        _ => "see the server's log",
    };
    link.unavailable(format!("{code} {said}; {advice}"))
}

/// The code and the words of the server.
fn told(error: &Error) -> Option<(u16, String)> {
    match error.kind() {
        ErrorKind::ProtocolError(told) => {
            Some((told.get_id(), told.get_message().as_str().to_owned()))
        }
        _ => None,
    }
}

/// A name that is missing: for every message, or for those like this one.
fn about_name(link: &ServerLink, settings: &RabbitSettings, what: String) -> SendOutcome {
    if settings.routing_key.is_fixed() {
        return link.unavailable(what);
    }
    let reason = format!("{}: {what}", link.server().address()).into();
    SendOutcome::Refused { about: Subject::Failure, reason }
}
