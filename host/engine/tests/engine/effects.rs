//! Effects: each call becomes an effect, or a refusal that the handler can act on.

use serde_json::{Value, json};
use weir_core::bounds::{EFFECT_BYTES_MAX, EMIT_DEPTH_MAX, REPLY_BYTES_MAX};
use weir_core::effect::{Cancel, MessageContent};
use weir_engine::AllowedDestinations;

use crate::support::{Stored, Try, and_report, body, messages, payload, reported, results};

fn refused(result: &Value) -> &str {
    result["refused"].as_str().unwrap_or_else(|| panic!("not refused: {result}"))
}

#[tokio::test]
async fn message_has_its_content_and_amendments() {
    let report = Try::steps(&json!([
        { "op": "send", "destination": "ops", "json": { "a": 1 } },
        { "op": "set-header", "name": "X-Order", "value": "7" },
        { "op": "set-delay", "seconds": 90 },
        { "op": "set-key", "key": "order:7" },
        { "op": "send", "destination": "ops", "body": "plain" },
    ]))
    .run()
    .await;
    let [first, second] = &report.effects.messages[..] else { panic!("{:?}", report.end) };
    assert_eq!(first.destination.as_str(), "ops");
    assert_eq!(body(first), b"{\"a\":1}");
    assert_eq!(payload(first).content_type(), "application/json");
    assert_eq!(&payload(first).header("x-order").unwrap()[..], b"7");
    assert_eq!((first.timing.delay_seconds, first.timing.key.as_deref()), (90, Some("order:7")));
    assert_eq!(payload(second).content_type(), "text/plain");
    assert!(first.id.to_string().starts_with("msg_") && first.id != second.id);
}

#[tokio::test]
async fn a_forwarded_body_is_not_copied() {
    let report = Try::steps(&json!([
        { "op": "forward", "destination": "ops" },
        { "op": "set-header", "name": "x-via", "value": "orders" },
    ]))
    .run()
    .await;
    let MessageContent::Forward { headers } = &report.effects.messages[0].content else { panic!() };
    assert_eq!(headers[0], ("x-via".into(), "orders".into()));
}

#[tokio::test]
async fn an_emitted_event_has_its_type_and_an_event_id() {
    let report =
        Try::steps(&json!([{ "op": "emit", "type": "order.late", "json": [1] }])).run().await;
    let emit = &report.effects.emits[0];
    assert_eq!((emit.kind.as_str(), &emit.payload.body[..]), ("order.late", &b"[1]"[..]));
    assert!(emit.id.to_string().starts_with("evt_"));
}

#[tokio::test]
async fn same_effect_gets_the_same_id_and_another_a_new_one() {
    let said =
        |text: &str| Try::steps(&json!([{ "op": "send", "destination": "ops", "body": text }]));
    let mut again = said("a");
    (again.attempt, again.seed) = (2, [9; 32]);
    let id = said("a").run().await.effects.messages[0].id;
    assert_eq!(again.run().await.effects.messages[0].id, id);
    assert_ne!(said("b").run().await.effects.messages[0].id, id);
}

#[tokio::test]
async fn each_refusal_has_a_code_and_a_sentence() {
    let results = results(json!([
        { "op": "send", "destination": "ledger", "body": "not granted" },
        { "op": "send", "destination": "ghost", "body": "not there" },
        { "op": "send", "destination": "no such name!", "body": "malformed" },
        { "op": "send", "destination": "ops", "json_text": "{" },
        { "op": "send", "destination": "ops", "size": EFFECT_BYTES_MAX + 1 },
        { "op": "emit", "type": "a b", "json": 1 },
        { "op": "send", "destination": "ops", "body": "x" },
        { "op": "set-header", "name": "Host", "value": "evil" },
        { "op": "set-delay", "seconds": 2_592_001 },
        { "op": "set-key", "key": "" },
        { "op": "set-delay", "seconds": 1, "id": "msg_00000000000000000000000000" },
    ]))
    .await;
    let codes = ["not-granted", "not-found", "not-granted", "invalid", "too-large", "invalid"];
    for (result, code) in results.iter().zip(codes) {
        assert_eq!(refused(result), code, "{result}");
    }
    let codes = ["invalid", "invalid", "invalid", "not-found"];
    for (result, code) in results[7..].iter().zip(codes) {
        assert_eq!(refused(result), code, "{result}");
    }
    for message in results.iter().filter_map(|r| r["message"].as_str()) {
        assert!(message.starts_with(char::is_uppercase) && message.ends_with('.'), "{message}");
    }
    let message = results[0]["message"].as_str().unwrap();
    let place = "; add it to plugins/probe.toml: [grant] destinations = [";
    assert!(message.contains(place) && message.ends_with("]."), "{message}");
}

#[tokio::test]
async fn all_destinations_are_only_those_that_exist() {
    let steps = and_report(json!([
        { "op": "send", "destination": "ledger", "body": "x" },
        { "op": "send", "destination": "ghost", "body": "x" },
    ]));
    let mut wide = Try::steps(&steps);
    wide.grants.destinations = AllowedDestinations::All;
    let results = reported(&wide.run().await);
    assert!(results[0].as_str().unwrap().starts_with("msg_"));
    assert_eq!(refused(&results[1]), "not-found");
}

#[tokio::test]
async fn emitting_needs_a_grant_and_ends_at_the_sixteenth_emit() {
    let steps = and_report(json!([{ "op": "emit", "type": "x", "json": 1 }]));
    let mut without = Try::steps(&steps);
    without.grants.emit = false;
    assert_eq!(refused(&reported(&without.run().await)[0]), "not-granted");
    let far = Try::steps(&steps).depth(EMIT_DEPTH_MAX);
    assert_eq!(refused(&reported(&far.run().await)[0]), "too-many");
    let near = Try::steps(&steps).depth(EMIT_DEPTH_MAX - 1);
    assert_eq!(near.run().await.effects.emits.len(), 1);
}

#[tokio::test]
async fn messages_beyond_a_thousand_are_refused() {
    let mut many = Try::steps(&json!([
        { "op": "emit", "type": "x", "json": 1, "times": 300_000, "persist": true },
        { "op": "report" },
    ]));
    many.limits.time = std::time::Duration::from_secs(60);
    let report = many.run().await;
    assert_eq!(report.reason(), None);
    assert_eq!(report.effects.emits.len(), 1_000);
    let output: Value = serde_json::from_str(&report.log.lines.last().unwrap().message).unwrap();
    let result = &output["results"][0];
    assert_eq!((&result["ok"], &result["refused"]), (&json!(1_000), &json!(299_000)));
    assert_eq!(result["refusal"]["refused"], "too-many");
}

#[tokio::test]
async fn bodies_share_a_limit_and_forwarding_is_exempt() {
    let quarter = EFFECT_BYTES_MAX / 2;
    let report = Try::steps(&json!([
        { "op": "send", "destination": "ops", "size": quarter },
        { "op": "send", "destination": "ops", "size": quarter },
        { "op": "send", "destination": "ops", "size": quarter },
        { "op": "forward", "destination": "ops" },
        { "op": "report" },
    ]))
    .run()
    .await;
    assert_eq!(report.effects.messages.len(), 3, "{:?}", report.end);
    let output: Value = serde_json::from_str(&report.log.lines.last().unwrap().message).unwrap();
    assert_eq!(refused(&output["results"][2]), "too-many");
}

#[tokio::test]
async fn key_belongs_to_the_last_effect_that_took_it() {
    let report = Try::steps(&json!([
        { "op": "send", "destination": "ops", "body": "old" },
        { "op": "set-key", "key": "k" },
        { "op": "emit", "type": "new", "json": 1 },
        { "op": "set-key", "key": "k" },
        { "op": "set-key", "key": "k" },
    ]))
    .run()
    .await;
    assert!(report.effects.messages.is_empty());
    assert_eq!(report.effects.emits[0].timing.key.as_deref(), Some("k"));
}

#[tokio::test]
async fn cancellation_finds_stored_and_own_effects() {
    let steps = and_report(json!([
        { "op": "cancel", "key": "stored" },
        { "op": "cancel", "key": "stored" },
        { "op": "cancel", "key": "nothing" },
        { "op": "send", "destination": "ops", "body": "alarm" },
        { "op": "set-key", "key": "own" },
        { "op": "cancel", "key": "own" },
        { "op": "cancel-ahead", "key": "later", "seconds": 60 },
        { "op": "send", "destination": "ops", "body": "too late" },
        { "op": "set-key", "key": "later" },
    ]));
    let stored = Stored { waiting: ["stored".to_owned()].into(), ..Stored::default() };
    let report = Try::steps(&steps).stored(stored).run().await;
    let results = reported(&report);
    let found: Vec<&Value> = [0, 1, 2, 5, 6].map(|i| &results[i]).into();
    assert_eq!(found, [&json!(true), &json!(false), &json!(false), &json!(true), &json!(false)]);
    assert!(messages(&report.effects).is_empty());
    let cancel = |key: &str, ahead_seconds| Cancel { key: key.into(), ahead_seconds };
    assert_eq!(
        report.effects.cancels,
        [cancel("stored", 0), cancel("nothing", 0), cancel("own", 0), cancel("later", 60)]
    );
}

#[tokio::test]
async fn the_last_reply_counts_and_keeps_its_headers() {
    let report = Try::steps(&json!([
        { "op": "reply", "json": 1 },
        { "op": "reply-header", "name": "x-a", "value": "1" },
        { "op": "reply", "status": 299, "body": "thanks" },
        { "op": "reply", "status": 199, "body": "no" },
        { "op": "reply", "size": REPLY_BYTES_MAX + 1 },
    ]))
    .run()
    .await;
    let reply = report.effects.reply.unwrap();
    assert_eq!((reply.status, &reply.payload.body[..]), (299, &b"thanks"[..]));
    assert_eq!(&reply.payload.header("x-a").unwrap()[..], b"1");
}

#[tokio::test]
async fn a_handler_sees_the_event_but_no_credentials() {
    let mut seen = Try::steps(&and_report(json!([
        { "op": "event" },
        { "op": "context" },
        { "op": "header", "name": "X-EVENT" },
        { "op": "header", "name": "x-latin" },
        { "op": "header", "name": "Authorization" },
        { "op": "headers" },
        { "op": "config", "key": "threshold" },
        { "op": "config", "key": "nothing" },
    ])))
    .depth(3);
    seen.config.insert("threshold".into(), "5".into());
    seen.attempt = 4;
    let results = reported(&seen.run().await);
    assert_eq!(
        results[0],
        json!({
            "id": "evt_00000000000000000000000008", "source": "github", "type": "push",
            "category": "updated", "delivery_id": "d-1", "received_at": 1_759_999_999_000_u64,
            "content_type": "application/json",
        })
    );
    let parent = weir_core::id::EventId::from_bits(99).to_string();
    assert_eq!(results[1], json!({ "attempt": 4, "now": 1_760_000_000_007_u64, "parent": parent }));
    assert_eq!(results[2], "push");
    assert_eq!(results[3], "caf\u{fffd}");
    assert_eq!(results[4], Value::Null);
    let headers = json!([
        ["content-type", "application/json"],
        ["x-event", "push"],
        ["x-latin", "caf\u{fffd}"]
    ]);
    assert_eq!(results[5], headers);
    assert_eq!((&results[6], &results[7]), (&json!("5"), &Value::Null));
}

#[tokio::test]
async fn binary_body_is_refused_as_text_and_returned_as_bytes() {
    let mut binary = Try::of(crate::support::module("probe"), *b"\xff\x00");
    let steps = and_report(json!([{ "op": "text" }, { "op": "bytes" }]));
    binary.config.insert("steps".into(), steps.to_string());
    let results = reported(&binary.run().await);
    assert_eq!(refused(&results[0]), "invalid");
    assert_eq!(results[1], json!({ "length": 2, "hex": "ff00" }));
}
