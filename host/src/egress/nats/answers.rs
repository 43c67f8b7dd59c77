//! The meaning of a failure that a NATS server or its client reports. `Err` is a connection that
//! should not be used again. Pure.

use std::error::Error as _;

use async_nats::client::{FlushError, PublishError};
use async_nats::jetstream::Error as StreamError;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::publish::PublishAck;
use async_nats::{ConnectError, ConnectErrorKind};

use super::about_name;
use crate::config::NatsSettings;
use crate::egress::server::{ServerLink, chain};
use crate::egress::transport::{SendOutcome, Subject};

type StreamPublishError = async_nats::jetstream::context::PublishError;

/// The outcome of a send without a connection.
pub(super) fn not_connected(error: &ConnectError, link: &ServerLink) -> SendOutcome {
    let said = chain(error);
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => link
            .unavailable(format!("{said}; set user and password, or token, as the server has them")),
        ConnectErrorKind::Tls => link.unavailable(format!(
            "{said}; if you run your own certificate authority, set its certificate: ca = \"FILE.pem\""
        )),
        ConnectErrorKind::ServerParse => {
            link.unavailable(format!("does not answer as NATS does: {said}"))
        }
        _ => link.unavailable(format!("cannot be reached, or does not answer as NATS does: {said}")),
    }
}

/// The outcome of a publication without a stream.
pub(super) fn of_core(
    sent: Result<(), PublishError>,
    flushed: Result<(), FlushError>,
    link: &ServerLink,
) -> Result<SendOutcome, SendOutcome> {
    use async_nats::client::PublishErrorKind as Kind;
    match sent {
        Err(error) if error.kind() == Kind::MaxPayloadExceeded => {
            return Ok(too_large(link, &error.to_string()));
        }
        Err(error) if error.kind() == Kind::InvalidSubject => {
            return Ok(bad_subject(link, &error.to_string()));
        }
        Err(error) => return Err(link.unavailable(chain(&error))),
        Ok(()) => {}
    }
    match flushed {
        Ok(()) => Ok(SendOutcome::Accepted { receipt: None }),
        Err(error) => Err(link.unavailable(chain(&error))),
    }
}

/// The outcome of a publication that a stream has to confirm.
pub(super) fn of_stream(
    confirmed: Result<PublishAck, StreamPublishError>,
    link: &ServerLink,
    subject: &str,
    settings: &NatsSettings,
) -> Result<SendOutcome, SendOutcome> {
    let error = match confirmed {
        // Also for a duplicate, which the stream has already.
        Ok(_) => return Ok(SendOutcome::Accepted { receipt: None }),
        Err(error) => error,
    };
    let said = chain(&error);
    match error.kind() {
        PublishErrorKind::StreamNotFound => {
            return Ok(about_name(settings, link, no_stream_text(subject, &said)));
        }
        PublishErrorKind::MaxPayloadExceeded => return Ok(too_large(link, &said)),
        PublishErrorKind::MaxAckPending => {
            let reason = format!("{}: {said}", link.server().address()).into();
            return Ok(SendOutcome::Refused { about: Subject::Load, reason });
        }
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
            return Err(link.unavailable(said));
        }
        _ => {}
    }
    let told = error.source().and_then(|source| source.downcast_ref::<StreamError>());
    let Some(told) = told else {
        return match said.contains("subject") {
            true => Ok(bad_subject(link, &said)),
            false => Err(link.unavailable(said)),
        };
    };
    Ok(match told.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            too_large(link, &said)
        }
        // Its words are the only sign that a stream is full.
        _ if said.contains("maximum") || said.contains("resource") || said.contains("storage") => {
            about_name(
                settings,
                link,
                format!(
                    "{said}; the stream is full: raise its limits, or let it discard old messages"
                ),
            )
        }
        _ => about_name(settings, link, format!("{said}; see the server's log")),
    })
}

/// The reason of a check that found no stream.
pub(super) fn no_stream(
    link: &ServerLink,
    subject: &str,
    error: &(dyn std::error::Error + 'static),
) -> String {
    format!("{}: {}", link.server().address(), no_stream_text(subject, &chain(error)))
}

fn no_stream_text(subject: &str, said: &str) -> String {
    format!(
        "no stream takes {subject} ({said}); make one with this subject, enable JetStream, or set \
         jetstream = false"
    )
}

fn too_large(link: &ServerLink, said: &str) -> SendOutcome {
    let address = link.server().address();
    let reason = format!("{address}: the message is too large: {said}; raise max_payload there");
    SendOutcome::Refused { about: Subject::Message, reason: reason.into() }
}

fn bad_subject(link: &ServerLink, said: &str) -> SendOutcome {
    let reason = format!("{}: the subject cannot be used: {said}", link.server().address());
    SendOutcome::Refused { about: Subject::Message, reason: reason.into() }
}
