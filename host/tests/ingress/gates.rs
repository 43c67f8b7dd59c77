//! The access rules of a source: addresses, tokens, rates, and the proxies that may name an
//! address.

use tokio::io::AsyncWriteExt;

use crate::hub::{IngressHub, Reply, junk, reply};

const FRIEND: [u8; 4] = [127, 0, 0, 8];
const STRANGER: [u8; 4] = [127, 0, 0, 9];

/// A source that accepts only the friend, 192.0.2.0/24 and one IPv6 network.
const FENCED: &str = "[sources.fenced]\nprovider = \"custom\"\nsecrets = [{ file = \"secret\" }]\n\
    allow_ips = [\"127.0.0.8\", \"192.0.2.0/24\", \"2001:db8::/32\"]";

async fn stored_from(hub: &IngressHub) -> Vec<u8> {
    hub.only_request().await.remote.unwrap().to_vec()
}

#[tokio::test]
async fn a_source_accepts_only_allowed_addresses() {
    let hub = IngressHub::with(FENCED, |_| {}).await;
    let signed = hub.signed("fenced", &[("x-webhook-event", "a")], "{}", 0);
    let not_allowed = (403, "address_not_allowed".to_owned());
    assert_eq!(hub.raw_from(STRANGER, &signed).await.problem(), not_allowed);
    let lying = signed.replace("Host: hub", "Host: hub\r\nX-Forwarded-For: 127.0.0.8");
    assert_eq!(
        hub.raw_from(STRANGER, &lying).await.problem(),
        not_allowed,
        "who asked a stranger?"
    );
    // The body is not waited for: the answer comes after a head that announces more.
    let mut unsent = hub.connect_from(STRANGER).await;
    let head = b"POST /webhook/fenced HTTP/1.1\r\nHost: h\r\nContent-Length: 999\r\n\r\n";
    unsent.write_all(head).await.unwrap();
    assert_eq!(reply(&mut unsent).await.problem(), not_allowed);
    assert!(hub.stored().await.is_empty());
    assert_eq!(hub.raw_from(FRIEND, &signed).await.status, 200);
    assert_eq!(stored_from(&hub).await, FRIEND);
}

/// A hub behind a proxy at 127.0.0.1, from which the tests connect.
async fn behind(forwarded_by: &str, more: &str) -> IngressHub {
    let server = format!(
        "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\nforwarded_by = \"{forwarded_by}\"\n\
         {more}"
    );
    IngressHub::with(&server, |_| {}).await
}

/// A signed request with a header of the proxy.
fn through(hub: &IngressHub, source: &str, header: &str, id: &str) -> String {
    let signed = hub.signed(source, &[("x-webhook-event", id)], &format!("{{\"n\":\"{id}\"}}"), 0);
    signed.replace("Host: hub", &format!("Host: hub\r\n{header}"))
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_right_most_untrusted_address_counts() {
    let hub = behind("x-forwarded-for", FENCED).await;
    let ask = async |header: &str| hub.raw(through(&hub, "fenced", header, "a")).await.status;
    for refused in [
        "X-Forwarded-For: 198.51.100.1",
        "X-Forwarded-For: 192.0.2.7, 198.51.100.1",
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 198.51.100.1, 10.0.0.2",
        "X-Forwarded-For: 192.0.2.7, unknown",
        "X-Forwarded-For: 192.0.2.7, 198.51.100.1, 10.0.0.2",
        "Forwarded: for=192.0.2.7",
        "X-Other: 192.0.2.7",
    ] {
        assert_eq!(ask(refused).await, 403, "{refused}");
    }
    assert_eq!(ask("X-Forwarded-For: 198.51.100.1, 192.0.2.7:4711, 10.0.0.2").await, 200);
    assert_eq!(stored_from(&hub).await, [192, 0, 2, 7]);
}

#[tokio::test]
async fn a_proxy_that_sends_forwarded_is_read_by_rfc_7239_only() {
    let hub = behind("forwarded", FENCED).await;
    let ask = async |header: &str| hub.raw(through(&hub, "fenced", header, "a")).await.status;
    for refused in [
        "X-Forwarded-For: 192.0.2.7",
        "Forwarded: for=192.0.2.7, for=198.51.100.1",
        "Forwarded: for=\"192.0.2.7, for=198.51.100.1",
        "Forwarded: for=192.0.2.7, for=_hidden",
    ] {
        assert_eq!(ask(refused).await, 403, "{refused}");
    }
    assert_eq!(ask("Forwarded: for=x, for=\"[2001:db8::7]:4711\";proto=https").await, 200);
}

#[tokio::test]
async fn behind_a_proxy_a_flood_is_charged_to_its_sender_only() {
    let per_address = "[server.per_address]\nrefusals = 10\nrefusals_per_second = 1";
    let hub = behind("x-forwarded-for", per_address).await;
    // One connection of a proxy carries all senders.
    let mut proxy = hub.connect().await;
    let good = through(&hub, "batch", "X-Forwarded-For: 192.0.2.7", "good");
    proxy.write_all(good.as_bytes()).await.unwrap();
    assert_eq!(reply(&mut proxy).await.status, 200);
    let flood = junk("github").replace("Host: hub", "Host: hub\r\nX-Forwarded-For: 198.51.100.1");
    for _ in 0..10 {
        proxy.write_all(flood.as_bytes()).await.unwrap();
        assert_eq!(reply(&mut proxy).await.status, 401);
    }
    assert_eq!(hub.raw(&flood).await.problem(), (429, "too_many_refusals".into()));
    for id in ["d-1", "d-2"] {
        let push =
            hub.push(id, "{}").replace("Host: hub", "Host: hub\r\nX-Forwarded-For: 192.0.2.7");
        assert_eq!(hub.raw(push).await.status, 200);
    }
}

const TOKENS: &str = "\
    [sources.bearer]\nprovider = \"custom\"\nsecrets = [{ file = \"secret\" }]\n\
    auth = { in = \"bearer\", tokens = [{ file = \"token\" }, { file = \"old-token\" }] }\n\
    [sources.basic]\nprovider = \"custom\"\nsecrets = [{ file = \"secret\" }]\n\
    auth = { in = \"basic\", tokens = [{ file = \"token\" }, { file = \"old-token\" }] }\n\
    [sources.header]\nprovider = \"custom\"\nsecrets = [{ file = \"secret\" }]\n\
    auth = { in = \"header:X-Partner-Token\", \
    tokens = [{ file = \"token\" }, { file = \"old-token\" }] }\n\
    [sources.query]\nprovider = \"custom\"\nsecrets = [{ file = \"secret\" }]\n\
    auth = { in = \"query:key\", tokens = [{ file = \"token\" }, { file = \"old-token\" }] }\n";

/// A signed request with a token.
fn showing(hub: &IngressHub, source: &str, token: &str) -> String {
    use base64::Engine as _;
    let login = base64::engine::general_purpose::STANDARD.encode(token);
    let signed =
        hub.signed(source, &[("x-webhook-event", "a")], &format!("{{\"t\":\"{source}\"}}"), 0);
    match source {
        "bearer" => {
            signed.replace("Host: hub", &format!("Host: hub\r\nAuthorization: Bearer {token}"))
        }
        "basic" => {
            signed.replace("Host: hub", &format!("Host: hub\r\nAuthorization: Basic {login}"))
        }
        "header" => signed.replace("Host: hub", &format!("Host: hub\r\nX-Partner-Token: {token}")),
        _ => signed.replace("/webhook/query", &format!("/webhook/query?key={token}")),
    }
}

#[tokio::test]
async fn a_source_with_tokens_accepts_a_live_one_in_its_place() {
    let hub = IngressHub::with(TOKENS, |_| {}).await;
    for source in ["bearer", "basic", "header", "query"] {
        for token in ["user:t0ken-of-today", "user:t0ken-of-old"] {
            assert_eq!(hub.raw(showing(&hub, source, token)).await.status, 200, "{source} {token}");
        }
        let wrong = hub.raw(showing(&hub, source, "user:t0ken-of-no-user")).await;
        assert_eq!(wrong.problem(), (403, "token_wrong".into()), "{source}");
        let none = hub.raw(hub.signed(source, &[], "{}", 0)).await;
        assert_eq!(none.problem(), (403, "token_missing".into()), "{source}");
        let unsigned = showing(&hub, source, "user:t0ken-of-today").replace("sha256=", "sha256=0");
        assert_eq!(hub.raw(unsigned).await.status, 401, "a token is no signature: {source}");
    }
}

#[tokio::test]
async fn a_token_is_stored_nowhere() {
    let hub = IngressHub::with(TOKENS, |_| {}).await;
    for source in ["bearer", "basic", "header", "query"] {
        let taken = hub.raw(showing(&hub, source, "user:t0ken-of-today")).await;
        assert_eq!(taken.status, 200);
        assert!(!String::from_utf8(taken.body).unwrap().contains("t0ken"));
    }
    for event in hub.stored().await {
        let detail = hub.store.event(event.id).await.unwrap().unwrap();
        let request = hub.store.request(detail.request.unwrap()).await.unwrap().unwrap();
        let kept = format!("{request:?}").to_lowercase();
        assert!(!kept.contains("t0ken") && !kept.contains("dxnlcjp0mgtlbi"), "{kept}");
        let fingerprint =
            request.payload.headers.iter().any(|(_, v)| v.starts_with(b"fingerprint-"));
        assert!(fingerprint || event.source.as_str() == "query");
    }
    for file in std::fs::read_dir(hub.dir.path()).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(9).any(|part| part == b"t0ken-of-");
        assert_eq!(found, name.ends_with("token"), "{name}");
    }
}

#[tokio::test]
async fn verified_requests_over_the_rate_are_told_when_to_retry() {
    let limited = "[sources.limited]\nprovider = \"github\"\nsecrets = [{ file = \"secret\" }]\n\
                   rate = \"60/h\"\nburst = 2";
    let hub = IngressHub::with(limited, |_| {}).await;
    let push = async |n: usize| -> Reply {
        let id = format!("d-{n}");
        let headers = [("x-github-event", "push"), ("x-github-delivery", &*id)];
        hub.raw(hub.signed("limited", &headers, "{}", 0)).await
    };
    for _ in 0..20 {
        assert_eq!(
            hub.raw(junk("limited")).await.status,
            401,
            "an unverified request does not count to the rate"
        );
    }
    assert_eq!((push(1).await.status, push(2).await.status), (200, 200));
    let refused = push(3).await;
    assert_eq!(refused.problem(), (429, "rate_limited".into()));
    let after = refused.head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((55..=60).contains(&after.parse::<u32>().unwrap()), "{after}");
    assert_eq!(hub.stored().await.len(), 2);
    assert_eq!(hub.raw(hub.push("d-1", "{}")).await.status, 200, "another source has its own rate");
}

/// Reloads the hub's sources from this text.
fn read_again(hub: &IngressHub, text: &str) {
    let read =
        weir::config::load_text("weir.toml", text, hub.dir.path(), weir::config::Mode::Production);
    hub.ingress.replace_sources(read.unwrap_or_else(|e| panic!("{e}")).config.sources);
}

#[tokio::test]
async fn a_rate_goes_on_counting_after_a_reload_unless_it_changed() {
    const LIMITED: &str = "[sources.limited]\nprovider = \"github\"\n\
         secrets = [{ file = \"secret\" }]\n\
                           rate = \"60/h\"\nburst = 2\n";
    let hub = IngressHub::with(LIMITED, |_| {}).await;
    let push = async |n: usize| -> u16 {
        let id = format!("d-{n}");
        let headers = [("x-github-event", "push"), ("x-github-delivery", &*id)];
        hub.raw(hub.signed("limited", &headers, "{}", 0)).await.status
    };
    assert_eq!((push(1).await, push(2).await, push(3).await), (200, 200, 429));
    let github = "[sources.github]\nprovider = \"github\"\nsecrets = [{ file = \"secret\" }]\n";
    read_again(&hub, &format!("{LIMITED}body_limit = \"10KiB\"\n{github}"));
    assert_eq!(push(4).await, 429, "the rate is the same");
    read_again(&hub, &LIMITED.replace("60/h", "61/h"));
    assert_eq!((push(5).await, push(6).await, push(7).await), (200, 200, 429));
    read_again(&hub, github);
    assert_eq!(push(8).await, 404);
}

#[tokio::test]
async fn a_penalty_survives_a_reload() {
    let per_address =
        "[server.per_address]\nrefusals = 10\nrefusals_per_second = 1\nloopback = true\n";
    let hub = IngressHub::with(per_address, |_| {}).await;
    for _ in 0..10 {
        assert_eq!(hub.raw_from(STRANGER, &junk("github")).await.status, 401);
    }
    let penalized = (429, "too_many_refusals".to_owned());
    assert_eq!(hub.raw_from(STRANGER, &junk("github")).await.problem(), penalized);
    let github = "[sources.github]\nprovider = \"github\"\nsecrets = [{ file = \"secret\" }]\n";
    read_again(&hub, github);
    assert_eq!(hub.raw_from(STRANGER, &junk("github")).await.problem(), penalized);
    assert_eq!(
        hub.raw_from(FRIEND, &junk("github")).await.status,
        401,
        "another address has no penalty"
    );
}
