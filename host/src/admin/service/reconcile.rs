//! Requests that an operator brings from a provider's API.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use weir_core::name::SourceName;

use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::api::{ReconcileAnswer, ReconcileBody, ReconcileRequest, ReconcileResult};
use crate::ingress::{FromApi, FromApiRefused};

/// Most requests of one call.
const REQUESTS_MAX: usize = 100;

impl AdminService {
    /// Stores what the hub has not, through the usual deduplication, and marks it as brought by
    /// this principal.
    pub(crate) async fn reconcile(
        &self,
        source: &str,
        body: ReconcileBody,
        by: Principal,
    ) -> Result<ReconcileAnswer, ApiError> {
        let result = self.do_reconcile(source, body, &by).await;
        self.recorded(&by, "reconcile", source, result).await
    }

    async fn do_reconcile(
        &self,
        source: &str,
        body: ReconcileBody,
        by: &Principal,
    ) -> Result<ReconcileAnswer, ApiError> {
        let name: SourceName = source
            .parse()
            .map_err(|error| ApiError::bad_request("invalid_source", format!("{error}")))?;
        if body.requests.len() > REQUESTS_MAX {
            let detail = format!(
                "there are {} requests; send at most {REQUESTS_MAX} at once",
                body.requests.len()
            );
            return Err(ApiError::bad_request("too_many_at_once", detail));
        }
        let mut results = Vec::with_capacity(body.requests.len());
        for request in body.requests {
            let headers = match headers(&request) {
                Ok(headers) => headers,
                Err(refused) => {
                    results.push(refusal(refused));
                    continue;
                }
            };
            let body = Bytes::from(request.body);
            let accepted = self.ingress.accept_from_api(name.as_str(), headers, body, by.as_str());
            results.push(match accepted.await {
                Ok(FromApi { stored, duplicates }) => ReconcileResult {
                    stored: stored.into_iter().map(Into::into).collect(),
                    duplicates: duplicates.into_iter().map(Into::into).collect(),
                    refused: None,
                },
                Err(FromApiRefused::Refused { code, reason }) => {
                    refusal(format!("{code}: {reason}"))
                }
                Err(FromApiRefused::UnknownSource) => {
                    let detail = format!("there is no source `{name}`");
                    return Err(ApiError::not_found("source_not_found", detail));
                }
                Err(FromApiRefused::Store(error)) => return Err(error.into()),
            });
        }
        let stored: usize = results.iter().map(|result| result.stored.len()).sum();
        tracing::info!(source = name.as_str(), stored, %by, "requests of a provider's API accepted");
        Ok(ReconcileAnswer { source: name, results })
    }
}

fn refusal(why: String) -> ReconcileResult {
    ReconcileResult { stored: Vec::new(), duplicates: Vec::new(), refused: Some(why) }
}

/// The headers of a request, JSON unless they say otherwise.
fn headers(request: &ReconcileRequest) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        match (name, HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => drop(headers.append(name, value)),
            _ => return Err("malformed: a header is not valid".to_owned()),
        }
    }
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    Ok(headers)
}
