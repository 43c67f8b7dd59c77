//! `weir reconcile`: what a provider sent and the hub does not have is found and brought.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use weir_testing::hub::{RunningHub, TestHub, github_signature, hmac_hex};

use crate::published::{Call, FakeAnswer, Published, TOKEN, says};

fn reconcile(hub: &RunningHub, args: &[&str]) -> Output {
    let mut command = hub.command(&[&["--json", "reconcile"], args].concat());
    for variable in ["GITHUB_TOKEN", "STRIPE_API_KEY", "SHOPIFY_ACCESS_TOKEN"] {
        command.env(variable, TOKEN);
    }
    command.output().unwrap()
}

/// The missing events, one value a line.
fn found(out: &Output) -> Vec<Value> {
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{error}");
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn ids(hub: &RunningHub, source: &str) -> BTreeSet<String> {
    let page = hub.api(&format!("/api/v1/events?source={source}&limit=100")).await;
    let events = page["items"].as_array().unwrap().iter();
    events.map(|event| event["delivery_id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The time as GitHub writes it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Sends a signed delivery to a hub, as GitHub does.
async fn deliver(ingress: SocketAddr, guid: String) {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let body = format!("{{\"guid\":\"{guid}\"}}").into_bytes();
    let request = Request::post(format!("http://{ingress}/webhook/github"))
        .header("content-type", "application/json")
        .header("x-github-event", "push")
        .header("x-github-delivery", &guid)
        .header("x-hub-signature-256", github_signature(&body))
        .body(Full::from(body))
        .unwrap();
    assert!(client.request(request).await.unwrap().status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn github_sends_again_what_the_hub_does_not_have() {
    let hub = TestHub::new().github().start().await;
    let (ingress, asked) = (hub.ingress, Arc::new(Mutex::new(Vec::new())));
    let asked_of = asked.clone();
    // <https://docs.github.com/en/rest/repos/webhooks>: deliveries newest first, pages by cursor.
    let api = Published::start(move |call: &Call, _, at| -> FakeAnswer {
        let deliveries = "/repos/acme/river/hooks/7/deliveries";
        let Some(rest) = call.path.strip_prefix(deliveries) else {
            return says(404, json!({ "message": "Not Found" }));
        };
        if call.method == "POST" {
            let id: usize = rest.trim_matches('/').trim_end_matches("/attempts").parse().unwrap();
            asked_of.lock().unwrap().push(id);
            // The delivery 3 is lost again.
            if id != 3 {
                tokio::spawn(deliver(ingress, format!("guid-{id}")));
            }
            return says(202, json!({}));
        }
        let from: usize = call.asked("cursor").map_or(0, |cursor| cursor.parse().unwrap());
        let one = |id: usize, guid: &str, code: u16, at: &str| {
            json!({ "id": id, "guid": guid, "delivered_at": at, "redelivery": false,
                    "duration": 0.27, "status": if code == 200 { "OK" } else { "failed" },
                    "status_code": code, "event": "push", "action": null })
        };
        let at_now = now();
        let all = [
            one(4, "guid-4", 503, &at_now),
            one(3, "guid-3", 0, &at_now),
            one(2, "guid-4", 502, &at_now),
            one(1, "guid-1", 200, &at_now),
            one(0, "guid-0", 500, "2020-01-01T00:00:00Z"),
        ];
        let next = format!("<http://{at}{deliveries}?cursor={}>; rel=\"next\"", from + 2);
        let links = (from + 2 < all.len()).then_some(("link", next)).into_iter().collect();
        let page: Vec<_> = all.into_iter().skip(from).take(2).collect();
        (200, links, page.into())
    })
    .await;
    deliver(ingress, "guid-1".into()).await;
    let base = api.url();
    let args = ["github", "--repo", "acme/river", "--hook", "7", "--api", &base, "--since", "24h"];
    let missing = found(&reconcile(&hub, &args));
    let said: Vec<_> =
        missing.iter().map(|one| (one["id"].as_str().unwrap(), &one["outcome"])).collect();
    assert_eq!(said, [("guid-3", &"missing".into()), ("guid-4", &"missing".into())]);
    assert_eq!(missing[0]["provider_says"], "no answer");
    assert!(asked.lock().unwrap().is_empty(), "nothing is brought without --apply");
    assert_eq!(ids(&hub, "github").await.len(), 1);

    let out = reconcile(&hub, &[&args[..], &["--apply", "--wait", "3s"]].concat());
    assert_eq!(out.status.code(), Some(1), "one is still missing");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("\"arrived\"") && said.contains("\"requested\""), "{said}");
    assert_eq!(*asked.lock().unwrap(), [3, 4], "the newest delivery of each");
    assert_eq!(ids(&hub, "github").await, BTreeSet::from(["guid-1".into(), "guid-4".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_stripe_are_stored_once_and_marked() {
    let secret = "whsec_9rMfZUGWM3gTTBtn0f8kPEfmiIJCmzQi";
    let hub = TestHub::new().source("stripe", "stripe", secret).start().await;
    hub.cli_ok(&[
        "send",
        "stripe",
        "payment_intent.succeeded",
        "--url",
        &format!("http://{}/webhook/stripe", hub.ingress),
    ]);
    let known = ids(&hub, "stripe").await.into_iter().next().unwrap();
    // <https://docs.stripe.com/api/events/list>: newest first, `created[gte]`, `starting_after`.
    let seconds = jiff::Timestamp::now().as_second();
    let event = move |id: &str, kind: &str, ago: i64| {
        json!({ "id": id, "object": "event", "type": kind, "created": seconds - ago,
                "pending_webhooks": 0, "data": { "object": { "amount": 1.10 } } })
    };
    let all = [
        event("evt_3", "charge.failed", 10),
        event("evt_2", "customer.created", 20),
        event(&known, "payment_intent.succeeded", 30),
        event("evt_1", "charge.failed", 40),
    ];
    let url = "https://hooks.example.com/webhook/stripe";
    let api = Published::start(move |call: &Call, _, _| -> FakeAnswer {
        assert_eq!(call.header("authorization"), format!("Bearer {TOKEN}"));
        if call.path == "/v1/webhook_endpoints" {
            let endpoint = json!({ "id": "we_1", "url": url, "status": "enabled",
                                   "enabled_events": ["charge.failed", "payment_intent.succeeded"] });
            return says(200, json!({ "object": "list", "data": [endpoint], "has_more": false }));
        }
        assert_eq!(call.path, "/v1/events");
        assert!(call.asked("created[gte]").unwrap().parse::<i64>().unwrap() < seconds - 80_000);
        let after = call.asked("starting_after");
        let from = after.map_or(0, |id| all.iter().position(|one| one["id"] == id).unwrap() + 1);
        let page: Vec<_> = all.iter().skip(from).take(2).cloned().collect();
        let more = from + 2 < all.len();
        says(200, json!({ "object": "list", "data": page, "has_more": more, "url": "/v1/events" }))
    })
    .await;
    let base = api.url();
    let args = ["stripe", "--api", &base, "--url", url];
    let missing = found(&reconcile(&hub, &args));
    let said: Vec<_> = missing.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(said, ["evt_1", "evt_3"], "oldest first, and only what the endpoint gets");
    assert_eq!(ids(&hub, "stripe").await.len(), 1, "nothing is brought without --apply");

    let brought = found(&reconcile(&hub, &[&args[..], &["--apply"]].concat()));
    assert!(brought.iter().all(|one| one["outcome"] == "stored"), "{brought:?}");
    assert!(found(&reconcile(&hub, &args)).is_empty());
    let page = hub.api("/api/v1/events?source=stripe&type=charge.failed").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let id = page["items"][0]["id"].as_str().unwrap();
    let detail = hub.api(&format!("/api/v1/events/{id}")).await;
    let proof = (&detail["request"]["scheme"], &detail["request"]["secret"]);
    assert_eq!(proof, (&"provider-api".into(), &"operator".into()));
    assert_eq!(detail["event"]["category"], "payment.failed");
    let text = hub.cli_ok(&["events", id]);
    assert!(text.contains("by no signature: operator brought it"), "{text}");
    assert!(hub.cli_ok(&["audit"]).contains("reconcile"));

    // The same event by a signed webhook later, in other bytes, is a duplicate; so is it by the
    // API.
    let late = serde_json::to_string_pretty(&event("evt_1", "charge.failed", 40)).unwrap();
    let at = jiff::Timestamp::now().as_second();
    let signature = hmac_hex(secret.as_bytes(), format!("{at}.{late}").as_bytes());
    let signature = format!("t={at},v1={signature}");
    let answer = hub.post("stripe", &[("stripe-signature", &signature)], late.as_bytes()).await;
    assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &"duplicate".into()));
    let body = json!({ "requests": [{ "body": "{\"id\":\"evt_3\",\"type\":\"charge.failed\"}" }] });
    let request = |token: &str| {
        Request::post(format!("http://{}/api/v1/sources/stripe/reconcile", hub.admin))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .unwrap()
    };
    let (status, answer) = hub.send(request(&hub.token().unwrap())).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(status, 200);
    assert_eq!(answer["results"][0]["duplicates"].as_array().unwrap().len(), 1, "{answer}");
    let operator = hub.cli_ok(&["tokens", "create", "ops", "--role", "operate"]);
    assert_eq!(hub.send(request(operator.trim())).await.0, 403, "it needs the role admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_resources_of_shopify_are_brought_in_their_latest_state() {
    let hub =
        TestHub::new().source("shopify", "shopify", "a client secret of an app").start().await;
    let order = |id: u64, at: &str| json!({ "id": id, "updated_at": at, "total_price": "10.00" });
    // The hub has order 1 as it is, and order 2 as it was; the same time in another zone is the
    // same.
    let received = [order(1, "2026-01-15T10:00:00+01:00"), order(2, "2026-01-15T09:00:00Z")];
    let requests: Vec<_> = received
        .iter()
        .enumerate()
        .map(|(n, order)| {
            json!({ "headers": { "x-shopify-topic": "orders/create",
                                 "x-shopify-webhook-id": format!("w-{n}") },
                    "body": order.to_string() })
        })
        .collect();
    let request = Request::post(format!("http://{}/api/v1/sources/shopify/reconcile", hub.admin))
        .header("authorization", format!("Bearer {}", hub.token().unwrap()))
        .header("content-type", "application/json")
        .body(Full::from(json!({ "requests": requests }).to_string()))
        .unwrap();
    assert_eq!(hub.send(request).await.0, 200);
    let orders = json!([
        order(1, "2026-01-15T09:00:00Z"),
        order(2, "2026-01-15T11:00:00Z"),
        order(3, "2026-01-15T12:00:00Z")
    ]);
    // <https://shopify.dev/docs/api/admin-rest/latest/resources/order>
    let api = Published::start(move |call: &Call, _, _| -> FakeAnswer {
        assert_eq!(call.header("x-shopify-access-token"), TOKEN);
        assert_eq!(call.path, "/admin/api/2025-01/orders.json");
        assert_eq!(call.asked("status").as_deref(), Some("any"));
        assert!(call.asked("updated_at_min").is_some());
        says(200, json!({ "orders": orders }))
    })
    .await;
    let base = api.url();
    let args = ["shopify", "--shop", "acme", "--api", &base, "--since", "24h"];
    let missing = found(&reconcile(&hub, &args));
    let said: Vec<_> = missing
        .iter()
        .map(|one| (one["id"].as_str().unwrap(), one["provider_says"].as_str().unwrap()))
        .collect();
    assert_eq!(said, [("2", "changed since"), ("3", "not seen")]);
    let brought = found(&reconcile(&hub, &[&args[..], &["--apply"]].concat()));
    assert!(brought.iter().all(|one| one["outcome"] == "stored"), "{brought:?}");
    assert!(found(&reconcile(&hub, &[&args[..], &["--apply"]].concat())).is_empty());
    let page = hub.api("/api/v1/events?source=shopify&type=orders/updated").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let id = page["items"][0]["id"].as_str().unwrap();
    let body = hub.api(&format!("/api/v1/events/{id}/body")).await;
    assert_eq!(body["total_price"], "10.00");
}
