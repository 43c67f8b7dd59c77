//! Records writes that were refused because the role of their token is too low. A token can cause
//! only a few records: the others are counted, and the next record has their number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use parking_lot::Mutex;
use serde_json::json;
use weir_core::rate::{Bucket, Rate};
use weir_store::Store;
use weir_store::audit::{AuditOutcome, NewAudit};

use super::principal::Principal;
use crate::api::Role;

/// Records that a token can cause at once; after them one a minute.
const BURST: u32 = 10;
const ONE_MORE_AFTER: Duration = Duration::from_secs(60);
/// Most tokens that are counted apart; there are no more.
const TOKENS_MAX: usize = 256;

/// The act that a deletion would have been, by the end of its route, where another write has the
/// same route.
const DELETIONS: &[(&str, &str)] = &[("/pin", "handler_unpin"), ("/state", "state_clear")];

/// The act that a write would have been, by the end of its route.
const ACTS: &[(&str, &str)] = &[
    ("/replay", "replay"),
    ("/jobs", "job_create"),
    ("/jobs/{name}/pause", "job_pause"),
    ("/jobs/{name}/resume", "job_resume"),
    ("/jobs/{name}/cancel", "job_cancel"),
    ("/retry", "retry"),
    ("/try", "retry"),
    ("/cancel", "cancel"),
    ("/erase", "erase"),
    ("/rerun", "rerun"),
    ("/requeue", "requeue"),
    ("/discard", "discard"),
    ("/holds", "hold"),
    ("/hold", "hold"),
    ("/pause", "hold"),
    ("/resume", "release"),
    ("/holds/{id}", "release"),
    ("/events/{id}/release", "release"),
    ("/quarantine/{id}/release", "quarantine_release"),
    ("/quarantine/release", "quarantine_release"),
    ("/sample", "sample"),
    ("/reconcile", "reconcile"),
    ("/secret-window", "secret_window"),
    ("/secret/show", "secret_show"),
    ("/secret", "secret_forget"),
    ("/tokens", "token_create"),
    ("/tokens/{name}", "token_revoke"),
    ("/time/confirm", "confirm_time"),
    ("/rollback", "handler_rollback"),
    ("/pin", "handler_pin"),
    ("/rename", "handler_rename"),
    ("/state", "state_write"),
];

/// The records of one listener.
#[derive(Debug)]
pub(super) struct RefusedWrites {
    store: Arc<dyn Store>,
    started: Instant,
    tokens: Mutex<HashMap<Arc<str>, Refusals>>,
}

/// The refused writes of one token.
#[derive(Debug, Default)]
struct Refusals {
    bucket: Bucket,
    missed: u64,
}

impl RefusedWrites {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, started: Instant::now(), tokens: Mutex::default() }
    }

    /// Records a refused write, unless its token has caused too many records. `path` is that of the
    /// route: it has no values, which may be secrets.
    pub(super) async fn record(
        &self,
        by: &Principal,
        method: &Method,
        path: Option<&str>,
        needs: Role,
    ) {
        let Some(missed) = self.pass(&by.name, self.started.elapsed()) else { return };
        let path = path.unwrap_or_default();
        let mut detail = json!({
            "how": by.how.as_str(),
            "code": "role_missing",
            "needs": needs.as_str(),
        });
        if missed > 0 {
            detail["missed"] = missed.into();
        }
        let entry = NewAudit {
            who: by.as_str().into(),
            role: by.role.map_or("", |role| role.as_str()).into(),
            act: act(method.as_str(), path).into(),
            subject: format!("{method} {path}").into(),
            detail: detail.to_string().into(),
            outcome: AuditOutcome::Refused,
        };
        if let Err(error) = self.store.audit_append(entry).await {
            tracing::error!(%error, %by, "a refused write is not in the audit log");
        }
    }

    /// The number of writes that were not recorded before this one; none if it is not recorded
    /// either.
    fn pass(&self, name: &Arc<str>, now: Duration) -> Option<u64> {
        let rate = Rate::new(1, ONE_MORE_AFTER, BURST);
        let tokens = &mut *self.tokens.lock();
        if tokens.len() >= TOKENS_MAX && !tokens.contains_key(name) {
            tokens.retain(|_, refusals| refusals.bucket.has_spent(now));
        }
        let refusals = tokens.entry(name.clone()).or_default();
        match refusals.bucket.take(rate, now) {
            Ok(()) => Some(std::mem::take(&mut refusals.missed)),
            Err(_) => {
                refusals.missed += 1;
                None
            }
        }
    }
}

/// The act that a write to this route would have been.
fn act(method: &str, path: &str) -> &'static str {
    let deletions = if method == "DELETE" { DELETIONS } else { &[] };
    let found = deletions.iter().chain(ACTS).find(|(end, _)| path.ends_with(end));
    found.map_or("write", |(_, act)| act)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::permissions::{Needs, ROUTES};
    use crate::runtime::clock::SystemClock;

    #[test]
    fn every_write_of_the_api_has_the_name_of_its_act() {
        let writes = ROUTES.iter().filter(|(method, path, needs)| {
            let needs_role = matches!(needs, Needs::A(Role::Operate | Role::Admin));
            *method != "GET" && path.starts_with("/api/v1/") && needs_role
        });
        let nameless: Vec<_> =
            writes.filter(|(method, path, _)| act(method, path) == "write").collect();
        assert!(nameless.is_empty(), "{nameless:?}");
    }

    #[tokio::test]
    async fn a_flood_of_refused_writes_leaves_a_few_records_and_a_count() {
        let folder = tempfile::tempdir().unwrap();
        let options = weir_store::sqlite::Options::new(Arc::new(SystemClock));
        let store = weir_store::sqlite::open(&folder.path().join("weir.db"), options).unwrap();
        let refused = RefusedWrites::new(Arc::new(store));
        let (ci, ada): (Arc<str>, Arc<str>) = ("ci".into(), "ada".into());
        let at = Duration::from_secs;
        let passed = (0..1_000).filter(|_| refused.pass(&ci, at(1)).is_some()).count();
        assert_eq!(passed, BURST as usize);
        assert_eq!(refused.pass(&ada, at(1)), Some(0), "another token has records of its own");
        assert_eq!(refused.pass(&ci, at(61)), Some(990));
        assert_eq!(refused.pass(&ci, at(61)), None);
        for n in 0..10 * TOKENS_MAX as u64 {
            refused.pass(&format!("t{n}").into(), at(1_000 * n));
        }
        assert!(refused.tokens.lock().len() <= TOKENS_MAX);
    }
}
