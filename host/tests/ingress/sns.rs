//! Amazon SNS: confirmation of subscriptions, and certificates that a request names.

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair};
use ring::rand::SystemRandom;
use weir_core::sign::{RequestDraft, SigningInput};
use weir_core::time::Timestamp;
use weir_core::verify::Secret;

use crate::hub::{IngressHub, NOW_MS, request, until};
use crate::keys::{KeyServer, fetching, ok, trusting};

/// The URL of Amazon's certificate.
const SNS_KEY: &str = "/SimpleNotificationService-7ff5318490ec183fbaddaa2a969abfda.pem";

/// A confirmation of an SNS subscription, signed with the tests' key.
fn confirmation(hub: &IngressHub, subscribe: &str) -> String {
    let body = serde_json::json!({
        "Type": "SubscriptionConfirmation", "MessageId": "m", "Token": "t", "Message": "x",
        "TopicArn": "arn:aws:sns:us-west-2:123456789012:MyTopic", "SubscribeURL": subscribe,
        "Timestamp": "2012-05-02T00:54:06.655Z", "SignatureVersion": "2", "Signature": "",
        "SigningCertURL": format!("https://sns.us-west-2.amazonaws.com{SNS_KEY}"),
    });
    let source = &hub.config.sources["sns"];
    let draft = RequestDraft {
        method: "POST".into(),
        url: "https://hub/".into(),
        headers: vec![("content-type".into(), "text/plain".into())],
        body: body.to_string().into_bytes(),
    };
    let secret = Secret::new(include_str!("../../core/tests/providers/rsa-private.pem"));
    let scheme = Some("confirmation-v2");
    let signing = SigningInput { secret: &secret, params: &source.params, scheme };
    let now = Timestamp::from_millis(NOW_MS);
    let signed = source.provider.sign_request(signing, &draft, now, &SystemRandom::new()).unwrap();
    request("/webhook/sns", &[], std::str::from_utf8(&signed.body).unwrap())
}

/// A hub with a source of Amazon SNS, whose subscriptions are confirmed at this server.
async fn subscribed(server: &KeyServer) -> IngressHub {
    let source = format!(
        "[sources.sns]\nprovider = \"sns\"\nsecrets = ['''{}''']\n\
         params = {{ topic_arn = \"arn:aws:sns:us-west-2:123456789012:MyTopic\" }}\n",
        include_str!("../../core/tests/providers/rsa-public.pem")
    );
    let config = fetching("https://sns.us-west-2.amazonaws.com/", server);
    IngressHub::of(&format!("{config}{source}")).await
}

#[tokio::test]
async fn a_subscription_is_confirmed_before_the_answer() {
    let server = KeyServer::start(ok("")).await;
    let hub = subscribed(&server).await;
    let confirm = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=t";
    assert_eq!(hub.raw(confirmation(&hub, confirm)).await.status, 200);
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("GET /?Action=ConfirmSubscription&Token=t HTTP/1.1\r\n"));
    assert!(hub.stored().await.is_empty(), "a handshake is not an event");

    for elsewhere in [
        "https://evil.example/?x",
        "http://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription",
        "https://sns.s3.amazonaws.com/?Action=ConfirmSubscription",
        "https://sns.us-west-2.amazonaws.com/bucket?Action=ConfirmSubscription",
        "https://sns.us-west-2.amazonaws.com:8443/?Action=ConfirmSubscription",
        "https://me@sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription",
    ] {
        let reply = hub.raw(confirmation(&hub, elsewhere)).await;
        assert_eq!(reply.problem(), (403, "handshake_challenge_unusable".into()), "{elsewhere}");
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_failed_confirmation_is_stored_and_retried() {
    let server = KeyServer::start("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".into()).await;
    let hub = subscribed(&server).await;
    let confirm = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=t";
    assert_eq!(hub.raw(confirmation(&hub, confirm)).await.status, 200);
    let [event] = &*hub.stored().await else { panic!("not one event") };
    assert_eq!(event.kind.as_str(), "SubscriptionConfirmation");

    *server.answer.lock() = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into();
    until(|| server.asked().len() == 2).await;
    assert_eq!(server.asked()[0], server.asked()[1]);
}

/// A notification of SNS, signed with the tests' key.
fn sns_notification(hub: &IngressHub) -> String {
    let body = serde_json::json!({
        "Type": "Notification", "MessageId": "m", "Message": "x",
        "TopicArn": "arn:aws:sns:us-west-2:123456789012:MyTopic",
        "Timestamp": "2012-05-02T00:54:06.655Z", "SignatureVersion": "2", "Signature": "",
        "SigningCertURL": format!("https://sns.us-west-2.amazonaws.com{SNS_KEY}"),
    });
    let source = &hub.config.sources["sns"];
    let draft = RequestDraft {
        method: "POST".into(),
        url: "https://hub/".into(),
        headers: vec![("content-type".into(), "text/plain".into())],
        body: body.to_string().into_bytes(),
    };
    let secret = Secret::new(include_str!("../../core/tests/providers/rsa-private.pem"));
    let scheme = Some("notification-v2");
    let signing = SigningInput { secret: &secret, params: &source.params, scheme };
    let now = Timestamp::from_millis(NOW_MS);
    let signed = source.provider.sign_request(signing, &draft, now, &SystemRandom::new()).unwrap();
    request("/webhook/sns", &[], std::str::from_utf8(&signed.body).unwrap())
}

const SNS: &str = "[sources.sns]\nprovider = \"sns\"\n\
    params = { topic_arn = \"arn:aws:sns:us-west-2:123456789012:MyTopic\" }\n";

fn rsa() -> KeyPair {
    KeyPair::from_pem(include_str!("../../core/tests/providers/rsa-private.pem")).unwrap()
}

#[tokio::test]
async fn a_forged_certificate_is_refused_and_fetched_again_later() {
    let params = CertificateParams::new(vec!["sns.amazonaws.com".to_owned()]).unwrap();
    let forged = params.self_signed(&rsa()).unwrap().pem();
    let server = KeyServer::start(ok(&forged)).await;
    let fetch = fetching("https://sns.us-west-2.amazonaws.com/", &server);
    let hub = IngressHub::of(&format!("{fetch}{SNS}")).await;
    for _ in 0..3 {
        let reply = hub.raw(sns_notification(&hub)).await;
        assert_eq!(reply.problem(), (401, "key_untrusted".into()));
    }
    assert_eq!(server.asked().len(), 1);
    hub.clock.set(NOW_MS + 61_000);
    assert_eq!(hub.raw(sns_notification(&hub)).await.status, 401);
    assert_eq!(server.asked().len(), 2);

    let xml = format!("<?xml version=\"1.0\"?><Error><Message>{forged}</Message></Error>");
    let page =
        ok("<html>").replace("\r\n\r\n", "\r\ncontent-type: text/HTML; charset=utf-8\r\n\r\n");
    for answer in [ok(&xml), ok(&format!("{forged}{forged}")), page] {
        let server = KeyServer::start(answer).await;
        let fetch = trusting(&forged, "https://sns.us-west-2.amazonaws.com/", &server);
        let hub = IngressHub::of(&format!("{}{SNS}", fetch.1)).await;
        let reply = hub.raw(sns_notification(&hub)).await;
        assert_eq!(reply.problem(), (503, "key_unavailable".into()));
        assert!(hub.stored().await.is_empty());
    }
}

#[tokio::test]
async fn issuers_of_a_certificate_are_fetched_up_to_an_authority() {
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().unwrap())
    };
    let ((root, root_key), (between, between_key)) = (authority("root"), authority("between"));
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let issuer = Issuer::from_params(&root, &root_key);
    let between_pem = between.signed_by(&between_key, &issuer).unwrap().pem();
    let mut leaf = CertificateParams::new(vec!["sns.amazonaws.com".to_owned()]).unwrap();
    leaf.custom_extensions.push(issuer_at("http://ca.example/between.cer"));
    let issuer = Issuer::from_params(&between, &between_key);
    let leaf_pem = leaf.signed_by(&rsa(), &issuer).unwrap().pem();

    let server = KeyServer::start(ok(&leaf_pem)).await;
    server.by_path.lock().push(("/between.cer", ok(&between_pem)));
    let (_file, fetch) = trusting(&root_pem, "https://sns.us-west-2.amazonaws.com/", &server);
    let addr = server.addr;
    let fetch = fetch.replace(
        "instead = {",
        &format!("instead = {{ \"http://ca.example/\" = \"http://{addr}/\","),
    );
    let hub = IngressHub::of(&format!("{fetch}{SNS}")).await;
    assert_eq!(hub.raw(sns_notification(&hub)).await.status, 200);
    assert_eq!(server.asked().len(), 2);
    assert!(server.asked()[1].starts_with("GET /between.cer "));

    // With another certificate in place of the issuer's, the chain does not end.
    let server = KeyServer::start(ok(&leaf_pem)).await;
    let fetch = fetch.replace(&addr.to_string(), &server.addr.to_string());
    let hub = IngressHub::of(&format!("{fetch}{SNS}")).await;
    let reply = hub.raw(sns_notification(&hub)).await;
    assert_eq!(reply.problem(), (401, "key_untrusted".into()));
    assert_eq!(server.asked().len(), 2);
}

/// The extension with the URL of an issuer's certificate: RFC 5280, section 4.2.2.1.
fn issuer_at(url: &str) -> CustomExtension {
    let tagged = |tag: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap();
        [&[tag, length], content].concat()
    };
    let ca_issuers = [0x2b, 6, 1, 5, 5, 7, 0x30, 2];
    let way = [tagged(6, &ca_issuers), tagged(0x86, url.as_bytes())].concat();
    let ways = tagged(0x30, &tagged(0x30, &way));
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], ways)
}

#[test]
fn an_authorities_file_holds_certificates_only() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("key.pem"),
        include_str!("../../core/tests/providers/rsa-public.pem"),
    )
    .unwrap();
    for (file, what) in
        [("key.pem", "something other than certificates"), ("gone.pem", "cannot be read")]
    {
        let text = format!("[fetch]\nsigning_authorities = [\"{file}\"]\n");
        let error = weir::config::load_text(
            "weir.toml",
            &text,
            dir.path(),
            weir::config::Mode::Development,
        )
        .unwrap_err();
        let error = error.to_string();
        assert!(error.contains("fetch.signing_authorities[0]") && error.contains(what), "{error}");
    }
}
