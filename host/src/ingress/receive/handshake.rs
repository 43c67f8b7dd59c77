//! The step "handshake": finds a request that asks for an answer and carries no event, and answers
//! it.

use weir_core::error::chain;
use weir_core::handshake::{HandshakeAnswer, HandshakeEffect, HandshakeKeys};
use weir_core::identify::RequestFacts;
use weir_core::verify::Verified;

use super::Pipeline;
use super::received::Received;
use crate::ingress::answer::refused::Refused;
use crate::ingress::answer::{self, Accepted, IngressOutcome};

/// The reply to a handshake that is answered before verification.
pub(super) fn find_unsigned(
    received: &Received<'_>,
    facts: &RequestFacts<'_>,
) -> Result<Option<HandshakeAnswer>, Refused> {
    if received.source.has_unsigned_handshakes { find(received, facts, None) } else { Ok(None) }
}

/// The reply to a handshake that is answered after verification.
pub(super) fn find_signed(
    received: &Received<'_>,
    facts: &RequestFacts<'_>,
    verified: &Verified,
) -> Result<Option<HandshakeAnswer>, Refused> {
    find(received, facts, Some(verified))
}

fn find(
    received: &Received<'_>,
    facts: &RequestFacts<'_>,
    verified: Option<&Verified>,
) -> Result<Option<HandshakeAnswer>, Refused> {
    let source = received.source;
    let keys = HandshakeKeys { verifier: &source.verifier, params: &source.params };
    let reply = source.config.provider.handshake(facts, verified, keys);
    reply.transpose().map_err(Refused::Handshake)
}

impl Pipeline {
    /// Answers a handshake once its effect is done: an answer is a promise.
    ///
    /// A handshake whose address could not be visited is stored as an event. The visit is retried
    /// meanwhile, and if that fails too, the event names the address.
    pub(super) async fn answer_handshake(
        &self,
        received: &Received<'_>,
        reply: HandshakeAnswer,
        verified: Option<Verified>,
    ) -> Result<Accepted, Refused> {
        match (self.apply_effect(received, &reply).await, verified) {
            (Ok(()), _) => {
                let answer = answer::handshake(reply);
                Ok(Accepted { outcome: IngressOutcome::Handshake, answer })
            }
            (Err(Refused::HandshakeUnconfirmed), Some(verified)) => {
                self.store_unconfirmed(received, verified).await
            }
            (Err(refused), _) => Err(refused),
        }
    }

    async fn apply_effect(
        &self,
        received: &Received<'_>,
        reply: &HandshakeAnswer,
    ) -> Result<(), Refused> {
        let (source, handshake) = (received.source.name(), &*reply.name);
        match &reply.effect {
            HandshakeEffect::None => tracing::info!(source, handshake, "handshake answered"),
            HandshakeEffect::Notice(notice) => tracing::warn!(
                source,
                handshake,
                notice,
                "handshake answered; the provider asks for attention"
            ),
            HandshakeEffect::FetchUrl { url, later: true } => {
                let (confirmations, name) =
                    (&received.source.confirmations, received.source_name());
                confirmations.call_back(url.clone(), received.caller.network, name);
                tracing::info!(source, handshake, "handshake answered");
            }
            HandshakeEffect::FetchUrl { url, later: false } => {
                self.confirm(received, url, handshake).await?;
            }
            HandshakeEffect::StoreSecret { secret, show_once } => {
                self.hand_over.accept_secret(received.source, secret, *show_once).await?;
                if let Some(notice) = &reply.notice {
                    tracing::warn!(source, handshake, notice, "the provider asks for attention");
                }
            }
        }
        Ok(())
    }

    /// Visits the address that confirms a handshake. If that fails, it is retried later.
    async fn confirm(
        &self,
        received: &Received<'_>,
        url: &str,
        handshake: &str,
    ) -> Result<(), Refused> {
        let (source, network) = (received.source.name(), received.caller.network);
        let confirmations = &received.source.confirmations;
        if let Err(error) = confirmations.confirm(url, network).await {
            let error = chain(&error);
            tracing::warn!(source, handshake, error, "cannot confirm the handshake; will retry");
            confirmations.retry_later(url.to_owned(), received.source_name(), network);
            return Err(Refused::HandshakeUnconfirmed);
        }
        tracing::info!(source, handshake, "handshake confirmed");
        Ok(())
    }

    /// Stores a handshake as an event.
    async fn store_unconfirmed(
        &self,
        received: &Received<'_>,
        verified: Verified,
    ) -> Result<Accepted, Refused> {
        let facts = received.source.config.provider.facts(received.view());
        let identified = self.identify(received, &facts, &verified)?;
        drop(facts);
        let routed = self.route(received, verified, identified);
        self.store(received, routed).await
    }
}
