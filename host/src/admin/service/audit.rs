//! The audit log: the list, and the record of each act.

use serde_json::{Map, Value};
use weir_store::audit::{AUDIT_TEXT_BYTES_MAX, AuditEntry, AuditFilter, AuditOutcome, NewAudit};

use super::events::{list_page, page_request};
use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::api::{ActOutcome, AuditQuery, AuditView, ListPage};

impl AdminService {
    /// Acts of clients, newest first.
    pub(crate) async fn audit(&self, query: AuditQuery) -> Result<ListPage<AuditView>, ApiError> {
        let AuditQuery { who, act, subject, outcome, since, until, limit, cursor } = query;
        let now = self.clock.now();
        let filter = AuditFilter {
            who: who.map(Into::into),
            act: act.map(Into::into),
            subject: subject.map(Into::into),
            outcome: outcome.and_then(|outcome| AuditOutcome::parse(outcome.as_str())),
            since: since.map(|moment| moment.resolve(now)),
            until: until.map(|moment| moment.resolve(now)),
        };
        let found = self.store.audit(filter, page_request(limit, cursor)).await?;
        Ok(list_page(found, view))
    }

    /// Records an act with its result, and returns the result. A record that cannot be stored does
    /// not undo the act; it is logged instead.
    pub(super) async fn recorded<T>(
        &self,
        by: &Principal,
        act: &'static str,
        subject: &str,
        result: Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        self.record(by, act, subject, &result, Map::new()).await;
        result
    }

    /// Records an act with its result and further facts.
    pub(super) async fn record<T>(
        &self,
        by: &Principal,
        act: &'static str,
        subject: &str,
        result: &Result<T, ApiError>,
        mut detail: Map<String, Value>,
    ) {
        detail.insert("how".to_owned(), by.how.as_str().into());
        let outcome = match result {
            Ok(_) => AuditOutcome::Done,
            Err(error) => {
                detail.insert("code".to_owned(), error.code().into());
                if error.is_of_hub() { AuditOutcome::Failed } else { AuditOutcome::Refused }
            }
        };
        let entry = NewAudit {
            who: by.as_str().into(),
            role: by.role.map_or("", |role| role.as_str()).into(),
            act: act.into(),
            subject: beginning(subject).into(),
            detail: Value::from(detail).to_string().into(),
            outcome,
        };
        if let Err(error) = self.store.audit_append(entry).await {
            tracing::error!(%error, %by, act, "an act is not in the audit log");
        }
    }
}

/// As much of a text as an entry takes.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(AUDIT_TEXT_BYTES_MAX)]
}

fn view(entry: &AuditEntry) -> AuditView {
    let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    AuditView {
        number: entry.n,
        at: entry.at,
        who: entry.who.as_ref().into(),
        role: filled(&entry.role),
        act: entry.act.as_ref().into(),
        subject: filled(&entry.subject),
        outcome: match entry.outcome {
            AuditOutcome::Done => ActOutcome::Done,
            AuditOutcome::Refused => ActOutcome::Refused,
            AuditOutcome::Failed => ActOutcome::Failed,
        },
        detail: serde_json::from_str(&entry.detail).ok(),
    }
}
