//! Signed samples that the hub gives to itself, so that an operator sees a source at work.

use bytes::Bytes;
use http::Request;
use http::header::{HOST, HeaderValue};
use weir_core::name::SourceName;
use weir_core::sign::SigningInput;
use weir_core::time::Timestamp;

use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::api::{SampleAnswer, SampleBody};
use crate::config::Source;
use crate::ingress::SampleRefused;
use crate::samples::{self, SignedSample};

impl AdminService {
    /// Signs a sample of the source's provider with the newest secret, and accepts it like a
    /// request of the sender. Its events are handled and sent as usual.
    pub(crate) async fn send_sample(
        &self,
        source: &str,
        body: SampleBody,
        by: Principal,
    ) -> Result<SampleAnswer, ApiError> {
        let result = self.do_send_sample(source, body, by.clone()).await;
        self.recorded(&by, "sample", source, result).await
    }

    async fn do_send_sample(
        &self,
        source: &str,
        body: SampleBody,
        by: Principal,
    ) -> Result<SampleAnswer, ApiError> {
        let name: SourceName = source
            .parse()
            .map_err(|error| ApiError::bad_request("invalid_source", format!("{error}")))?;
        let now = self.clock.now();
        let make = move |source: &Source, url: &str| signed(source, url, body.sample, now);
        let accepted = self.ingress.accept_sample(name.as_str(), make).await;
        let events = accepted.map_err(|refused| match &refused {
            SampleRefused::UnknownSource => {
                ApiError::not_found("source_not_found", format!("there is no source `{name}`"))
            }
            SampleRefused::NotMade(_) => ApiError::conflict("no_sample", refused.to_string()),
            SampleRefused::Refused(_) => ApiError::conflict("sample_refused", refused.to_string()),
        })?;
        tracing::info!(source = name.as_str(), events = events.len(), %by, "sample accepted");
        Ok(SampleAnswer { source: name, events: events.into_iter().map(Into::into).collect() })
    }
}

/// The request of a sample, as the provider would send it.
fn signed(
    source: &Source,
    url: &str,
    wanted: Option<String>,
    now: Timestamp,
) -> Result<Request<Bytes>, String> {
    if source.pull.is_some() {
        return Err("its messages come from a server: publish one there".into());
    }
    let provider = &source.provider;
    let first = || provider.samples.first().map(|sample| sample.name.clone());
    let name = wanted.or_else(first).ok_or("its provider has no sample")?;
    let secret = source.signing.as_ref().ok_or("the source has no secret to sign with")?;
    let mut random = samples::randomness().map_err(|error| error.to_string())?;
    let signing = SigningInput { secret, params: &source.params, scheme: None };
    let sample = SignedSample::make(provider, &name, None, signing, url, now, &mut random)
        .map_err(|error| error.to_string())?;
    let path = sample.address(&format!("/webhook/{}", source.name));
    let mut request = Request::builder().method(&*sample.method).uri(path);
    for (name, value) in &sample.headers {
        request = request.header(name, value);
    }
    let mut request = request.body(Bytes::from(sample.body)).map_err(|error| error.to_string())?;
    request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static("localhost"));
    Ok(request)
}
