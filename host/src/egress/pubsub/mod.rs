//! The `pubsub` kind of destination: publishes batches of messages to a topic of Google Cloud
//! Pub/Sub, over its REST interface.
//!
//! `message` makes the message of a batch, `token` signs the token of the service account, and
//! `answers` reads what the server says.

mod answers;
mod message;
mod token;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use tokio::time::Instant;
use weir_core::hops::HopKey;
use weir_core::time::Timestamp;

use super::batches::{Batches, each_by_itself};
use super::endpoint::{HttpAnswer, HttpEndpoint};
use super::outgoing::Outgoing;
use super::transport::{SendOutcome, Subject, Transport};
use crate::config::{DestinationKind, PubSubSettings};
use crate::tls::roots::RootsError;
use answers::Asked;
use message::{TopicMessage, publication};
use token::TokenSigner;

/// The most messages of one request, by the page of quotas and limits.
const BATCH_MAX: usize = 1_000;
/// The most bytes of a request, and so of a message, by the same page.
const REQUEST_BYTES_MAX: usize = 10_000_000;
/// Messages on their way for which there is another request at the same time.
const MESSAGES_OF_A_REQUEST: usize = 10;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Publishes the messages of one destination.
pub(super) struct PubSubTransport {
    endpoint: HttpEndpoint,
    settings: PubSubSettings,
    signer: Option<TokenSigner>,
    batches: Batches<TopicMessage>,
    hops: Arc<HopKey>,
}

impl fmt::Debug for PubSubTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSubTransport").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl PubSubTransport {
    /// Sets up the way to a topic, for up to `concurrency` messages at a time.
    pub(super) fn new(
        settings: &PubSubSettings,
        concurrency: usize,
        hops: Arc<HopKey>,
    ) -> Result<Self, RootsError> {
        let requests = concurrency.div_ceil(MESSAGES_OF_A_REQUEST);
        let endpoint = HttpEndpoint::new(&settings.server, requests)?;
        let signer = settings.account.clone().map(TokenSigner::new);
        let batches = Batches::carried_by(requests);
        Ok(Self { endpoint, settings: settings.clone(), signer, batches, hops })
    }

    /// Publishes a batch. `Ok` has an outcome for each message, and `Err` one for all of them: the
    /// server takes a batch whole or not at all.
    async fn attempt(
        &self,
        messages: &[TopicMessage],
        at: Timestamp,
    ) -> Result<Vec<SendOutcome>, SendOutcome> {
        let answer = self.post("publish", publication(messages), at).await?;
        let outcome = answers::published(&answer, messages.len(), &self.asked())?;
        Ok(vec![outcome; messages.len()])
    }

    async fn post(
        &self,
        method: &str,
        body: Vec<u8>,
        at: Timestamp,
    ) -> Result<HttpAnswer, SendOutcome> {
        let path = format!("/v1/{}:{method}", self.settings.topic);
        self.endpoint.request(Method::POST, &path, self.headers(at)?, body).await
    }

    fn headers(&self, at: Timestamp) -> Result<HeaderMap, SendOutcome> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, JSON);
        if let Some(signer) = &self.signer {
            let token = signer.bearer(at).ok_or_else(|| {
                self.endpoint.link().unavailable("the key of the service account cannot sign")
            })?;
            headers.insert(AUTHORIZATION, token);
        }
        Ok(headers)
    }

    /// The facts that reasons need.
    fn asked(&self) -> Asked<'_> {
        let email = self.settings.account.as_ref().map(|account| &*account.email);
        Asked { topic: &self.settings.topic, email, link: self.endpoint.link() }
    }
}

#[async_trait]
impl Transport for PubSubTransport {
    fn kind(&self) -> DestinationKind {
        DestinationKind::PubSub
    }

    async fn send(&self, out: &Outgoing, at: Timestamp) -> SendOutcome {
        let message = TopicMessage::of(out, &self.hops);
        if message.bytes > REQUEST_BYTES_MAX {
            let reason = format!(
                "{} bytes with its attributes, and Pub/Sub takes {REQUEST_BYTES_MAX} at most",
                message.bytes
            );
            return SendOutcome::Refused { about: Subject::Message, reason: reason.into() };
        }
        let fits = |batch: &[TopicMessage], next: &TopicMessage| {
            let written: usize = batch.iter().map(TopicMessage::written_bytes).sum();
            batch.len() < BATCH_MAX && written + next.written_bytes() <= REQUEST_BYTES_MAX
        };
        // A token is for the time at which the request is made, after its turn has come.
        let began = Instant::now();
        let carry = |messages: Vec<TopicMessage>| async move {
            let at = at.after(began.elapsed());
            each_by_itself(messages.len(), |some| self.attempt(&messages[some], at)).await
        };
        self.batches.send(message, fits, carry).await
    }

    /// Asks whether the account may publish, for which it needs no further permission. An emulator
    /// knows no permissions, so that it is asked for the topic.
    async fn check(&self, at: Timestamp) -> Result<(), Box<str>> {
        let answer = if self.signer.is_some() {
            let asked = serde_json::json!({ "permissions": [answers::PERMISSION] }).to_string();
            self.post("testIamPermissions", asked.into_bytes(), at).await
        } else {
            let path = format!("/v1/{}", self.settings.topic);
            self.endpoint.request(Method::GET, &path, HeaderMap::new(), Vec::new()).await
        };
        match answer {
            Ok(answer) => answers::checked(&answer, &self.asked()).for_check(),
            Err(outcome) => outcome.for_check(),
        }
    }
}
