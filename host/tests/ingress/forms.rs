//! Webhooks that are forms: signed field by field, or with a batch of events in one field.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::hub::{IngressHub, request};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

const SOURCES: &str = r#"
[sources.mandrill]
provider = "mandrill"
public_url = "https://hooks.example.com/webhook/mandrill"
secrets = ["mandrill-key"]
[sources.adyen]
provider = "adyen"
secrets = ["44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"]
"#;

/// A signed form with these events.
fn mandrill(hub: &IngressHub, events: &str) -> String {
    let field: String = form_urlencoded::byte_serialize(events.as_bytes()).collect();
    let url = "https://hooks.example.com/webhook/mandrill";
    hub.signed_for(url, "mandrill", &[FORM], &format!("mandrill_events={field}"))
}

#[tokio::test]
async fn a_batch_in_a_form_field_becomes_events_with_dedup_keys() {
    let hub = IngressHub::of(SOURCES).await;
    let open = r#"{"event":"open","_id":"7","ts":1,"msg":{"email":"grüße@example.com"}}"#;
    let click = r#"{"event":"click","_id":"7","ts":2}"#;
    let added = r#"{"type":"blacklist","action":"add","ts":3}"#;
    let reply = hub.raw(mandrill(&hub, &format!("[{open}, {click}]"))).await.json();
    assert_eq!(reply["event_ids"].as_array().map(Vec::len), Some(2), "{reply}");
    // Another batch with one duplicate and one new event.
    let reply = hub.raw(mandrill(&hub, &format!("[{click},{added}]"))).await.json();
    assert_eq!(reply["duplicates"].as_array().map(Vec::len), Some(1), "{reply}");

    let mut told = Vec::new();
    for event in hub.stored().await {
        let detail = hub.store.event(event.id).await.unwrap().unwrap();
        let payload = detail.payload.unwrap();
        told.push((event.kind.to_string(), String::from_utf8(payload.body.to_vec()).unwrap()));
    }
    told.sort();
    let of = |kind: &str, body: &str| (kind.to_owned(), body.to_owned());
    assert_eq!(told, [of("blacklist.add", added), of("click", click), of("open", open)]);

    let empty = hub.raw(mandrill(&hub, "[]")).await;
    assert_eq!(empty.status, 200, "as when the provider tests the URL");
    let probe = hub.raw("HEAD /webhook/mandrill HTTP/1.1\r\nHost: hub\r\n\r\n").await;
    assert_eq!(probe.status, 200);
    assert_eq!(hub.stored().await.len(), 3);
}

#[tokio::test]
async fn a_form_signed_field_by_field_is_accepted_and_soap_is_refused() {
    let hub = IngressHub::of(SOURCES).await;
    let form = "additionalData.hmacSignature=coqCmt%2FIZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU%2BiCWo0%3D&\
         currency=EUR\
                &eventCode=AUTHORISATION&merchantAccountCode=TestMerchant&live=false\
                &merchantReference=TestPayment-1407325143704&pspReference=7914073381342284&\
                 success=true&value=1130";
    let post = async |content_type: &str, body: &str| {
        hub.raw(request("/webhook/adyen", &[("content-type", content_type)], body)).await
    };
    let taken = post(FORM.1, form).await;
    assert_eq!((taken.status, &*taken.body), (200, &b"[accepted]"[..]));
    let [event] = &*hub.stored().await else { panic!("not one event") };
    assert_eq!(event.kind.as_str(), "AUTHORISATION");
    for (change, code) in [
        (form.replace("value=1130", "value=1131"), "signature_mismatch"),
        (format!("{form}&value=1"), "field_duplicated"),
    ] {
        assert_eq!(post(FORM.1, &change).await.problem(), (401, code.into()));
    }
    let envelope = "<soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"/>";
    for content_type in ["text/xml; charset=utf-8", "application/soap+xml"] {
        let refused = post(content_type, envelope).await.problem();
        assert_eq!(refused, (415, "content_type_unsupported".into()));
    }
    assert_eq!(hub.stored().await.len(), 1);
}

/// The bytes of a request with this body, which may be binary.
fn wire(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: hub\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn a_slack_form_keeps_its_bytes_and_ssl_check_is_not_an_event() {
    let hub = IngressHub::start().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body =
        "command=%2fdeploy&text=%ff%FE+a%2B&trigger_id=1.2&payload=%7b%22a%22%3a%22%ff%22%7d";
    assert_eq!(hub.raw(hub.signed("slack", &form, body, 0)).await.status, 200);
    let kept = hub.only_request().await;
    assert_eq!(&kept.payload.body[..], body.as_bytes());

    let check = hub.post("/webhook/slack", &form, "ssl_check=1&token=x").await;
    assert_eq!((check.status, &check.body[..]), (200, &b""[..]));
    assert_eq!(hub.stored().await.len(), 1);
}

#[tokio::test]
async fn a_mailgun_route_with_a_file_is_a_multipart_form() {
    let hub = IngressHub::of(
        "[sources.mailgun]\nprovider = \"mailgun\"\n\
         secrets = [\"key-3ax6xnjp29jd6fds4gc373sgvjxteol0\"]\n",
    )
    .await;
    let file: toml::Value =
        toml::from_str(include_str!("../../core/providers/mailgun.toml")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let vectors =
        vectors.iter().filter(|v| v["name"].as_str().unwrap().starts_with("route-in-parts"));
    let mut taken = 0;
    for vector in vectors {
        let body = STANDARD.decode(vector["body_base64"].as_str().unwrap()).unwrap();
        let content_type = vector["headers"]["Content-Type"].as_str().unwrap();
        let reply =
            hub.raw(wire("/webhook/mailgun", &[("content-type", content_type)], &body)).await;
        let good = vector.get("refused").is_none();
        assert_eq!(reply.status, if good { 200 } else { 401 }, "{}", vector["name"]);
        if good {
            taken += 1;
            assert_eq!(&hub.only_request().await.payload.body[..], body, "as it came");
        }
    }
    assert_eq!((taken, hub.stored().await.len()), (1, 1));
}

#[tokio::test]
async fn a_captured_form_is_one_event_in_any_order_and_content_type() {
    let sources = "[sources.texts]\nprovider = \"twilio\"\n\
         secrets = [\"2d6f0c4be1a97358d0b1c2e3f4a59687\"]\n\
                   public_url = \"https://mycompany.com/myapp.php\"\n";
    let hub = IngressHub::of(&format!("{SOURCES}{sources}")).await;
    // The example of Twilio's documentation, with a token of Twilio's length.
    let form = "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&\
         Caller=%2B14158675309";
    let post = async |headers: &[(&str, &str)], body: &str| {
        let signature = ("x-twilio-signature", "88teh7wpfNuHiv/YzF9nWS7DIpY=");
        let headers: Vec<_> = headers.iter().copied().chain([signature]).collect();
        hub.raw(request("/webhook/texts?foo=1&bar=2", &headers, body)).await.status
    };
    assert_eq!(post(&[FORM, ("i-twilio-idempotency-token", "a")], form).await, 200);
    let mut other_order: Vec<&str> = form.split('&').collect();
    other_order.reverse();
    assert_eq!(post(&[FORM], &other_order.join("&")).await, 200);
    assert_eq!(post(&[FORM, ("i-twilio-idempotency-token", "b")], form).await, 200);
    assert_eq!(post(&[("content-type", "text/plain")], form).await, 200);
    assert_eq!(post(&[], &form.replace("%2B", "%2b")).await, 200);
    assert_eq!(hub.stored().await.len(), 1);
}
