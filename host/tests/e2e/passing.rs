//! Headers that a route forwards with an event: the receiver verifies the provider's own signature.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use ring::rand::SystemRandom;
use weir_core::provider::Catalog;
use weir_core::request::RequestView;
use weir_core::sign::{RequestDraft, SigningInput};
use weir_core::time::Timestamp;
use weir_core::verify::{NamedSecret, Secret};

use weir_testing::hub::TestHub;
use weir_testing::sink::{Received, Sink};

const SECRET: &str = "a secret of the provider's";

fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond().try_into().unwrap())
}

/// A request of a provider, signed with its secret.
fn request(to: &str, provider: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let provider = Catalog::built_in().unwrap().get(provider).unwrap().clone();
    let draft = RequestDraft {
        method: "POST".into(),
        url: to.into(),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        body: body.into(),
    };
    let (secret, params) = (&Secret::new(SECRET), &Default::default());
    let signing = SigningInput { secret, params, scheme: None };
    let signed = provider.sign_request(signing, &draft, now(), &SystemRandom::new()).unwrap();
    let request = Request::post(to).header("authorization", "Bearer of-the-sender");
    let request = signed.headers.iter().fold(request, |request, (n, v)| request.header(n, v));
    request.body(Full::new(Bytes::from(signed.body))).unwrap()
}

fn is_verified(provider: &str, received: &Received) -> bool {
    let provider = Catalog::built_in().unwrap().get(provider).unwrap().clone();
    let verifier = provider.verifier(&[NamedSecret::new("its", Secret::new(SECRET))]).unwrap();
    let headers: Vec<_> =
        received.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    let (url, body) = ("http://receiver/hook", &received.body);
    let view = RequestView { method: "POST", url, headers: &headers, body };
    verifier.verify(&view, now()).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_verify_github_stripe_and_slack_signatures() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .source("github", "github", SECRET)
        .source("stripe", "stripe", SECRET)
        .source("slack", "slack", SECRET)
        .destination("sink", &sink, "")
        .config("[[route]]\non = [\"*:*\"]\nto = \"sink\"")
        .start()
        .await;
    let json = ("content-type", "application/json");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let github = [json, ("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "d-1")];
    let slack =
        r#"{"token":"XXYYZZ","type":"event_callback","event_id":"Ev1","event":{"type":"message"}}"#;
    let command = "token=XXYYZZ&command=%2Fgo&text=a+b%20c&trigger_id=1.2";
    for (n, (provider, headers, body)) in [
        ("github", &github[..], "{ \"spaced\":  1 }"),
        ("stripe", &[json], r#"{"id":"evt_1","type":"charge.succeeded"}"#),
        ("slack", &[json], slack),
        ("slack", &[form], command),
    ]
    .into_iter()
    .enumerate()
    {
        let to = format!("http://{}/webhook/{provider}/tenant/7?a=1&b=%20", hub.ingress);
        let (status, answer) = hub.send(request(&to, provider, headers, body)).await;
        assert!(status.is_success(), "{provider}: {answer:?}");
        let received = sink.until_received(n + 1).await.remove(n);
        assert_eq!(received.body, body.as_bytes(), "{provider}");
        assert!(is_verified(provider, &received), "{provider}: {:?}", received.headers);
        assert_eq!(received.header("weir-source"), provider);
        assert_eq!(received.header("weir-path"), "/tenant/7");
        assert_eq!(received.header("weir-query"), "a=1&b=%20");
        assert!(!received.headers.contains_key("authorization"));
        let event = hub.event(received.header("weir-event-id")).await;
        assert_eq!(event["source"], provider, "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pass_headers_decides_which_headers_are_forwarded() {
    let (none, some) = (Sink::start().await, Sink::start().await);
    let hub = TestHub::new()
        .github()
        .destination("none", &none, "")
        .destination("some", &some, "")
        .config("[[route]]\non = [\"github:*\"]\nto = \"none\"\npass_headers = []")
        .config(
            "[[route]]\non = [\"github:*\"]\nto = \"some\"\npass_headers = [\"X-GitHub-Delivery\"]",
        )
        .start()
        .await;
    hub.push("push", "d-1", b"{}").await.accepted();
    let none = none.until_received(1).await.remove(0);
    let some = some.until_received(1).await.remove(0);
    for name in ["x-github-event", "x-github-delivery", "x-hub-signature-256"] {
        assert!(!none.headers.contains_key(name), "{name}");
    }
    assert_eq!(some.header("x-github-delivery"), "d-1");
    assert!(!some.headers.contains_key("x-github-event"));
    assert!(none.header("weir-event-id").starts_with("evt_"));
}
