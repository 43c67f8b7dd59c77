//! Type, id, category, dedup material and batches, per provider.

use weir_core::event::Category;
use weir_core::identify::{Facts, Identified, IdentifyError, TYPE_UNKNOWN};
use weir_core::provider::Provider;
use weir_core::verify::Verified;

use crate::support::{CATALOG, Request, changed, provider, verified, verifier};

/// How a request of a token source is verified: identities are told apart from signatures here.
fn by_token() -> Verified {
    let token = changed(
        "custom",
        "dedup = 'none'\n[signature]\nheader = 'X-Token'\nprefix = ''\nencoding = 'plain'\n\
         algorithm = 'static-equals'",
    );
    verified(Request::new("").header("X-Token", "t").verify(&verifier(&token, &["t"])))
}

fn identify(provider: &Provider, request: &Request) -> Result<Identified, IdentifyError> {
    request.with(|view| provider.identify(&Facts::new(provider, view), &by_token()))
}

fn kinds(provider: &Provider, request: &Request) -> Vec<String> {
    identify(provider, request).unwrap().events.iter().map(|e| e.kind.to_string()).collect()
}

#[test]
fn the_type_is_read_where_the_file_says() {
    let json = |body: &str| Request::new(body).header("content-type", "application/json");
    let form =
        |body: &str| Request::new(body).header("content-type", "application/x-www-form-urlencoded");
    let slack = provider("slack");
    assert_eq!(
        kinds(slack, &json(r#"{"type":"event_callback","event":{"type":"message"}}"#)),
        ["message"]
    );
    assert_eq!(kinds(slack, &json(r#"{"type":"url_verification"}"#)), ["url_verification"]);
    assert_eq!(kinds(slack, &form("command=%2Fdeploy&text=x")), ["/deploy"]);
    assert_eq!(
        kinds(slack, &form("payload=%7B%22type%22%3A%22view_submission%22%7D")),
        ["view_submission"]
    );
    assert_eq!(kinds(provider("twilio"), &form("MessageStatus=sent&MessageSid=SM1")), ["sent"]);
    assert_eq!(
        kinds(provider("stripe"), &json(r#"{"type":"invoice.paid","id":"evt_1"}"#)),
        ["invoice.paid"]
    );
}

#[test]
fn an_event_that_says_no_type_is_unknown_and_kept() {
    for body in ["{}", "not json", "", r#"{"type":null}"#, r#"{"type":{}}"#, r#"{"type":""}"#] {
        assert_eq!(kinds(provider("stripe"), &Request::new(body)), [TYPE_UNKNOWN], "{body}");
    }
}

#[test]
fn a_type_that_could_forge_a_log_line_is_refused() {
    for body in [r#"{"type":"a\nb"}"#.to_owned(), format!(r#"{{"type":"{}"}}"#, "a".repeat(201))] {
        let error = identify(provider("stripe"), &Request::new(body)).unwrap_err();
        assert_eq!(error.code(), "event_type_invalid");
    }
}

#[test]
fn a_source_may_join_the_type_from_two_places() {
    let github =
        changed("github", "type = ['{header:X-GitHub-Event}.{/action}', 'header:X-GitHub-Event']");
    let request = |body: &str| Request::new(body).header("X-GitHub-Event", "issues");
    assert_eq!(kinds(&github, &request(r#"{"action":"opened"}"#)), ["issues.opened"]);
    assert_eq!(kinds(&github, &request("{}")), ["issues"]);
}

#[test]
fn a_batch_is_cut_into_its_events() {
    let body = b" [{\"event\":\"open\",\"sg_event_id\":\"a\"},\r\n {\"event\":\"click\",\"sg_event_id\":\"b\"}]\r\n";
    let found = identify(provider("sendgrid"), &Request::new(*body)).unwrap();
    assert!(found.is_batch);
    let parts: Vec<_> = found.events.iter().map(|e| &body[e.span.clone()]).collect();
    assert_eq!(
        parts,
        [
            &b"{\"event\":\"open\",\"sg_event_id\":\"a\"}"[..],
            b"{\"event\":\"click\",\"sg_event_id\":\"b\"}"
        ]
    );
    let ids: Vec<_> = found.events.iter().map(|e| e.delivery_id.as_deref()).collect();
    assert_eq!(ids, [Some("a"), Some("b")]);
    assert_eq!(found.events[1].category, Category::Updated);
    assert_ne!(found.events[0].dedup, found.events[1].dedup);
}

#[test]
fn a_batch_may_be_empty_but_not_endless() {
    assert_eq!(identify(provider("sendgrid"), &Request::new("[]")).unwrap().events.len(), 0);
    let most = format!("[{}1]", "1,".repeat(9_999));
    assert_eq!(identify(provider("sendgrid"), &Request::new(most)).unwrap().events.len(), 10_000);
    let endless = format!("[{}1]", "1,".repeat(10_000));
    assert_eq!(
        identify(provider("sendgrid"), &Request::new(endless)),
        Err(IdentifyError::TooManyEvents)
    );
}

#[test]
fn what_should_be_a_batch_and_is_not_is_one_event() {
    for body in ["{\"event\":\"open\"}", "[{", "", "[1] x"] {
        let found = identify(provider("sendgrid"), &Request::new(body)).unwrap();
        assert!(!found.is_batch && found.events.len() == 1, "{body}");
        assert_eq!(found.events[0].span, 0..body.len());
    }
}

#[test]
fn items_that_share_a_header_id_are_not_each_others_duplicates() {
    let partner = changed("custom", "fan_out = '/items'\nid = 'header:X-Webhook-Id'");
    let request =
        Request::new(r#"{"items":[{"type":"a"},{"type":"a"}]}"#).header("X-Webhook-Id", "1");
    let found = identify(&partner, &request).unwrap();
    assert_eq!(found.events.len(), 2);
    assert_ne!(found.events[0].dedup, found.events[1].dedup);
    assert_eq!(identify(&partner, &request).unwrap(), found);
}

#[test]
fn an_unsigned_id_makes_a_duplicate_only_with_the_same_body() {
    let of = |body: &str| {
        let request =
            Request::new(body).header("X-GitHub-Delivery", "1").header("X-GitHub-Event", "push");
        identify(provider("github"), &request).unwrap().events.remove(0).dedup.unwrap()
    };
    assert_eq!(of("{}"), of("{}"));
    assert_ne!(of("{}"), of("{ }"));
}

#[test]
fn an_event_without_an_id_is_never_a_duplicate() {
    let found = identify(provider("stripe"), &Request::new(r#"{"type":"a"}"#)).unwrap();
    assert_eq!((found.events[0].delivery_id.as_deref(), &found.events[0].dedup), (None, &None));
}

#[test]
fn categories_are_the_providers_and_a_source_may_change_them() {
    let of = |provider: &Provider, kind: &str| provider.identity.categories.of(kind);
    let stripe = changed(
        "stripe",
        "[categories]\n'radar.*' = 'status.changed'\n'customer.created' = 'created'",
    );
    assert_eq!(of(&stripe, "payment_intent.succeeded"), Category::PaymentReceived);
    assert_eq!(of(&stripe, "product.created"), Category::Created);
    assert_eq!(of(&stripe, "customer.created"), Category::Created);
    assert_eq!(of(&stripe, "radar.early_fraud_warning"), Category::StatusChanged);
    assert_eq!(of(provider("shopify"), "orders/create"), Category::OrderPlaced);
    for provider in CATALOG.iter() {
        assert_eq!(of(provider, "no such thing"), Category::Custom, "{}", provider.name);
    }
}

#[test]
fn a_header_in_latin_1_is_read_where_the_file_says_so() {
    let file = include_str!("../../providers/github.toml")
        .replace("body = \"auto\"", "body = \"auto\"\nlatin1_headers = true");
    let latin = Provider::load(&file).unwrap();
    let request = Request::new("{}").header("X-GitHub-Event", b"caf\xe9".to_vec());
    assert_eq!(kinds(&latin, &request), ["café"]);
    assert_eq!(kinds(provider("github"), &request), [TYPE_UNKNOWN]);
}
