//! The meaning of a refusal of SQS or SNS, by its code. Pure.

use http::StatusCode;
use serde_json::Value;

use super::xml::elements;
use crate::egress::server::ServerLink;
use crate::egress::transport::{SendOutcome, Subject};

/// Bytes of the server's words that are repeated.
const SAID_BYTES_MAX: usize = 300;

/// The result of one entry of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EntryResult {
    /// The id that the entry had in its batch.
    pub(super) id: String,
    /// None: it was accepted.
    pub(super) refused: Option<Complaint>,
}

/// A refusal in the words of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) code: String,
    pub(super) said: String,
    /// Said of entries only.
    pub(super) is_senders_fault: Option<bool>,
}

/// The words for one service, and for what was asked of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServiceWords {
    pub(super) service: &'static str,
    /// `queue` or `topic`.
    pub(super) place: &'static str,
    /// The setting that names the place.
    pub(super) setting: &'static str,
    /// The permission that is needed.
    pub(super) permission: &'static str,
}

impl Complaint {
    pub(super) fn new(code: &str, said: Option<&str>) -> Self {
        let said = said.unwrap_or_default().trim();
        let said = said[..said.floor_char_boundary(SAID_BYTES_MAX)].to_owned();
        Self { code: bare(code).to_owned(), said, is_senders_fault: None }
    }

    pub(super) fn with_fault(self, is_senders_fault: bool) -> Self {
        Self { is_senders_fault: Some(is_senders_fault), ..self }
    }

    /// The refusal of a whole request, in JSON or XML; none if it is neither.
    pub(super) fn of_answer(body: &[u8]) -> Option<Self> {
        if let Ok(error) = serde_json::from_slice::<Value>(body) {
            let text = |names: [&str; 2]| names.into_iter().find_map(|name| error[name].as_str());
            return Some(Self::new(text(["__type", "code"])?, text(["message", "Message"])));
        }
        let elements = elements(body)?;
        let text = |name: &str| {
            let found = elements.iter().find(|element| element.path.ends_with(name));
            found.map(|element| element.text.as_str())
        };
        Some(Self::new(text("Error/Code")?, text("Error/Message")))
    }
}

/// A code without its namespace and the ending that only some interfaces add.
fn bare(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    let code = code.split(':').next().unwrap_or(code);
    let code = code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code);
    code.strip_suffix("Exception").unwrap_or(code)
}

/// The consequence of a refusal, with the advice.
enum Meaning {
    /// For every message alike: the attempt does not count.
    Place(String),
    /// The same, and the words of the server would show the signed request.
    Credentials(String),
    Load,
    Message(&'static str),
    Failure,
}

/// The outcome of the messages that this refusal is about.
pub(super) fn outcome(
    complaint: &Complaint,
    status: StatusCode,
    words: &ServiceWords,
    link: &ServerLink,
) -> SendOutcome {
    let Complaint { code, said, .. } = complaint;
    let told = if said.is_empty() { code.clone() } else { format!("{code}: {said}") };
    let address = link.server().address();
    let refused = |about, reason: String| SendOutcome::Refused {
        about,
        reason: format!("{address}: {reason}").into(),
    };
    match meaning(complaint, status, words) {
        Meaning::Place(advice) => link.unavailable(format_args!("{told}; {advice}")),
        Meaning::Credentials(advice) => link.unavailable(format_args!("{code}; {advice}")),
        Meaning::Load => refused(Subject::Load, told),
        Meaning::Message(advice) => refused(Subject::Message, format!("{told}{advice}")),
        Meaning::Failure => refused(Subject::Failure, told),
    }
}

/// The outcome of an answer that no AWS server gives.
pub(super) fn foreign(status: StatusCode, words: &ServiceWords, link: &ServerLink) -> SendOutcome {
    let ServiceWords { service, setting, .. } = words;
    link.unavailable(format_args!(
        "does not answer as {service} does (HTTP {}); look at {setting} and endpoint",
        status.as_u16()
    ))
}

fn meaning(complaint: &Complaint, status: StatusCode, words: &ServiceWords) -> Meaning {
    let code = complaint.code.to_ascii_lowercase();
    let said = complaint.said.to_ascii_lowercase();
    let ServiceWords { service, place, setting, permission } = words;
    if let Some(advice) = credentials(&code, &said) {
        return Meaning::Credentials(advice.into());
    }
    match &*code {
        "queuedoesnotexist"
        | "nonexistentqueue"
        | "queuedeletedrecently"
        | "notfound"
        | "resourcenotfound" => {
            Meaning::Place(format!("make the {place} in this region, or correct {setting}"))
        }
        "accessdenied" | "authorizationerror" | "notauthorized" | "unauthorizedoperation" => {
            Meaning::Place(format!("permit {permission} on the {place}"))
        }
        "optinrequired" | "subscriptionrequired" | "kmsoptinrequired" => Meaning::Place(format!(
            "the account may not use {service} in this region: look at the account"
        )),
        "invalidsecurity" => Meaning::Place("use an endpoint with https".into()),
        "invalidaddress" => Meaning::Place(format!("correct {setting}")),
        "unsupportedoperation" | "invalidaction" | "unknownoperation" => {
            Meaning::Place(format!("this server does not have that part of {service}"))
        }
        "kmsthrottled" | "kmsthrottling" | "kms.throttling" => Meaning::Load,
        kms if kms.starts_with("kms") => Meaning::Place(format!(
            "look at the key in KMS that encrypts the {place}: it must be enabled, and permit \
             kms:GenerateDataKey and kms:Decrypt"
        )),
        "requestthrottled"
        | "throttling"
        | "throttled"
        | "toomanyrequests"
        | "slowdown"
        | "requestlimitexceeded"
        | "limitexceeded"
        | "overlimit" => Meaning::Load,
        "serviceunavailable" | "unavailable" => Meaning::Place("it recovers by itself".into()),
        "internalfailure" | "internalerror" | "internalservererror" => Meaning::Failure,
        _ if said.contains("topicarn") || said.contains("queueurl") => {
            Meaning::Place(format!("correct {setting}"))
        }
        "batchrequesttoolong" | "requestentitytoolarge" => Meaning::Message(TOO_LONG),
        "invalidmessagecontents"
        | "invalidparametervalue"
        | "invalidparameter"
        | "parametervalueinvalid"
        | "missingparameter"
        | "invalidattributevalue"
        | "validation"
        | "validationerror" => match said.contains("shorter") || said.contains("too long") {
            true => Meaning::Message(TOO_LONG),
            false => Meaning::Message(""),
        },
        _ => otherwise(complaint, status),
    }
}

const TOO_LONG: &str = "; it is too large, or raise MaximumMessageSize, which can be 1 MiB";

/// The advice for a code that is about the keys or the signature.
fn credentials(code: &str, said: &str) -> Option<&'static str> {
    const CLOCK: &str = "the clock of this machine differs by minutes: set it, by NTP for example";
    let is_late = said.contains("expired") || said.contains("not yet current");
    Some(match code {
        "invalidclienttokenid" | "unrecognizedclient" | "invalidaccesskeyid" | "invalidclient" => {
            "set access_key_id and secret_access_key to a key that exists and is active, and \
             session_token if it came with one"
        }
        "missingauthenticationtoken" => "its server expects other credentials; look at endpoint",
        "expiredtoken" => {
            "session_token has ended: set a new one with its keys, or the key of a user"
        }
        "requestexpired" | "requesttimetooskewed" => CLOCK,
        "signaturedoesnotmatch" | "invalidsignature" | "incompletesignature" | "authfailure"
            if is_late =>
        {
            CLOCK
        }
        "signaturedoesnotmatch" | "invalidsignature" | "incompletesignature" | "authfailure" => {
            "set secret_access_key to that of access_key_id, and region to that of the server"
        }
        _ => return None,
    })
}

/// The meaning of a code that is not known here.
fn otherwise(complaint: &Complaint, status: StatusCode) -> Meaning {
    match (complaint.is_senders_fault, status.as_u16()) {
        (Some(true), _) | (None, 413) => Meaning::Message(""),
        (None, 429) => Meaning::Load,
        (None, 502..=504) => Meaning::Place("it recovers by itself".into()),
        _ => Meaning::Failure,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::BrokerServer;
    use crate::guard::AllowedNetworks;
    use crate::tls::TrustedRoots;

    const WORDS: ServiceWords = ServiceWords {
        service: "SQS",
        place: "queue",
        setting: "queue_url",
        permission: "sqs:SendMessage",
    };

    fn link() -> ServerLink {
        let server = BrokerServer {
            scheme: "http",
            host: "queues".into(),
            port: 80,
            tls: false,
            user: None,
            password: None,
            timeout: Duration::from_secs(1),
            allow: AllowedNetworks::default(),
            trust: TrustedRoots::default(),
        };
        ServerLink::new(&server).unwrap()
    }

    fn of(code: &str, said: &str, status: u16) -> SendOutcome {
        let complaint = Complaint::new(code, Some(said));
        outcome(&complaint, StatusCode::from_u16(status).unwrap(), &WORDS, &link())
    }

    #[test]
    fn what_every_message_would_meet_costs_no_attempt() {
        for (code, said, advice) in [
            ("com.amazonaws.sqs#QueueDoesNotExist", "no", "make the queue in this region"),
            ("AWS.SimpleQueueService.NonExistentQueue", "", "or correct queue_url"),
            ("NotFound", "Topic does not exist", "make the queue"),
            ("AccessDeniedException", "not authorized", "permit sqs:SendMessage on the queue"),
            ("AuthorizationError", "no", "permit sqs:SendMessage"),
            ("InvalidClientTokenId", "is invalid", "a key that exists"),
            ("UnrecognizedClientException", "", "a key that exists"),
            ("ExpiredToken", "The security token has expired", "session_token has ended"),
            ("SignatureDoesNotMatch", "Check your key", "set secret_access_key"),
            ("SignatureDoesNotMatch", "Signature expired: 2015", "the clock"),
            ("InvalidSignatureException", "Signature not yet current", "the clock"),
            ("SignatureDoesNotMatch", "should be scoped to a valid region", "region"),
            ("RequestExpired", "", "the clock"),
            ("InvalidSecurity", "", "https"),
            ("KmsAccessDenied", "", "kms:GenerateDataKey"),
            ("KMS.DisabledException", "", "it must be enabled"),
            ("KMSNotFound", "", "look at the key in KMS"),
            ("ServiceUnavailable", "", "recovers by itself"),
            ("InvalidParameter", "Invalid parameter: TopicArn", "correct queue_url"),
            ("UnsupportedOperation", "", "does not have that part of SQS"),
        ] {
            let SendOutcome::Unavailable { reason } = of(code, said, 400) else {
                panic!("{code}: {:?}", of(code, said, 400));
            };
            assert!(
                reason.contains(advice) && reason.starts_with("http://queues:80: "),
                "{reason}"
            );
        }
    }

    #[test]
    fn a_wrong_signature_does_not_show_the_signed_request() {
        let said = "The canonical string should have been x-amz-security-token:AQoDYXdz";
        let SendOutcome::Unavailable { reason } = of("SignatureDoesNotMatch", said, 403) else {
            panic!()
        };
        assert!(!reason.contains("AQoD"), "{reason}");
    }

    #[test]
    fn other_refusals_count_as_attempts() {
        for (code, said, status, about) in [
            ("RequestThrottled", "", 403, Subject::Load),
            ("ThrottlingException", "Rate exceeded", 400, Subject::Load),
            ("KmsThrottled", "", 400, Subject::Load),
            ("OverLimit", "", 403, Subject::Load),
            ("BatchRequestTooLong", "", 400, Subject::Message),
            ("InvalidMessageContents", "", 400, Subject::Message),
            ("InvalidParameterValue", "must be shorter than 1024 bytes", 400, Subject::Message),
            ("InternalFailure", "", 500, Subject::Failure),
            ("SomethingNew", "", 400, Subject::Failure),
            ("SomethingNew", "", 429, Subject::Load),
        ] {
            let SendOutcome::Refused { about: found, reason } = of(code, said, status) else {
                panic!("{code}: {:?}", of(code, said, status));
            };
            assert_eq!(found, about, "{code}: {reason}");
            assert_eq!(
                reason.contains("MaximumMessageSize"),
                said.contains("shorter") || code == "BatchRequestTooLong"
            );
        }
        let unknown = Complaint::new("New", None);
        for (fault, about) in [(true, Subject::Message), (false, Subject::Failure)] {
            let of_entry = unknown.clone().with_fault(fault);
            let found = outcome(&of_entry, StatusCode::OK, &WORDS, &link());
            assert!(matches!(found, SendOutcome::Refused { about: it, .. } if it == about));
        }
    }

    #[test]
    fn a_refusal_is_read_from_json_and_xml() {
        let json =
            br#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"it is not there"}"#;
        let xml = b"<ErrorResponse><Error><Type>Sender</Type><Code>QueueDoesNotExist</Code>\
                    <Message>it is not there</Message></Error><RequestId>1</RequestId></ErrorResponse>";
        let expected = Complaint::new("QueueDoesNotExist", Some("it is not there"));
        assert_eq!(Complaint::of_answer(json), Some(expected.clone()));
        assert_eq!(Complaint::of_answer(xml), Some(expected));
        for other in [&b"{}"[..], b"", b"<html><body>no</body></html>", b"Bad Request"] {
            assert_eq!(Complaint::of_answer(other), None);
        }
    }
}
