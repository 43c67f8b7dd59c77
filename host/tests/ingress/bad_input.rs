//! Hostile requests over HTTP: each gets its code, soon, and the next valid request is accepted.

use std::time::Duration;

use crate::hub::{IngressHub, NOW_MS, Reply, request};

/// The longest that an answer may take, unoptimised and on a busy machine. Quadratic work takes
/// minutes.
const SOON: Duration = Duration::from_secs(5);

const SOURCES: &str = r#"
[sources.stripe]
provider = "stripe"
secrets = ["whsec_of_some_length"]
[sources.github]
provider = "github"
secrets = ["a secret of some length"]
[sources.slack]
provider = "slack"
secrets = ["a secret of some length"]
[sources.twilio]
provider = "twilio"
secrets = ["a secret of some length"]
public_url = "http://hub/webhook/twilio"
[sources.batch]
provider = "custom"
secrets = ["a secret of some length"]
fan_out = ""
body_limit = "2MiB"
"#;

async fn soon(hub: &IngressHub, request: impl AsRef<[u8]>) -> Reply {
    tokio::time::timeout(SOON, hub.raw(request)).await.unwrap()
}

/// Checks that a valid request is accepted.
async fn is_well(hub: &IngressHub, id: &str) {
    assert_eq!(soon(hub, hub.push(id, "{}")).await.json()["status"], "accepted", "{id}");
}

#[tokio::test]
async fn hostile_headers_are_refused_with_their_code() {
    let hub = IngressHub::of(SOURCES).await;
    let now = NOW_MS / 1000;
    let stripe = |value: String| ("stripe", vec![("stripe-signature", value)]);
    let github = |value: &str| ("github", vec![("x-hub-signature-256", value.to_owned())]);
    for ((source, headers), code) in [
        (stripe(format!("t={now},{}", "v1=00,".repeat(1300))), "too_many_signatures"),
        (stripe(format!("t={now},v1={}", "0".repeat(9000))), "header_too_long"),
        (stripe(format!("t={now},t={now},v1=00")), "header_duplicated"),
        (github("sha256=no hexadecimal"), "signature_malformed"),
        (github(&format!("sha256={}", "0F".repeat(32))), "signature_malformed"),
        (github(&format!("sha256={}", "0".repeat(63))), "signature_malformed"),
        (("twilio", vec![("x-twilio-signature", "no base64!".to_owned())]), "body_not_signed"),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, v)| (*name, v.as_str())).collect();
        let reply = soon(&hub, request(&format!("/webhook/{source}"), &headers, "{}")).await;
        assert_eq!(reply.problem(), (401, code.to_owned()), "{headers:?}");
    }
    let signed = hub.push("d-0", "{}");
    let twice = signed.replacen(
        "X-Hub-Signature-256",
        "X-Hub-Signature-256: sha256=00\r\nX-Hub-Signature-256",
        1,
    );
    assert_eq!(soon(&hub, twice).await.problem(), (401, "header_duplicated".into()));
    for head in [format!("X: {}\r\n", "x".repeat(1 << 20)), "X: y\r\n".repeat(10_000)] {
        let text = format!("POST /webhook/github HTTP/1.1\r\nHost: hub\r\n{head}\r\n");
        assert_eq!(soon(&hub, text).await.status, 431);
    }
    is_well(&hub, "d-1").await;
    assert_eq!(hub.stored().await.len(), 1);
}

#[tokio::test]
async fn a_signed_time_in_another_notation_is_refused() {
    let hub = IngressHub::of(SOURCES).await;
    let now = NOW_MS / 1000;
    for odd in [
        format!("+{now}"),
        format!("-{now}"),
        format!("{now}.0"),
        format!("{now} 0"),
        NOW_MS.to_string(),
        "18446744073709551616".to_owned(),
        "9".repeat(500),
    ] {
        let headers = [("x-slack-request-timestamp", odd.as_str())];
        let reply = soon(&hub, hub.signed("slack", &headers, "{}", 0)).await;
        assert_eq!(reply.problem(), (401, "timestamp_malformed".into()), "{odd}");
    }
    is_well(&hub, "d-1").await;
    assert_eq!(hub.stored().await.len(), 1);
}

#[tokio::test]
async fn hostile_bodies_are_answered_soon() {
    let hub = IngressHub::of(SOURCES).await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    for bomb in ["a&".repeat(400_000), "%41=%42&".repeat(100_000)] {
        let headers = [form, ("x-twilio-signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
        let reply = soon(&hub, request("/webhook/twilio", &headers, &bomb)).await;
        assert_eq!(reply.problem(), (401, "too_many_fields".into()));
    }
    // A sender with the secret may send useless bodies. They are stored whole.
    let mut kept = 0;
    for bomb in ["[".repeat(1_000_000), "{\"a\":".repeat(150_000), "\u{0}".repeat(1000)] {
        let reply = soon(&hub, hub.signed("slack", &[], &bomb, 0)).await;
        assert_eq!(reply.json()["status"], "accepted");
        kept += 1;
    }
    let long = "application/json; ".to_owned() + &"x=y;".repeat(1000);
    for content_type in [long.as_str(), ";;;;", "", "application/x-www-form-urlencoded-not", "*/*"]
    {
        let body = format!(r#"{{"of":{kept}}}"#);
        let headers = [("content-type", content_type)];
        let reply = soon(&hub, hub.signed("slack", &headers, &body, 0)).await;
        assert_eq!(reply.json()["status"], "accepted", "{content_type}");
        kept += 1;
    }
    let items = format!("[{}{{}}]", "{},".repeat(10_000));
    let reply = soon(&hub, hub.signed("batch", &[], &items, 0)).await;
    assert_eq!(reply.problem(), (422, "too_many_events".into()));
    is_well(&hub, "d-1").await;
    assert_eq!(hub.stored().await.len(), kept + 1);
}
