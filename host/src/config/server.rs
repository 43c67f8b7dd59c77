//! `[server]`: the listener for webhooks.

use std::net::SocketAddr;
use std::time::Duration;

use weir_core::address::{ForwardedBy, TrustedProxies, too_wide};
use weir_core::bounds::{BODY_BYTES_MAX, MIB};

use super::access::blocks;
use super::context::LoadContext;
use super::tls;
use super::tree::Section;
use super::url::public_base;
use super::value::Size;
use crate::tls::{HTTP_2_OR_1, TlsFiles};
use weir_core::units::format_size;

/// Highest limit on headers of a request: more than any sender has.
const HEADERS_MAX: usize = 1_000;
/// Highest limit on the head of a request, in bytes.
const HEADER_BYTES_MAX: usize = MIB;
/// Highest limit on connections; files and memory are used up first.
const CONNECTIONS_MAX: usize = 1_000_000;

/// Highest limit on refusals of one address; more would not be a limit.
const REFUSALS_MAX: usize = 1_000_000;

/// The settings of the listener for webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    pub listen: SocketAddr,
    /// The URL that senders use, without a slash at its end.
    pub public_url: Option<String>,
    /// TLS; without it the listener speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The trusted proxies.
    pub trusted_proxies: TrustedProxies,
    pub max_connections: usize,
    /// Time to receive the head of a request.
    pub header_timeout: Duration,
    /// Time to receive its body.
    pub body_timeout: Duration,
    /// Time between requests on a kept connection.
    pub idle_timeout: Duration,
    /// Headers per request.
    pub max_headers: usize,
    /// Bytes of the head.
    pub max_header_bytes: usize,
    /// Bytes of a body, unless the provider or the source sets another limit.
    pub body_limit: usize,
    /// Bytes of all bodies in memory.
    pub body_budget: usize,
    /// Slowest rate of a body, in bytes per second.
    pub body_pace: usize,
    pub per_address: PerAddress,
}

/// The limits of one client address with unverified requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerAddress {
    pub connections: usize,
    /// The burst of refused requests.
    pub refusals: u32,
    /// The refill of that burst per second.
    pub refusals_per_second: u32,
    /// True if addresses of this machine are limited too.
    pub loopback: bool,
}

pub(super) fn read(mut section: Section<'_>, context: &LoadContext<'_>) -> Option<ServerSettings> {
    let listen = section.must("listen");
    let public_url = section.maybe::<String>("public_url");
    let public_url = public_url.and_then(|url| {
        let noted = |what| section.problem("public_url", what);
        public_base(&url).map_err(noted).ok()
    });
    let proxies = blocks(&mut section, "trusted_proxies");
    if let Some(all) = proxies.as_deref().and_then(too_wide) {
        let what = format!(
            "trusts {all}: clients there can claim any address, so limits and allow_ips have no \
             effect. \
             Name the proxy's own addresses"
        );
        section.warning("trusted_proxies", what);
    }
    let forwarded_by = section.must::<ForwardedBy>("forwarded_by");
    let max_connections = section.checked("max_connections", |n| at_most(*n, CONNECTIONS_MAX));
    let header_timeout = section.must("header_timeout");
    let body_timeout = section.must("body_timeout");
    let idle_timeout = section.must("idle_timeout");
    let max_headers = section.checked("max_headers", |n| at_most(*n, HEADERS_MAX));
    let max_header_bytes =
        section.checked("max_header_bytes", |s: &Size| size_at_most(*s, HEADER_BYTES_MAX));
    let body_limit = section.checked("body_limit", |s: &Size| size_at_most(*s, BODY_BYTES_MAX));
    let body_budget = section.must::<Size>("body_budget");
    let body_pace = section.checked("body_pace", |s: &Size| size_at_most(*s, BODY_BYTES_MAX));
    let tls = tls::read(&mut section, HTTP_2_OR_1, context);
    let per_address = per_address(section.section("per_address"));
    if let (Some(limit), Some(budget)) = (body_limit, body_budget)
        && budget < limit
    {
        let what =
            format!("is less than body_limit ({}): no such body would fit", format_size(limit.0));
        section.problem("body_budget", what);
    }
    section.finish();
    Some(ServerSettings {
        listen: listen?,
        public_url,
        tls,
        trusted_proxies: TrustedProxies::new(proxies?, forwarded_by?),
        max_connections: max_connections?,
        header_timeout: header_timeout?,
        body_timeout: body_timeout?,
        idle_timeout: idle_timeout?,
        max_headers: max_headers?,
        max_header_bytes: max_header_bytes?.0,
        body_limit: body_limit?.0,
        body_budget: body_budget?.0,
        body_pace: body_pace?.0,
        per_address: per_address?,
    })
}

fn per_address(mut section: Section<'_>) -> Option<PerAddress> {
    let connections = section.checked("connections", |n| at_most(*n, CONNECTIONS_MAX));
    let refusals = section.checked("refusals", |n| at_most(*n, REFUSALS_MAX));
    let per_second = section.checked("refusals_per_second", |n| at_most(*n, REFUSALS_MAX));
    let loopback = section.must("loopback");
    section.finish();
    Some(PerAddress {
        connections: connections?,
        refusals: u32::try_from(refusals?).ok()?,
        refusals_per_second: u32::try_from(per_second?).ok()?,
        loopback: loopback?,
    })
}

pub(super) fn at_most(number: usize, max: usize) -> Result<(), String> {
    if number > max { Err(format!("must be at most {max}")) } else { Ok(()) }
}

pub(super) fn size_at_most(size: Size, max: usize) -> Result<(), String> {
    if size.0 > max { Err(format!("must be at most {}", format_size(max))) } else { Ok(()) }
}
