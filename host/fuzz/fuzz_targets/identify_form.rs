//! Attacks the reading of form bodies and queries: fields, JSON and XML inside them, types and ids,
//! for any built-in provider, and the field that the input's second word names.
//!
//! Must hold: the fields are those of the reference model, and identified events are within their
//! limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_core::request::{FORM_FIELDS_MAX, RequestView};
use weir_fuzz::input::Input;
use weir_fuzz::models;
use weir_fuzz::sources::{proof, provider};

fuzz_target!(init: weir_fuzz::seeds::write("identify_form"), |text: &[u8]| {
    let mut input = Input::parse(text);
    let is_form = input.view().is_form();
    if !is_form {
        input.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        input.headers.push(("Content-Type", b"application/x-www-form-urlencoded"));
    }
    let provider = provider(input.word(0));
    let request = input.view();
    let facts = provider.facts(request);
    if let Ok(found) = provider.identify(&facts, proof(provider)) {
        weir_fuzz::identified(&found, request.payload());
    }
    // A body that does not look like a form has no fields, whatever its content type.
    let payload = if request.is_payload_form() { request.payload() } else { b"" };
    let mut fields = models::form(payload);
    // Fields after the limit are ignored.
    fields.truncate(FORM_FIELDS_MAX);
    for name in ["payload", "token", input.word(1)] {
        assert_eq!(request.payload_field(name).as_deref(), first(&fields, name), "{name}");
    }
    query(&request, input.word(1));
});

fn query(request: &RequestView<'_>, name: &str) {
    let query = request.url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    let mut parameters = models::form(query.as_bytes());
    parameters.truncate(FORM_FIELDS_MAX);
    assert_eq!(request.query_parameter(name).as_deref(), first(&parameters, name), "{name}");
}

fn first<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}
