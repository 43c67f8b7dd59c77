//! Attacks what is read from form bodies and queries: fields, JSON and XML inside of them, types and ids, for any
//! built-in provider; and the field of the input's own that its second word names.
//!
//! Holds: fields are what a second, plain reading of the rules finds, and what is identified is in its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_core::identify::RequestFacts;
use weir_core::verify::{FORM_FIELDS_MAX, RequestView};
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
    let facts = RequestFacts::new(provider, request);
    if let Ok(found) = provider.identify(&facts, proof(provider)) {
        weir_fuzz::identified(&found, request.payload());
    }
    // What has not the shape of a form has no fields, whatever it is declared as.
    let payload = if request.is_payload_form() { request.payload() } else { b"" };
    let mut fields = models::form(payload);
    // What stands further back is looked at by nobody.
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
