//! The meaning of an answer of Pub/Sub. Pure.
//!
//! Source: its page of error codes, and AIP-193 for the form of an error.

use http::StatusCode;
use serde::Deserialize;

use crate::egress::endpoint::HttpAnswer;
use crate::egress::server::ServerLink;
use crate::egress::transport::{SendOutcome, Subject};

/// The permission that publishing needs.
pub(super) const PERMISSION: &str = "pubsub.topics.publish";
/// Bytes of the server's words that are repeated.
const SAID_BYTES_MAX: usize = 300;

/// The subject of a request, for reasons.
pub(super) struct Asked<'a> {
    pub(super) topic: &'a str,
    /// The account, if the server asks for one.
    pub(super) email: Option<&'a str>,
    pub(super) link: &'a ServerLink,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Published {
    message_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Permitted {
    #[serde(default)]
    permissions: Vec<String>,
}

#[derive(Deserialize)]
struct TopicAnswer {
    name: String,
}

#[derive(Deserialize)]
struct Failed {
    error: Complaint,
}

/// An error in the words of the server.
#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: String,
}

/// The outcome of each of `count` messages that were published together.
pub(super) fn published(
    answer: &HttpAnswer,
    count: usize,
    asked: &Asked<'_>,
) -> Result<SendOutcome, SendOutcome> {
    if !answer.status.is_success() {
        return Err(refused(answer, asked));
    }
    match serde_json::from_slice::<Published>(&answer.body) {
        Ok(Published { message_ids }) if message_ids.len() == count => {
            Ok(SendOutcome::Accepted { receipt: None })
        }
        _ => Err(foreign(answer.status, asked)),
    }
}

/// The outcome of a check.
pub(super) fn checked(answer: &HttpAnswer, asked: &Asked<'_>) -> SendOutcome {
    let Asked { topic, link, .. } = asked;
    let accepted = SendOutcome::Accepted { receipt: None };
    if !answer.status.is_success() {
        return refused(answer, asked);
    }
    let Some(email) = asked.email else {
        return match serde_json::from_slice::<TopicAnswer>(&answer.body) {
            Ok(TopicAnswer { name }) if name == *topic => accepted,
            _ => foreign(answer.status, asked),
        };
    };
    match serde_json::from_slice::<Permitted>(&answer.body) {
        Ok(Permitted { permissions }) if permissions.iter().any(|one| one == PERMISSION) => {
            accepted
        }
        // The same for a topic that is not there.
        Ok(_) => link.unavailable(format_args!(
            "there is no {topic}, or {email} may not publish to it; make the topic, or grant \
             roles/pubsub.publisher on it"
        )),
        Err(_) => foreign(answer.status, asked),
    }
}

/// The outcome of a request that was refused.
fn refused(answer: &HttpAnswer, asked: &Asked<'_>) -> SendOutcome {
    let Ok(Failed { error }) = serde_json::from_slice::<Failed>(&answer.body) else {
        return without_words(answer.status, asked);
    };
    let Asked { topic, link, email } = asked;
    let email = email.unwrap_or("the account");
    let said = error.message.trim();
    let said = &said[..said.floor_char_boundary(SAID_BYTES_MAX)];
    let told = format!("{}: {said}", error.status);
    let about = |about: Subject, advice: &str| SendOutcome::Refused {
        about,
        reason: format!("{}: {told}{advice}", link.server().address()).into(),
    };
    match &*error.status {
        "UNAUTHENTICATED" => link.unavailable(format_args!(
            "{}: the key of {email} is not accepted; see that it exists and is enabled, and that the \
             clock of this machine is right",
            error.status
        )),
        "PERMISSION_DENIED" => link.unavailable(format_args!(
            "{told}; grant roles/pubsub.publisher on {topic} to {email}, and enable the API of Pub/Sub \
             in its project"
        )),
        "NOT_FOUND" => link.unavailable(format_args!("{told}; make {topic}, or correct topic")),
        "FAILED_PRECONDITION" => link.unavailable(format_args!(
            "{told}; look at the topic's key in KMS, and at the policies of its organisation"
        )),
        "UNAVAILABLE" => link.unavailable(format_args!("{told}; it recovers by itself")),
        "RESOURCE_EXHAUSTED" => about(Subject::Load, ""),
        "INVALID_ARGUMENT" if said.contains("schema") => {
            about(Subject::Message, "; it does not fit the topic's schema")
        }
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => about(Subject::Message, ""),
        "UNIMPLEMENTED" => link
            .unavailable(format_args!("{told}; this server does not have that part of Pub/Sub")),
        // ABORTED, CANCELLED, DEADLINE_EXCEEDED, INTERNAL, UNKNOWN.
        _ => about(Subject::Failure, ""),
    }
}

/// The outcome of a refusal by what is in front of the service.
fn without_words(status: StatusCode, asked: &Asked<'_>) -> SendOutcome {
    let told = format!("{}: HTTP {}", asked.link.server().address(), status.as_u16());
    let about = |about: Subject| SendOutcome::Refused { about, reason: told.clone().into() };
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => about(Subject::Message),
        StatusCode::TOO_MANY_REQUESTS => about(Subject::Load),
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::GATEWAY_TIMEOUT => about(Subject::Failure),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {
            SendOutcome::Unavailable { reason: told.into() }
        }
        status => foreign(status, asked),
    }
}

/// The outcome of an answer that Pub/Sub does not give.
fn foreign(status: StatusCode, asked: &Asked<'_>) -> SendOutcome {
    asked.link.unavailable(format_args!(
        "does not answer as Pub/Sub does (HTTP {}); look at endpoint",
        status.as_u16()
    ))
}
