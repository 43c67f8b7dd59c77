//! Ambiguous requests: a field, a header or a digit that verification could read in one way and
//! another reader in another. Each test starts from a genuine request of a provider's file.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use weir_core::request::RequestView;
use weir_core::time::Timestamp;
use weir_core::verify::{NamedSecret, Params, Secret, Unverified, Verification, Verifier};

use crate::forgery::header_names;
use crate::support::{CATALOG, code, provider, verified};

/// A request of a provider's file, its verifier, and a time at which it is fresh.
#[derive(Clone)]
pub(crate) struct Genuine {
    pub(crate) verifier: Verifier,
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) now: Timestamp,
}

fn texts(value: Option<&toml::Value>) -> Vec<&str> {
    match value {
        Some(toml::Value::Array(several)) => several.iter().filter_map(|v| v.as_str()).collect(),
        Some(one) => one.as_str().into_iter().collect(),
        None => Vec::new(),
    }
}

fn pairs(value: Option<&toml::Value>) -> BTreeMap<String, String> {
    let table = value.and_then(toml::Value::as_table).into_iter().flatten();
    table.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

/// The genuine requests of a file by name.
pub(crate) fn genuine(name: &str) -> BTreeMap<String, Genuine> {
    let file = format!("{}/providers/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let file: toml::Value = toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let genuine = vectors.iter().filter(|vector| vector.get("refused").is_none());
    let read = |vector: &toml::Value| {
        let named = |text: &&str| NamedSecret::new("s", Secret::new(*text));
        let secrets: Vec<_> = texts(vector.get("secret")).iter().map(named).collect();
        let params: Params = pairs(vector.get("params"))
            .into_iter()
            .map(|(name, value)| (name, Secret::new(value)))
            .collect();
        let text = |key: &str, default: &str| {
            vector.get(key).map_or(default, |value| value.as_str().unwrap()).to_owned()
        };
        let body = match vector.get("body_base64") {
            Some(base64) => STANDARD.decode(base64.as_str().unwrap()).unwrap(),
            None => text("body", "").into_bytes(),
        };
        let now = vector.get("now").map_or(0, |now| now.as_integer().unwrap());
        let genuine = Genuine {
            verifier: provider(name).verifier_with(&secrets, &params).unwrap(),
            method: text("method", "POST"),
            url: text("url", "https://example.com/webhook"),
            headers: pairs(vector.get("headers")).into_iter().collect(),
            body,
            now: Timestamp::from_millis(1000 * u64::try_from(now).unwrap()),
        };
        (vector["name"].as_str().unwrap().to_owned(), genuine)
    };
    genuine.map(read).collect()
}

impl Genuine {
    fn of(provider: &str, vector: &str) -> Self {
        genuine(provider).remove(vector).unwrap_or_else(|| panic!("{provider}/{vector}"))
    }

    pub(crate) fn with<T>(&self, see: impl FnOnce(RequestView<'_>) -> T) -> T {
        let headers: Vec<_> =
            self.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let (method, url) = (self.method.as_str(), self.url.as_str());
        see(RequestView { method, url, headers: &headers, body: &self.body })
    }

    pub(crate) fn verify(&self) -> Verification {
        self.with(|view| self.verifier.verify(&view, self.now))
    }

    fn body(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

#[test]
fn a_duplicated_signature_field_is_refused() {
    let put = |before: &'static str, more: &'static str| {
        move |body: &str| {
            assert!(body.contains(before), "{before}");
            body.replacen(before, &format!("{more}{before}"), 1)
        }
    };
    let after = |more: &'static str| move |body: &str| format!("{body}{more}");
    type Change = Box<dyn Fn(&str) -> String>;
    let cases: [(&str, &str, Change); 13] = [
        ("adyen", "standard", Box::new(put("\"success\"", "\"success\": \"false\", "))),
        ("adyen", "standard", Box::new(put("\"amount\"", "\"amount\": {}, "))),
        (
            "adyen",
            "standard",
            Box::new(put("\"NotificationRequestItem\"", "\"NotificationRequestItem\": {}, ")),
        ),
        (
            "adyen",
            "standard",
            Box::new(put("\"notificationItems\"", "\"notificationItems\": [], ")),
        ),
        ("msgraph", "clientstate", Box::new(put("\"clientState\"", "\"clientState\":\"x\","))),
        ("msgraph", "clientstate", Box::new(put("\"value\"", "\"value\":[{}],"))),
        ("mailgun", "body-signature", Box::new(put("\"token\"", "\"token\": \"x\", "))),
        ("mailgun", "body-signature", Box::new(put("\"signature\": {", "\"signature\": {}, "))),
        ("mailgun", "form", Box::new(after("&token=x"))),
        ("gitea", "form", Box::new(after("&payload=%7B%7D"))),
        ("paddle-classic", "form", Box::new(|body| format!("alert_name=payment_refunded&{body}"))),
        ("braintree", "sdk", Box::new(after("&bt_payload=AAAA"))),
        ("sns", "notification-v1", Box::new(put("\"Message\"", "\"Message\": \"another\", "))),
    ];
    let gitea = Genuine::of("gitea", "get");
    verified(gitea.verify());
    let url = format!("{}&payload=%7B%7D", gitea.url);
    assert_eq!(code(Genuine { url, ..gitea }.verify()), "field_duplicated");
    for (provider, vector, change) in cases {
        let genuine = Genuine::of(provider, vector);
        verified(genuine.verify());
        let changed = change(&genuine.body());
        let refused = code(genuine.with_body(changed.clone()).verify());
        assert_eq!(refused, "field_duplicated", "{provider}: {changed}");
    }
}

#[test]
fn invalid_text_beside_signed_fields_is_accepted() {
    for (provider, vector) in [
        ("adyen", "standard"),
        ("msgraph", "clientstate"),
        ("mailgun", "body-signature"),
        ("sns", "notification-v1"),
        ("sns", "notification-no-subject"),
    ] {
        let genuine = Genuine::of(provider, vector);
        let body = genuine.body();
        let key = body.replacen('{', "{\"\\ud800\":0,", 1);
        for body in [format!("\u{feff}{body}"), key.clone(), format!("\u{feff}{key}")] {
            let beside = Genuine::of(provider, vector).with_body(body.clone());
            let outcome = beside.verify();
            assert!(outcome.is_ok(), "{provider}: {outcome:?} {body}");
        }
    }
}

#[test]
fn a_digit_moved_between_time_and_body_is_refused() {
    let time = "X-Signature-Timestamp";
    let discord = Genuine::of("discord", "ping").with_header(time, "176000000");
    let body = format!("0{}", discord.body());
    assert_eq!(code(discord.with_body(body).verify()), "timestamp_malformed");

    let time = "X-Twilio-Email-Event-Webhook-Timestamp";
    let sendgrid = Genuine::of("sendgrid", "sdk-valid").with_header(time, "160011250");
    let body = format!("2{}", sendgrid.body());
    assert_eq!(code(sendgrid.with_body(body).verify()), "timestamp_malformed");

    let mailgun = Genuine::of("mailgun", "body-signature");
    let body =
        mailgun.body().replace("1529006854\", \"token\": \"a8", "152900685\", \"token\": \"4a8");
    assert_ne!(body, mailgun.body());
    assert_eq!(code(mailgun.with_body(body).verify()), "timestamp_malformed");

    let hubspot = Genuine::of("hubspot", "v3");
    let body = format!("{}1", hubspot.body());
    let hubspot = hubspot.with_header("X-HubSpot-Request-Timestamp", "693657560000");
    assert_eq!(code(hubspot.with_body(body).verify()), "timestamp_malformed");
}

#[test]
fn a_list_of_signed_headers_must_be_signed_itself() {
    let at = "1603379941037";
    let signed = |list: &str, pairs: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice("a".repeat(64).as_bytes()).unwrap();
        mac.update(format!("POST\n/api/resources/1\n{pairs}\n{{}}").as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        Genuine::of("contentful", "post")
            .with_body("{}")
            .with_header("content-type", "a;x-contentful-topic:real")
            .with_header("x-contentful-topic", "forged")
            .with_header("x-contentful-timestamp", at)
            .with_header("x-contentful-signed-headers", list)
            .with_header("x-contentful-signature", &signature)
            .verify()
    };
    // The text that the sender signed for the two headers is also the text for content-type alone.
    let pairs = format!("content-type:a;x-contentful-topic:real;x-contentful-timestamp:{at}");
    assert_eq!(code(signed("content-type,x-contentful-timestamp", &pairs)), "signed_field_missing");
    let list = "content-type,x-contentful-signed-headers,x-contentful-timestamp";
    let pairs = format!(
        "content-type:a;x-contentful-topic:real;x-contentful-signed-headers:{list};x-contentful-timestamp:{at}"
    );
    verified(signed(list, &pairs));
}

/// Providers with any number of signature headers: each is one more to try.
const NUMBERED: [&str; 1] = ["docusign"];

#[test]
fn duplicated_or_empty_headers_are_refused() {
    for provider in CATALOG.iter() {
        let names = header_names(provider);
        for (vector, genuine) in genuine(&provider.name) {
            verified(genuine.verify());
            let of_scheme = |name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
            let of_scheme: Vec<_> =
                genuine.headers.iter().filter(|(name, _)| of_scheme(name)).cloned().collect();
            let all = || genuine.headers.iter().cloned();
            if of_scheme.is_empty() || NUMBERED.contains(&&*provider.name) {
                continue;
            }
            let with = |headers| Genuine { headers, ..Genuine::of(&provider.name, &vector) };
            let twice = with(all().chain(of_scheme.iter().cloned()).collect()).verify();
            let emptied = all().map(|(name, value)| {
                let empty = of_scheme.iter().any(|(n, _)| *n == name);
                (name, if empty { String::new() } else { value })
            });
            let emptied = with(emptied.collect()).verify();
            let refused = |outcome: &Verification| matches!(outcome, Err(Unverified::Refused(_)));
            assert!(refused(&emptied), "{}/{vector}: {emptied:?}", provider.name);
            assert!(refused(&twice), "{}/{vector}: {twice:?}", provider.name);
        }
    }
}
