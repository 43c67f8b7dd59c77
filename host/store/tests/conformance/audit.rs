//! The audit log: entries, its filter and pages, and its limits.

use std::time::Duration;

use weir_core::time::Clock;
use weir_store::StoreError;
use weir_store::audit::{AUDIT_DETAIL_BYTES_MAX, AuditEntry, AuditFilter, AuditOutcome, NewAudit};
use weir_store::query::PageRequest;
use weir_store::upkeep::Retention;

use crate::common::*;
use crate::engine::TestStore;

const HOUR: Duration = Duration::from_secs(3_600);

fn act(who: &str, act: &str, outcome: AuditOutcome) -> NewAudit {
    NewAudit {
        who: who.into(),
        role: "operate".into(),
        act: act.into(),
        subject: "dlv_1".into(),
        detail: r#"{"limit":10}"#.into(),
        outcome,
    }
}

async fn append(test: &TestStore, entry: NewAudit) {
    test.store().audit_append(entry).await.unwrap();
}

async fn listed(test: &TestStore, filter: AuditFilter) -> Vec<AuditEntry> {
    let page = PageRequest { limit: 100, after: None };
    test.store().audit(filter, page).await.unwrap().items
}

fn acts(entries: &[AuditEntry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.act).collect()
}

#[tokio::test]
async fn the_audit_log_tells_who_did_what_newest_first() {
    let mut test = TestStore::new().await;
    append(&test, act("mona", "replay", AuditOutcome::Done)).await;
    test.clock.forward(HOUR);
    append(&test, act("hubot", "hold", AuditOutcome::Refused)).await;
    test.reopen().await;
    let found = listed(&test, AuditFilter::default()).await;
    assert_eq!(acts(&found), ["hold", "replay"]);
    assert_eq!(found[0].at, test.clock.now());
    assert_eq!(found[1].at, test.clock.now().before(HOUR));
    let AuditEntry { who, role, subject, detail, outcome, .. } = &found[1];
    let texts = [&**who, &**role, &**subject, &**detail, outcome.as_str()];
    assert_eq!(texts, ["mona", "operate", "dlv_1", r#"{"limit":10}"#, "done"]);
}

#[tokio::test]
async fn the_audit_log_can_be_filtered() {
    let test = TestStore::new().await;
    append(&test, act("mona", "replay", AuditOutcome::Done)).await;
    append(&test, act("mona", "hold", AuditOutcome::Failed)).await;
    test.clock.forward(HOUR);
    append(&test, act("hubot", "replay", AuditOutcome::Refused)).await;
    let of = |who: &str| AuditFilter { who: Some(who.into()), ..AuditFilter::default() };
    assert_eq!(acts(&listed(&test, of("mona")).await), ["hold", "replay"]);
    let replays = AuditFilter { act: Some("replay".into()), ..of("mona") };
    assert_eq!(listed(&test, replays).await.len(), 1);
    let failed = AuditFilter { outcome: Some(AuditOutcome::Failed), ..AuditFilter::default() };
    assert_eq!(acts(&listed(&test, failed).await), ["hold"]);
    let since = AuditFilter { since: Some(test.clock.now()), ..AuditFilter::default() };
    assert_eq!(&*listed(&test, since).await[0].who, "hubot");
    let until = AuditFilter { until: Some(test.clock.now()), ..AuditFilter::default() };
    assert_eq!(listed(&test, until).await.len(), 2);
    let other = AuditFilter { subject: Some("dlv_2".into()), ..AuditFilter::default() };
    assert_eq!(listed(&test, other).await, []);
}

#[tokio::test]
async fn pages_of_the_audit_log_follow_each_other() {
    let test = TestStore::new().await;
    for n in 0..5 {
        append(&test, act("mona", &format!("act{n}"), AuditOutcome::Done)).await;
    }
    let mut after = None;
    let mut pages = Vec::new();
    loop {
        let page = PageRequest { limit: 2, after };
        let page = test.store().audit(AuditFilter::default(), page).await.unwrap();
        pages.push(acts(&page.items).join(" "));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, ["act4 act3", "act2 act1", "act0"]);
}

#[tokio::test]
async fn an_audit_entry_that_is_too_long_is_refused() {
    let test = TestStore::new().await;
    let detail = "x".repeat(AUDIT_DETAIL_BYTES_MAX + 1).into();
    let entry = NewAudit { detail, ..act("mona", "replay", AuditOutcome::Done) };
    let refused = test.store().audit_append(entry).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Invalid(m) if m.contains("`detail`")), "{refused}");
    assert_eq!(listed(&test, AuditFilter::default()).await, []);
}

#[tokio::test]
async fn retention_bounds_the_audit_log_by_age_and_number() {
    let test = TestStore::new().await;
    append(&test, act("mona", "old", AuditOutcome::Done)).await;
    test.clock.forward(HOUR * 2);
    for n in 0..5 {
        append(&test, act("mona", &format!("act{n}"), AuditOutcome::Done)).await;
    }
    let by_age = Retention { audit_life: HOUR, ..Retention::default() };
    test.store().prune(&by_age).await.unwrap();
    assert_eq!(listed(&test, AuditFilter::default()).await.len(), 5);
    let by_number = Retention { audit_rows: 2, ..Retention::default() };
    test.store().prune(&by_number).await.unwrap();
    assert_eq!(acts(&listed(&test, AuditFilter::default()).await), ["act4", "act3"]);
}
