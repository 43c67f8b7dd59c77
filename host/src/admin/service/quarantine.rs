//! Quarantined requests: the list, one in full, and verifying them again with the secrets of now.

use weir_core::id::QuarantineId;
use weir_core::name::SourceName;
use weir_core::payload::Payload;
use weir_store::quarantine::{QuarantineFilter, QuarantinedRequest};

use super::views::{self, PREVIEW_BYTES};
use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::admin::query::QueryError;
use crate::api::{
    ListPage, QuarantineDetail, QuarantineItem, QuarantineQuery, QuarantineTrial, ReleaseAllAnswer,
    ReleaseAnswer, ReleaseBody, StillInvalid,
};
use crate::ingress::{QuarantinedView, ReleaseOutcome};

/// Most requests that one call verifies again.
const RECHECKED_MAX: usize = 100;

impl AdminService {
    /// Quarantined requests, newest first.
    pub(crate) async fn quarantine(
        &self,
        query: QuarantineQuery,
    ) -> Result<ListPage<QuarantineItem>, ApiError> {
        let QuarantineQuery { source, released, limit, cursor } = query;
        let limit = limit.unwrap_or_default().get();
        let after = cursor.map(|cursor| cursor.into_inner().parse()).transpose();
        let not_a_cursor = |_| QueryError::invalid("cursor", "write the `next` of the page before");
        let filter = QuarantineFilter {
            source: source.as_ref().map(|source| source.as_str().into()),
            include_released: released.unwrap_or(false),
            after: after.map_err(not_a_cursor)?,
            oldest_first: false,
            limit,
        };
        let found = self.ingress.quarantined(filter).await?;
        if found.is_empty() {
            self.check_names(source.as_ref(), None).await?;
        }
        let next = found.last().filter(|_| found.len() == limit).map(|last| last.id.to_string());
        Ok(ListPage { next, ..ListPage::whole(found.iter().map(views::quarantined)) })
    }

    /// One request with its headers and the beginning of its body.
    pub(crate) async fn quarantined_request(
        &self,
        id: QuarantineId,
    ) -> Result<QuarantineDetail, ApiError> {
        let shown = self.ingress.show_quarantined(id).await?.ok_or_else(gone)?;
        let QuarantinedView { request, headers, body } = shown;
        let payload = views::payload(&Payload { headers, body }, PREVIEW_BYTES);
        Ok(QuarantineDetail { request: views::quarantined(&request), payload })
    }

    /// Verifies one request again and accepts it if it is valid now.
    pub(crate) async fn release_request(
        &self,
        id: QuarantineId,
        by: Principal,
    ) -> Result<ReleaseAnswer, ApiError> {
        let result = self.do_release_request(id, by.clone()).await;
        self.recorded(&by, "quarantine_release", &id.to_string(), result).await
    }

    async fn do_release_request(
        &self,
        id: QuarantineId,
        by: Principal,
    ) -> Result<ReleaseAnswer, ApiError> {
        match self.ingress.release(id).await? {
            ReleaseOutcome::Unknown => Err(gone()),
            ReleaseOutcome::Released(events) => {
                tracing::info!(request = %id, %by, "request released from the quarantine");
                Ok(released(id, events))
            }
            ReleaseOutcome::StillRefused(code) => {
                let detail = format!("the request is still not valid: {code}");
                Err(ApiError::conflict("still_refused", detail))
            }
        }
    }

    /// Verifies the oldest requests of a source with the secrets of now, and changes nothing.
    pub(crate) async fn try_quarantine(&self, source: &str) -> Result<QuarantineTrial, ApiError> {
        let filter = QuarantineFilter {
            source: Some(source.into()),
            include_released: false,
            after: None,
            oldest_first: true,
            limit: RECHECKED_MAX,
        };
        let found = self.ingress.quarantined(filter).await?;
        let mut trial =
            QuarantineTrial { valid: 0, invalid: 0, more: found.len() == RECHECKED_MAX };
        for request in found {
            match self.ingress.would_verify(request.id).await? {
                Some(true) => trial.valid += 1,
                Some(false) => trial.invalid += 1,
                // It was removed or released in the meantime.
                None => {}
            }
        }
        Ok(trial)
    }

    /// Verifies a page of requests again, oldest first, and accepts those that are valid now.
    pub(crate) async fn release_requests(
        &self,
        body: ReleaseBody,
        by: Principal,
    ) -> Result<ReleaseAllAnswer, ApiError> {
        let source = body.source.clone().unwrap_or_default();
        let result = self.do_release_requests(body, by.clone()).await;
        self.recorded(&by, "quarantine_release", &source, result).await
    }

    async fn do_release_requests(
        &self,
        body: ReleaseBody,
        by: Principal,
    ) -> Result<ReleaseAllAnswer, ApiError> {
        let source = body.source.map(|text| text.parse::<SourceName>()).transpose();
        let source =
            source.map_err(|error| ApiError::bad_request("invalid_source", error.to_string()))?;
        let after = body.after.map(|text| text.parse()).transpose();
        let filter = QuarantineFilter {
            source: source.as_ref().map(|source| source.as_str().into()),
            include_released: false,
            after: after.map_err(|error| ApiError::invalid_id(&error))?,
            oldest_first: true,
            limit: RECHECKED_MAX,
        };
        let found = self.ingress.quarantined(filter).await?;
        if found.is_empty() {
            self.check_names(source.as_ref(), None).await?;
        }
        let next = found.last().filter(|_| found.len() == RECHECKED_MAX).map(|last| last.id);
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for QuarantinedRequest { id, .. } in found {
            match self.ingress.release(id).await? {
                ReleaseOutcome::Released(events) => accepted.push(released(id, events)),
                ReleaseOutcome::StillRefused(code) => {
                    refused.push(StillInvalid { id, code: code.into() });
                }
                // It was removed for its age in the meantime.
                ReleaseOutcome::Unknown => {}
            }
        }
        let (released, invalid) = (accepted.len(), refused.len());
        tracing::info!(released, invalid, %by, "requests released from the quarantine");
        Ok(ReleaseAllAnswer { released: accepted, refused, next })
    }
}

fn released(id: QuarantineId, events: Vec<Box<str>>) -> ReleaseAnswer {
    ReleaseAnswer { id, events: events.into_iter().map(Into::into).collect() }
}

fn gone() -> ApiError {
    let detail = "there is no request with this id in the quarantine; it may have been removed for \
                  newer ones";
    ApiError::not_found("quarantined_not_found", detail)
}
