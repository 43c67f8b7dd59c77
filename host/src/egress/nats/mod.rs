//! The `nats` kind of destination: publishes messages, and waits until a stream has stored them.
//! Without JetStream it only waits until the server has read them.
//!
//! `connection` opens a connection, also for the sources of this kind. `answers` says what a
//! failure means.

mod answers;
mod client_tls;
pub(crate) mod connection;

use std::sync::Arc;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use async_trait::async_trait;
use tokio::time::timeout;
use weir_core::hops::HopKey;
use weir_core::time::Timestamp;

use super::facts;
use super::outgoing::Outgoing;
use super::server::{Kept, ServerLink};
use super::transport::{SendOutcome, Subject, Transport};
use crate::config::{DestinationKind, NatsSettings};
use crate::tls::roots::RootsError;
use connection::OpenNats;

/// The header by which a stream knows a duplicate.
pub(crate) const STREAM_ID: &str = "Nats-Msg-Id";
/// Headers with this beginning are orders to the server.
const RESERVED: &str = "nats-";
/// Characters that mean something in a subject.
const NOT_IN_TOKENS: [char; 4] = [' ', '*', '>', '\t'];

/// Publishes the messages of one destination.
#[derive(Debug)]
pub(super) struct NatsTransport {
    link: ServerLink,
    settings: NatsSettings,
    hops: Arc<HopKey>,
    kept: Kept<OpenNats>,
}

impl NatsTransport {
    pub(super) fn new(settings: &NatsSettings, hops: Arc<HopKey>) -> Result<Self, RootsError> {
        let link = ServerLink::new(&settings.server)?;
        Ok(Self { link, settings: settings.clone(), hops, kept: Kept::default() })
    }

    async fn connect(&self) -> Result<OpenNats, SendOutcome> {
        connection::open(&self.link, self.settings.token.as_ref()).await
    }

    fn headers(&self, out: &Outgoing) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in facts::facts(out, &self.hops) {
            if name.starts_with(RESERVED) {
                continue;
            }
            if let (Ok(name), Ok(value)) =
                (name.parse::<HeaderName>(), value.parse::<HeaderValue>())
            {
                headers.insert(name, value);
            }
        }
        headers.insert(STREAM_ID, out.id.to_string().as_str());
        headers
    }

    /// Publishes over an open connection. An error of the connection makes it unusable.
    async fn publish(&self, open: &OpenNats, out: &Outgoing) -> Result<SendOutcome, SendOutcome> {
        let subject =
            self.settings.subject.of(out.source.as_str(), out.event_type.as_str(), &NOT_IN_TOKENS);
        let headers = self.headers(out);
        let publishing = async {
            if !self.settings.jetstream {
                return answers::of_core(
                    open.client
                        .publish_with_headers(subject.clone(), headers, out.body.clone())
                        .await,
                    open.client.flush().await,
                    &self.link,
                );
            }
            let sent =
                open.streams.publish_with_headers(subject.clone(), headers, out.body.clone()).await;
            match sent {
                Ok(confirmed) => {
                    answers::of_stream(confirmed.await, &self.link, &subject, &self.settings)
                }
                Err(error) => answers::of_stream(Err(error), &self.link, &subject, &self.settings),
            }
        };
        tokio::select! {
            biased;
            ended = timeout(self.settings.server.timeout, publishing) => {
                ended.unwrap_or_else(|_| Err(self.silent(open)))
            }
            () = open.broken() => {
                Err(self.link.unavailable("the connection broke"))
            }
        }
    }

    /// The outcome without an answer. A right that the user lacks is told beside the message.
    fn silent(&self, open: &OpenNats) -> SendOutcome {
        match open.take_error() {
            Some(said) => self.link.unavailable(format_args!("no confirmation; it said: {said}")),
            None => self.link.silent(),
        }
    }
}

#[async_trait]
impl Transport for NatsTransport {
    fn kind(&self) -> DestinationKind {
        DestinationKind::Nats
    }

    async fn send(&self, out: &Outgoing, _: Timestamp) -> SendOutcome {
        let works = |open: &OpenNats| !open.is_broken();
        let send = |open: Arc<_>| async move { self.publish(&open, out).await };
        self.kept.send(works, Box::pin(self.connect()), send).await
    }

    async fn check(&self, _: Timestamp) -> Result<(), Box<str>> {
        let open =
            self.connect().await.or_else(|outcome| outcome.for_check().and(Err("".into())))?;
        if !self.settings.jetstream || !self.settings.subject.is_fixed() {
            return Ok(());
        }
        let subject = self.settings.subject.text();
        match timeout(self.settings.server.timeout, open.streams.stream_by_subject(subject.clone()))
            .await
        {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(answers::no_stream(&self.link, &subject, &error).into()),
            Err(_) => self.link.silent().for_check(),
        }
    }
}

/// The subject of a refusal that may concern only messages like this one.
fn about_name(settings: &NatsSettings, link: &ServerLink, reason: String) -> SendOutcome {
    if settings.subject.is_fixed() {
        return link.unavailable(reason);
    }
    let reason = format!("{}: {reason}", link.server().address()).into();
    SendOutcome::Refused { about: Subject::Failure, reason }
}
