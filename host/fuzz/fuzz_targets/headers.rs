//! Attacks the parsers of headers: proxy chains, tokens, signature headers, times, HTTP Message
//! Signatures and the claims of JSON Web Tokens. The first word chooses one. In the rest, `$v`
//! stands for the valid signature, `$d` and `$e` for the right digests of the body, so that code
//! after the verification is reached too.
//!
//! Must hold: whatever a sender writes before the entry of the trusted proxy, that entry counts;
//! the same tokens and signature headers are accepted as by the reference model; only a well-formed
//! time close to now is accepted; a wrong digest of the body is refused.
#![no_main]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256, Sha512};
use weir_core::address::{ForwardedBy, TrustedProxies};
use weir_core::provider::ProviderOverrides;
use weir_core::request::RequestView;
use weir_core::token::Tokens;
use weir_core::verify::{NamedSecret, Params, Secret, Verification, Verifier};
use weir_fuzz::input::{line, number, pick};
use weir_fuzz::models::{self, hmac_sha256};
use weir_fuzz::sources::{NOW, URL, provider};

const KEY: &[u8] = b"an hmac key of thirty-two bytes!";
const BODY: &[u8] = b"{\"id\":\"1\"}";
const TOKENS: [&str; 2] = ["old:t0ken", "new:t0ken"];

const KINDS: [&str; 14] = [
    "x-forwarded-for",
    "forwarded",
    "bearer",
    "basic",
    "header",
    "query",
    "pairs",
    "list",
    "time-seconds",
    "time-millis",
    "time-rfc3339",
    "http-message",
    "http-message-raw",
    "jwt",
];

fuzz_target!(init: weir_fuzz::seeds::write("headers"), |text: &[u8]| {
    let (first, rest) = line(text);
    let first = std::str::from_utf8(first).unwrap_or_default();
    let (kind, variant) = first.split_once(' ').unwrap_or((first, ""));
    let kind = KINDS.iter().find(|k| **k == kind).or_else(|| pick(&KINDS, kind));
    match kind.copied().unwrap_or_default() {
        "x-forwarded-for" => forwarded(ForwardedBy::XForwardedFor, number(variant), rest),
        "forwarded" => forwarded(ForwardedBy::Forwarded, number(variant), rest),
        "pairs" => pairs(rest),
        "list" => list(rest),
        kind @ ("time-seconds" | "time-millis" | "time-rfc3339") => time(kind, rest),
        "http-message" => http_message(rest),
        "http-message-raw" => http_message_raw(rest),
        "jwt" => jwt(rest),
        place => token(place, rest),
    }
});

/// The entries that a trusted proxy writes for an address.
const ENTRIES: [(ForwardedBy, &str, &str); 8] = [
    (ForwardedBy::XForwardedFor, "192.0.2.1", "192.0.2.1"),
    (ForwardedBy::XForwardedFor, "192.0.2.1:4711", "192.0.2.1"),
    (ForwardedBy::XForwardedFor, "2001:db8::7", "2001:db8::7"),
    (ForwardedBy::XForwardedFor, "[2001:db8::7]:4711", "2001:db8::7"),
    (ForwardedBy::Forwarded, "for=192.0.2.1", "192.0.2.1"),
    (ForwardedBy::Forwarded, "for=\"[2001:db8::7]:4711\";proto=https", "2001:db8::7"),
    (ForwardedBy::Forwarded, "host=\"a, b\"; For=\"192.0.2.1:80\"", "192.0.2.1"),
    (ForwardedBy::Forwarded, "by=10.0.0.1;for=\"[2001:db8::7]\"", "2001:db8::7"),
];

/// The lines are a stranger's. The trusted proxies append theirs, to the same line or as a new one.
fn forwarded(by: ForwardedBy, variant: u64, lines: &[u8]) {
    let proxies = ["10.0.0.0/8", "fd00::/8"].map(|block| block.parse().expect("a block"));
    let proxies = TrustedProxies::new(proxies.to_vec(), by);
    let entries: Vec<_> = ENTRIES.iter().filter(|entry| entry.0 == by).collect();
    let at = usize::try_from(variant % entries.len() as u64).unwrap_or_default();
    let (_, entry, address) = entries[at];
    let address: IpAddr = address.parse().expect("an address");
    let ours = if by == ForwardedBy::Forwarded { "for=10.0.0.2" } else { "10.0.0.2" };
    let mut tail = (*entry).to_owned();
    (0..variant >> 3 & 3).for_each(|_| tail = format!("{tail}, {ours}"));
    let mut chain: Vec<Vec<u8>> = lines.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    match chain.last_mut() {
        Some(last) if variant >> 5 & 1 == 0 => {
            last.extend_from_slice(b", ");
            last.extend_from_slice(tail.as_bytes());
        }
        _ => chain.push(tail.into_bytes()),
    }
    let client = |peer: &str| {
        let peer = peer.parse().expect("an address");
        proxies.client(peer, chain.iter().map(Vec::as_slice))
    };
    assert_eq!(
        client("10.0.0.1"),
        address,
        "{:?}",
        chain.iter().map(|l| l.escape_ascii()).collect::<Vec<_>>()
    );
    assert_eq!(client("198.51.100.1"), "198.51.100.1".parse::<IpAddr>().expect("an address"));
    // Without a trusted entry, a stranger's lines are read as they are, and the search must end.
    let said =
        proxies.client("10.0.0.1".parse().expect("an address"), lines.split(|b| *b == b'\n'));
    assert_eq!(said, said.to_canonical());
}

fn token(place: &str, text: &[u8]) {
    let live = TOKENS.map(Secret::new);
    let lines = || text.split(|b| *b == b'\n');
    let query = std::str::from_utf8(text).unwrap_or_default();
    let written = match place {
        "header" => "header:x-key",
        "query" => "query:key",
        place => place,
    };
    let tokens = Tokens::new(written.parse().expect("a place"), &live);
    let given = match place {
        "query" => {
            let fields = models::form(query.as_bytes()).into_iter();
            fields.filter(|(name, _)| name == "key").map(|(_, v)| Some(v.into_bytes())).collect()
        }
        "header" => lines().map(|value| Some(value.trim_ascii().to_vec())).collect(),
        "bearer" => lines().map(|v| Some(models::credentials(v, "bearer")?.to_vec())).collect(),
        _ => lines()
            .map(|v| STANDARD.decode(models::credentials(v, "basic")?).ok())
            .collect::<Vec<_>>(),
    };
    let is_live = |token: &[u8]| TOKENS.iter().any(|live| live.as_bytes() == token);
    let right = matches!(&given[..], [Some(only)] if is_live(only));
    let taken = tokens.check(lines(), Some(query)).is_ok();
    assert_eq!(taken, right, "{place}: {:?}", text.escape_ascii().to_string());
}

/// `text` with these words replaced.
fn filled(text: &[u8], words: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    'text: while let Some((byte, after)) = rest.split_first() {
        for (word, value) in words {
            if let Some(after) = rest.strip_prefix(word.as_bytes()) {
                out.extend_from_slice(value.as_bytes());
                rest = after;
                continue 'text;
            }
        }
        out.push(*byte);
        rest = after;
    }
    out
}

fn digests() -> [(&'static str, String); 2] {
    [("$d", STANDARD.encode(Sha256::digest(BODY))), ("$e", STANDARD.encode(Sha512::digest(BODY)))]
}

fn with_digests(text: &[u8]) -> Vec<u8> {
    let digests = digests();
    filled(text, &digests.each_ref().map(|(word, value)| (*word, value.as_str())))
}

/// A source of the provider with overrides as in a configuration.
fn source(name: &str, changes: &str, secret: &str) -> Verifier {
    let changes: ProviderOverrides = toml::from_str(changes).expect("changes");
    let provider = provider(name).with_overrides(&changes).expect("a provider");
    let secrets = [NamedSecret::new("s", Secret::new(secret))];
    let params = Params::from([("api_key".to_owned(), Secret::new("the-api_key"))]);
    provider.verifier_with(&secrets, &params).expect("a source")
}

static SOURCES: LazyLock<BTreeMap<&str, Verifier>> = LazyLock::new(|| {
    let key = std::str::from_utf8(KEY).expect("text");
    let time = |unit: &str| {
        let rule = format!("{{ header = 'X-Time', unit = '{unit}', tolerance = '5m' }}");
        let changes = format!(
            "[signature]\nprefix = ''\nmessage = '{{timestamp}}.{{body}}'\ntimestamp = {rule}"
        );
        source("custom", &changes, key)
    };
    let message = "schemes = ['hmac-sha256']\n[signature]\nname = 'hmac-sha256'\n\
         http_message = { components = ['@method', '@authority'], max_age = '5m' }";
    BTreeMap::from([
        ("pairs", source("stripe", "", key)),
        ("list", source("standard-webhooks", "", &format!("whsec_{}", STANDARD.encode(KEY)))),
        ("time-seconds", time("seconds")),
        ("time-millis", time("millis")),
        ("time-rfc3339", time("rfc3339")),
        ("http-message", source("rfc9421", message, &STANDARD.encode(KEY))),
        ("jwt", source("livekit", "", key)),
    ])
});

fn verified(kind: &str, headers: &[(&str, &[u8])]) -> Verification {
    let request = RequestView { method: "POST", url: URL, headers, body: BODY };
    SOURCES[kind].verify(&request, NOW)
}

fn is_verified(kind: &str, headers: &[(&str, &[u8])]) -> bool {
    verified(kind, headers).is_ok()
}

fn pairs(template: &[u8]) {
    // A signature in the place of a time would cover itself.
    let time = models::pair_values(template, b"t").first().copied().unwrap_or_default();
    let right = hmac_sha256(KEY, &[time, b".", BODY]);
    let value = filled(template, &[("$v", &hex::encode(&right))]);
    let model = models::is_right_pairs(&value, &right) && !time.contains(&b'$');
    let taken = is_verified("pairs", &[("Stripe-Signature", &value)]);
    assert_eq!(taken, model, "{}", value.escape_ascii());
}

fn list(text: &[u8]) {
    let (id, rest) = line(text);
    let (time, template) = line(rest);
    let right = hmac_sha256(KEY, &[id, b".", time, b".", BODY]);
    let right = [STANDARD.encode(&right), STANDARD_NO_PAD.encode(&right)];
    let value = filled(template, &[("$v", &right[0]), ("$u", &right[1])]);
    let short = id.len() <= 8192;
    let model = models::is_right_list(&value, &right) && models::is_now_in_seconds(time) && short;
    let headers: [(&str, &[u8]); 3] =
        [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", &value)];
    assert_eq!(is_verified("list", &headers), model, "{}", value.escape_ascii());
}

fn time(kind: &str, text: &[u8]) {
    let signature = hex::encode(hmac_sha256(KEY, &[text, b".", BODY]));
    let headers = [("X-Time", text), ("X-Webhook-Signature", signature.as_bytes())];
    let outcome = verified(kind, &headers);
    let taken = outcome.is_ok();
    match kind {
        "time-seconds" => assert_eq!(taken, models::is_now_in_seconds(text), "{outcome:?}"),
        "time-millis" => assert_eq!(taken, models::is_now_in_millis(text), "{outcome:?}"),
        _ => {}
    }
    if let Ok(proof) = outcome {
        let at = proof.timestamp.expect("the scheme signs a time");
        assert!(at.as_millis().abs_diff(NOW.as_millis()) <= 300_999, "{at}");
        assert!(text.len() <= 40 && text.is_ascii(), "{}", text.escape_ascii());
    }
}

/// A signature over method, authority and path, with parameters from the input and perhaps a
/// digest.
fn http_message(text: &[u8]) {
    let (parameters, digest) = line(text);
    let Ok(parameters) = std::str::from_utf8(parameters) else { return };
    // White space around a header's value is not part of it.
    let parameters = parameters.trim();
    let input = format!("(\"@method\" \"@authority\" \"@path\"){parameters}");
    let base = format!(
        "\"@method\": POST\n\"@authority\": hooks.example.com\n\"@path\": /webhook/in\n\
         \"@signature-params\": {input}"
    );
    let signature = STANDARD.encode(hmac_sha256(KEY, &[base.as_bytes()]));
    let (input, signature) = (format!("weir={input}"), format!("weir=:{signature}:"));
    let digest = with_digests(digest);
    let mut headers =
        vec![("signature-input", input.as_bytes()), ("signature", signature.as_bytes())];
    if !digest.is_empty() {
        headers.push(("content-digest", digest.as_slice()));
    }
    if let Ok(proof) = verified("http-message", &headers) {
        let at = proof.timestamp.expect("a greatest age needs a time");
        assert!(at.as_secs().abs_diff(NOW.as_secs()) <= 300, "{at} {input}");
        let text = String::from_utf8_lossy(&digest).into_owned();
        let right = digests().iter().any(|(_, right)| text.contains(right));
        assert!(digest.is_empty() || right, "{text}");
    }
}

/// Both headers as the input has them. The key is unknown to it.
fn http_message_raw(text: &[u8]) {
    let (input, rest) = line(text);
    let (signature, header) = line(rest);
    let headers: [(&str, &[u8]); 4] = [
        ("Signature-Input", input),
        ("Signature", signature),
        ("X-A", header),
        ("Content-Digest", header),
    ];
    assert!(!is_verified("http-message", &headers), "{}", input.escape_ascii());
}

fn jwt(claims: &[u8]) {
    let claims = with_digests(claims);
    let [header, body] =
        [br#"{"alg":"HS256"}"#.as_slice(), &claims].map(|p| URL_SAFE_NO_PAD.encode(p));
    let message = format!("{header}.{body}");
    let signature = URL_SAFE_NO_PAD.encode(hmac_sha256(KEY, &[message.as_bytes()]));
    let token = format!("{message}.{signature}");
    let outcome = verified("jwt", &[("Authorization", token.as_bytes())]);
    if outcome.is_err() {
        return;
    }
    let claims: serde_json::Value = serde_json::from_slice(&claims).expect("an object of claims");
    let names = match &claims["iss"] {
        serde_json::Value::Array(several) => several.iter().any(|v| v == "the-api_key"),
        one => one == "the-api_key",
    };
    assert!(names, "{claims}");
    let digest = claims["sha256"].as_str().expect("a digest").trim_end_matches('=');
    assert_eq!(STANDARD_NO_PAD.decode(digest).as_deref(), Ok(&*Sha256::digest(BODY)), "{claims}");
    let seconds = |name: &str| claims[name].as_f64();
    let now = NOW.as_secs() as f64;
    assert!(seconds("exp").is_some_and(|until| until > now), "{claims}");
    for name in ["iat", "nbf"] {
        assert!(seconds(name).is_none_or(|start| start < now + 61.0), "{claims}");
    }
}
