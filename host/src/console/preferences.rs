//! The choices of a reader, kept in cookies: theme, zone and single keys. They need no token: they
//! change nothing but the reader's own pages.

use axum::extract::Form;
use axum::response::{IntoResponse as _, Redirect, Response};
use cookie::{Cookie, SameSite};
use http::header::{HeaderMap, HeaderValue, SET_COOKIE};
use http::request::Parts;
use serde::Deserialize;
use weir_core::time::Timestamp;

use super::reader::{KEYS_COOKIE, PageReader, THEME_COOKIE, Theme, UTC_COOKIE};

/// A year: the choice stays until it is changed.
const KEPT: cookie::time::Duration = cookie::time::Duration::days(365);

/// The page to come back to.
#[derive(Debug, Deserialize)]
pub(super) struct PreferenceForm {
    back: String,
}

/// The theme of the system, dark, light, in this order.
pub(super) async fn theme(head: Parts, Form(form): Form<PreferenceForm>) -> Response {
    let next = match reader(&head).theme {
        None => Some(Theme::Dark.as_str()),
        Some(Theme::Dark) => Some(Theme::Light.as_str()),
        Some(Theme::Light) => None,
    };
    back_with(&form.back, THEME_COOKIE, next)
}

/// UTC, or the zone of the browser.
pub(super) async fn zone(head: Parts, Form(form): Form<PreferenceForm>) -> Response {
    let next = if reader(&head).times.is_utc() { None } else { Some("1") };
    back_with(&form.back, UTC_COOKIE, next)
}

/// Single keys on or off.
pub(super) async fn keys(head: Parts, Form(form): Form<PreferenceForm>) -> Response {
    let next = if reader(&head).keys { Some("off") } else { None };
    back_with(&form.back, KEYS_COOKIE, next)
}

fn reader(head: &Parts) -> PageReader {
    PageReader::of(head, Timestamp::default())
}

fn back_with(back: &str, name: &'static str, value: Option<&str>) -> Response {
    let cookie = Cookie::build((name, value.unwrap_or_default().to_owned()))
        .path("/")
        .same_site(SameSite::Strict)
        .max_age(if value.is_some() { KEPT } else { cookie::time::Duration::ZERO });
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::try_from(cookie.build().to_string()) {
        headers.append(SET_COOKIE, value);
    }
    (headers, Redirect::to(own_address(back))).into_response()
}

/// The address if it leads to this listener, else the first page.
pub(super) fn own_address(address: &str) -> &str {
    let is_own = address.starts_with('/')
        && !address.starts_with("//")
        && !address.contains(['\\', '\r', '\n', '\t']);
    if is_own { address } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_leads_away_from_the_hub() {
        assert_eq!(own_address("/events?source=a"), "/events?source=a");
        for away in ["//evil.example", "/\\evil.example", "https://evil.example", "", "/\t/x"] {
            assert_eq!(own_address(away), "/", "{away}");
        }
    }
}
