//! The reader of a page: the name and role, and the cookies that choose theme, zone and keys.

use cookie::Cookie;
use http::header::COOKIE;
use http::request::Parts;
use weir_core::time::Timestamp;

use super::times::Times;
use crate::admin::principal::Principal;
use crate::api::{Proof, Role};

/// The cookie with the chosen theme.
pub(crate) const THEME_COOKIE: &str = "weir_theme";
/// The cookie with the zone of the browser, which its script sets.
pub(crate) const ZONE_COOKIE: &str = "weir_zone";
/// The cookie of a reader who prefers UTC.
pub(crate) const UTC_COOKIE: &str = "weir_utc";
/// The cookie of a reader who turned single keys off.
pub(crate) const KEYS_COOKIE: &str = "weir_keys";

/// Colours of the page; without a choice the browser's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Theme {
    Light,
    Dark,
}

impl Theme {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// The reader of a page.
#[derive(Debug, Clone)]
pub(crate) struct PageReader {
    principal: Principal,
    pub(crate) theme: Option<Theme>,
    pub(crate) times: Times,
    /// True if single keys work.
    pub(crate) keys: bool,
    /// Path and query of the page, to come back to it.
    pub(crate) address: String,
}

impl PageReader {
    /// The reader who sent this head.
    pub(crate) fn of(head: &Parts, now: Timestamp) -> Self {
        let cookie = |name: &str| {
            let all = head.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
            let cookies = all.flat_map(Cookie::split_parse_encoded);
            let mut named = cookies.filter_map(Result::ok).filter(|cookie| cookie.name() == name);
            named.next().map(|cookie| cookie.value().to_owned())
        };
        let zone = cookie(ZONE_COOKIE).filter(|_| cookie(UTC_COOKIE).is_none());
        Self {
            principal: head.extensions.get().cloned().unwrap_or_else(Principal::anonymous),
            theme: match cookie(THEME_COOKIE).as_deref() {
                Some("light") => Some(Theme::Light),
                Some("dark") => Some(Theme::Dark),
                _ => None,
            },
            times: Times::new(zone.as_deref(), now),
            keys: cookie(KEYS_COOKIE).as_deref() != Some("off"),
            address: head
                .uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), |address| address.as_str().to_owned()),
        }
    }

    /// The name and the role, as the bar shows them.
    pub(crate) fn named(&self) -> String {
        match self.principal.role {
            Some(role) if self.is_signed_in() => format!("{} · {role}", self.principal.as_str()),
            _ => "read only".to_owned(),
        }
    }

    /// The value of the hidden field that every form of this session carries.
    pub(crate) fn form_token(&self) -> &str {
        self.principal.form_token()
    }

    /// True if the reader has signed in.
    pub(crate) fn is_signed_in(&self) -> bool {
        self.principal.how == Proof::Session
    }

    /// True if the reader may change the state of events and targets.
    pub(crate) fn may_operate(&self) -> bool {
        self.principal.may(Role::Operate)
    }
}
