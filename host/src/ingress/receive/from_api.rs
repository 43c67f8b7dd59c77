//! Requests that an operator brings from the API of a provider, because the sender gave them up.
//! They are identified, routed and stored as others are, and marked: no signature vouches for them.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use thiserror::Error;
use weir_core::verify::Verified;
use weir_store::{DedupKey, EventIngested, StoreError};

use super::Pipeline;
use crate::ingress::answer::refused::Refused;

/// A request from an API that was not accepted.
#[derive(Debug, Error)]
pub enum FromApiRefused {
    #[error("there is no such source")]
    UnknownSource,
    /// The headers or the body are not those of a request to the source.
    #[error("{reason}")]
    Refused { code: Box<str>, reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The events of a request from an API: their ids, or those that they repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromApi {
    pub stored: Vec<Box<str>>,
    pub duplicates: Vec<Box<str>>,
}

impl Pipeline {
    /// Accepts a request that `by` brings from the provider's API.
    pub(crate) async fn accept_from_api(
        &self,
        source: &str,
        headers: HeaderMap,
        body: Bytes,
        by: &str,
    ) -> Result<FromApi, FromApiRefused> {
        let source = self.sources.get(source).ok_or(FromApiRefused::UnknownSource)?;
        let refused = |refused: Refused| match refused {
            Refused::Store(error) => FromApiRefused::Store(error),
            refused => {
                let code = refused.code().into();
                FromApiRefused::Refused { code, reason: refused.to_string() }
            }
        };
        if !self.is_routing_ready() {
            return Err(refused(Refused::NotReady));
        }
        if body.len() > source.config.body_limit {
            let limit = source.config.body_limit;
            return Err(refused(Refused::TooLarge { limit }));
        }
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        if let Ok(uri) = format!("/webhook/{}", source.name()).parse() {
            *request.uri_mut() = uri;
        }
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
        let (head, ()) = request.into_parts();
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let received = self.received(&source, &head, &body, local, self.clock.now());
        let facts = source.config.provider.facts(received.view());
        let identified = source.config.provider.identify_unverified(&facts);
        let identified = identified.map_err(Refused::Unusable).map_err(refused)?;
        let identified = self.check_identified(&received, identified).map_err(refused)?;
        drop(facts);
        let mut routed = self.route(&received, Verified::from_api(by), identified);
        // An API gives the same event in other bytes than its webhook.
        for key in routed.request.events.iter_mut().filter_map(|event| event.dedup.as_mut()) {
            key.body_tag = DedupKey::ANY_BODY;
        }
        let ingested = self.ingest(&source, routed.request).await.map_err(refused)?;
        let mut found = FromApi { stored: Vec::new(), duplicates: Vec::new() };
        for event in &ingested.events {
            match event {
                EventIngested::Stored { id, .. } => found.stored.push(id.to_string().into()),
                EventIngested::Duplicate { first, .. } => {
                    found.duplicates.push(first.to_string().into());
                }
            }
        }
        Ok(found)
    }
}
