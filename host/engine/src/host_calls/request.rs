//! `request`: the event as it was received, copied into the guest only on a call.

use weir_core::reserved_headers::{METHOD_HEADER, PATH_HEADER, QUERY_HEADER};

use crate::bindings::weir::handler::request::Host;
use crate::headers::visible;
use crate::host_calls::{Answer, answer};
use crate::instance::RunState;
use crate::refusal::Refusal;
use weir_core::event::Event;

impl Host for RunState {
    fn text(&mut self) -> Answer<String> {
        let text = self.try_handling().and_then(|handling| {
            let body = &handling.run.event.payload.body;
            std::str::from_utf8(body).map(str::to_owned).map_err(|error| {
                Refusal::invalid(format!(
                    "The body is not UTF-8 from byte {} on; read it with `bytes`.",
                    error.valid_up_to()
                ))
            })
        });
        answer(text)
    }

    fn bytes(&mut self) -> wasmtime::Result<Vec<u8>> {
        let handling = self.try_handling();
        Ok(handling.map(|h| h.run.event.payload.body.to_vec()).unwrap_or_default())
    }

    fn header(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        let name = name.to_ascii_lowercase();
        let Ok(handling) = self.try_handling() else { return Ok(None) };
        let value = handling.run.event.payload.header(&name).filter(|_| visible(&name));
        Ok(value.map(|v| String::from_utf8_lossy(v).into_owned()))
    }

    fn headers(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        let Ok(handling) = self.try_handling() else { return Ok(Vec::new()) };
        let seen = handling.run.event.payload.headers.iter().filter(|(name, _)| visible(name));
        Ok(seen
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value).into_owned()))
            .collect())
    }

    fn method(&mut self) -> wasmtime::Result<String> {
        Ok(self.try_handling().map(|h| method(&h.run.event)).unwrap_or_default())
    }

    fn query(&mut self) -> wasmtime::Result<String> {
        Ok(self.try_handling().map(|h| fact(&h.run.event, QUERY_HEADER)).unwrap_or_default())
    }

    fn path_rest(&mut self) -> wasmtime::Result<String> {
        Ok(self.try_handling().map(|h| fact(&h.run.event, PATH_HEADER)).unwrap_or_default())
    }
}

/// The method of the request that an event came with; empty if there was no request.
pub(crate) fn method(event: &Event) -> String {
    if event.source.must_be_named() {
        return String::new();
    }
    let kept = fact(event, METHOD_HEADER);
    if kept.is_empty() { "POST".to_owned() } else { kept }
}

/// A fact about the request, which the hub keeps as a header of the event.
pub(crate) fn fact(event: &Event, header: &str) -> String {
    let value = event.payload.header(header);
    value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}
