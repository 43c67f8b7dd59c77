//! `/find?q=`: one field for everything. An id of any kind opens what it leads to; anything else is
//! looked for as a source or a type in the list of events.

use axum::extract::Query;
use axum::response::Redirect;
use serde::Deserialize;

use super::parts::{address, path_part};
use crate::admin::extract::Service;

/// Bytes of a text that may be an id.
const ID_BYTES_MAX: usize = 256;

/// The text in the field.
#[derive(Debug, Default, Deserialize)]
pub(super) struct FindQuery {
    #[serde(default)]
    q: String,
}

/// Answers `/find`.
pub(super) async fn find(service: Service, Query(FindQuery { q }): Query<FindQuery>) -> Redirect {
    let text = q.trim();
    if text.is_empty() {
        return Redirect::to("/events");
    }
    if text.len() <= ID_BYTES_MAX && service.event(text, false).await.is_ok() {
        return Redirect::to(&format!("/events/{}", path_part(text)));
    }
    Redirect::to(&filter_of(text))
}

/// The list that a text asks for: `source:type`, `name=value` as in an address, else a type.
fn filter_of(text: &str) -> String {
    if let Some((name, value)) = text.split_once('=') {
        return address("/events", &[(name.trim(), value.trim())]);
    }
    match text.split_once(':') {
        Some((source, kind)) => {
            address("/events", &[("source", source.trim()), ("type", kind.trim())])
        }
        None => address("/events", &[("type", &format!("*{text}*"))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_id_becomes_a_filter() {
        assert_eq!(filter_of("github:push"), "/events?source=github&type=push");
        assert_eq!(filter_of("status=dead_letter"), "/events?status=dead_letter");
        assert_eq!(filter_of("invoice"), "/events?type=*invoice*");
    }
}
