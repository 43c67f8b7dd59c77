//! Tokens that a sender makes for one request and its URL.

use crate::hub::IngressHub;

const SOURCES: &str = r#"
[sources.connect]
provider = "jira"
public_url = "https://hooks.example.com/in/jira"
secrets = ["shared by one installation"]
params = { client_key = "the installation" }
[sources.other]
provider = "jira"
public_url = "https://hooks.example.com/in/jira"
secrets = ["shared by one installation"]
params = { client_key = "another installation" }
[sources.plain]
provider = "jira"
public_url = "https://hooks.example.com/in/jira"
secrets = ["shared by one installation"]
"#;

#[tokio::test]
async fn a_connect_token_is_valid_for_its_installation_and_url_only() {
    let hub = IngressHub::of(SOURCES).await;
    let headers = [("x-atlassian-webhook-identifier", "1")];
    let body = r#"{"webhookEvent":"jira:issue_created","issue":{"key":"RIV-17"}}"#;
    let url = "https://hooks.example.com/in/jira?project=RIV&issue=RIV-17";
    let connect = hub.signed_for(url, "connect", &headers, body);
    let plain = hub.signed_for(url, "plain", &headers, body);
    assert!(connect.contains("Authorization: JWT ") && plain.contains("X-Hub-Signature: sha256="));
    let send = async |signed: &str, of: &str, to: &str| {
        let request = signed.replacen(&format!("/webhook/{of} "), &format!("/webhook/{to} "), 1);
        assert_ne!(request, signed);
        hub.raw(request).await
    };
    for (signed, of, to, code) in [
        (&connect, "connect", "connect?project=RIV&issue=RIV-18", "claim_mismatch"),
        (&connect, "connect", "other?project=RIV&issue=RIV-17", "claim_mismatch"),
        (&connect, "connect", "plain?project=RIV&issue=RIV-17", "signature_missing"),
        (&plain, "plain", "connect?project=RIV&issue=RIV-17", "signature_missing"),
    ] {
        assert_eq!(send(signed, of, to).await.problem(), (401, code.into()), "{to}");
    }
    let taken = send(&connect, "connect", "connect?project=RIV&issue=RIV-17").await;
    assert_eq!(taken.json()["status"], "accepted");
    // A proxy may change the order of the query.
    let again = send(&connect, "connect", "connect?issue=RIV-17&project=RIV").await;
    assert_eq!(again.json()["status"], "duplicate");
    let kept = hub.only_request().await.payload;
    let authorization = kept.headers.iter().find(|(name, _)| &**name == "authorization").unwrap();
    assert!(authorization.1.starts_with(b"fingerprint-"));
}
