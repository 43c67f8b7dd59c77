//! `kind = "sqs"`: a queue of moto, which keeps everything in memory: the relay before it is taken
//! away, and not the server itself.

use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::wait::until;

use super::{checked_in, events, ids, judge, reason, run, until_connection, until_stored, whole};
use crate::aws::{Aws, with_keys};
use crate::faults::Faults;

/// Messages of a step: the server searches the whole queue for each one.
const STEP: usize = 60;

fn config(aws: &Aws, queue: &str, more: &str) -> String {
    format!(
        "[sources.orders]\nkind = \"sqs\"\nqueue_url = \"{queue}\"\nendpoint = \"http://{}\"\n\
         region = \"eu-west-1\"\nallow = [\"@private\"]\naccess_key_id = {{ file = \"id\" }}\n\
         secret_access_key = {{ file = \"key\" }}\ntimeout = \"10s\"\nclaim_after = \"2s\"\n{more}\n",
        aws.relay.address(),
    )
}

fn test_hub(config: &str) -> TestHub {
    with_keys(TestHub::new(), "test", "test").config(config)
}

async fn hub(aws: &Aws, queue: &str, more: &str) -> RunningHub {
    test_hub(&config(aws, queue, more)).start().await
}

/// Sends numbered messages. Returns their ids.
fn fill(aws: &Aws, queue: &str, first: usize, count: usize) -> Vec<String> {
    let sent = aws.client(&["fill", queue, &first.to_string(), &count.to_string()]);
    sent.lines().map(str::to_owned).collect()
}

async fn until_empty(aws: &Aws, queue: &str) {
    until("every message to be deleted", async || match &*aws.client(&["left", queue]) {
        "0" => Ok(()),
        left => Err(left.to_owned()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_a_queue_becomes_one_event() {
    let Some(aws) = Aws::start(None).await else { return };
    let queue = aws.client(&["queue", "orders"]);
    let hub = hub(&aws, &queue, "").await;
    let publish = async |step: usize| fill(&aws, &queue, step * STEP, STEP);
    let restart = async || {
        aws.relay.away().await;
        until_connection_is_lost(&aws, &queue).await;
        aws.relay.back().await;
    };
    let (hub, published) = run(hub, publish, restart).await;
    judge(&hub, "sqs", &published).await;
    until_empty(&aws, &queue).await;
}

/// Messages come while the server cannot be reached.
async fn until_connection_is_lost(aws: &Aws, queue: &str) {
    until("the server to be away", async || {
        let (ok, said) = checked_in(test_hub(&config(aws, queue, "")));
        if ok { Err(said) } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_an_order_keeps_it() {
    let Some(aws) = Aws::start(None).await else { return };
    let queue = aws.client(&["queue", "orders.fifo", "FifoQueue=true"]);
    let hub = hub(&aws, &queue, "prefetch = 25").await;
    let published = fill(&aws, &queue, 0, 120);
    until_stored(&hub, published.len()).await;
    assert_eq!(ids(&hub).await, published);
    let event = whole(&hub, &events(&hub).await[0]).await;
    assert!(event.contains("message-group-id"), "{event}");
    until_empty(&aws, &queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_a_message_belong_to_its_event() {
    let Some(aws) = Aws::start(None).await else { return };
    let queue = aws.client(&["queue", "orders"]);
    let schema = "{\"type\":\"object\",\"required\":[\"total\"]}";
    let more = "type = [\"header:kind\"]\n[sources.orders.schemas]\n\"*\" = \"order.json\"";
    let hub = test_hub(&config(&aws, &queue, more)).file("order.json", schema).start().await;
    let good = aws.client(&["put", &queue, "{\"total\":1}", "Kind=order.created", "Region=eu"]);
    let wrong = aws.client(&["put", &queue, "{\"sum\":1}", "Kind=order.created"]);
    until_stored(&hub, 2).await;
    let found = events(&hub).await;
    let of = |id: &str| found.iter().find(|event| event["delivery_id"] == id).unwrap();
    assert_eq!(of(&good)["type"], "order.created");
    assert_eq!(of(&wrong)["type"], "message.refused");
    let event = whole(&hub, of(&good)).await;
    assert!(event.contains("region") && event.contains("sent-timestamp"), "{event}");
    until_empty(&aws, &queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_gives_messages_back() {
    let Some(aws) = Aws::start(None).await else { return };
    let queue = aws.client(&["queue", "orders"]);
    // Only a message that is given back comes again within this test.
    let text = config(&aws, &queue, "prefetch = 20").replace("\"2s\"", "\"1h\"");
    let (hub, disk) = Faults::of(test_hub(&text));
    let hub = hub.start().await;
    let mut published = fill(&aws, &queue, 0, 1);
    until_stored(&hub, 1).await;
    disk.does("full");
    published.extend(fill(&aws, &queue, 1, 50));
    let waiting = until_connection(&hub, "waiting").await;
    let said = waiting["connection"]["last_error"]["reason"].as_str().unwrap();
    assert!(said.contains("disk is full"), "{said}");
    disk.is_well();
    until_stored(&hub, published.len()).await;
    judge(&hub, "sqs after a full disk", &published).await;
    until_empty(&aws, &queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_or_key_that_is_wrong_is_named() {
    // The requests that make the queue and the key.
    let Some(aws) = Aws::start(Some(4)).await else { return };
    let queue = aws.client(&["queue", "orders"]);
    let key = aws.client(&["key", "reader", "sqs:GetQueueAttributes"]);
    let (id, secret) = key.split_once(' ').unwrap();
    let text = config(&aws, &queue, "");
    let with =
        |id: &str, secret: &str, text: &str| with_keys(TestHub::new(), id, secret).config(text);
    assert!(checked_in(with(id, secret, &text)).0);
    let (ok, said) = checked_in(with(id, "another", &text));
    assert!(!ok && said.contains("set secret_access_key"), "{said}");
    let (ok, said) = checked_in(with(id, secret, &text.replace("orders\"", "missing\"")));
    assert!(!ok && said.contains("make the queue in this region"), "{said}");
    let hub = with(id, secret, &text).start().await;
    let said = reason(&hub).await;
    assert!(said.contains("permit sqs:ReceiveMessage on the queue"), "{said}");
}
