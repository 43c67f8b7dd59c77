//! The viewer as a whole: any payload becomes a panel within its limits.

use proptest::prelude::*;

use super::markup_tests::{assert_well_formed, text_of};
use super::writer::MARKUP_BYTES_MAX;
use super::*;
use crate::api::BodyView;

fn payload(kind: &str, body: &[u8]) -> PayloadView {
    let shown = match std::str::from_utf8(body) {
        Ok(text) => BytesView::Text(text.to_owned()),
        Err(_) => BytesView::Base64(STANDARD.encode(body)),
    };
    let header = |name: &str, value: &[u8]| HeaderView {
        name: name.to_owned(),
        value: BytesView::Base64(STANDARD.encode(value)),
    };
    PayloadView {
        headers: vec![
            header("Content-Type", kind.as_bytes()),
            header("x-odd", b"caf\xe9"),
            header("x-key", b"fingerprint-0123456789ab"),
        ],
        body: BodyView { size: body.len(), truncated: false, shown },
    }
}

fn panel(kind: &str, body: &[u8], tab: PayloadTab) -> String {
    let payload = payload(kind, body);
    let panel = PayloadPanel::new("Request as received", &payload, "/events/evt_1").with_tab(tab);
    panel.render(&html! {}).into_string()
}

#[test]
fn json_is_shown_as_json_whatever_its_type_is_called() {
    for kind in ["application/json; charset=utf-8", "application/cloudevents+json", "text/plain"] {
        let html = panel(kind, b"{\"a\": 1}", PayloadTab::Body);
        assert!(html.contains("Body as JSON"), "{html}");
    }
    let html = panel("text/plain", b"{not json", PayloadTab::Body);
    assert!(html.contains("Body as text") && !html.contains("Not valid"), "{html}");
}

#[test]
fn invalid_json_is_shown_raw_with_the_place_of_the_mistake() {
    let html = panel("application/json", b"{\"a\": 1,\n \"b\" 2}", PayloadTab::Body);
    assert!(html.contains("Line 2, column 6 should be `:` after a key."), "{html}");
    assert!(html.contains("<mark><bdi>2</bdi></mark>"), "{html}");
    let html = panel("application/json", b"{\"a\": \"\xff\"}", PayloadTab::Body);
    assert!(html.contains("it is not UTF-8") && html.contains("Body as hex"), "{html}");
}

#[test]
fn forms_are_tables_and_binary_is_hex() {
    let html = panel("application/x-www-form-urlencoded", b"a=%3Cb%3E&c=1+2", PayloadTab::Body);
    assert!(html.contains("<bdi>&lt;b&gt;</bdi>") && html.contains("<bdi>1 2</bdi>"), "{html}");
    let html = panel("image/png", b"\x89PNG\r\n\x1a\n", PayloadTab::Body);
    assert!(text_of(&html).contains("89 50 4e 47 0d 0a 1a 0a"), "{html}");
    assert!(panel("text/plain", b"", PayloadTab::Body).contains("The body is empty."));
}

#[test]
fn headers_are_listed_and_masked_ones_are_marked() {
    let html = panel("text/plain", b"x", PayloadTab::Headers);
    assert!(html.contains("caf<span class=\"u\">bytes e9</span>"), "{html}");
    assert_eq!(html.matches("<span class=\"tag\">masked</span>").count(), 1);
    assert!(html.contains("Headers <span class=\"dd\">3</span>"));
}

#[test]
fn tabs_are_links_that_keep_the_page() {
    let payload = payload("text/plain", b"x");
    let panel = PayloadPanel::new("Message", &payload, "/events/evt_1?sel=2");
    let html = panel.render(&html! { a href="/x" { "Download" } }).into_string();
    assert!(html.contains("href=\"/events/evt_1?sel=2#body\" aria-current=\"true\""), "{html}");
    assert!(html.contains("href=\"/events/evt_1?sel=2&amp;view=hex#body\""), "{html}");
    assert!(html.contains("Download"));
}

#[test]
fn a_long_body_is_shown_a_view_at_a_time() {
    let body = "é".repeat(100_000);
    let payload = payload("text/plain", body.as_bytes());
    let first = PayloadPanel::new("Message", &payload, "/m");
    let html = first.render(&html! {}).into_string();
    assert!(html.contains("href=\"/m?view=raw&amp;from=65536#body\""), "{html:.400}");
    let second = PayloadPanel::new("Message", &payload, "/m").with_tab(PayloadTab::Raw);
    let html = second.starting_at(body.as_bytes(), 65_536 * 3).render(&html! {}).into_string();
    assert_eq!(text_of(&html).matches('é').count(), 100_000 - 3 * 32_768);
    assert!(!html.contains("Next "));
    let beyond = PayloadPanel::new("Message", &payload, "/m").starting_at(body.as_bytes(), 1 << 40);
    assert!(beyond.render(&html! {}).into_string().contains("ends before this place"));
}

#[test]
fn a_masked_header_is_a_variable_in_the_command() {
    let command = curl_command("POST", "http://a/webhook/x", &payload("text/plain", b"x")).unwrap();
    assert!(command.contains("-H 'x-key: '\"$X_KEY\""), "{command}");
    assert!(!command.contains("fingerprint"), "{command}");
    let mut cut = payload("text/plain", b"x");
    cut.body.truncated = true;
    assert_eq!(curl_command("POST", "http://a/", &cut), None);
}

#[test]
fn hostile_bodies_stay_within_the_limits() {
    let deep = "[".repeat(25_000);
    let spans = "a\u{202e}".repeat(16_000);
    let strings = format!("[{}]", vec!["\"\u{1b}\u{200b}x\""; 10_000].join(","));
    let proto = r#"{"__proto__": {"</script><script>": "\u202e"}, "__proto__": 1}"#.to_owned();
    let nul = "\u{0}".repeat(65_536);
    for body in [deep, spans, strings, proto, nul] {
        for kind in ["application/json", "text/plain", "application/x-www-form-urlencoded"] {
            for tab in [PayloadTab::Body, PayloadTab::Raw, PayloadTab::Hex] {
                let html = panel(kind, body.as_bytes(), tab);
                assert_well_formed(&html);
                assert!(!html.contains("<script"));
                let limit = MARKUP_BYTES_MAX + VIEW_BYTES;
                assert!(html.len() < limit, "{kind} {tab:?} {}", html.len());
            }
        }
    }
}

proptest! {
    #[test]
    fn any_payload_becomes_a_well_formed_panel(
        body in prop::collection::vec(any::<u8>(), 0..600),
        kind in prop_oneof![
            Just("application/json"), Just("text/plain"), Just("application/x-www-form-urlencoded")
        ],
        tab in prop_oneof![
            Just(PayloadTab::Body), Just(PayloadTab::Headers), Just(PayloadTab::Raw),
            Just(PayloadTab::Hex)
        ],
    ) {
        assert_well_formed(&panel(kind, &body, tab));
    }
}
