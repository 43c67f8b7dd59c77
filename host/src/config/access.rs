//! Access to a source before its signatures are checked: `allow_ips`, `require_client_cert`,
//! `auth`, `rate` and `burst`.

use std::time::Duration;

use toml::de::DeValue;
use weir_core::address::{AddressBlock, ForwardedBy, too_wide};
use weir_core::rate::Rate;
use weir_core::token::{TokenLocation, Tokens};

use super::context::LoadContext;
use super::secret;
use super::secret_strength;
use super::server::ServerSettings;
use super::tree::Section;
use super::value::Value;
use weir_core::units::shortened;

/// Most address blocks in one list; each is compared with every request. The lists of providers are
/// shorter.
const BLOCKS_MAX: usize = 1_000;

/// The access policy of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessPolicy {
    /// Networks that may send; any if none.
    pub allow_ips: Option<Vec<AddressBlock>>,
    /// True if the client must have a certificate.
    pub client_cert: bool,
    /// A token that requests must have.
    pub tokens: Option<Tokens>,
    /// The rate limit of verified requests.
    pub rate: Option<Rate>,
}

/// Reads the policy from a source's section. An invalid key is noted, and absent in the result.
pub(super) fn read(
    section: &mut Section<'_>,
    server: Option<&ServerSettings>,
    context: &LoadContext<'_>,
) -> AccessPolicy {
    let allow_ips = blocks(section, "allow_ips");
    if section.items("allow_ips").is_some_and(|blocks| blocks.is_empty()) {
        section.problem(
            "allow_ips",
            "is empty, so all requests would be refused; leave it out to allow all",
        );
    }
    if let Some(all) = allow_ips.as_deref().and_then(too_wide) {
        let what =
            format!("allows {all}, which is almost every address; name the sender's own addresses");
        section.warning("allow_ips", what);
    }
    let client_cert = section.maybe::<bool>("require_client_cert").unwrap_or(false);
    let client_ca = server.and_then(|server| server.tls.as_ref()?.client_ca.as_ref());
    if client_cert && server.is_some() && client_ca.is_none() {
        let what = "needs client_ca in [server.tls]; without it no client has a certificate";
        section.problem("require_client_cert", what);
    }
    let auth = section.section("auth");
    let tokens = if auth.is_given() { tokens(auth, context) } else { None };
    AccessPolicy { allow_ips, client_cert, tokens, rate: rate(section) }
}

/// A list of blocks, if the key is present.
pub(super) fn blocks(section: &mut Section<'_>, key: &'static str) -> Option<Vec<AddressBlock>> {
    let blocks = section.list::<AddressBlock>(key)?;
    if blocks.len() > BLOCKS_MAX {
        section.problem(key, format!("more than {BLOCKS_MAX} blocks of addresses"));
    }
    Some(blocks)
}

fn tokens(mut section: Section<'_>, context: &LoadContext<'_>) -> Option<Tokens> {
    let place = section.must::<TokenLocation>("in");
    let live = secret::list(&mut section, "tokens", context);
    if !section.has("tokens") || live.as_ref().is_some_and(Vec::is_empty) {
        section
            .problem("tokens", "is missing; write [{ env = \"NAME\" }] or [{ file = \"path\" }]");
    }
    section.finish();
    let (place, live) = (place?, live?);
    for (index, token) in live.iter().enumerate() {
        let key = format!("tokens[{index}]");
        if token.scheme.is_some() {
            section.problem(&key, "a token has no scheme; leave `scheme` out");
        }
        let bytes = token.value.expose();
        let basic = bytes.iter().position(|b| *b == b':').filter(|_| place == TokenLocation::Basic);
        if place == TokenLocation::Basic && basic.is_none() {
            section.problem(&key, "for \"basic\", the secret must be user:password");
            continue;
        }
        // The user name is not a secret.
        let secret = basic.map_or(bytes, |colon| &bytes[colon + 1..]);
        let name = if basic.is_some() { "password" } else { "token" };
        secret_strength::judge_text_of(&section, &key, name, secret);
    }
    Some(Tokens::new(place, live.iter().map(|token| &token.value)))
}

/// A number per second, minute or hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EventsPerTime {
    count: u32,
    time: Duration,
}

/// The rate of `rate` and `burst`, if there is one.
pub(super) fn rate(section: &mut Section<'_>) -> Option<Rate> {
    let per_time = section.maybe::<EventsPerTime>("rate");
    let burst = section.maybe::<u32>("burst");
    if section.has("burst") && !section.has("rate") && per_time.is_none() {
        section.problem("burst", "has no effect without `rate`");
    }
    let EventsPerTime { count, time } = per_time?;
    Some(Rate::new(count, time, burst.unwrap_or(count)))
}

/// The rate of `rate` and `burst` for what the hub sends: evenly spread, because a receiver that
/// has a limit counts each second.
pub(super) fn sending_rate(section: &mut Section<'_>) -> Option<Rate> {
    let per_time = section.maybe::<EventsPerTime>("rate");
    let burst = section.maybe::<u32>("burst");
    if section.has("burst") && !section.has("rate") {
        section.problem("burst", "has no effect without `rate`");
    }
    let EventsPerTime { count, time } = per_time?;
    // What a tenth of a second brings, so that a high rate needs few wake-ups.
    let tenths = u32::try_from(time.as_secs()).unwrap_or(u32::MAX).saturating_mul(10);
    Some(Rate::new(count, time, burst.unwrap_or(count / tenths).max(1)))
}

impl Value for EventsPerTime {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        let read = || {
            let (count, unit) = text.split_once('/')?;
            let seconds = match unit.trim_start() {
                "s" => 1,
                "m" => 60,
                "h" => 3_600,
                _ => return None,
            };
            let count = count.trim_end().parse().ok().filter(|count| *count > 0)?;
            Some(Self { count, time: Duration::from_secs(seconds) })
        };
        read().ok_or_else(|| {
            format!(
                "`{}` is not a rate such as \"100/s\", \"6000/m\" or \"10/h\"",
                shortened(&text)
            )
        })
    }
}

impl Value for AddressBlock {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        text.parse().map_err(|error| format!("`{}` {error}", shortened(&text)))
    }
}

impl Value for TokenLocation {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        String::read(value)?
            .parse()
            .map_err(|error: weir_core::token::InvalidTokenLocation| error.to_string())
    }
}

impl Value for ForwardedBy {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        let all = [Self::XForwardedFor, Self::Forwarded];
        let known = all.into_iter().find(|by| by.header().eq_ignore_ascii_case(&text));
        known.ok_or_else(|| "write \"x-forwarded-for\" or \"forwarded\"".into())
    }
}
