//! `kind = "redis"`: a stream of a real server.

use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::wait::until;

use super::{
    STEP, checked, events, ids, judge, reason, run, source, until_connection, until_stored, whole,
};
use crate::faults::Faults;
use crate::redis::{ask, client, command};
use crate::servers::TestServer;

fn config(server: &TestServer, more: &str) -> String {
    format!(
        "[sources.orders]\nkind = \"redis\"\nurl = \"redis://{}/0\"\nallow = [\"@private\"]\n\
         stream = \"orders\"\nclaim_after = \"1s\"\n{more}\n",
        server.address(),
    )
}

async fn hub(server: &TestServer, more: &str) -> RunningHub {
    TestHub::new().config(&config(server, more)).start().await
}

/// Adds an entry. Returns its id.
async fn add(server: &TestServer, fields: &[&str]) -> String {
    ask(server, &[&["XADD", "orders", "*"], fields].concat()).await
}

/// The number of entries that the server waits for to be acknowledged.
async fn pending(server: &TestServer) -> usize {
    let (count, ..): (usize, redis::Value, redis::Value, redis::Value) =
        ask(server, &["XPENDING", "orders", "weir"]).await;
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_becomes_one_event_in_order() {
    let Some(server) = TestServer::start("redis-server", command).await else { return };
    let hub = hub(&server, "").await;
    let server = tokio::sync::Mutex::new(server);
    let publish = async |step: usize| {
        let server = server.lock().await;
        let mut added = redis::pipe();
        for n in step * STEP..(step + 1) * STEP {
            let body = format!("{{\"type\":\"order.created\",\"n\":{n}}}");
            added.cmd("XADD").arg("orders").arg("*").arg("body").arg(body);
        }
        until("the server to take entries", async || {
            let mut client = client(&server).await;
            // It loads its data after a restart.
            let _: String =
                redis::cmd("PING").query_async(&mut client).await.map_err(|e| e.to_string())?;
            Ok(added.query_async::<Vec<String>>(&mut client).await.unwrap())
        })
        .await
    };
    let restart = async || {
        let mut server = server.lock().await;
        server.stop().await;
        server.start_again().await;
    };
    let (hub, published) = run(hub, publish, restart).await;
    let stored = judge(&hub, "redis stream", &published).await;
    assert_eq!(stored, published, "the order of the stream");
    let server = server.into_inner();
    until("every entry to be acknowledged", async || match pending(&server).await {
        0 => Ok(()),
        left => Err(left.to_string()),
    })
    .await;

    // The whole stream comes again.
    let _: String = ask(&server, &["XGROUP", "SETID", "orders", "weir", "0"]).await;
    let before = hub.metric("weir_events_duplicate_total").await;
    until("the entries to come again", async || {
        let again = hub.metric("weir_events_duplicate_total").await - before;
        if again >= published.len() as f64 { Ok(()) } else { Err(again.to_string()) }
    })
    .await;
    assert_eq!(ids(&hub).await, published);
    assert!(hub.metric("weir_source_reconnects_total").await >= 1.0);
    assert!(hub.metric("weir_source_messages_total").await >= published.len() as f64);
    assert_eq!(hub.metric("weir_source_connected").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_a_member_left_are_taken() {
    let Some(server) = TestServer::start("redis-server", command).await else { return };
    let mut left = Vec::new();
    for n in 0..4 {
        left.push(add(&server, &["body", &n.to_string()]).await);
    }
    let _: String = ask(&server, &["XGROUP", "CREATE", "orders", "weir", "0"]).await;
    // Two for this hub, which died before it stored them, and one for a member that is dead.
    for (member, count) in [("weir", "2"), ("dead", "1")] {
        let words =
            ["XREADGROUP", "GROUP", "weir", member, "COUNT", count, "STREAMS", "orders", ">"];
        let _: redis::Value = ask(&server, &words).await;
    }
    // A deleted entry is pending without its fields.
    let _: usize = ask(&server, &["XDEL", "orders", &left[1]]).await;
    let hub = hub(&server, "").await;
    until_stored(&hub, 3).await;
    let mut stored = ids(&hub).await;
    stored.sort();
    assert_eq!(stored, [&left[0], &left[2], &left[3]].map(String::clone));
    until("all to be acknowledged", async || match pending(&server).await {
        0 => Ok(()),
        left => Err(left.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_become_the_headers_and_the_body_of_an_event() {
    let Some(server) = TestServer::start("redis-server", command).await else { return };
    let more = "type = [\"header:kind\"]\nid = [\"header:order-id\"]\ndedup = \"id\"\n\
                secret_fields = [\"/card\"]";
    let hub = hub(&server, more).await;
    let fields = ["kind", "order.paid", "Order ID", "7", "body", "{\"card\":\"4111\",\"total\":3}"];
    add(&server, &fields).await;
    // The publisher's id, not that of the entry, says that it is the same.
    add(&server, &fields).await;
    add(&server, &["kind", "order.plain", "total", "4"]).await;
    until_stored(&hub, 2).await;
    let found = events(&hub).await;
    let types: Vec<_> = found.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["order.paid", "unknown"], "{found:?}");
    assert_eq!(found[0]["delivery_id"], "7");
    let payload = whole(&hub, &found[0]).await;
    assert!(payload.contains("order-id") && !payload.contains("4111"), "{payload}");
    let plain = found[1]["id"].as_str().unwrap();
    let body = hub.api(&format!("/api/v1/events/{plain}/body")).await;
    assert_eq!(body, serde_json::json!({ "kind": "order.plain", "total": "4" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_refused_is_kept_and_blocks_nothing() {
    let Some(server) = TestServer::start("redis-server", command).await else { return };
    let schema = "{\"type\":\"object\",\"required\":[\"total\"]}";
    let more = "body_limit = \"1KiB\"\n[sources.orders.schemas]\n\"*\" = \"order.json\"\n\
                [[route]]\non = [\"orders:*\"]\nto = \"out\"\n\
                [destinations.out]\nkind = \"stdout\"";
    let text = config(&server, more);
    let hub = TestHub::new().file("order.json", schema).config(&text).start().await;
    let poison = add(&server, &["body", "{\"type\":\"order\",\"sum\":1}"]).await;
    let large = add(&server, &["body", &"x".repeat(2_000)]).await;
    let good = add(&server, &["body", "{\"type\":\"order\",\"total\":1}"]).await;
    until_stored(&hub, 3).await;
    assert_eq!(ids(&hub).await, [poison.as_str(), &large, &good]);
    let found = events(&hub).await;
    let refused = hub.event(found[0]["id"].as_str().unwrap()).await;
    assert_eq!(
        (&refused["type"], &refused["status"]),
        (&"message.refused".into(), &"unrouted".into())
    );
    let payload = whole(&hub, &found[0]).await;
    assert!(payload.contains("schema_mismatch") && payload.contains("total"), "{payload}");
    let id = found[0]["id"].as_str().unwrap();
    let body = hub.api(&format!("/api/v1/events/{id}/body")).await;
    assert_eq!(body["sum"], 1, "it is kept as it came");
    let refusals = hub.api("/api/v1/refusals?source=orders").await;
    let codes: Vec<_> =
        refusals["items"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert_eq!(codes, ["body_too_large", "schema_mismatch"]);
    assert_eq!(found[2]["type"], "order");
    until("all to be acknowledged", async || match pending(&server).await {
        0 => Ok(()),
        left => Err(left.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_is_shown_and_alerted_and_comes_back() {
    let Some(mut server) = TestServer::start("redis-server", |folder, port| {
        let mut with_password = command(folder, port);
        with_password.args(["--requirepass", "hunter2"]);
        with_password
    })
    .await
    else {
        return;
    };
    let text = config(&server, "");
    let (ok, said) = checked(&text);
    assert!(!ok && said.contains("set user and password"), "{said}");
    assert!(said.contains("no message could be taken for: orders"), "{said}");
    let hub = TestHub::new().config(&text).start().await;
    assert!(reason(&hub).await.contains("set user and password"));
    let alert = hub.until_alert("source.disconnected", "source:orders").await;
    assert!(alert["reason"].as_str().unwrap().contains("NOAUTH"), "{alert}");
    let found = source(&hub).await;
    assert_eq!(
        (&found["kind"], &found["health"]["state"]),
        (&"redis".into(), &"disconnected".into())
    );
    assert!(hub.cli_ok(&["sources", "show", "orders"]).contains("disconnected since"));
    assert_eq!(
        hub.log.having(&["no messages of the source are taken"]).len(),
        1,
        "{}",
        hub.log.all()
    );
    drop(hub);

    let right = config(&server, "password = { file = \"password\" }");
    let hub = TestHub::new().file("password", "hunter2").config(&right).start().await;
    until_connection(&hub, "connected").await;
    server.stop().await;
    assert!(reason(&hub).await.contains("redis://127.0.0.1"));
    server.start_again().await;
    let found = until_connection(&hub, "connected").await;
    assert!(found["connection"]["last_error"]["at"].is_string(), "{found}");
    hub.until_alert("source.connected", "source:orders").await;
    assert!(hub.cli_ok(&["sources", "list"]).contains("redis"));
    let (ok, said) = checked(&text.replace("allow = [\"@private\"]", ""));
    assert!(!ok && said.contains("allow = [\"@private\"]"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_is_named() {
    let Some(server) = TestServer::start("redis-server", command).await else { return };
    let (ok, said) = checked(&config(&server, ""));
    assert!(ok && said.contains("connected     orders (redis, redis://"), "{said}");
    let found: String = ask(&server, &["TYPE", "orders"]).await;
    assert_eq!(found, "none", "a check makes nothing");
    let _: String = ask(&server, &["SET", "orders", "text"]).await;
    let (ok, said) = checked(&config(&server, ""));
    assert!(!ok && said.contains("not a stream: name another key"), "{said}");
    let hub = hub(&server, "").await;
    assert!(reason(&hub).await.contains("has another type"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_starts_and_stops_taking_messages() {
    let Some(server) = TestServer::start("redis-server", command).await else { return };
    let hub = TestHub::new().github().start().await;
    let before = hub.configured();
    add(&server, &["body", "first"]).await;
    hub.write("weir.toml", &format!("{before}\n{}", config(&server, "")));
    until("the first entry", async || {
        // The source is known once the file was read.
        let (status, _) = hub.send(hub.read_request("/api/v1/sources/orders")).await;
        if status == 200 && !events(&hub).await.is_empty() { Ok(()) } else { Err(hub.log.all()) }
    })
    .await;
    let refused = hub.post("orders", &[], b"{}").await.refused();
    assert_eq!(refused, (404, "source_pulled".to_owned()));

    // A mistake keeps the last good settings, also of this source.
    let wrong =
        config(&server, "prefetch = 0").replace("stream = \"orders\"", "stream = \"other\"");
    hub.write("weir.toml", &format!("{before}\n{wrong}"));
    until("the mistake to be said", async || {
        let said = hub.log.having(&["invalid configuration", "sources.orders.prefetch"]);
        said.first().map(|_| ()).ok_or_else(|| hub.log.all())
    })
    .await;
    add(&server, &["body", "second"]).await;
    until_stored(&hub, 2).await;

    // Another stream.
    let other = config(&server, "").replace("stream = \"orders\"", "stream = \"other\"");
    hub.write("weir.toml", &format!("{before}\n{other}"));
    let _: String = ask(&server, &["XADD", "other", "*", "body", "third"]).await;
    until_stored(&hub, 3).await;

    // Without the source, entries stay at the server.
    hub.write("weir.toml", &before);
    until("the source to be gone", async || {
        let said = hub.log.having(&["no messages of this source are taken any more"]);
        said.first().map(|_| ()).ok_or_else(|| hub.log.all())
    })
    .await;
    let _: String = ask(&server, &["XADD", "other", "*", "body", "fourth"]).await;
    let groups: redis::Value = ask(&server, &["XINFO", "GROUPS", "other"]).await;
    assert!(format!("{groups:?}").contains("lag"), "{groups:?}");
    assert_eq!(hub.metric_lines(&["weir_source_connected", "orders"]).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_entries_at_the_server() {
    let Some(server) = TestServer::start("redis-server", command).await else { return };
    let (hub, disk) = Faults::of(TestHub::new().config(&config(&server, "prefetch = 20")));
    let hub = hub.start().await;
    let mut published = vec![add(&server, &["body", "first"]).await];
    until_stored(&hub, 1).await;
    disk.does("full");
    for n in 0..100 {
        published.push(add(&server, &["body", &n.to_string()]).await);
    }
    let waiting = until_connection(&hub, "waiting").await;
    let said = waiting["connection"]["last_error"]["reason"].as_str().unwrap();
    assert!(said.contains("disk is full"), "{said}");
    let taken = pending(&server).await;
    assert!(taken <= 20, "{taken} entries are in memory");
    disk.is_well();
    until_stored(&hub, published.len()).await;
    assert_eq!(ids(&hub).await, published);
}
