//! The quarantine: requests with an invalid signature, kept within bounds, and released once the
//! cause is fixed.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir::config::{self, Source};
use weir::ingress::ReleaseOutcome;
use weir_core::name::SourceName;
use weir_store::quarantine::{QuarantineFilter, QuarantinedRequest};

use crate::hub::{IngressHub, NOW_MS, kept, request};

const RIGHT: &str = "what the sender signs with";

fn sources(secret: &str) -> String {
    format!(
        "[sources.stripe]\nprovider = \"stripe\"\nsecrets = [\"{secret}\"]\n\
         [sources.github]\nprovider = \"github\"\nsecrets = [\"{secret}\"]\n"
    )
}

/// The sources after the secret is fixed.
fn fixed() -> BTreeMap<SourceName, Arc<Source>> {
    let folder = tempfile::tempdir().unwrap();
    config::load_text("weir.toml", &sources(RIGHT), folder.path(), weir::config::Mode::Development)
        .unwrap()
        .config
        .sources
}

/// A hub with a wrong secret, and the sender's requests.
struct WrongSecret {
    hub: IngressHub,
    sender: IngressHub,
}

impl WrongSecret {
    async fn start(more: &str) -> Self {
        let hub = IngressHub::of(&format!("{}{more}", sources("not the sender's"))).await;
        Self { hub, sender: IngressHub::of(&sources(RIGHT)).await }
    }

    /// A signed request that is `skew_s` seconds old.
    fn stripe(&self, id: &str, skew_s: u64) -> String {
        let body = format!("{{\"id\":\"{id}\",\"type\":\"charge.succeeded\"}}");
        self.sender.signed("stripe", &[], &body, skew_s)
    }

    /// The quarantined requests, once there are `count`.
    async fn kept(&self, count: usize) -> Vec<QuarantinedRequest> {
        kept(&self.hub, count).await
    }
}

#[tokio::test]
async fn a_request_refused_by_a_wrong_secret_is_released_once() {
    let wrong = WrongSecret::start("").await;
    for n in 0..100 {
        let reply = wrong.hub.raw(wrong.stripe(&format!("evt_{n}"), 0)).await;
        assert_eq!(reply.problem(), (401, "signature_mismatch".into()));
    }
    let held = wrong.kept(100).await;
    for one in &held[..3] {
        let release = wrong.hub.ingress.release(one.id).await.unwrap();
        assert_eq!(release, ReleaseOutcome::StillRefused("signature_mismatch".into()));
    }
    wrong.hub.ingress.replace_sources(fixed());
    let mut events = Vec::new();
    for one in &held {
        match wrong.hub.ingress.release(one.id).await.unwrap() {
            ReleaseOutcome::Released(ids) => events.extend(ids),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(wrong.hub.stored().await.len(), 100);
    events.sort();
    events.dedup();
    assert_eq!(events.len(), 100);
    // A second release, and the same request by the sender.
    for one in &held {
        let again = wrong.hub.ingress.release(one.id).await.unwrap();
        assert!(matches!(again, ReleaseOutcome::Released(ids) if events.contains(&ids[0])));
    }
    let reply = wrong.hub.raw(wrong.stripe("evt_0", 0)).await;
    assert_eq!(reply.json()["status"], "duplicate");
    assert_eq!(wrong.hub.stored().await.len(), 100);
    assert!(kept(&wrong.hub, 0).await.is_empty());
}

#[tokio::test]
async fn a_release_judges_freshness_as_of_the_time_of_receipt() {
    let wrong = WrongSecret::start("").await;
    wrong.hub.raw(wrong.stripe("evt_stale", 3_600)).await;
    wrong.hub.raw(wrong.stripe("evt_fresh", 0)).await;
    let held = wrong.kept(2).await;
    wrong.hub.ingress.replace_sources(fixed());
    // Hours later: the time of receipt counts.
    wrong.hub.clock.set(NOW_MS + 7_200_000);
    let release = async |n: usize| wrong.hub.ingress.release(held[n].id).await.unwrap();
    assert_eq!(release(0).await, ReleaseOutcome::StillRefused("timestamp_stale".into()));
    assert!(matches!(release(1).await, ReleaseOutcome::Released(ids) if ids.len() == 1));
    assert_eq!(&*kept(&wrong.hub, 1).await[0].code, "timestamp_stale");
}

#[tokio::test]
async fn a_request_without_a_signature_is_not_quarantined() {
    let wrong = WrongSecret::start("").await;
    wrong.hub.post("/webhook/stripe", &[], "{}").await;
    wrong.hub.post("/webhook/stripe", &[("x-hub-signature-256", "sha256=00")], "{}").await;
    wrong.hub.post("/webhook/github", &[("x-hub-signature-256", "sha256=00")], "{}").await;
    let held = wrong.kept(1).await;
    assert_eq!((&*held[0].source, &*held[0].address), ("github", "127.0.0.1"));
    assert_eq!(
        wrong.hub.ingress.release("qrt_01K742SG000004ZX8H03JR4MD1".parse().unwrap()).await.unwrap(),
        ReleaseOutcome::Unknown
    );
}

#[tokio::test]
async fn one_address_fills_only_its_share_of_the_quarantine() {
    let wrong = WrongSecret::start("[quarantine]\nper_address = 5\n").await;
    for n in 0..12 {
        wrong.hub.raw(wrong.stripe(&format!("evt_{n}"), 0)).await;
    }
    // The last request is written after all others.
    let newest = |held: &[QuarantinedRequest]| held.iter().map(|one| one.id).max();
    let mut before = None;
    let held = loop {
        let wanted =
            QuarantineFilter { limit: 1_000, oldest_first: true, ..QuarantineFilter::default() };
        let held = wrong.hub.ingress.quarantined(wanted).await.unwrap();
        if held.len() == 5 && newest(&held) == before {
            break held;
        }
        before = newest(&held);
        tokio::task::yield_now().await;
    };
    assert_eq!(held.len(), 5);
}

#[tokio::test]
async fn quarantined_requests_survive_a_restart_and_are_sealed_on_disk() {
    let wrong = WrongSecret::start("").await;
    let secret = "a token that strayed into a header";
    let body = "{\"a body\":\"of a stranger\"}";
    let headers = [("x-hub-signature-256", "sha256=00"), ("authorization", secret)];
    wrong.hub.raw(request("/webhook/github", &headers, body)).await;
    let held = wrong.kept(1).await;
    let shown = wrong.hub.ingress.show_quarantined(held[0].id).await.unwrap().unwrap();
    assert_eq!(&shown.body[..], body.as_bytes());
    let authorization = shown.headers.iter().find(|(name, _)| &**name == "authorization").unwrap();
    assert!(authorization.1.starts_with(b"fingerprint-"), "{authorization:?}");

    let kept_on_disk = wrong.hub.on_disk();
    for plain in [secret, "of a stranger"] {
        assert!(
            !kept_on_disk.windows(plain.len()).any(|bytes| bytes == plain.as_bytes()),
            "{plain}"
        );
    }
    let hub = wrong.hub.restarted().await;
    assert_eq!(kept(&hub, 1).await[0].id, held[0].id);
    assert!(hub.ingress.show_quarantined(held[0].id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_broken_quarantine_file_is_set_aside_without_delay() {
    let wrong = WrongSecret::start("").await;
    wrong.hub.raw(wrong.stripe("evt_1", 0)).await;
    wrong.kept(1).await;
    let hub = wrong.hub.restarted_after(|dir| {
        std::fs::write(dir.join("quarantine.db"), "garbage that is no database at all").unwrap();
    });
    let hub = hub.await;
    assert!(kept(&hub, 0).await.is_empty());
    assert!(hub.dir.path().join("quarantine.db.damaged").exists());
    hub.raw(wrong.sender.signed("stripe", &[], "{\"id\":\"evt_2\",\"type\":\"x\"}", 0)).await;
    kept(&hub, 1).await;
}
