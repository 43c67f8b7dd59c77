//! Requests that do not come over a connection: a signed sample of the hub itself, and the trial of
//! a quarantined request.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, header};
use std::net::{IpAddr, Ipv4Addr};
use thiserror::Error;
use weir_core::id::QuarantineId;
use weir_store::{EventIngested, StoreError};

use super::{Interpretation, Pipeline};
use crate::config::Source;

/// A sample that was not accepted.
#[derive(Debug, Error)]
pub enum SampleRefused {
    #[error("there is no such source")]
    UnknownSource,
    #[error("the sample cannot be made: {0}")]
    NotMade(String),
    #[error("the hub refused the sample: {0}")]
    Refused(String),
}

impl Pipeline {
    /// Accepts a sample as if it had been sent to the source: verified, identified, routed, stored.
    /// `make` signs it for a URL. The ids of its events; none for a handshake.
    pub(crate) async fn accept_sample(
        &self,
        source: &str,
        make: impl FnOnce(&Source, &str) -> Result<Request<Bytes>, String>,
    ) -> Result<Vec<Box<str>>, SampleRefused> {
        let source = self.sources.get(source).ok_or(SampleRefused::UnknownSource)?;
        let url = self.signed_url(&source, &head_of(source.name()));
        let request = make(&source.config, &url).map_err(SampleRefused::NotMade)?;
        let (head, body) = request.into_parts();
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let received = self.received(&source, &head, &body, local, self.clock.now());
        let refused = |refused: super::Refused| SampleRefused::Refused(refused.to_string());
        match self.interpret(&received).await.map_err(refused)? {
            Interpretation::Handshake { .. } => Ok(Vec::new()),
            Interpretation::Events(routed) => {
                let ingested = self.ingest(&source, routed.request).await.map_err(refused)?;
                Ok(ids(&ingested.events))
            }
        }
    }

    /// Verifies a quarantined request with the secrets of now, and changes nothing. None if it is
    /// gone, or was released.
    pub(crate) async fn would_verify(&self, id: QuarantineId) -> Result<Option<bool>, StoreError> {
        let Some(quarantine) = &self.quarantine else { return Ok(None) };
        let Some((request, sealed)) = quarantine.get(id).await? else { return Ok(None) };
        if request.released.is_some() {
            return Ok(None);
        }
        let (source, opened) = (self.sources.get(&request.source), self.open(id, &sealed));
        let (Some(source), Some((head, body, remote))) = (source, opened) else {
            return Ok(Some(false));
        };
        let received = self.received(&source, &head, &body, remote, request.at);
        Ok(Some(self.interpret(&received).await.is_ok()))
    }
}

/// The ids of the events, or of those that they repeat.
pub(super) fn ids(events: &[EventIngested]) -> Vec<Box<str>> {
    let id = |event: &EventIngested| match event {
        EventIngested::Stored { id, .. } | EventIngested::Duplicate { first: id, .. } => {
            id.to_string().into()
        }
    };
    events.iter().map(id).collect()
}

/// The head of a request of this machine to a source.
fn head_of(source: &str) -> Parts {
    let mut request = Request::new(());
    if let Ok(uri) = format!("/webhook/{source}").parse() {
        *request.uri_mut() = uri;
    }
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
    request.into_parts().0
}
