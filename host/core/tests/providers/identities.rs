//! Identification per provider: type, id, category, dedup material and batches.

use weir_core::event::Category;
use weir_core::identify::{Identified, IdentifyError, TYPE_UNKNOWN};
use weir_core::provider::Provider;
use weir_core::verify::Verified;

use crate::support::{CATALOG, Request, changed, provider, verified, verifier};

/// The proof of a request with a static token: these tests are about identities, not signatures.
fn by_token() -> Verified {
    let token = changed(
        "custom",
        "dedup = 'none'\n[signature]\nheader = 'X-Token'\nprefix = ''\nencoding = 'plain'\n\
         algorithm = 'static-equals'",
    );
    verified(Request::new("").header("X-Token", "t").verify(&verifier(&token, &["t"])))
}

fn identify(provider: &Provider, request: &Request) -> Result<Identified, IdentifyError> {
    request.with(|view| provider.identify(&provider.facts(view), &by_token()))
}

fn kinds(provider: &Provider, request: &Request) -> Vec<String> {
    identify(provider, request).unwrap().events.iter().map(|e| e.kind.to_string()).collect()
}

#[test]
fn the_type_is_read_by_the_files_selector() {
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
fn an_event_without_a_type_is_unknown() {
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
fn a_source_can_join_the_type_from_two_fields() {
    let github =
        changed("github", "type = ['{header:X-GitHub-Event}.{/action}', 'header:X-GitHub-Event']");
    let request = |body: &str| Request::new(body).header("X-GitHub-Event", "issues");
    assert_eq!(kinds(&github, &request(r#"{"action":"opened"}"#)), ["issues.opened"]);
    assert_eq!(kinds(&github, &request("{}")), ["issues"]);
}

#[test]
fn a_batch_is_split_into_events() {
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

/// The type and id of each event, as `type id`.
fn types_and_ids(name: &str, body: &str) -> Vec<String> {
    let found = identify(provider(name), &Request::new(body)).unwrap();
    let id = |e: &weir_core::identify::EventIdentity| e.delivery_id.clone().unwrap_or_default();
    let mut keys: Vec<_> = found.events.iter().filter_map(|e| e.dedup.clone()).collect();
    keys.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    keys.dedup();
    assert_eq!(keys.len(), found.events.len(), "{name}: each event has a dedup key of its own");
    found.events.iter().map(|e| format!("{} {}", e.kind, id(e))).collect()
}

/// Bodies of providers that send batches, with the type and id of each of their events.
const BATCHES: &[(&str, &str, &[&str])] = &[
    (
        "hubspot",
        r#"[{"eventId":1,"subscriptionId":7,"occurredAt":5,"subscriptionType":"contact.creation"},{"eventId":1,"subscriptionId":8,"occurredAt":5,"subscriptionType":"contact.deletion"}]"#,
        &["contact.creation 1", "contact.deletion 1"],
    ),
    (
        "xero",
        r#"{"events":[{"resourceId":"r","eventDateUtc":"d","eventType":"UPDATE","eventCategory":"CONTACT"},{"resourceId":"r","eventDateUtc":"d","eventType":"CREATE","eventCategory":"CONTACT"}]}"#,
        &["CONTACT.UPDATE ", "CONTACT.CREATE "],
    ),
    (
        "asana",
        r#"{"events":[{"action":"changed","resource":{"resource_type":"task"}},{"action":"changed","resource":{"resource_type":"task"}}]}"#,
        &["task.changed ", "task.changed "],
    ),
    ("asana", r#"{"events":[]}"#, &[]),
    ("line", r#"{"destination":"x","events":[]}"#, &[]),
    (
        "adyen",
        r#"{"notificationItems":[{"NotificationRequestItem":{"eventCode":"CAPTURE","pspReference":"p"}},{"NotificationRequestItem":{"eventCode":"REFUND","pspReference":"p"}}]}"#,
        &["CAPTURE p.CAPTURE", "REFUND p.REFUND"],
    ),
    (
        "adyen",
        r#"{"type":"merchant.created","data":{"id":"m"}}"#,
        &["merchant.created merchant.created.m"],
    ),
    (
        "meta",
        r#"{"object":"page","entry":[{"id":"1","messaging":[{"sender":{},"message":{"mid":"m1"}},{"sender":{},"read":{}}],"standby":[{"message":{"mid":"m2"}}]},{"id":"2","changes":[{"field":"feed","value":{}}]},{"id":"3","time":4,"changed_fields":["x"]}]}"#,
        &["page.message m1", "page.read ", "page.message m2", "page.feed ", "page.changed_fields "],
    ),
    (
        "quickbooks",
        r#"{"eventNotifications":[{"realmId":"1","dataChangeEvent":{"entities":[{"name":"Customer","id":"9","operation":"Create","lastUpdated":"t"}]}},{"realmId":"2","dataChangeEvent":{"entities":[{"name":"Customer","id":"9","operation":"Create","lastUpdated":"t"}]}}]}"#,
        &["Customer.Create 1.Customer.9.Create.t", "Customer.Create 2.Customer.9.Create.t"],
    ),
    (
        "quickbooks",
        r#"[{"specversion":"1.0","id":"a","type":"qbo.customer.created.v1"}]"#,
        &["qbo.customer.created.v1 qbo.customer.created.v1#a"],
    ),
    (
        "auth0",
        "{\"log_id\":\"1\",\"data\":{\"type\":\"s\"}}\n{\"log_id\":\"2\",\"data\":{\"type\":\"f\"}}\n",
        &["s 1", "f 2"],
    ),
    ("auth0", r#"[{"log_id":"1","data":{"type":"s"}}]"#, &["s 1"]),
    ("auth0", r#"{"log_id":"1","data":{"type":"s"}}"#, &["s 1"]),
    (
        "okta",
        r#"{"eventType":"com.okta.event_hook","data":{"events":[{"uuid":"u","eventType":"user.lifecycle.create"}]}}"#,
        &["user.lifecycle.create u"],
    ),
    (
        "cloudevents",
        r#"[{"type":"a","source":"/s","id":"1"},{"type":"b","source":"/s","id":"2"}]"#,
        &["a /s#1", "b /s#2"],
    ),
    ("telegram", r#"{"update_id":5,"edited_message":{"text":"x"}}"#, &["edited_message 5"]),
];

#[test]
fn the_batches_of_every_provider_are_split() {
    for (name, body, events) in BATCHES {
        assert_eq!(types_and_ids(name, body), *events, "{name} {body}");
    }
}

#[test]
fn a_batch_in_a_form_field_is_split() {
    let form = |body: String| {
        Request::new(body).header("content-type", "application/x-www-form-urlencoded")
    };
    let of = |events: &str| {
        let field: String = form_urlencoded::byte_serialize(events.as_bytes()).collect();
        form(format!("x=1&mandrill_events={field}"))
    };
    let mandrill = provider("mandrill");
    let events = r#"[{"event":"open","_id":"1","ts":1}, {"event":"open","_id":"1","ts":2},{"event":"open","_id":"1","ts":1}]"#;
    let request = of(events);
    let found = identify(mandrill, &request).unwrap();
    let types: Vec<_> = found
        .events
        .iter()
        .map(|e| (e.kind.as_str(), e.delivery_id.as_deref(), e.bytes(&request.body)))
        .collect();
    let one = (r"open", Some("1"), &br#"{"event":"open","_id":"1","ts":1}"#[..]);
    let two = (r"open", Some("1"), &br#"{"event":"open","_id":"1","ts":2}"#[..]);
    assert!(found.is_batch);
    assert_eq!(types, [one, two, one]);
    // The same event is the same one again, in this batch or in another.
    let keys: Vec<_> = found.events.iter().map(|e| e.dedup.clone().unwrap()).collect();
    assert!(keys[0] != keys[1] && keys[0] == keys[2]);
    let again = identify(mandrill, &of(r#"[{"event":"open","_id":"1","ts":2}]"#)).unwrap();
    assert_eq!(again.events[0].dedup.as_ref(), Some(&keys[1]));

    assert_eq!(identify(mandrill, &of("[]")).unwrap().events, []);
    let endless = of(&format!("[{}1]", "1,".repeat(10_000)));
    assert_eq!(identify(mandrill, &endless), Err(IdentifyError::TooManyEvents));
    // A body that is not a batch is one event.
    for body in ["mandrill_events=%5B%7B", "mandrill_events=1", "x=1", ""] {
        let request = form(body.to_owned());
        let found = identify(mandrill, &request).unwrap();
        assert!(!found.is_batch && found.events.len() == 1, "{body}");
        assert_eq!(found.events[0].bytes(&request.body), body.as_bytes());
    }
    let inside = changed("mandrill", "fan_out = 'form:mandrill_events#/all'");
    assert_eq!(kinds(&inside, &of(r#"{"all":[{"event":"send"}]}"#)), ["send"]);
}

#[test]
fn the_field_of_a_batch_cannot_be_partly_redacted() {
    for field in ["/msg/email", "form:mandrill_events", "form:mandrill_events#/0/msg"] {
        let overrides = format!("secret_fields = ['{field}']");
        let overrides = toml::from_str(&overrides).unwrap();
        let refused = provider("mandrill").with_overrides(&overrides).unwrap_err().to_string();
        assert!(
            refused.contains("secret_fields") && refused.contains("cannot be redacted"),
            "{refused}"
        );
    }
    changed("mandrill", "secret_fields = ['form:other']");
}

#[test]
fn a_nested_batch_is_bounded() {
    let entry = format!("{{\"changes\":[{}1]}}", "1,".repeat(5_000));
    let body = format!("{{\"entry\":[{entry},{entry}]}}");
    let found = identify(provider("meta"), &Request::new(body));
    assert_eq!(found, Err(IdentifyError::TooManyEvents));
}

#[test]
fn a_token_used_twice_is_a_duplicate_with_any_content() {
    let of = |body: &str| {
        identify(provider("mailgun"), &Request::new(body)).unwrap().events.remove(0).dedup
    };
    let with = |token: &str, event: &str| {
        of(&format!(
            r#"{{"signature":{{"timestamp":"1","token":"{token}"}},"event-data":{event}}}"#
        ))
    };
    let one = with("t", r#"{"event":"opened","id":"1"}"#);
    assert!(one.is_some());
    assert_eq!(one, with("t", r#"{"event":"failed","id":"2"}"#));
    assert_ne!(one, with("u", r#"{"event":"opened","id":"1"}"#));
}

#[test]
fn payment_providers_share_categories() {
    for (name, kind, category) in [
        ("stripe", "payment_intent.succeeded", Category::PaymentReceived),
        ("paypal", "PAYMENT.CAPTURE.COMPLETED", Category::PaymentReceived),
        ("paypal", "PAYMENT.CAPTURE.DENIED", Category::PaymentFailed),
        ("square", "invoice.payment_made", Category::PaymentReceived),
        ("square", "order.created", Category::OrderPlaced),
        ("paddle", "transaction.completed", Category::PaymentReceived),
        ("paddle", "transaction.payment_failed", Category::PaymentFailed),
        ("woocommerce", "order.created", Category::OrderPlaced),
        ("woocommerce", "customer.created", Category::UserSignup),
        ("gitlab", "Note Hook", Category::MessageReceived),
        ("twilio", "received", Category::MessageReceived),
        ("sendgrid", "bounce", Category::StatusChanged),
    ] {
        let found = provider(name).identity.categories.of(kind, |_| None);
        assert_eq!(found, category, "{name} {kind}");
    }
}

#[test]
fn a_field_decides_an_ambiguous_type() {
    let adyen = |success: &str| {
        format!(
            r#"{{"notificationItems":[{{"NotificationRequestItem":{{"eventCode":"AUTHORISATION","success":"{success}"}}}}]}}"#
        )
    };
    let square = |status: &str| {
        format!(
            r#"{{"type":"payment.updated","data":{{"object":{{"payment":{{"status":"{status}"}}}}}}}}"#
        )
    };
    let whatsapp = |value: &str| {
        format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"changes":[{{"field":"messages","value":{value}}}]}}]}}"#
        )
    };
    let github = ("X-GitHub-Event", "issues");
    let shopify = ("X-Shopify-Topic", "order_transactions/create");
    let none = ("X-Nothing", "");
    for (name, header, body, category) in [
        ("adyen", none, adyen("true"), Category::PaymentReceived),
        ("adyen", none, adyen("false"), Category::PaymentFailed),
        ("square", none, square("COMPLETED"), Category::PaymentReceived),
        ("square", none, square("FAILED"), Category::PaymentFailed),
        ("square", none, square("APPROVED"), Category::StatusChanged),
        ("meta", none, whatsapp(r#"{"messages":[{"id":"m"}]}"#), Category::MessageReceived),
        ("meta", none, whatsapp(r#"{"statuses":[{"status":"read"}]}"#), Category::StatusChanged),
        ("github", github, r#"{"action":"opened"}"#.into(), Category::Created),
        ("github", github, r#"{"action":"labeled"}"#.into(), Category::Updated),
        ("github", ("X-GitHub-Event", "star"), r#"{"action":"created"}"#.into(), Category::Created),
        ("github", ("X-GitHub-Event", "ping"), "{}".into(), Category::Custom),
        (
            "shopify",
            shopify,
            r#"{"kind":"sale","status":"failure"}"#.into(),
            Category::PaymentFailed,
        ),
        ("shopify", shopify, r#"{"kind":"refund","status":"success"}"#.into(), Category::Created),
    ] {
        let request = Request::new(body.clone()).header(header.0, header.1);
        let found = identify(provider(name), &request).unwrap();
        assert_eq!(found.events[0].category, category, "{name}: {body}");
    }
}

#[test]
fn a_category_by_field_needs_a_field_and_texts() {
    let load = |line: &str| {
        let file = include_str!("../../providers/linear.toml");
        Provider::load(&file.replace("[categories]", &format!("[categories]\n{line}")))
    };
    assert!(load("x = { by = \"/a\", b = \"created\", \"*\" = \"custom\" }").is_ok());
    for wrong in [
        "x = { b = \"created\" }",
        "x = { by = \"heder:X\", b = \"created\" }",
        "x = { by = \"/a\", b = \"born\" }",
    ] {
        let weir_core::provider::ProviderError::Invalid(problems) = load(wrong).unwrap_err() else {
            panic!()
        };
        assert_eq!(problems[0].path, "categories.\"x\"", "{wrong}");
    }
}

#[test]
fn a_batch_may_be_empty_but_is_bounded() {
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
fn a_body_that_is_not_the_expected_batch_is_one_event() {
    for body in ["{\"event\":\"open\"}", "[{", "", "[1] x"] {
        let found = identify(provider("sendgrid"), &Request::new(body)).unwrap();
        assert!(!found.is_batch && found.events.len() == 1, "{body}");
        assert_eq!(found.events[0].span, 0..body.len());
    }
}

#[test]
fn items_with_a_shared_header_id_are_not_duplicates() {
    let partner = changed("custom", "fan_out = '/items'\nid = 'header:X-Webhook-Id'");
    let request =
        Request::new(r#"{"items":[{"type":"a"},{"type":"a"}]}"#).header("X-Webhook-Id", "1");
    let found = identify(&partner, &request).unwrap();
    assert_eq!(found.events.len(), 2);
    assert_ne!(found.events[0].dedup, found.events[1].dedup);
    assert_eq!(identify(&partner, &request).unwrap(), found);
}

#[test]
fn an_unsigned_id_needs_the_same_body_for_a_duplicate() {
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
fn a_source_can_change_the_providers_categories() {
    let of = |provider: &Provider, kind: &str| provider.identity.categories.of(kind, |_| None);
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
fn invalid_text_hides_no_other_field() {
    let body = r#"{"\ud800":1,"type":"invoice.paid","id":"evt_1","data":{"\udfff":2}}"#;
    for body in [body.as_bytes().to_vec(), [b"\xef\xbb\xbf", body.as_bytes()].concat()] {
        assert_eq!(kinds(provider("stripe"), &Request::new(body)), ["invoice.paid"]);
    }
    let batch = b"\xef\xbb\xbf[{\"\\ud800\":1,\"event\":\"open\"},{\"event\":\"click\"}]";
    assert_eq!(kinds(provider("sendgrid"), &Request::new(&batch[..])), ["open", "click"]);
}

#[test]
fn a_latin1_header_is_read_if_the_file_says_so() {
    let file = include_str!("../../providers/github.toml")
        .replace("body = \"auto\"", "body = \"auto\"\nlatin1_headers = true");
    let latin = Provider::load(&file).unwrap();
    let request = Request::new("{}").header("X-GitHub-Event", b"caf\xe9".to_vec());
    assert_eq!(kinds(&latin, &request), ["café"]);
    assert_eq!(identify(provider("github"), &request), Err(IdentifyError::HeaderNotText));
    let beside = Request::new("{}").header("X-Other", b"caf\xe9".to_vec());
    assert_eq!(kinds(provider("github"), &beside), [TYPE_UNKNOWN]);
}

fn as_form(json: &str) -> Request {
    let field: String = form_urlencoded::byte_serialize(json.as_bytes()).collect();
    Request::new(format!("payload={field}"))
        .header("content-type", "application/x-www-form-urlencoded")
}

/// The type, category and id of one event.
fn identity_of(provider: &Provider, request: &Request) -> (String, Category, Option<String>) {
    let event = identify(provider, request).unwrap().events.remove(0);
    (event.kind.to_string(), event.category, event.delivery_id.map(|id| id.to_string()))
}

#[test]
fn a_form_is_classified_by_the_json_inside_it() {
    let template = "type = ['{header:X-GitHub-Event}.{/action}', 'header:X-GitHub-Event']";
    let templated = changed("github", template);
    for (event, action, category) in [
        ("issues", "opened", Category::Created),
        ("issues", "closed", Category::StatusChanged),
        ("issues", "labeled", Category::Updated),
        ("pull_request", "opened", Category::Created),
        ("issue_comment", "created", Category::MessageReceived),
        ("star", "created", Category::Created),
        ("check_run", "completed", Category::StatusChanged),
        ("push", "", Category::Updated),
    ] {
        let json = match action {
            "" => "{}".to_owned(),
            action => format!(r#"{{"action":"{action}"}}"#),
        };
        let joined = if action.is_empty() { event.to_owned() } else { format!("{event}.{action}") };
        for request in [Request::new(json.clone()), as_form(&json)] {
            let request = request.header("X-GitHub-Event", event);
            let wanted = (event.to_owned(), category, None);
            assert_eq!(identity_of(provider("github"), &request), wanted, "{json}");
            assert_eq!(identity_of(&templated, &request), (joined.clone(), category, None));
        }
    }
    for name in ["gitea", "forgejo"] {
        let joined = changed(name, "type = '{/ref_type}'\nid = '/sha'");
        let json = r#"{"ref_type":"tag","sha":"abc"}"#;
        let [one, same] = [Request::new(json), as_form(json)].map(|r| identity_of(&joined, &r));
        assert_eq!(one, same);
        assert_eq!((one.0.as_str(), one.2.as_deref()), ("tag", Some("abc")));
    }
}

#[test]
fn a_sources_categories_use_its_own_types_and_come_first() {
    let github = changed(
        "github",
        "type = ['{header:X-GitHub-Event}.{/action}', 'header:X-GitHub-Event']\n\
         [categories]\n'issues.opened' = 'order.placed'\n'star.*' = 'custom'",
    );
    let of = |event, action: &str| {
        let request = Request::new(format!(r#"{{"action":"{action}"}}"#));
        identity_of(&github, &request.header("X-GitHub-Event", event)).1
    };
    assert_eq!(of("issues", "opened"), Category::OrderPlaced);
    assert_eq!(of("issues", "closed"), Category::StatusChanged);
    assert_eq!(of("star", "created"), Category::Custom);
}

#[test]
fn pointers_select_form_fields() {
    let custom = changed("custom", "type = '/event/name'\nid = '/id'");
    let json = Request::new(r#"{"event":{"name":"order.created"},"id":"7"}"#);
    for form in ["event[name]=order.created&id=7", "id=7&event%5Bname%5D=order.created"] {
        assert_eq!(
            identity_of(&custom, &Request::new(form)),
            identity_of(&custom, &json),
            "{form}"
        );
    }
    let custom = provider("custom");
    let form = Request::new("type=user.created&id=9");
    assert_eq!(
        identity_of(custom, &form),
        ("user.created".to_owned(), Category::UserSignup, Some("9".to_owned()))
    );
    // If only certain fields are signed, no other field counts.
    let adyen = Request::new(
        "eventCode=CAPTURE&success=false&type=x&NotificationRequestItem[success]=true",
    );
    assert_eq!(identity_of(provider("adyen"), &adyen).1, Category::PaymentFailed);
}
