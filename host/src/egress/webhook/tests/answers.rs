//! Answers that become events, and the URLs of messages.

use weir_core::event::EventType;
use weir_core::payload::Payload;

use super::*;
use crate::config::{Authorization, WebhookAuth};
use crate::egress::transport::Subject;

/// An endpoint whose answers become events.
fn asking(url: &str) -> Webhook {
    Webhook { reply_as: Some(EventType::new("told").unwrap()), ..webhook(url) }
}

/// The answer that an outcome has.
fn answer(outcome: SendOutcome) -> (ResponseRecord, Payload) {
    match outcome {
        SendOutcome::Answered { receipt, answer } => (receipt, *answer),
        other => panic!("no answer: {other:?}"),
    }
}

fn header<'a>(answer: &'a Payload, name: &str) -> &'a str {
    std::str::from_utf8(answer.header(name).unwrap()).unwrap()
}

#[tokio::test]
async fn an_answer_has_its_body_its_status_and_the_message() {
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("location", "/customers/7"),
        ("set-cookie", "session=1"),
    ];
    let recorder = Recorder::answering(201, &headers, "{\"id\":7}").await;
    let (receipt, answer) = answer(send(&asking(&recorder.url)).await);
    assert_eq!((receipt.status, &*receipt.snippet), (201, "{\"id\":7}"));
    assert_eq!((&answer.body[..], answer.content_type()), (&b"{\"id\":7}"[..], headers[0].1));
    assert_eq!(header(&answer, "weir-answer-status"), "201");
    let [got] = &recorder.received()[..] else { panic!("one request") };
    assert_eq!(header(&answer, "weir-answer-to"), text(&got.headers, "webhook-id"));
    assert_eq!(header(&answer, "location"), "/customers/7");
    assert!(answer.header("set-cookie").is_none());
}

#[tokio::test]
async fn a_rejection_and_the_answer_to_an_alert_become_no_events() {
    let recorder = Recorder::answering(409, &[], "{}").await;
    assert!(matches!(send(&asking(&recorder.url)).await, SendOutcome::Rejected { .. }));
    let recorder = Recorder::answering(200, &[], "{}").await;
    let transport = WebhookTransport::new(&asking(&recorder.url), 4, hop_key()).unwrap();
    let alert = Outgoing { source: SourceName::hub(), ..outgoing() };
    assert!(transport.answers_as(&alert).is_none() && transport.answers_as(&outgoing()).is_some());
    let outcome = transport.send(&alert, NOW).await;
    assert!(matches!(outcome, SendOutcome::Accepted { .. }), "{outcome:?}");
}

#[tokio::test]
async fn credentials_in_an_answer_are_masked_and_words_of_the_url_are_not() {
    let secret = "t0ken-0123456789";
    let spaces = " ".repeat(200_000);
    let body =
        format!("{{\"hidden\":\"hidden-words\",\"you\":\"{secret}\"}}k3y-of-the-url-4711{spaces}");
    let length = body.len();
    let recorder = Recorder::answering(200, &[], body.leak()).await;
    let value = format!("Bearer {secret}").parse().unwrap();
    let fixed = Authorization { value, secret: Secret::new(secret) };
    let auth = Some(WebhookAuth::Fixed(fixed));
    let url = recorder.url.replace("hidden", "hidden-words-of-the-url&key=k3y-of-the-url-4711");
    let (receipt, answer) = answer(send(&Webhook { auth, ..asking(&url) }).await);
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert_eq!(text.len(), length);
    assert!(text.starts_with("{\"hidden\":\"hidden-words\",\"you\":\"****"), "{}", &text[..80]);
    for secret in ["0123456789", "k3y-of", "4711"] {
        assert!(!text.contains(secret) && !receipt.snippet.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_asked_for_again() {
    let recorder = Recorder::answering(200, &[], "x".repeat(1024 * 1024 + 1).leak()).await;
    let outcome = send(&asking(&recorder.url)).await;
    let SendOutcome::Rejected { about: Subject::Message, detail, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(detail.contains("sent and accepted") && detail.contains("1 MiB"), "{detail}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":").await;
    });
    let outcome = send(&asking(&url)).await;
    let SendOutcome::Unreachable { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.starts_with("HTTP 200 OK, and then the answer broke off"), "{reason}");
}

#[tokio::test]
async fn a_path_is_added_to_that_of_the_url() {
    for (url, path, expected) in [
        ("https://a.example", "/x", "https://a.example/x"),
        ("https://a.example/", "/x/y", "https://a.example/x/y"),
        ("https://a.example/v1/?key=1", "/x", "https://a.example/v1/x?key=1"),
    ] {
        let transport = WebhookTransport::new(&webhook(url), 4, hop_key()).unwrap();
        let out = Outgoing { path: Some(path.into()), ..outgoing() };
        assert_eq!(transport.url(&out).to_string(), expected);
        assert_eq!(
            transport.url(&outgoing()).to_string(),
            url.parse::<http::Uri>().unwrap().to_string()
        );
    }
}
