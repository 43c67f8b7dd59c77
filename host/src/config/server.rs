//! `[server]`: where webhooks come in.

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

/// Most headers that one request may be allowed: more than any sender has, and little memory each.
const HEADERS_MAX: usize = 1_000;
/// Largest head that one request may be allowed, in bytes.
const HEADER_BYTES_MAX: usize = MIB;
/// Most connections at once; past it a process runs out of files and memory before anything else.
const CONNECTIONS_MAX: usize = 1_000_000;

/// Most refusals of one address that may be allowed, at once or in a second: more is no limit.
const REFUSALS_MAX: usize = 1_000_000;

/// Where webhooks come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The address that senders use, with no slash at its end.
    pub public_url: Option<String>,
    /// What to serve TLS with; without it, plain HTTP is spoken.
    pub tls: Option<TlsFiles>,
    /// Who is believed about whom a request came from.
    pub trusted_proxies: TrustedProxies,
    /// Connections at once.
    pub max_connections: usize,
    /// To send the head of a request.
    pub header_timeout: Duration,
    /// To send its body.
    pub body_timeout: Duration,
    /// Between requests on a kept connection.
    pub idle_timeout: Duration,
    /// Headers of a request.
    pub max_headers: usize,
    /// Bytes of its head.
    pub max_header_bytes: usize,
    /// Bytes of a body, unless the provider or the source says otherwise.
    pub body_limit: usize,
    /// Bytes of bodies in memory at once.
    pub body_budget: usize,
    /// Bytes a second that a body must come at, at least.
    pub body_pace: usize,
    /// What one client address may cost.
    pub per_address: PerAddress,
}

/// What one client address may cost before it has proven who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerAddress {
    /// Connections at once.
    pub connections: usize,
    /// Refused requests at once, after a time without any.
    pub refusals: u32,
    /// Refused requests that are forgiven in a second.
    pub refusals_per_second: u32,
    /// Whether addresses of this machine are held to it too.
    pub loopback: bool,
}

pub(super) fn read(mut section: Section<'_>, context: &LoadContext<'_>) -> Option<Server> {
    let listen = section.must("listen");
    let public_url = section.maybe::<String>("public_url");
    let public_url = public_url.and_then(|url| {
        let noted = |what| section.problem("public_url", what);
        public_base(&url).map_err(noted).ok()
    });
    let proxies = blocks(&mut section, "trusted_proxies");
    if let Some(all) = proxies.as_deref().and_then(too_wide) {
        let what = format!(
            "trusts {all}: senders there can say that they are any address, and limits and allow_ips protect nothing. \
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
    Some(Server {
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
