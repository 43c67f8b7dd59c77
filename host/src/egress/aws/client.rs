//! Signed requests to the root of an account's endpoint.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use weir_core::time::Timestamp;

use super::answers::{self, Complaint, ServiceWords};
use super::signature::RequestSigner;
use crate::config::AwsAccount;
use crate::egress::endpoint::{HttpAnswer, HttpEndpoint};
use crate::egress::server::ServerLink;
use crate::egress::transport::SendOutcome;
use crate::egress::webhook::SecretMask;
use crate::tls::roots::RootsError;

/// Names the operation of a request in JSON.
const TARGET: &str = "x-amz-target";

/// Sends signed requests.
pub(super) struct AwsClient {
    endpoint: HttpEndpoint,
    signer: RequestSigner,
    mask: SecretMask,
}

/// A request of an operation.
pub(super) struct Call {
    pub(super) content_type: &'static str,
    /// The operation, if the body does not name it.
    pub(super) target: Option<&'static str>,
    pub(super) body: Vec<u8>,
}

impl AwsClient {
    /// Sets up a client that keeps up to `connections` unused connections.
    pub(super) fn new(
        account: &AwsAccount,
        service: &'static str,
        connections: usize,
    ) -> Result<Self, RootsError> {
        let endpoint = HttpEndpoint::new(&account.server, connections)?;
        let secrets = account.session_token.iter().chain([&account.secret_access_key]);
        let mask = SecretMask::of_words(secrets.map(|secret| secret.expose()));
        Ok(Self { endpoint, signer: RequestSigner::new(account, service), mask })
    }

    /// Sets the limit on the bytes of an answer.
    pub(super) fn reading_up_to(self, bytes: usize) -> Self {
        Self { endpoint: self.endpoint.reading_up_to(bytes), ..self }
    }

    pub(super) fn link(&self) -> &ServerLink {
        self.endpoint.link()
    }

    /// A text of the server without the keys that may be repeated in it.
    fn masked(&self, text: &str) -> String {
        self.mask.covered(text)
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn call(&self, call: Call, at: Timestamp) -> Result<HttpAnswer, SendOutcome> {
        let headers = self.headers(&call, at);
        self.endpoint.request(Method::POST, "/", headers, call.body).await
    }

    /// The outcome of a request that was refused.
    pub(super) fn refused(&self, answer: &HttpAnswer, words: &ServiceWords) -> SendOutcome {
        match Complaint::of_answer(&answer.body) {
            Some(complaint) => self.outcome(complaint, answer, words),
            None => answers::foreign(answer.status, words, self.link()),
        }
    }

    /// The outcome of what the server says of a request, or of an entry of it.
    pub(super) fn outcome(
        &self,
        complaint: Complaint,
        answer: &HttpAnswer,
        words: &ServiceWords,
    ) -> SendOutcome {
        let said = self.masked(&complaint.said);
        let complaint = Complaint { said, ..complaint };
        answers::outcome(&complaint, answer.status, words, self.link())
    }

    fn headers(&self, call: &Call, at: Timestamp) -> HeaderMap {
        let mut signed = vec![("content-type", call.content_type), ("host", self.endpoint.host())];
        signed.extend(call.target.map(|target| (TARGET, target)));
        let mut headers = HeaderMap::new();
        for (name, value) in self.signer.sign("POST", &signed, &call.body, at) {
            // The configuration accepts only keys that a header can have.
            if let Ok(mut value) = HeaderValue::from_str(&value) {
                value.set_sensitive(true);
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(call.content_type));
        if let Some(target) = call.target {
            headers.insert(HeaderName::from_static(TARGET), HeaderValue::from_static(target));
        }
        headers
    }
}
